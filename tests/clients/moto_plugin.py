"""For pytest in moto's environment: each test gets a cloud of its own, and how it ended is told in a line of JSON.

moto's tests write what AWS would refuse before it looks at anything else: ``n/a`` for a role, ``some cron`` for a
schedule. With ``WELL_FORMED`` set such a value is sent as one that AWS takes and is read back as the test wrote it, the
region of a test is called the cloud's own on the way there and back, and what happens a moment later, as on AWS, has
happened before anybody looks. So a test says what it is about.
"""

import inspect
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import boto3
import botocore.client

_ROLE, _FUNCTION = "arn:aws:iam::123456789012:role", "arn:aws:lambda:us-east-1:123456789012:function"
WELL_FORMED = {
    ("ClusterJDBCURL", "jdbc:redshift://host.amazonaws.com:5439/database"): (
        "jdbc:redshift://host.us-east-1.redshift.amazonaws.com:5439/database"
    ),
    ("DomainARN", "arn:aws:es:::domain/firehose-test"): "arn:aws:es:us-east-1:123456789012:domain/firehose-test",
    ("SizeInMBs", 123): 12,
    ("Url", "google.com"): "https://google.com",
    ("Arn", "arn1"): f"{_FUNCTION}:one",
    ("Arn", "different arn"): f"{_FUNCTION}:different",
    ("Arn", "not supported yet"): f"{_FUNCTION}:unsupported",
    ("Id", "n/a"): "na",
    ("RoleArn", "arn2"): f"{_ROLE}/two",
    ("RoleArn", "n/a"): f"{_ROLE}/na",
    ("ScheduleExpression", "new cron"): "rate(4 minutes)",
    ("ScheduleExpression", "some cron *"): "rate(3 minutes)",
    ("ScheduleExpression", "some cron"): "rate(2 minutes)",
}
"""By parameter and value, what is sent in its place."""
_AS_WRITTEN = {(name, sent): written for (name, written), sent in WELL_FORMED.items()}
_LOOKS = ("Describe", "Filter", "Get", "List", "Receive")


HOME = "us-east-1"
_REGION = re.compile(r"\b(?:af|ap|ca|eu|me|sa|us)-[a-z]+-\d\b")


class Travelling:
    """What the test that runs calls a region, where that is not the cloud's own."""

    region = ""

    def set_out(self, source):
        """Read a test: it may be at home, or in one other region."""
        regions = set(_REGION.findall(source)) - {HOME}
        self.region = regions.pop() if len(regions) == 1 else ""

    def there(self, text):
        """As the cloud calls it."""
        return text.replace(self.region, HOME) if self.region else text

    def back(self, text):
        """As the test calls it."""
        return text.replace(HOME, self.region) if self.region else text


TRAVELLING = Travelling()


def replaced(given, table, text, name=""):
    """Return a document with the values of a table replaced, and every other text as ``text`` makes it."""
    match given:
        case dict():
            return {key: replaced(value, table, text, key) for key, value in given.items()}
        case list():
            return [replaced(value, table, text, name) for value in given]
        case str() | int() if (name, given) in table:
            return table[name, given]
        case str():
            return text(given)
    return given


def _sent(given):
    """Some tests' bucket ARNs lack a colon."""
    return TRAVELLING.there(re.sub(r"^arn:aws:s3::(?=\w)", "arn:aws:s3:::", given))


def _read(given):
    return TRAVELLING.back(given.replace("arn:aws:s3:::firehosetestbucket", "arn:aws:s3::firehosetestbucket"))


def patiently(original):
    """Return a client's way to call that sends well-formed values, and looks when all that is due has happened."""

    def make_api_call(self, operation_name, api_params):
        if operation_name.startswith(_LOOKS):
            url = f"{os.environ['TEST_SERVER_MODE_ENDPOINT']}/_evergreen/flush"
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, b"").read()
        sent = replaced(api_params, WELL_FORMED, _sent)
        return replaced(original(self, operation_name, sent), _AS_WRITTEN, _read)

    return make_api_call


def at_home(original):
    """Return boto3's way to make a client, for the cloud's own region."""

    def make(*args, **named):
        if TRAVELLING.region:
            args, named = args[:1], {**named, "region_name": HOME}
            if "config" in named:
                named["config"].user_agent_extra = TRAVELLING.there(named["config"].user_agent_extra or "")
        return original(*args, **named)

    return make


class AFreshCloudForEach:
    """Hooks of pytest."""

    def __init__(self):
        command = [os.environ["CLOUD_PYTHON"], os.environ["CLOUD_SCRIPT"], os.environ["CLOUD_PORT"]]
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("MOTO_", "TEST_", "PYTHONPATH"))
        }
        self.clouds = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own)
        self.clouds.stdout.readline()
        self.told = Path(os.environ["CLIENT_RESULTS"]).open("a")  # noqa: SIM115 - until the last test has ended

    def pytest_runtest_setup(self, item):
        """A new cloud."""
        if os.environ.get("WELL_FORMED"):
            TRAVELLING.set_out(inspect.getsource(item.function))
        self.clouds.stdin.write("\n")
        self.clouds.stdin.flush()
        assert self.clouds.stdout.readline() == "ready\n", "the cloud did not come back"

    def pytest_runtest_logreport(self, report):
        """One line for each test that ended, or that could not begin."""
        if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
            why = report.longrepr[2] if report.skipped else str(getattr(report.longrepr, "reprcrash", "") or "")
            why = "" if report.passed else why or str(report.longrepr)
            self.told.write(json.dumps({"test": report.nodeid, "outcome": report.outcome, "why": why}) + "\n")
            self.told.flush()

    def pytest_unconfigure(self):
        """No more clouds."""
        self.clouds.stdin.close()
        self.clouds.wait(30)
        self.told.close()


def pytest_configure(config):
    """Begin."""
    if os.environ.get("WELL_FORMED"):
        botocore.client.BaseClient._make_api_call = patiently(botocore.client.BaseClient._make_api_call)
        boto3.client, boto3.resource = at_home(boto3.client), at_home(boto3.resource)
    config.pluginmanager.register(AFreshCloudForEach())


def pytest_collection_modifyitems(config, items):
    """Only those that are asked for, where some are."""
    wanted = os.environ.get("ONLY_TESTS")
    if wanted:
        names = set(Path(wanted).read_text().splitlines())
        items[:] = [item for item in items if item.nodeid in names]

"""Our evaluator of policies beside @cloud-copilot/iam-simulate: the same question, the same decision.

`make simulator` fetches it by npm; without it this file is skipped. It is AGPL: it is only run, here, as a process of
its own.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_cloud.kernel.callers import Caller
from local_cloud.services.iam.evaluation import Policies, Question, Verdict, decide
from local_cloud.services.iam.policies import Policy

SIMULATOR = Path(__file__).parent / "fixtures" / "iam_simulate"

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/predict"
PREDICT = Caller.session(ROLE, "run")
WORDS = {"Allowed": Verdict.ALLOWED, "ImplicitlyDenied": Verdict.IMPLICITLY_DENIED}
WORDS["ExplicitlyDenied"] = Verdict.EXPLICITLY_DENIED


@pytest.fixture(scope="module")
def simulator():
    """The simulator, waiting for questions."""
    node = shutil.which("node")
    if node is None or not (SIMULATOR / "node_modules").is_dir():
        pytest.skip("the evaluator is not compared with iam-simulate: install Node.js, and run `make simulator`")
    command = [node, "simulate.mjs"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=SIMULATOR)
    yield process
    process.stdin.close()
    process.wait(10)


# -- questions and policies in which much coincides ------------------------------------------------------------------

ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:ListBucket"]
ACTION_PATTERNS = st.sampled_from([*ACTIONS, "s3:*", "s3:Get*", "S3:getobject", "*", "s3:?etObject", "sqs:*"])
RESOURCES = ["arn:aws:s3:::data", "arn:aws:s3:::data/captures/1", "arn:aws:s3:::data/ada/1", "arn:aws:s3:::models/*/x"]
RESOURCE_PATTERNS = st.sampled_from(
    [
        "*",
        "arn:aws:s3:::data",
        "arn:aws:s3:::data/*",
        "arn:aws:s3:::data/captures/?",
        "arn:aws:s3:::data/${aws:username}/*",
        "arn:aws:s3:::data/${aws:PrincipalTag/team, 'captures'}/*",
        "arn:aws:s3:::data/${aws:PrincipalTag/team}/1",
        "arn:aws:s3:::*/1",
        "arn:aws:s3:::models/${*}/x",
        "arn:aws:s3:*",
        "arn:aws:sqs:*:*:data",
        "arn:aws:s3:::d?ta",
    ]
)
VALUES = {
    "s3:prefix": ["captures/", "captures/1", "Captures/", "ada/1", "*"],
    "aws:username": ["ada", "grace", "Ada"],
    "aws:PrincipalTag/team": ["captures", "ada"],
    "aws:SecureTransport": ["true", "false"],
    "s3:max-keys": ["1", "10", "100", "1.5"],
    "aws:CurrentTime": ["2026-01-01T00:00:00Z", "2026-06-01T12:00:00Z", "2027-01-01T00:00:00Z"],
    "aws:SourceArn": [f"arn:aws:events:us-east-1:{ACCOUNT}:rule/told", f"arn:aws:sns:us-east-1:{ACCOUNT}:told"],
    "aws:SourceIp": ["10.1.2.3", "192.168.0.1", "2001:db8::1"],
    "aws:TagKeys": ["team", "cost"],
    "lambda:blob": ["YWJj", "YWJk"],
}
PATTERNS = {
    "String": [
        "captures/",
        "captures/*",
        "${aws:username}/?",
        "CAPTURES/",
        "ada",
        "*",
        "team",
        "${*}",
        "${aws:missing}",
    ],
    "Bool": ["true", "false", "True"],
    "Numeric": ["1", "10", "2", "1.5"],
    "Date": ["2026-01-01T00:00:00Z", "2026-06-01", "2026-12-01T00:00:00Z"],
    "Arn": [
        f"arn:aws:events:us-east-1:{ACCOUNT}:rule/told",
        "arn:aws:events:*:*:rule/*",
        "arn:aws:*:us-east-1:*:told",
        "arn:aws:sns:us-east-?:*:*",
    ],
    # No bare address, of which the simulator says that an IPv6 is neither that one nor another; and no /0, which it
    # shifts by 32 bits, that is not at all.
    "Ip": ["10.0.0.0/8", "192.168.0.1/32", "0.0.0.0/1", "2001:db8::/32"],
    "Binary": ["YWJj"],
}
OPERATORS = {
    "String": [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
    ],
    "Bool": ["Bool"],
    "Numeric": [f"Numeric{n}" for n in ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan")],
    "Date": [f"Date{n}" for n in ("Equals", "NotEquals", "LessThan", "GreaterThan", "GreaterThanEquals")],
    "Arn": ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
    "Ip": ["IpAddress", "NotIpAddress"],
    "Binary": ["BinaryEquals"],
}
KEYS = {
    "String": ["s3:prefix", "aws:username", "aws:TagKeys", "aws:PrincipalTag/team", "S3:Prefix"],
    "Bool": ["aws:SecureTransport"],
    "Numeric": ["s3:max-keys"],
    "Date": ["aws:CurrentTime"],
    "Arn": ["aws:SourceArn"],
    "Ip": ["aws:SourceIp"],
    "Binary": ["lambda:blob"],
}


@st.composite
def conditions(draw):
    block = {}
    for _ in range(draw(st.integers(0, 2))):
        family = draw(st.sampled_from(sorted(OPERATORS)))
        operator = draw(st.sampled_from(OPERATORS[family]))
        operator = draw(st.sampled_from(["", "", "ForAllValues:", "ForAnyValue:"])) + operator
        operator += draw(st.sampled_from(["", "", "IfExists"]))
        values = draw(st.lists(st.sampled_from(PATTERNS[family]), min_size=1, max_size=2, unique=True))
        if draw(st.integers(0, 9)) == 0:
            operator, values = "Null", [draw(st.sampled_from(["true", "false"]))]
        key = draw(st.sampled_from(KEYS[family]))
        block.setdefault(operator, {})[key] = values if len(values) > 1 or draw(st.booleans()) else values[0]
    return block


PRINCIPALS = st.one_of(
    st.just("*"),
    st.lists(
        st.sampled_from(
            [
                "*",
                ROLE,
                PREDICT.arn,
                ACCOUNT,
                f"arn:aws:iam::{ACCOUNT}:root",
                f"arn:aws:iam::{ACCOUNT}:role/other",
                "arn:aws:iam::999999999999:root",
            ]
        ),
        min_size=1,
        max_size=2,
        unique=True,
    ).map(lambda names: {"AWS": names}),
    st.sampled_from(["events.amazonaws.com", "sns.amazonaws.com"]).map(lambda name: {"Service": name}),
)


@st.composite
def statements(draw, of_resource):
    statement = {"Effect": draw(st.sampled_from(["Allow", "Allow", "Allow", "Deny"]))}
    statement[draw(st.sampled_from(["Action", "Action", "Action", "NotAction"]))] = draw(
        st.lists(ACTION_PATTERNS, min_size=1, max_size=2, unique=True)
    )
    statement[draw(st.sampled_from(["Resource", "Resource", "Resource", "NotResource"]))] = draw(
        st.lists(RESOURCE_PATTERNS, min_size=1, max_size=2, unique=True)
    )
    if of_resource:
        statement["Principal"] = draw(PRINCIPALS)
    if block := draw(conditions()):
        statement["Condition"] = block
    return statement


def documents(*, of_resource=False):
    several = st.lists(statements(of_resource), min_size=1, max_size=3)
    return several.map(lambda made: {"Version": "2012-10-17", "Statement": made})


@st.composite
def contexts(draw):
    known = {}
    for key, values in VALUES.items():
        match draw(st.integers(0, 3)):
            case 1 | 2:
                known[key] = draw(st.sampled_from(values))
            case 3 if key in ("aws:TagKeys", "s3:prefix"):
                known[key] = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
    return known


@st.composite
def cases(draw):
    return {
        "caller": draw(st.sampled_from([PREDICT, PREDICT, PREDICT, Caller("events.amazonaws.com")])),
        "action": draw(st.sampled_from(ACTIONS)),
        "resource": draw(st.sampled_from(RESOURCES[:3])),
        "context": draw(contexts()),
        "identity": draw(st.lists(documents(), max_size=2)),
        "policy": draw(st.none() | documents(of_resource=True)),
        "boundary": draw(st.none() | documents()),
    }


def ours(case, *, needs_trust=False):
    known = {key.lower(): tuple(v) if isinstance(v, list) else v for key, v in case["context"].items()}
    question = Question(case["caller"], case["action"], case["resource"], known)
    policies = Policies(
        identity=[Policy.parse(document) for document in case["identity"]],
        resource=Policy.parse(case["policy"]) if case["policy"] else None,
        boundary=Policy.parse(case["boundary"]) if case["boundary"] and not case["caller"].is_service else None,
        needs_trust=needs_trust,
    )
    return decide(question, policies).verdict


def theirs(case, simulator):
    service = case["caller"].is_service
    simulation = {
        "principal": case["caller"].arn,
        "action": case["action"],
        "resource": case["resource"],
        "account": ACCOUNT,
        "context": case["context"],
        "identity": [] if service else case["identity"],
        "policy": case["policy"],
        "boundary": None if service else case["boundary"],
        "everything": {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}},
    }
    simulator.stdin.write(json.dumps(simulation) + "\n")
    simulator.stdin.flush()
    answer = simulator.stdout.readline().strip()
    return WORDS.get(answer, answer)


def test_the_same_question_is_decided_the_same(simulator, repetitions):
    @settings(max_examples=repetitions(400, 20_000))
    @given(cases())
    def compared(case):
        assert ours(case) == theirs(case, simulator)

    compared()


@st.composite
def key_cases(draw):
    case = draw(cases())
    action = draw(st.sampled_from(["kms:Decrypt", "kms:GenerateDataKey"]))
    key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
    for document in (*case["identity"], case["policy"], case["boundary"]):
        for statement in document["Statement"] if document else ():
            for element in ("Action", "NotAction"):
                if element in statement:
                    statement[element] = draw(st.sampled_from(["kms:*", "kms:Decrypt", "kms:Generate*", "s3:*"]))
            for element in ("Resource", "NotResource"):
                if element in statement:
                    statement[element] = draw(st.sampled_from(["*", key, f"{key}2"]))
    return {**case, "action": action, "resource": key}


def test_a_key_is_used_by_whom_its_own_policy_lets(simulator, repetitions):
    @settings(max_examples=repetitions(200, 10_000))
    @given(key_cases())
    def compared(case):
        assert ours(case, needs_trust=True) == theirs(case, simulator)

    compared()

"""Functions as Lambda calls them, on the small cloud."""

import json

import pytest
from small_cloud import NOW, SmallCloud, open_cloud


class Cloud(SmallCloud):
    """What the functions talk to, what they left there, and what they wrote to their logs."""

    def __init__(self, capsys):
        super().__init__()
        self._capsys = capsys

    def counted(self):
        """The metrics written since the last look: (dimensions, {name: value}) of each line."""
        found = []
        for line in self._capsys.readouterr().out.splitlines():
            document = json.loads(line)
            for metrics in document.get("_aws", {}).get("CloudWatchMetrics", []):
                assert metrics["Namespace"] == "Evergreen"
                names = [metric["Name"] for metric in metrics["Metrics"]]
                (dimensions,) = metrics["Dimensions"]
                values = {
                    name: document[name][0] if isinstance(document[name], list) else document[name] for name in names
                }
                found.append(({name: document[name] for name in dimensions}, values))
        return found


@pytest.fixture
def now():
    """The time of the events in tests/events."""
    return NOW


@pytest.fixture
def cloud(capsys, _nobodys_credentials):
    with open_cloud(lambda: Cloud(capsys)) as made:
        yield made

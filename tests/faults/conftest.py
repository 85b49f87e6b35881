"""Let the stories share their worlds, and tell at the end what was failed and how it ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_report import REPORT, FaultReport


def pytest_configure(config):
    config.stash[REPORT] = FaultReport()


@pytest.fixture
def fault_report(request):
    return request.config.stash[REPORT]


def pytest_terminal_summary(terminalreporter, config):
    report = config.stash[REPORT]
    if not report.cases:
        return
    terminalreporter.section("faults")
    for line in report.lines():
        terminalreporter.write_line(line)
    path = config.getoption("--faults-report")
    if path:
        Path(path).write_text(json.dumps(report.to_json(), indent=1) + "\n")

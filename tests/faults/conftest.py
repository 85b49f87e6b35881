"""Let the stories share their worlds, and tell at the end what was failed and how it ended."""

from __future__ import annotations

import sys
from dataclasses import astuple
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_report import FaultReport


@pytest.fixture
def fault_report(request):
    report = FaultReport()
    yield report
    request.node.user_properties.append(("faults", [astuple(case) for case in report.cases]))

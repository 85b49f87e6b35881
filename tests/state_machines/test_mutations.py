"""Each safeguard is there because a test fails without it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_no_safeguard_can_be_turned_off_unnoticed():
    script = Path(__file__).parents[1] / "mutations.py"
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    print(f"\n{ran.stdout}")
    assert ran.returncode == 0, ran.stdout + ran.stderr

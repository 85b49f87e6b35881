"""The modules of the clients are importable in the tests of them, and in one another."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

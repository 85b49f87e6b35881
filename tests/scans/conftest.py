"""Let the tests of `make scan` find its modules."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

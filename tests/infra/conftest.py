"""Let the stories about what is deployed share the small stacks of the local cloud's own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "local_cloud"))

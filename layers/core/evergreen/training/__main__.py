"""``python -m evergreen.training``: train on any table with ``--data``, or as a SageMaker container does without."""

from __future__ import annotations

import sys

from evergreen.training import local, train

if __name__ == "__main__":
    by_hand = any(argument.split("=")[0] in ("--data", "-h", "--help") for argument in sys.argv[1:])
    sys.exit(local.main() if by_hand else train.main())

"""`python -m evergreen_ops` is the `evergreen` command."""

from evergreen_ops.cli import main

main()

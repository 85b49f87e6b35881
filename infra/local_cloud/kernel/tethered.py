"""``python -m local_cloud.kernel.tethered MODULE ARGUMENTS...``: run a module until its starter ends.

The starter holds the other end of the standard input and writes nothing to it. When it ends, however it ends, the
input does too, and so does this process: a killed test or replay leaves no server behind.
"""

import os
import runpy
import sys
import threading


def main(arguments: list[str]) -> None:
    """Run ``arguments[0]`` as a program with the rest as its arguments."""
    threading.Thread(target=_end_with_the_input, name="tether", daemon=True).start()
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _end_with_the_input() -> None:
    while os.read(0, 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Child processes of the local cloud: how they are ended, and what their logs say."""

import atexit
import contextlib
import os
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_CHARACTERS = 800


def start(
    command: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    log: Path,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, with nothing of this process but what is given.

    Parameters
    ----------
    command
        The program and its arguments; no shell is involved.
    directory
        Where it runs.
    environment
        All of its variables.
    log
        Appended to with whatever it prints, on either stream.
    stdin
        ``subprocess.PIPE`` for a child that is to end with this process (see `local_cloud.kernel.tethered`).

    Returns
    -------
    subprocess.Popen
        The child. One that still runs when this interpreter ends is killed.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - the callers start our own interpreter
            command,
            cwd=directory,
            env=dict(environment),
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.add(process)
    return process


def _kill_what_still_runs() -> None:
    for process in list(_started):
        if process.poll() is None:
            signal_process_group(process, signal.SIGKILL)


_started: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()
atexit.register(_kill_what_still_runs)


def signal_process_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a child that leads its own session, and to whatever it started.

    Parameters
    ----------
    process
        A child that was started with ``start_new_session=True``.
    number
        The signal; a group that is gone already is left alone.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def end_process_group(process: subprocess.Popen[bytes], *, grace_seconds: float) -> int:
    """End a child and its own children: SIGTERM, then SIGKILL after the grace.

    Parameters
    ----------
    process
        A child that was started with ``start_new_session=True``.
    grace_seconds
        How long the child may take to end by itself.

    Returns
    -------
    int
        The exit code, negative for a signal.

    Examples
    --------
    >>> child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    >>> end_process_group(child, grace_seconds=5.0)
    -15
    """
    if (code := process.poll()) is not None:
        return code  # its id may belong to another process by now
    signal_process_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_seconds)
    signal_process_group(process, signal.SIGKILL)  # children that outlived their leader go too
    return process.wait()


def tail(log: Path, characters: int = TAIL_CHARACTERS) -> str:
    """Return the last characters of a log file, or a word for an empty or missing one.

    Examples
    --------
    >>> tail(Path("no such file"))
    '(nothing)'
    """
    try:
        text = log.read_text(errors="replace").strip()
    except FileNotFoundError:
        text = ""
    return text[-characters:] or "(nothing)"

"""Follow a version's live state in an endpoint's container: behind the answers, never in their way.

A thread looks every half a minute or so. What it finds is checked, asked once, and only then put in place. Whatever is
wrong with a state, the one before goes on answering, or the version as it was trained.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import suppress

from evergreen.errors import what_failed
from evergreen.serving.live_pointers import Pointed, StateGoneError, States
from evergreen.training.live_stored import LiveStateError, StoredState
from evergreen.training.live_version import LiveVersion

__all__ = ["Follower"]

PAUSE = 10
"""Looks that are left out after a state was refused, and after each failed one from the third on."""
_PATIENT = 3
_JITTER = 0.2

_log = logging.getLogger("evergreen.live")


class Follower:
    """The newest state of a version that could be read.

    Parameters
    ----------
    version
        Ready to be asked.
    number
        Whose states are followed.
    states
        Where they are.

    Attributes
    ----------
    state
        What answers; None: the version, as it was trained.
    refused
        How many states could not be used.
    """

    def __init__(self, version: LiveVersion, number: int, states: States) -> None:
        self.state: StoredState | None = None
        self.refused = 0
        self._version, self._number, self._states = version, number, states
        self._sha256 = ""  # of the state that answers
        self._refused = ""  # of the one that could not be used, left alone for as long as `_pause` says
        self._pause = self._failures = self._left_out = 0
        self._said = ""
        self._mute = -1  # the state of which it was said that it could not answer

    def follow(self, seconds: float, seed: str) -> None:
        """Look now and from time to time, behind the answers, for as long as the process lives.

        Parameters
        ----------
        seconds
            Between two looks, a fifth more or less.
        seed
            Of what is drawn: the containers of an endpoint do not all look at once.
        """
        drawn = random.Random(seed)  # noqa: S311 - no secret

        def look_again_and_again() -> None:
            while True:
                self.look()
                time.sleep(seconds * drawn.uniform(1 - _JITTER, 1 + _JITTER))

        threading.Thread(target=look_again_and_again, name="evergreen-live", daemon=True).start()

    def look(self) -> None:
        """Take the newest state, if there is one that can be read; raises nothing."""
        self._pause = max(0, self._pause - 1)
        if self._left_out > 0:
            self._left_out -= 1
            return
        try:
            pointed = self._states.newest()
            if pointed is None:
                self.state, self._sha256 = None, ""
            elif pointed.sha256 != self._sha256 and not (pointed.sha256 == self._refused and self._pause):
                self._take(pointed)
        except StateGoneError:
            return  # the next look finds the one that took its place
        except Exception as error:  # whatever keeps it from looking: no rights, no network, no boto3
            self._could_not_look(error)
            return
        if self._failures:
            _log.warning("the live state of version %d can be looked for again", self._number)
        self._failures, self._said = 0, ""

    def could_not_answer(self, state: StoredState, why: str) -> None:
        """Note that a state could not answer a request; said once of each."""
        if state.number != self._mute:
            self._mute = state.number
            _log.warning("state %d of version %d could not answer (%s): it answers as trained", *self._of(state), why)

    def _of(self, state: StoredState) -> tuple[int, int]:
        return state.number, self._number

    def _take(self, pointed: Pointed) -> None:
        body = self._states.get(pointed.key)
        try:
            state = self._read(body, pointed)
        except Exception as error:  # it goes on with the one that it has
            self.refused += 1
            self._refused, self._pause = pointed.sha256, PAUSE
            message = "state %d of version %d can't be used (%s): refused %d so far, the answers go on without it"
            _log.warning(message, pointed.number, self._number, what_failed(error), self.refused)
            return
        self._warm(state)
        self.state, self._sha256, self._refused = state, pointed.sha256, ""
        _log.info("version %d answers by state %d", self._number, state.number)

    def _read(self, body: bytes, pointed: Pointed) -> StoredState:
        state = StoredState.from_bytes(body, pointed.sha256, self._version)
        if (state.version, state.number) != (self._number, pointed.number):
            raise LiveStateError(f"it is state {state.number} of version {state.version}, not the one pointed to")
        return state

    def _warm(self, state: StoredState) -> None:
        """Have what is worked out of a state once worked out before a caller asks."""
        with suppress(Exception):  # if it can't answer a row without values, it may well answer others
            row = dict.fromkeys(self._version.schema.names)
            state.state.answer(self._version.asked([row], state.preparation))

    def _could_not_look(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= _PATIENT:
            self._left_out = PAUSE
        why = what_failed(error)
        if why != self._said:
            goes_on = "as trained" if self.state is None else f"by state {self.state.number}"
            message = "the live state of version %d can't be looked for (%s): it answers %s"
            _log.warning(message, self._number, why, goes_on)
        self._said = why

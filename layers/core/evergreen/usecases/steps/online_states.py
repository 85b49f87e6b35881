"""Where a model's online state lies, and how its bytes are read: only those that were recorded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from evergreen.domain.checkpoints import OnlineCheckpoint, OnlinePointer
from evergreen.errors import EvergreenError
from evergreen.formats.keys import online_state_key, online_state_version, online_states_of
from evergreen.ports import Ports
from evergreen.spec import ModelSpec
from evergreen.training.learner import Learner, OnlineStateError
from evergreen.training.online_state import OnlineState, check_sha256

_FINGERPRINT_LENGTH = 16


class StateGoneError(EvergreenError, FileNotFoundError):
    """The bytes that were pointed to are gone: somebody has moved the state on in between. Read the pointer again."""


def learner_of(spec: ModelSpec) -> Learner:
    """The estimator that a spec lets learn online."""
    return Learner.of(spec.task, spec.online.estimator, spec.online.params, seed=spec.training.seed)


def state_fingerprint(spec: ModelSpec) -> str:
    """What a state is of: features and learner, and the classes where the learner can't learn one later.

    Examples
    --------
    >>> spec = {"model": "churn", "task": "regression", "features": {"age": {"type": "number"}}}
    >>> state_fingerprint(ModelSpec.parse(spec)) == state_fingerprint(ModelSpec.parse(spec | {"strategy": "triggered"}))
    True
    """
    learner = learner_of(spec)
    grows = spec.online.new_classes == "learn"
    content = [
        spec.fingerprint,
        learner.estimator,
        learner.params,
        learner.seed,
        None if grows else spec.labels.classes,
    ]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT_LENGTH]


def load_state(ports: Ports, pointer: OnlinePointer) -> OnlineState:
    """Read the state that is pointed to; raises what :func:`state_bytes` raises."""
    return OnlineState.from_bytes(state_bytes(ports, pointer))


def state_bytes(ports: Ports, pointer: OnlinePointer) -> bytes:
    """Read the bytes that are pointed to.

    Raises
    ------
    OnlineStateError
        Its bytes are not those that were recorded.
    StateGoneError
        Somebody has moved the state on.
    """
    try:
        body = ports.artifacts.get(pointer.key)
    except FileNotFoundError as error:
        raise StateGoneError(str(error)) from error
    check_sha256(body, pointer.sha256)
    return body


def load_checkpoint(ports: Ports, checkpoint: OnlineCheckpoint) -> OnlineState:
    """Read a checkpoint.

    Raises
    ------
    OnlineStateError
        Its bytes are not those that were recorded, or gone.
    """
    try:
        body = ports.artifacts.get(checkpoint.key)
    except FileNotFoundError as error:
        raise OnlineStateError(
            f"checkpoint {checkpoint.number} of {checkpoint.model!r} is gone ({error}): revert to another one"
        ) from error
    return OnlineState.from_bytes(body, checkpoint.sha256)


def put_state(ports: Ports, after: OnlinePointer, body: bytes) -> OnlinePointer:
    """Write a state's bytes where nobody else's can be, and complete the pointer to them.

    The key holds the version: what an older version's key holds is nobody's any more, and can be deleted.
    """
    digest = hashlib.sha256(body).hexdigest()
    key = online_state_key(after.model, after.fingerprint, after.version, digest)
    ports.artifacts.put(key, body)
    return replace(after, key=key, sha256=digest)


def sweep(ports: Ports, pointer: OnlinePointer) -> None:
    """Delete the bytes of versions that came and went, and of those that lost a race.

    A write that is still under way is of a newer version, or will lose.
    """
    for key in list(ports.artifacts.keys(online_states_of(pointer.model, pointer.fingerprint))):
        if key != pointer.key and online_state_version(key) <= pointer.version:
            ports.artifacts.delete(key)

"""Check a model's stored history: whether it is complete and as it was written, and leads to the state there is."""

from __future__ import annotations

from evergreen.domain import audit
from evergreen.domain.audit import Flaw
from evergreen.errors import UnknownModelError
from evergreen.ports import Ports


def verify_history(model: str, *, ports: Ports) -> tuple[int, tuple[Flaw, ...]]:
    """Answer how many events were checked, and everything that is not as it was written.

    Raises
    ------
    UnknownModelError
        Nothing is stored under the name.
    """
    state, history = ports.ledger.stored(model)
    listed = model in ports.ledger.models()
    if state is None and not history and not listed:
        raise UnknownModelError(model)
    flaws = audit.verify(model, state, history)
    if not listed:
        flaws = (*flaws, Flaw(None, "the model is not in the list of models: no schedule finds it"))
    return len(history), flaws

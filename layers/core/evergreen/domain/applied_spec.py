"""The spec of a state: the document that was applied last, as the typed spec it says."""

from __future__ import annotations

import json
from functools import lru_cache

from evergreen.domain.state import ModelState
from evergreen.errors import UnreadableSpecError
from evergreen.spec import ModelSpec, SpecError

_MOST_SPECS_KEPT = 64


def spec_of(state: ModelState) -> ModelSpec:
    """The spec that a model's state holds.

    A document that was read before is not read again: what it says decides, not which state holds it, so that the next
    call of a function finds the spec of this one. The spec is shared and no caller changes it.

    Raises
    ------
    UnreadableSpecError
        This version of Evergreen can't read the document: a newer one wrote it, or nobody has applied a spec yet.

    Examples
    --------
    >>> document = {"model": "rent", "task": "regression", "features": {"area": {"type": "number"}}}
    >>> spec_of(ModelState("rent", spec=document)).gate_metric.value
    'mae'
    >>> spec_of(ModelState("rent", spec=document | {"colour": "green"}))
    Traceback (most recent call last):
        ...
    evergreen.errors.UnreadableSpecError: this version of Evergreen can't read the spec of model 'rent' (colour: \
unknown key; remove it or check its spelling): deploy the version that it was applied with, or a newer one
    """
    try:
        return _read(json.dumps(state.spec))
    except SpecError as error:
        raise UnreadableSpecError(state.model, error.problems) from error


@lru_cache(maxsize=_MOST_SPECS_KEPT)
def _read(document: str) -> ModelSpec:
    return ModelSpec.parse(json.loads(document))

"""The spec of a state: read in one place, once a document, and never half understood."""

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from evergreen.domain.applied_spec import spec_of
from evergreen.domain.state import ModelState
from evergreen.errors import EvergreenError, UnreadableSpecError
from evergreen.spec import ModelSpec

ROOT = Path(__file__).parents[2]
CODE = [path for part in ("layers/core", "functions", "infra/evergreen_ops") for path in (ROOT / part).rglob("*.py")]
THE_PLACE = "layers/core/evergreen/domain/applied_spec.py"
READERS = {"parse", "model_validate", "model_validate_json", "model_construct"}
DOCUMENT = {
    "model": "churn",
    "task": "binary",
    "features": {"age": {"type": "number"}, "plan": {"type": "categorical"}},
    "labels": {"classes": ["0", "1"]},
}


def a_state(**changes):
    return ModelState("churn", spec=ModelSpec.parse(DOCUMENT).to_json() | changes)


def read(source):
    """The calls that make a spec of a document, and which of these take it from a state."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    made = [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in READERS
        and ast.unparse(call.func.value).rpartition(".")[2] in ("ModelSpec", "cls")
    ]
    inside = [{getattr(node, "attr", "") for node in ast.walk(call)} for call in made]
    return [call for call, names in zip(made, inside, strict=True) if "spec" in names], made


def test_the_walk_finds_what_it_looks_for():
    source = "ModelSpec.parse(ports.ledger.read(model).spec); spec.ModelSpec.parse(document); other.parse(state.spec)"
    of_a_state, made = read(source)
    assert (len(of_a_state), len(made)) == (1, 2)


def test_the_spec_of_a_state_is_read_in_one_place():
    found = {str(path.relative_to(ROOT)): read(path.read_text(encoding="utf-8")) for path in CODE}
    assert len(found) > 100
    assert [name for name, (of_a_state, _) in found.items() if of_a_state] == []
    # In the core nothing else makes a spec of plain data at all: a state's document by another name is one, too.
    core = [name for name, (_, made) in found.items() if made and name.startswith(("layers/", "functions/"))]
    assert sorted(core) == [THE_PLACE, "layers/core/evergreen/spec.py"]


def test_a_document_is_read_once_whichever_state_holds_it():
    assert spec_of(a_state()) is spec_of(a_state())
    assert spec_of(a_state()) == ModelSpec.parse(DOCUMENT)


def test_what_a_document_says_decides():
    state = a_state()
    before = spec_of(state)
    state.spec["strategy"] = "triggered"  # nobody does; a spec that was remembered would be the wrong one
    assert (before.strategy.value, spec_of(state).strategy.value) == ("hybrid", "triggered")
    turned = dict(reversed(DOCUMENT["features"].items()))
    assert list(spec_of(a_state(features=turned)).features) == ["plan", "age"], "the order of the features is theirs"


def test_a_spec_that_is_shared_can_not_be_changed():
    spec = spec_of(a_state())
    sections = [spec, *(value for _, value in spec if hasattr(value, "model_config")), *spec.features.values()]
    assert len(sections) > 10
    for section in sections:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, next(iter(type(section).model_fields)), None)


def test_a_spec_of_a_newer_release_is_refused_by_model_and_key_with_the_next_step():
    with pytest.raises(UnreadableSpecError) as refused:
        spec_of(a_state(weather={"hail": True}))
    assert isinstance(refused.value, EvergreenError)
    assert (refused.value.model, refused.value.problems) == (
        "churn",
        ("weather: unknown key; remove it or check its spelling",),
    )
    assert str(refused.value) == (
        "this version of Evergreen can't read the spec of model 'churn' (weather: unknown key; remove it or check its "
        "spelling): deploy the version that it was applied with, or a newer one"
    )

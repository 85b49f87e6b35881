"""`evergreen apply`: make a model known, or change its spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen_ops.console import WHERE, AsJson, Local, StackName, current_time, print_json, read_spec, say, work

if TYPE_CHECKING:
    from evergreen.spec import ModelSpec
    from evergreen_ops.stack import Stack


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    text = "Make a model known, or change its spec; says what changes, key by key."
    examples = "evergreen apply churn.yaml\n\n  evergreen apply churn.yaml --base-data history.parquet --time asked_at"
    app.command(help=text + WHERE + examples)(apply)


def apply(
    spec: Annotated[Path, typer.Argument(help="The model spec (YAML).", show_default=False)],
    base_data: Annotated[
        Path | None,
        typer.Option(help="Labelled rows from before (Parquet, CSV, JSON Lines), for the first training."),
    ] = None,
    label: Annotated[str, typer.Option(help="Base data: column with the label.")] = "label",
    time: Annotated[str, typer.Option(help="Base data: column with the time of the row.")] = "event_time",
    label_time: Annotated[str, typer.Option(help="Base data: column with the time of the label.")] = "label_time",
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Apply a spec; see the help above, which the command shows."""
    wanted = read_spec(spec)
    rows = None if base_data is None else _base_data(base_data, wanted, label, time, label_time)
    with work(stack, local) as at:
        told = _apply(wanted, at)
        if rows is not None:
            from evergreen_ops.replay.base_data import hand_over

            told["base_rows"] = hand_over(rows, wanted, now=current_time(), ports=at.ports)
    if as_json:
        print_json(told)
        return
    if told["new"]:
        say(f"{wanted.model} is new: {len(wanted.features)} features, strategy {wanted.strategy}")
    for change in told["changes"]:
        say(f"{change['key']}: {_short(change['before'])} -> {_short(change['after'])}")
    if not told["new"] and not told["changes"]:
        say(f"{wanted.model} is as the spec says: nothing is changed")
    if "base_rows" in told:
        say(f"{told['base_rows']:,} labelled rows are there for the next training")


def _base_data(file: Path, spec: ModelSpec, label: str, time: str, label_time: str) -> Any:
    from evergreen_ops.replay.base_data import read_base_data

    return read_base_data(file, spec, label=label, time=time, label_time=label_time)


def _apply(spec: ModelSpec, at: Stack) -> dict[str, Any]:
    from evergreen.errors import UnknownModelError
    from evergreen.usecases.people.apply import apply_model, as_written_now, spec_changes

    before: Mapping[str, Any]
    try:
        before = as_written_now(at.ports.ledger.read(spec.model))
    except UnknownModelError:
        before = {}
    state = apply_model(spec, now=current_time(), ports=at.ports, actor=at.actor)
    changes = spec_changes(before, state.spec) if before else ()
    told = [{"key": change.key, "before": change.before, "after": change.after} for change in changes]
    return {"model": spec.model, "epoch": state.epoch, "new": not before, "changes": told}


def _short(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)

"""`evergreen online status` and `online revert`: what a model learns from feedback, and back to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from evergreen_ops.console import (
    WHERE,
    AsJson,
    Local,
    Model,
    Reason,
    StackName,
    Yes,
    confirm,
    current_time,
    minute,
    print_json,
    reason_of,
    say,
    show,
    show_rows,
    work,
)

_WORDS = {"kept": "kept", "on_trial": "on trial", "dropped": "dropped", "candidate": "handed on"}


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    online = typer.Typer(help="The online state: what a model learns from feedback.", no_args_is_help=True)
    online.command(
        help="Show what the online state has learned, how it predicts beside production, and its checkpoints."
        + WHERE
        + "evergreen online status churn\n\n  evergreen online status churn --json"
    )(status)
    online.command(
        help="Take the online state back to a checkpoint: what was learned since is forgotten, newer checkpoints are "
        "dropped. Versions are not touched: for those, see `evergreen rollback`."
        + WHERE
        + 'evergreen online revert churn --reason "labels of 3 March were flipped"\n\n  '
        + 'evergreen online revert churn --to 12 --reason "labels of 3 March were flipped" --yes'
    )(revert)
    app.add_typer(online, name="online")


def status(model: Model, stack: StackName = None, local: Local = False, as_json: AsJson = False) -> None:
    """Show the online state; see the help above, which the command shows."""
    from evergreen.usecases.people.online import read_online_status

    with work(stack, local) as at:
        found = read_online_status(model, now=current_time(), ports=at.ports)
    if as_json:
        print_json(found)
        return
    show_rows(_rows(found))
    if found["checkpoints"]:
        say("")
        _print_checkpoints(found["checkpoints"])


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    state, production = found["state"], found["production"]
    learns = "learns" if found["enabled"] else "off (online.enabled is false)"
    yield "model", f"{found['model']}: {learns}, {found['estimator']}, labels {found['labels'].replace('_', ' ')}"
    if state is None:
        yield "state", "nothing has been learned yet"
        return
    until = minute(state["learned_until"])
    yield "learned", f"{state['rows']:,} rows in {state['updates']:,} updates, until {until}"
    for name, title in (("lately", "last 7 days"), ("over_all", "over all")):
        yield title, _predicted(state[name])
    if production is not None:
        right = "no labels yet" if production["right"] is None else f"{production['right']:.1%} right"
        yield "production", f"version {production['version']}: {right} of {production['labelled']:,} in the last 7 days"
    if found["further_classes"]:
        named = ", ".join(found["further_classes"])
        yield "new classes", f"{named}: versions answer them once they are in labels.classes"


def _predicted(sums: dict[str, Any]) -> str:
    """What was predicted before it was learned; of a regression the mean error."""
    if not sums["predicted"]:
        return "nothing was predicted before it was learned"
    before = f"of {sums['predicted']:,} rows before they were learned"
    if sums["accuracy"] is None:
        return f"mean absolute error {sums['loss']:.4g} {before}"
    return f"{sums['accuracy']:.1%} right {before}, log loss {sums['loss']:.3f}"


def _print_checkpoints(checkpoints: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("checkpoint", justify="right", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("stands", no_wrap=True)
    table.add_column("verdict, and why", overflow="fold", ratio=1)
    for each in checkpoints:
        told = ": ".join(part for part in (each["verdict"], each["because"]) if part) or "not judged"
        stands = _WORDS[each["status"]]
        kept = minute(each["frozen_at"])
        table.add_row(str(each["number"]), kept, f"{each['rows']:,}", stands, Text(told))
    show(table)


def revert(
    model: Model,
    reason: Reason,
    to: Annotated[
        int | None, typer.Option(min=1, help="The checkpoint; by default the newest one that the state is not.")
    ] = None,
    yes: Yes = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Revert the online state; see the help above, which the command shows."""
    from evergreen.usecases.people.revert_online import choose_checkpoint, revert_online

    because = reason_of(reason)
    with work(stack, local) as at:
        target = choose_checkpoint(model, to, ports=at.ports)
        confirm(
            f"The online state of {model} goes back to checkpoint {target.number} of "
            f"{minute(target.frozen_at)} ({target.rows:,} rows); what was learned since is lost.",
            yes=yes,
        )
        done = revert_online(model, target.number, because, at.actor, now=current_time(), ports=at.ports)
    if as_json:
        print_json({"model": model, "checkpoint": done.number, "sha256": done.sha256, "rows": done.rows})
    else:
        say(f"{model} learns on from checkpoint {done.number}: {done.rows:,} rows in {done.updates:,} updates")

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
        help="Compute the live states of a model's versions again, each from the one before and the stored rows, as "
        "far as they are kept, and compare the hashes. Exit code 1 where one differs."
        + WHERE
        + "evergreen online verify churn\n\n  evergreen online verify churn --json"
    )(verify)
    online.command(
        help="Take the online state back to a checkpoint, or the live state of a version to an earlier one: what was "
        "learned since is forgotten, newer checkpoints are dropped. Versions are not touched: for those, see "
        "`evergreen rollback`."
        + WHERE
        + 'evergreen online revert churn --reason "labels of 3 March were flipped"\n\n  '
        + 'evergreen online revert churn --to 12 --reason "labels of 3 March were flipped" --yes'
    )(revert)
    app.add_typer(online, name="online")


def status(model: Model, stack: StackName = None, local: Local = False, as_json: AsJson = False) -> None:
    """Show the online state; see the help above, which the command shows."""
    from evergreen.usecases.people.live import read_live_status
    from evergreen.usecases.people.online import read_online_status

    with work(stack, local) as at:
        found = read_online_status(model, now=current_time(), ports=at.ports)
        live = read_live_status(model, now=current_time(), ports=at.ports)
    if live:
        found = {"model": model, "live": live}
        if as_json:
            print_json(found)
            return
        for each in live:
            show_rows(_live_rows(each))
            say("")
        return
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


def _live_rows(live: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from evergreen_ops.timeline import fresh_beside_plain

    yield f"version {live['version']}", f"state {live['state']} answers since {minute(live['since'])}"
    until = live["learned_until"]
    yield "learned", f"{live['rows']:,} rows" + ("" if until is None else f", until {minute(until)}")
    if live["goes_on_from"]:
        yield "goes on from", live["goes_on_from"]
    shares = ", ".join(f"{weight:.0%} version {number}" for number, weight in live["members"].items())
    yield "members", f"{shares}; {live['trust']:.0%} of each answer is what was learned"
    if live["held_back"]:
        yield "held back", "what was learned is worse on the newest labels: the version answers as it was trained"
    for name, title in (("lately", "last 7 days"), ("over_all", "60 days")):
        yield title, fresh_beside_plain(live[name])
    yield "may cost", f"{live['may_cost']:.1f} at most, as a sum of losses, whatever the labels are"


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


def verify(model: Model, stack: StackName = None, local: Local = False, as_json: AsJson = False) -> None:
    """Compute live states again; see the help above, which the command shows."""
    from dataclasses import asdict

    from evergreen.usecases.people.live import verify_live_states

    with work(stack, local) as at:
        steps = verify_live_states(model, now=current_time(), ports=at.ports)
    same = sum(step.found == "same" for step in steps)
    if as_json:
        print_json({"model": model, "states": [asdict(step) for step in steps]})
    else:
        for step in steps:
            if step.because:
                say(f"version {step.version}, state {step.state}: {step.because}")
        say(f"{model}: {same:,} of {len(steps):,} states follow from the rows they learned")
    if any(step.found == "differs" for step in steps):
        raise typer.Exit(1)


def revert(
    model: Model,
    reason: Reason,
    to: Annotated[
        int | None,
        typer.Option(min=1, help="The checkpoint or state; by default the newest one that the state is not."),
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Whose live state; by default that of the version in production.")
    ] = None,
    yes: Yes = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Revert the online state; see the help above, which the command shows."""
    from evergreen.domain.applied_spec import spec_of
    from evergreen.usecases.people.live import choose_live_state, revert_live_state
    from evergreen.usecases.people.revert_online import choose_checkpoint, revert_online

    because = reason_of(reason)
    with work(stack, local) as at:
        state = at.ports.ledger.read(model)
        if spec_of(state).freshness.enabled:
            history, place = choose_live_state(state, to, version, now=current_time(), ports=at.ports)
            confirm(
                f"The live state of version {history.now.version} of {model} goes back to state {place.number} of "
                f"{minute(place.since)}; what was learned since is lost.",
                yes=yes,
            )
            written = revert_live_state(
                model, place.number, because, at.actor, now=current_time(), ports=at.ports, version=version
            )
            if as_json:
                print_json({"model": model, "version": written.version, "state": written.number, "rows": written.rows})
            else:
                say(f"{model} learns on from state {place.number}, which is state {written.number} now")
            return
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

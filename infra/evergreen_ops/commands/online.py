"""`evergreen online`: what versions learn between trainings, whether it follows from the rows, and back."""

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
    show_rows,
    work,
)


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    told = "The live states: what versions have learned from labels since they were trained."
    online = typer.Typer(help=told, no_args_is_help=True)
    online.command(
        help="Show what each version has learned since it was trained, and what its answers are worth by it."
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
        help="Take the live state of a version back to an earlier one: what was learned since is forgotten, and not "
        "learned again. Versions are not touched: for those, see `evergreen rollback`."
        + WHERE
        + 'evergreen online revert churn --reason "labels of 3 March were flipped"\n\n  '
        + 'evergreen online revert churn --to 12 --reason "labels of 3 March were flipped" --yes'
    )(revert)
    app.add_typer(online, name="online")


def status(model: Model, stack: StackName = None, local: Local = False, as_json: AsJson = False) -> None:
    """Show the live states; see the help above, which the command shows."""
    from evergreen.domain.applied_spec import spec_of
    from evergreen.usecases.people.live import read_live_status

    with work(stack, local) as at:
        enabled = spec_of(at.ports.ledger.read(model)).freshness.enabled
        live = read_live_status(model, now=current_time(), ports=at.ports)
    if as_json:
        print_json({"model": model, "enabled": enabled, "live": live})
        return
    if not live:
        say(f"{model}: " + ("nothing has been learned yet" if enabled else "off (freshness.enabled is false)"))
    for each in live:
        show_rows(_live_rows(each))
        say("")


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
        typer.Option(min=1, help="The number of the state; by default the one before."),
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Whose live state; by default that of the version in production.")
    ] = None,
    yes: Yes = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Revert a live state; see the help above, which the command shows."""
    from evergreen.usecases.people.live import choose_live_state, revert_live_state

    because = reason_of(reason)
    with work(stack, local) as at:
        state = at.ports.ledger.read(model)
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

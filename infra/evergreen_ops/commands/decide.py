"""What people decide: `evergreen trigger`, `approve`, `promote`, `rollback`, `pause`, `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evergreen_ops.console import (
    REFUSED,
    WHERE,
    AsJson,
    Local,
    Model,
    Reason,
    StackName,
    Yes,
    complain,
    confirm,
    current_time,
    minute,
    print_json,
    reason_of,
    say,
    work,
)

if TYPE_CHECKING:
    from evergreen.domain.state import ModelState


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    app.command(
        help="Ask for a retraining. Held back by a rule it waits, and the exit code is 1."
        + WHERE
        + 'evergreen trigger churn --reason "prices changed"\n\n  '
        + 'evergreen trigger churn --reason "prices changed" --force'
    )(trigger)
    app.command(
        help="Approve the promotion that waits for a person (deployment.approval: manual)."
        + WHERE
        + 'evergreen approve churn --reason "checked with sales"\n\n  evergreen approve churn 7 --reason checked --yes'
    )(approve)
    app.command(
        help="Promote a version that no verdict stands behind; it is watched like any other."
        + WHERE
        + 'evergreen promote churn 7 --reason "needed today" --yes'
    )(promote)
    app.command(
        help="Roll back to the last version that is known to be good."
        + WHERE
        + 'evergreen rollback churn --reason "complaints from the branch offices" --yes'
    )(rollback)
    app.command(
        help="Stop a model from being retrained and promoted by itself; rollbacks go on."
        + WHERE
        + 'evergreen pause churn --reason "audit week"'
    )(pause)
    app.command(
        help="Let a model be retrained and promoted by itself again."
        + WHERE
        + 'evergreen resume churn --reason "audit is over"'
    )(resume)


def trigger(
    model: Model,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Neither cooldown, tokens, budget nor a want of new rows hold it back.")
    ] = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a retraining; see the help above, which the command shows."""
    from evergreen.domain.triggers.governance import FORCED
    from evergreen.usecases.people import decide

    with work(stack, local) as at:
        decision = decide.request_training(
            model, reason_of(reason), at.actor, now=current_time(), ports=at.ports, force=force
        )
    if as_json:
        print_json(decision.to_json())
    elif decision.retrain:
        say(f"a retraining of {model} is requested: {decision.because}")
    if decision.held_back is not None:
        waits = "it waits, and is tried again at each evaluation"
        waits += "; --force does not wait" if decision.held_back.rule in FORCED else ""
        complain(f"held back by the rule {decision.held_back.rule}: {decision.because}; {waits}")
        raise typer.Exit(REFUSED)


def approve(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="The version; by default the one that waits.")] = None,
    *,
    reason: Reason,
    yes: Yes = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Approve a promotion; see the help above, which the command shows."""
    from evergreen.errors import NothingToApproveError
    from evergreen.usecases.people import decide

    with work(stack, local) as at:
        state = at.ports.ledger.read(model)
        proposal = state.proposal
        if proposal is None or version not in (None, proposal.version):
            raise NothingToApproveError(model, version, None if proposal is None else proposal.version)
        gain = proposal.evidence.get("gain")
        proven = "" if gain is None else f" (gain {gain:+.4f})"
        confirm(
            f"Version {proposal.version} of {model}, proven on {minute(proposal.time)}{proven}, "
            f"takes the place of version {proposal.judged_against} in production, and is watched.",
            yes=yes,
        )
        expected = decide.Expected.of(state)
        after = decide.approve(
            model, proposal.version, reason_of(reason), at.actor, now=current_time(), ports=at.ports, expected=expected
        )
    _done(after, f"version {proposal.version} of {model} is approved: the endpoint is pointed to it next", as_json)


def promote(
    model: Model,
    version: Annotated[int, typer.Argument(help="The version.", show_default=False)],
    reason: Reason,
    yes: Yes = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Promote a version by hand; see the help above, which the command shows."""
    from evergreen.domain.transitions import transition
    from evergreen.usecases.people import decide

    with work(stack, local) as at:
        state = at.ports.ledger.read(model)
        # What is refused anyway is not asked for first.
        transition(state, decide.forced(state, version, reason_of(reason), at.actor, current_time()))
        found = state.version(version)
        place = "nothing" if state.production is None else f"version {state.production}"
        confirm(
            f"Version {version} of {model} ({found.status}, trained on {found.rows_trained:,} rows) takes the place of "
            f"{place} in production, without a verdict, and is watched.",
            yes=yes,
        )
        after = decide.force_promotion(
            model,
            version,
            reason_of(reason),
            at.actor,
            now=current_time(),
            ports=at.ports,
            expected=decide.Expected.of(state),
        )
    _done(after, f"version {version} of {model} is to be promoted: the endpoint is pointed to it next", as_json)


def rollback(
    model: Model,
    reason: Reason,
    yes: Yes = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Roll back by hand; see the help above, which the command shows."""
    from evergreen.errors import NotAppliedError
    from evergreen.usecases.people import decide

    with work(stack, local) as at:
        state = at.ports.ledger.read(model)
        good = state.last_known_good()
        if state.production is None or good is None:
            raise NotAppliedError(
                f"no other version of {model!r} is known to be good: production is left as it is; "
                f"a version can be promoted by hand (evergreen promote {model} VERSION)"
            )
        confirm(
            f"Version {good.number} of {model}, promoted on {minute(good.promoted_at)}, takes the place of "
            f"version {state.production} in production; version {state.production} is never promoted again.",
            yes=yes,
        )
        expected = decide.Expected.of(state)
        decide.force_rollback(model, reason_of(reason), at.actor, now=current_time(), ports=at.ports, expected=expected)
        after = at.ports.ledger.read(model)
    _done(after, f"{model} is rolled back to version {good.number}: the endpoint is pointed to it next", as_json)


def pause(model: Model, reason: Reason, stack: StackName = None, local: Local = False, as_json: AsJson = False) -> None:
    """Pause a model; see the help above, which the command shows."""
    from evergreen.usecases.people import decide

    with work(stack, local) as at:
        after = decide.pause(model, reason_of(reason), at.actor, now=current_time(), ports=at.ports)
    _done(after, f"{model} is paused: nothing is retrained or promoted by itself; rollbacks go on", as_json)


def resume(
    model: Model, reason: Reason, stack: StackName = None, local: Local = False, as_json: AsJson = False
) -> None:
    """Resume a model; see the help above, which the command shows."""
    from evergreen.usecases.people import decide

    with work(stack, local) as at:
        after = decide.resume(model, reason_of(reason), at.actor, now=current_time(), ports=at.ports)
    _done(after, f"{model} is retrained and promoted by itself again", as_json)


# --- what they share --------------------------------------------------------------------------------------------------


def _done(state: ModelState, said: str, as_json: bool) -> None:
    if as_json:
        repoint = None if state.repoint is None else state.repoint.version
        about = {"model": state.model, "epoch": state.epoch, "production": state.production, "paused": state.paused}
        print_json(about | {"repoint": repoint})
    else:
        say(said)

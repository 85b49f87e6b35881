"""Commands that work on a stack: apply, status, history, why, verify, trigger, approve, promote, rollback, pause."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen_ops.options import REFUSED, UsageError, instant

if TYPE_CHECKING:
    from evergreen.domain.state import ModelState
    from evergreen.spec import ModelSpec
    from evergreen_ops.stack import Stack

Model = Annotated[str, typer.Argument(help="The model's name, as in its spec.", show_default=False)]
StackName = Annotated[
    str | None, typer.Option("--stack", help="CloudFormation stack. [default: evergreen]", show_default=False)
]
Local = Annotated[bool, typer.Option("--local", help="Work on the local cloud that runs in this folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, and nothing else there.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

WHERE = """

Works on the stack `evergreen`, or --stack NAME; or on the local cloud: with --local, or when one runs in this folder \
and no stack is named. Exits with 0 when it is done, 1 when it is refused, 2 when it can't be asked so.

Examples:

  """


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    told: dict[Callable[..., None], str] = {
        apply: "Make a model known, or change its spec; says what changes, key by key."
        + WHERE
        + "evergreen apply churn.yaml\n\n  evergreen apply churn.yaml --base-data history.parquet --time asked_at",
        status: "Show how the models stand, or one model: production, what is under way, what comes next."
        + WHERE
        + "evergreen status\n\n  evergreen status churn --json",
        history: "Show what happened to a model: what, when, by whom and why."
        + WHERE
        + "evergreen history churn --limit 20\n\n  evergreen history churn --since 2026-03-01 --type VersionPromoted",
        why: "Explain why a model was or was not retrained, promoted, rolled back."
        + WHERE
        + "evergreen why churn\n\n  evergreen why churn --at 2026-03-01T12:00Z --json",
        verify: "Check that a model's history is complete and unchanged, and leads to the state there is."
        + WHERE
        + "evergreen verify churn && echo unbroken",
        trigger: "Ask for a retraining. Held back by a rule it waits, and the exit code is 1."
        + WHERE
        + 'evergreen trigger churn --reason "prices changed"\n\n  '
        + 'evergreen trigger churn --reason "prices changed" --force',
        approve: "Approve the promotion that waits for a person (deployment.approval: manual)."
        + WHERE
        + 'evergreen approve churn --reason "checked with sales"\n\n  evergreen approve churn 7 --reason checked --yes',
        promote: "Promote a version that no verdict stands behind; it is watched like any other."
        + WHERE
        + 'evergreen promote churn 7 --reason "needed today" --yes',
        rollback: "Roll back to the last version that is known to be good."
        + WHERE
        + 'evergreen rollback churn --reason "complaints from the branch offices" --yes',
        pause: "Stop a model from being retrained and promoted by itself; rollbacks go on."
        + WHERE
        + 'evergreen pause churn --reason "audit week"',
        resume: "Let a model be retrained and promoted by itself again."
        + WHERE
        + 'evergreen resume churn --reason "audit is over"',
    }
    for command, text in told.items():
        app.command(help=text)(command)


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
    from evergreen_ops.replay.specs import read_spec

    wanted = read_spec(spec)
    rows = None if base_data is None else _base_data(base_data, wanted, label, time, label_time)
    with work(stack, local) as at:
        told = _apply(wanted, at)
        if rows is not None:
            from evergreen_ops.base_data import hand_over

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
    from evergreen_ops.base_data import read_base_data

    return read_base_data(file, spec, label=label, time=time, label_time=label_time)


def _apply(spec: ModelSpec, at: Stack) -> dict[str, Any]:
    from evergreen.errors import UnknownModelError
    from evergreen.usecases.people import apply

    try:
        before = at.ports.ledger.read(spec.model).spec
    except UnknownModelError:
        before = {}
    state = apply.apply_model(spec, now=current_time(), ports=at.ports, actor=at.actor)
    changes = apply.spec_changes(before, state.spec) if before else ()
    told = [{"key": change.key, "before": change.before, "after": change.after} for change in changes]
    return {"model": spec.model, "epoch": state.epoch, "new": not before, "changes": told}


def status(
    model: Annotated[str | None, typer.Argument(help="One model; without it, all.", show_default=False)] = None,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show how models stand; see the help above, which the command shows."""
    from evergreen.usecases.people.status import read_status

    with work(stack, local) as at:
        names = at.ports.ledger.models() if model is None else (model,)
        found = [read_status(name, now=current_time(), ports=at.ports) for name in names]
    if as_json:
        print_json(found if model is None else found[0])
    elif model is not None:
        _print_status(found[0])
    elif found:
        _print_statuses(found)
    else:
        say("no model is known yet: apply a spec (evergreen apply SPEC)")


def _print_statuses(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("model", "production", "since", "under way"):
        table.add_column(name, no_wrap=name != "under way")
    for each in found:
        production = each["production"]
        version, since = ("-", "-") if production is None else (f"{production['version']}", minute(production["since"]))
        table.add_row(each["model"], version, since, ", ".join(_under_way(each)) or "-")
    show(table)


def _under_way(status: dict[str, Any]) -> list[str]:
    """What goes on, in a few words each."""
    told = ["paused"] if status["paused"] else []
    if status["proposal"] is not None:
        told.append(f"version {status['proposal']['version']} waits for approval")
    elif status["shadow"] is not None:
        told.append(f"version {status['shadow']['version']} in shadow ({status['shadow']['role']})")
    if status["bake"] is not None:
        told.append(f"{status['bake']['phase']} bake")
    if status["run"] is not None:
        told.append("training")
    if status["repoint"] is not None:
        told.append(f"to version {status['repoint']['to']}")
    return told


def _print_status(status: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _status_rows(status):
        table.add_row(name, Text(value))
    show(table)


def _status_rows(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    production, shadow, bake, run = (status[name] for name in ("production", "shadow", "bake", "run"))
    paused = ", paused" if status["paused"] else ""
    yield "model", f"{status['model']} (strategy {status['strategy']}, approval {status['approval']}{paused})"
    if production is None:
        yield "production", "nothing yet"
    else:
        since = minute(production["since"])
        stands = "proven bad, with nothing to return to" if production["proven_bad"] else production["status"]
        yield "production", f"version {production['version']} since {since}, {stands}"
    good = status["last_known_good"]
    yield "last known good", "none: a rollback has nowhere to go" if good is None else f"version {good}"
    if shadow is not None:
        against = f"as {shadow['role']} of version {shadow['judged_against']} since {minute(shadow['since'])}"
        yield "shadow", f"version {shadow['version']} {against}"
    if status["proposal"] is not None:
        proposal = status["proposal"]
        gain = proposal["evidence"].get("gain")
        proven = "" if gain is None else f", proven gain {gain:+.4f}"
        yield "approval", f"version {proposal['version']} waits since {minute(proposal['time'])}{proven}"
    if bake is not None:
        yield "bake", f"{bake['phase']}, since {minute(bake['since'])}"
    if status["repoint"] is not None:
        yield "repoint", f"to version {status['repoint']['to']}"
    if run is not None:
        job = "no job yet" if run["job"] is None else f"job {run['job']}"
        yield "open run", f"{run['trigger']}, since {minute(run['since'])}, attempt {run['attempt'] + 1}, {job}"
    if status["waiting"]:
        yield "candidates", ", ".join(f"version {number}" for number in status["waiting"])
    if status["wish"] is not None:
        wish = status["wish"]
        yield "wish", f"{wish['reason']} ({wish['actor']}, {minute(wish['time'])})"
    if status["held_back"] is not None:
        held = status["held_back"]
        yield "held back", f"{held['would_have']}, by the rule {held['rule'] or 'unnamed'}"
    evaluation, comparison = status["last_evaluation"], status["last_comparison"]
    if evaluation is not None:
        verdict = "retrain" if evaluation["retrain"] else "do not retrain"
        yield "last evaluation", f"{minute(evaluation['time'])}, {verdict}: {evaluation['because']}"
    if comparison is not None:
        yield "last verdict", f"{minute(comparison['time'])}, {comparison['verdict']}: {comparison['because']}"
    yield "next", status["next"]
    for what in status["violations"]:
        yield "wrong", f"{what}: see `evergreen verify {status['model']}`"


def history(
    model: Model,
    since: Annotated[str | None, typer.Option(help="From this time on, such as 2026-03-01.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only these events: VersionPromoted,...")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest of them.")] = None,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show a model's events; see the help above, which the command shows."""
    types = _types(event_type)
    start = None if since is None else instant(since, "--since")
    with work(stack, local) as at:
        at.ports.ledger.read(model)  # a name that nobody applied is an error, not an empty history
        events = at.ports.ledger.history(model)
    chosen = [
        event
        for event in events
        if (not types or event["type"] in types) and (start is None or datetime.fromisoformat(event["time"]) >= start)
    ]
    chosen = chosen if limit is None else chosen[-limit:]
    if as_json:
        print_json(chosen)
        return
    if not chosen:
        say(f"none of the {len(events)} events of {model} is asked for")
        return
    _print_events(chosen)


def _types(text: str | None) -> frozenset[str]:
    from evergreen.domain.event_json import EVENT_TYPES

    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    known = {name.lower(): name for name in EVENT_TYPES}
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"--type is {name!r}: give one or more of {', '.join(EVENT_TYPES)}")
    return frozenset(known[name.lower()] for name in names)


def _print_events(events: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from evergreen_ops.replay.timeline import line_of

    table = Table(box=None, pad_edge=False)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("time", no_wrap=True)
    table.add_column("what, and why", overflow="fold", ratio=1)
    table.add_column("by", overflow="fold", max_width=18)
    for event in events:
        line = line_of(event)
        what = event["type"] if line is None else line.title
        because = f"\n{event['because']}" if event["because"] else ""
        told = Text(what, style="bold").append(because, style="not bold")
        table.add_row(str(event["epoch"]), minute(event["time"]), told, Text(_last_part(event["actor"])))
    show(table)


def _last_part(actor: str) -> str:
    """Who, without the address of the account: an ARN's last part; JSON has all of it."""
    return actor.rpartition("/")[2] if actor.startswith("arn:") else actor


def why(
    model: Model,
    at_time: Annotated[str | None, typer.Option("--at", help="As of this time; by default now.")] = None,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Explain; see the help above, which the command shows."""
    from evergreen.usecases.people import why

    moment = current_time() if at_time is None else instant(at_time, "--at")
    with work(stack, local) as at:
        explanation = why.why(model, moment, ports=at.ports)
    if as_json:
        print_json(explanation.to_json())
        return
    in_production = "nothing" if explanation.production is None else f"version {explanation.production}"
    say(f"{model} at {minute(explanation.at.isoformat())}: {in_production} in production")
    for answer in explanation.answers:
        say(f"\n{answer.question.upper()}: {answer.said}")
        _print_findings(answer.findings[:_FINDINGS_SHOWN])


_FINDINGS_SHOWN = 4
_EVIDENCE_SHOWN = ("gain", "interval", "rows", "labelled", "log_e_promote", "log_e_keep", "requests", "errors", "slow")


def _print_findings(findings: Any) -> None:
    for index, found in enumerate(findings):
        say(f"{minute(found.time.isoformat())} {found.what}: {found.because}", indent=2)
        if index == 0 and found.checks:
            _print_checks(found.checks)
        shown = [f"{name} {found.evidence[name]}" for name in _EVIDENCE_SHOWN if name in found.evidence]
        if index == 0 and shown:
            say(", ".join(shown), indent=4)


def _print_checks(checks: Any) -> None:
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("check", "outcome", "score", "threshold", "worse when", "samples"):
        table.add_column(name, justify="right" if name in ("score", "threshold", "samples") else "left")
    for check in checks:
        worse = "higher" if check["direction"] == "higher_is_worse" else "lower"
        numbers = ["-" if check[name] is None else f"{check[name]:.4g}" for name in ("score", "threshold")]
        table.add_row(check["trigger"], check["outcome"], *numbers, worse, f"{check['samples']:,}")
    show(Padding(table, (0, 0, 0, 4)))


def verify(
    model: Model,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Check a history; see the help above, which the command shows."""
    from evergreen.usecases.people.verify import verify_history

    with work(stack, local) as at:
        events, flaws = verify_history(model, ports=at.ports)
    if as_json:
        told = [{"epoch": flaw.epoch, "what": flaw.what} for flaw in flaws]
        print_json({"model": model, "events": events, "sound": not flaws, "flaws": told})
    elif flaws:
        for flaw in flaws:
            say(str(flaw))
    else:
        say(f"{model}: {events} events, the chain is unbroken, and they lead to the state there is")
    if flaws:
        typer.echo(f"evergreen: the history of {model!r} is not as it was written", err=True)
        raise typer.Exit(REFUSED)


def trigger(
    model: Model,
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="The cooldown and the budget do not hold it back.")] = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a retraining; see the help above, which the command shows."""
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
        typer.echo(f"evergreen: held back by the rule {decision.held_back.rule}: {decision.because}; {waits}", err=True)
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
            f"Version {proposal.version} of {model}, proven on {minute(proposal.time.isoformat())}{proven}, "
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
    from evergreen import errors
    from evergreen.usecases.people import decide

    with work(stack, local) as at:
        state = at.ports.ledger.read(model)
        good = state.last_known_good()
        if state.production is None or good is None:
            raise errors.NotAppliedError(
                f"no other version of {model!r} is known to be good: production is left as it is; "
                f"a version can be promoted by hand (evergreen promote {model} VERSION)"
            )
        confirm(
            f"Version {good.number} of {model}, promoted on {minute(_iso(good.promoted_at))}, takes the place of "
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


@contextmanager
def work(stack: str | None, local: bool) -> Iterator[Stack]:
    """Connect to the stack, and say where that is if nobody asked for it."""
    from evergreen_ops.stack import connected

    with connected(stack, local=local) as at:
        if at.note:
            typer.echo(f"evergreen: {at.note}", err=True)
        yield at


def current_time() -> datetime:
    """Now: the time of a command."""
    return datetime.now(UTC)


def reason_of(text: str) -> str:
    """The reason in one line; none is a wrong use."""
    reason = " ".join(text.split())
    if not reason:
        raise UsageError("--reason is empty: say why, it is kept in the history")
    return reason


def confirm(what: str, *, yes: bool) -> None:
    """Say what will happen and ask; without a terminal nobody could answer."""
    typer.echo(what, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("stdin is not a terminal, so nobody can be asked: add --yes")
    if not typer.confirm("Go on?", err=True):
        typer.echo("evergreen: nothing was changed", err=True)
        raise typer.Exit(REFUSED)


def _done(state: ModelState, said: str, as_json: bool) -> None:
    if as_json:
        repoint = None if state.repoint is None else state.repoint.version
        about = {"model": state.model, "epoch": state.epoch, "production": state.production, "paused": state.paused}
        print_json(about | {"repoint": repoint})
    else:
        say(said)


def print_json(document: Any) -> None:
    """Print a document to stdout."""
    typer.echo(json.dumps(document, indent=2))


def say(text: str, *, indent: int = 0) -> None:
    """Print a sentence, folded to the terminal."""
    from rich.padding import Padding
    from rich.text import Text

    show(Padding(Text(text), (0, 0, 0, indent), expand=False))


def show(what: Any) -> None:
    """Print something of rich's."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 80).print(what, highlight=False)


def _short(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def minute(time: str | None) -> str:
    """A time to the minute, for people."""
    return "-" if time is None else f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M}"

"""How models stand and what happened to them: `evergreen status`, `history`, `why`, `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.errors import UsageError
from evergreen_ops.console import (
    REFUSED,
    WHERE,
    AsJson,
    Local,
    Model,
    StackName,
    complain,
    current_time,
    instant,
    minute,
    print_json,
    say,
    show,
    show_rows,
    who,
    work,
)

if TYPE_CHECKING:
    from evergreen.domain.history import AnyEntry

FINDINGS_SHOWN = 4
EVIDENCE_SHOWN = ("gain", "interval", "rows", "labelled", "log_e_promote", "log_e_keep", "requests", "errors", "slow")


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    app.command(
        help="Show how the models stand, or one model: production, what is under way, what comes next."
        + WHERE
        + "evergreen status\n\n  evergreen status churn --json"
    )(status)
    app.command(
        help="Show what happened to a model: what, when, by whom and why."
        + WHERE
        + "evergreen history churn --limit 20\n\n  evergreen history churn --since 2026-03-01 --type VersionPromoted"
    )(history)
    app.command(
        help="Explain why a model was or was not retrained, promoted, rolled back."
        + WHERE
        + "evergreen why churn\n\n  evergreen why churn --at 2026-03-01T12:00Z --json"
    )(why)
    app.command(
        help="Check that a model's history is complete and unchanged, and leads to the state there is."
        + WHERE
        + "evergreen verify churn && echo unbroken"
    )(verify)


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
        show_rows(_status_rows(found[0]))
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
    newest = status["newest_training"]
    if newest is not None:
        yield "newest training", f"version {newest['version']}, on rows until {minute(newest['trained_until'])}"
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
        if evaluation.get("new_rows") is not None:
            there = "" if evaluation["tokens"] is None else f", {evaluation['tokens']:.2f} tokens"
            yield "to train with", f"{evaluation['new_rows']:,} new labelled rows{there}"
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
        entry for entry in events if (not types or entry.kind in types) and (start is None or entry.time >= start)
    ]
    chosen = chosen if limit is None else chosen[-limit:]
    if as_json:
        print_json([entry.document for entry in chosen])
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


def _print_events(entries: Sequence[AnyEntry]) -> None:
    from rich.table import Table
    from rich.text import Text

    from evergreen_ops.timeline import line_of

    table = Table(box=None, pad_edge=False)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("time", no_wrap=True)
    table.add_column("what, and why", overflow="fold", ratio=1)
    table.add_column("by", overflow="fold", max_width=18)
    for entry in entries:
        line = line_of(entry.event)
        what = entry.kind if line is None else line.title
        because = f"\n{entry.because}" if entry.because else ""
        told = Text(what, style="bold").append(because, style="not bold")
        table.add_row(str(entry.epoch), minute(entry.time), told, Text(who(entry.fields["actor"])))
    show(table)


def why(
    model: Model,
    at_time: Annotated[str | None, typer.Option("--at", help="As of this time; by default now.")] = None,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Explain; see the help above, which the command shows."""
    from evergreen.usecases.people.why import why as explain

    moment = current_time() if at_time is None else instant(at_time, "--at")
    with work(stack, local) as at:
        explanation = explain(model, moment, ports=at.ports)
    if as_json:
        print_json(explanation.to_json())
        return
    in_production = "nothing" if explanation.production is None else f"version {explanation.production}"
    say(f"{model} at {minute(explanation.at)}: {in_production} in production")
    for answer in explanation.answers:
        say(f"\n{answer.question.upper()}: {answer.said}")
        _print_findings(answer.findings[:FINDINGS_SHOWN])
    if explanation.brought:
        say("\nWHAT EACH VERSION BROUGHT, on matured labels:")
    for each in explanation.brought[:FINDINGS_SHOWN]:
        say(f"version {each.version}, {each.fate}: {each.said}", indent=2)


def _print_findings(findings: Any) -> None:
    for index, found in enumerate(findings):
        say(f"{minute(found.time)} {found.what}: {found.because}", indent=2)
        if index == 0 and found.checks:
            _print_checks(found.checks)
        shown = [f"{name} {found.evidence[name]}" for name in EVIDENCE_SHOWN if name in found.evidence]
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
        complain(f"the history of {model!r} is not as it was written")
        raise typer.Exit(REFUSED)

"""`evergreen lineage`: from a version back to its data and on to its deployments, or from data to versions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.errors import UsageError
from evergreen_ops.console import (
    REFUSED,
    WHERE,
    WIDE,
    AsJson,
    Local,
    Model,
    StackName,
    complain,
    current_time,
    minute,
    print_json,
    show,
    who,
    work,
)

if TYPE_CHECKING:
    from rich.tree import Tree

    from evergreen.usecases.people.lineage import Attempt, Data, DataLineage, Lineage, Step

_LOOKS_SHOWN = 3
_FILES_SHOWN = 5
_HASH_SHOWN = 12


def add(app: typer.Typer) -> None:
    """Add the command to the `evergreen` command."""
    text = (
        "Trace a version: its data, why it was trained, its jobs, its run, its proof, its deployments. Or, with "
        "--data, what came of an object: outcomes or base data, and the captures or labels they are made of. "
        "Exits with 1 when something is not as it was recorded."
    )
    examples = (
        "evergreen lineage churn\n\n  evergreen lineage churn 7 --verify --json\n\n  "
        "evergreen lineage churn --data outcomes/churn/2026/03/01/\n\n  "
        "evergreen lineage churn --data s3://BUCKET/captures/churn/production/2026/03/01/02/part-1.jsonl\n\n  "
        "evergreen lineage flights 2 --replay replay/flights"
    )
    app.command(name="lineage", help=text + WHERE + examples)(lineage)


def lineage(
    model: Model,
    version: Annotated[
        int | None, typer.Argument(help="The version; by default the one in production.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="An object's key or s3 uri, or a prefix: which versions came of it?")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also read the artifact and the history again, and check their hashes.")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option(help="The folder of a finished replay instead of a stack.", show_default=False)
    ] = None,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Trace a version or an object; see the help above, which the command shows."""
    if data is not None and (version is not None or verify or replay is not None):
        raise UsageError("--data asks which versions came of an object: leave VERSION, --verify and --replay out")
    if replay is not None and (stack is not None or local or verify):
        raise UsageError("--replay reads a folder: leave --stack, --local and --verify out")
    if data is not None:
        _trace_data(model, data, stack, local, as_json)
        return
    found = (
        _of_replay(model, version, replay) if replay is not None else _of_stack(model, version, stack, local, verify)
    )
    if as_json:
        print_json(found.to_json())
    else:
        show(_tree(found), width=WIDE)
    if found.flaws:
        for flaw in found.flaws:
            complain(str(flaw))
        raise typer.Exit(REFUSED)


def _of_stack(model: str, version: int | None, stack: str | None, local: bool, verify: bool) -> Lineage:
    from evergreen.usecases.people.lineage import trace_version

    with work(stack, local) as at, _busy(f"tracing {model}"):
        return trace_version(model, version, now=current_time(), ports=at.ports, verify=verify)


def _of_replay(model: str, version: int | None, folder: Path) -> Lineage:
    """A replay's cloud is gone with its buckets; its history and its verdicts lie in its folder."""
    from evergreen.domain.event_json import tells_of
    from evergreen.domain.history import History
    from evergreen.usecases.people.lineage import assemble

    told = [document for document in _lines(folder / "events.jsonl") if document["model"] == model]
    history = History.of_documents(model, told)
    if not history:
        raise UsageError(f"--replay {folder} tells nothing of model {model!r}: name the model of its spec.yaml")
    notes = [note for note in _lines(folder / "decisions.jsonl") if tells_of(note, "shadow")]
    wanted = history.production if version is None else version
    if wanted is None:
        raise UsageError(f"no version of {model!r} is in production at the end of {folder}: name one")
    return assemble(model, wanted, history, notes)


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read: --replay names the folder that `evergreen replay` wrote") from error


def _trace_data(model: str, data: str, stack: str | None, local: bool, as_json: bool) -> None:
    from evergreen.usecases.people.lineage import trace_data

    with work(stack, local) as at, _busy(f"tracing {data}"):
        found = trace_data(model, data, ports=at.ports)
    if as_json:
        print_json(found.to_json())
    else:
        show(_data_tree(found), width=WIDE)


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """Show that something goes on, where somebody looks."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


# --- as text ----------------------------------------------------------------------------------------------------------


def _tree(found: Lineage) -> Tree:
    place = ", in production" if found.in_production else ""
    tree = _root(f"{found.model} version {found.version}: {found.status.replace('_', ' ')}{place}")
    if found.data is not None:
        _add(tree, _data_line(found.data), _changed(found.data))
    if found.decision is None:
        _add(tree, f"registered by hand {_who(found.registered)}: {found.registered.because}")
    else:
        trigger = str(found.decision.fields["trigger"]).replace("_", " ")
        because = f"{trigger}, {_who(found.decision)}: {found.decision.because}"
        _add(tree, f"why: {because}", [f"decision {found.decision.fields['decision_id']}"])
    for attempt in found.attempts:
        _add(tree, _attempt_line(attempt))
    if found.run is not None:
        _add(tree, f"run {found.run.run_id} {found.run.url}".rstrip())
    registered = found.registered.fields
    gate = registered["gate"].get("because", "no gate")
    _add(
        tree,
        f"version {found.version}, {_who(found.registered)}, {registered['rows_trained']:,} rows",
        [
            f"artifact {registered['artifact']} ({found.artifact})",
            f"sha256 {registered['sha256']}, features {registered['fingerprint'][:_HASH_SHOWN]}",
            f"gate: {gate}",
        ],
    )
    if found.shadow:
        looks = [step for step in found.shadow if step.event is None]
        hidden = set(map(id, looks[:-_LOOKS_SHOWN]))
        shown = [_shadow_line(step) for step in found.shadow if id(step) not in hidden]
        _add(
            tree,
            f"shadow: {_count(len(looks), 'verdict')}" + (f", the last {_LOOKS_SHOWN} shown" if hidden else ""),
            shown,
        )
    if found.deployments:
        _add(tree, "deployments", [_deployment_line(step) for step in found.deployments])
    return tree


def _data_line(data: Data) -> str:
    span = "" if data.start is None or data.end is None else f", {minute(data.start)} to {minute(data.end)}"
    files = f" in {_count(len(data.files), 'file')}" if data.files else ""
    return f"data: {data.rows:,} rows{files}{span}; snapshot {data.snapshot[:_HASH_SHOWN]} {data.found}"


def _changed(data: Data) -> list[str]:
    """The files that are not there any more as they were."""
    from evergreen.usecases.people.lineage import Found

    other = [file for file in data.files if file.found is not Found.AS_RECORDED]
    told = [f"{file.key} ({file.rows:,} rows): {file.found}" for file in other[:_FILES_SHOWN]]
    return told + ([f"and {len(other) - _FILES_SHOWN} more"] if len(other) > _FILES_SHOWN else [])


def _attempt_line(attempt: Attempt) -> str:
    source = attempt.started.fields.get("source")
    packed = f", source {source[:_HASH_SHOWN]}" if source else ""
    return f"job {attempt.job}, attempt {attempt.attempt + 1}, {minute(attempt.started.time)}{packed}: {attempt.ended}"


def _shadow_line(step: Step) -> str:
    from evergreen.domain.model_events import ShadowStarted

    match step.event:
        case ShadowStarted(judged_against=production):
            return f"{minute(step.time)} against version {production}"
        case None:
            role = " as sentinel" if step.fields["role"] == "sentinel" else ""
            return f"{minute(step.time)} {step.fields['verdict']}{role}: {step.because}"
        case _:
            return f"{minute(step.time)} retired: {step.because}"


def _deployment_line(step: Step) -> str:
    from evergreen_ops.timeline import line_of

    line = line_of(step.event)
    title = step.what if line is None else line.title
    return f"{_who(step)} {title}: {step.because}"


def _data_tree(found: DataLineage) -> Tree:
    tree = _root(f"{found.asked}: {found.said}")
    if not found.keys:
        _add(tree, "no outcomes came of it: no label has been joined with it")
    elif not found.uses:
        _add(tree, "no version was trained on it")
    for job in dict.fromkeys(use.job for use in found.uses):
        uses = [use for use in found.uses if use.job == job]
        rows = sum(use.rows for use in uses)
        title = (
            f"job {job}, {minute(uses[0].time)}, {rows:,} rows of it in {_count(len(uses), 'file')}: {uses[0].became}"
        )
        told = [f"{use.key} ({use.rows:,} rows)" for use in uses[:_FILES_SHOWN]]
        told += [f"and {len(uses) - _FILES_SHOWN} more"] if len(uses) > _FILES_SHOWN else []
        told += [f"the snapshot is not the history's: {uses[0].found}"] if uses[0].found != "as recorded" else []
        _add(tree, title, told)
    return tree


def _root(text: str) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    return Tree(Text(text, style="bold"))


def _add(tree: Tree, text: str, below: Sequence[str] = ()) -> None:
    from rich.text import Text

    branch = tree.add(Text(text))
    for line in below:
        branch.add(Text(line))


def _who(step: Step) -> str:
    return f"{minute(step.time)} by {who(step.by)}"


def _count(number: int, of: str) -> str:
    return f"{number} {of}" + ("" if number == 1 else "s")

"""`evergreen import sagemaker-monitor` and `evergreen violations`: for those who come from SageMaker Model Monitor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.domain.catalog import CatalogKind, whole_hour
from evergreen.domain.uris import is_uri, split_uri
from evergreen.errors import UsageError
from evergreen_ops.console import (
    REFUSED,
    WHERE,
    AsJson,
    Local,
    Model,
    StackName,
    current_time,
    instant,
    print_json,
    show,
    show_rows,
    work,
)

if TYPE_CHECKING:
    from evergreen.ports import Ports
    from evergreen.spec import ModelSpec
    from evergreen_ops.model_monitor.baseline import Baseline, Violation
    from evergreen_ops.model_monitor.bring import Folder, Found
    from evergreen_ops.stack import Stack

_REASONS_SHOWN = 5
_WIDTH = 100
_FETCHED_AT_IMPORT = timedelta(days=2)

imports = typer.Typer(help="Bring a model from another tool.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    bring = (
        "Set a model up from SageMaker Model Monitor's files as they are: an endpoint's captures, its ground truth, "
        "and the baseline (statistics.json, constraints.json). The labelled history becomes training data, the model "
        "that answers now becomes version 1, new files are fetched from where they lie. Nothing of yours is changed."
    )
    brought = (
        "evergreen import sagemaker-monitor churn --captures s3://BUCKET/datacapture/churn-endpoint/AllTraffic "
        "--ground-truth s3://BUCKET/groundtruth --baseline s3://BUCKET/baseline --dry-run\n\n  "
        "evergreen import sagemaker-monitor churn --captures ./captures --ground-truth ./labels --baseline ./baseline "
        "--dry-run --write churn.yaml"
    )
    imports.command(name="sagemaker-monitor", help=bring + WHERE + brought)(sagemaker_monitor)
    app.add_typer(imports, name="import")
    check = (
        "Hold captured traffic against a Model Monitor baseline, and write the violations in Model Monitor's own "
        "format. Exits with 1 when there are any."
    )
    checked = (
        "evergreen violations churn --baseline s3://BUCKET/baseline\n\n  "
        "evergreen violations churn --baseline ./baseline --from 2026-03-01 --to 2026-03-08 --out violations.json"
    )
    app.command(name="violations", help=check + WHERE + checked)(violations)


def sagemaker_monitor(
    model: Model,
    captures: Annotated[
        str, typer.Option(help="Folder of the captures, down to the variant: s3://... or a directory.")
    ],
    ground_truth: Annotated[str, typer.Option(help="Folder of the ground truth.")],
    baseline: Annotated[str, typer.Option(help="Folder with statistics.json and constraints.json.")],
    label: Annotated[
        str | None, typer.Option(help="The baseline's column that is the label, if it is among them.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="binary, multiclass or regression. [default: found]")] = None,
    inference_attribute: Annotated[
        str | None, typer.Option(help="Where an answer holds its label, as in the monitoring schedule.")
    ] = None,
    probability_attribute: Annotated[str | None, typer.Option(help="Where it holds the probability.")] = None,
    probability_threshold: Annotated[float, typer.Option(min=0, max=1, help="Above it is the second class.")] = 0.5,
    maturity: Annotated[str, typer.Option(help="After this long a request has the label it will get.")] = "1d",
    since: Annotated[str | None, typer.Option(help="Only files from this time on, such as 2026-03-01.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="The endpoint. [default: from the captures' folder]")] = None,
    sagemaker_model: Annotated[
        str | None, typer.Option(help="The SageMaker model that answers. [default: the endpoint is asked]")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Also write the model spec to this file.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, say what would be done, do nothing.")
    ] = False,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Bring a model from Model Monitor; see the help above, which the command shows."""
    start = None if since is None else instant(since, "--since")
    name = endpoint or _endpoint_of(captures)
    more = {
        "endpoint": {"kind": "sagemaker", "name": name},
        "labels": {"maturity": maturity, **_source(ground_truth)},
        "capture": {
            "inference_attribute": inference_attribute,
            "probability_attribute": probability_attribute,
            "probability_threshold": probability_threshold,
            **_source(captures),
        },
    }
    offline = dry_run and not any(is_uri(place) for place in (captures, ground_truth, baseline))
    with nullcontext() if offline else work(stack, local) as at:
        spec, found = _read(
            model, captures, ground_truth, baseline, label, task, more, start, None if at is None else at.ports
        )
        if write is not None:
            write.write_text(spec.to_yaml())
        told = _told(spec, found)
        if not dry_run and at is not None:
            told |= _set_up(spec, found, sagemaker_model, name, at)
    if as_json:
        print_json(told)
        return
    _print_import(told, dry_run=dry_run, write=write)


def _source(place: str) -> dict[str, str]:
    return {"source": place} if is_uri(place) else {}


def _endpoint_of(captures: str) -> str:
    """SageMaker's folders are ``.../endpoint/variant``."""
    folders = "/".join(split_uri(captures)) if is_uri(captures) else captures
    parts = [part for part in folders.split("/") if part]
    if len(parts) < 2:
        raise UsageError(f"--captures is {captures!r}: give the folder down to the variant, or name --endpoint")
    return parts[-2]


def _read(
    model: str,
    captures: str,
    ground_truth: str,
    baseline: str,
    label: str | None,
    task: str | None,
    more: dict[str, Any],
    since: datetime | None,
    ports: Ports | None,
) -> tuple[ModelSpec, Found]:
    from evergreen_ops.model_monitor import bring as monitor

    truth, answers = monitor.open_folder(ground_truth, ports), monitor.open_folder(captures, ports)
    known = monitor.read_baseline(monitor.open_folder(baseline, ports))
    with _bar("reading ground truth", truth) as step:
        labels, _, unreadable = monitor.read_labels(truth, on_file=step)
    texts = [text for text, _ in labels.values()]
    spec = monitor.infer_spec(model, known, texts, label=label, task=task, more=more)
    with _bar("reading captures", answers) as step:
        found = monitor.read_history(answers, labels, spec, since=since, on_file=step)
    found.unreadable.update(unreadable)
    return spec, found


@contextmanager
def _bar(title: str, folder: Folder) -> Iterator[Callable[[], None]]:
    from evergreen_ops.model_monitor.bring import files_of_hours
    from evergreen_ops.replay.progress import PlainScreen, screen

    total, done = files_of_hours(folder), 0
    with screen() as shown:
        if isinstance(shown, PlainScreen):
            shown.say(f"{title}: {total:,} files")
        else:
            shown.begin(title, total)

        def step() -> None:
            nonlocal done
            done += 1
            shown.count(done, f"{done:,} of {total:,} files")

        yield step


def _told(spec: ModelSpec, found: Found) -> dict[str, Any]:
    start, end = found.span
    return {
        "model": spec.model,
        "spec": spec.to_json(),
        "requests": len(found.captures),
        "labels": len(found.labels),
        "joined": found.joined,
        "lines": found.lines,
        "unreadable": dict(found.unreadable.most_common()),
        "from": start.isoformat(),
        "until": end.isoformat(),
    }


def _set_up(spec: ModelSpec, found: Found, sagemaker_model: str | None, endpoint: str, at: Stack) -> dict[str, Any]:
    from evergreen.usecases.fetch_files import fetch_files
    from evergreen_ops.model_monitor.bring import set_up

    answers = sagemaker_model or _model_of(endpoint, at)
    now = current_time()
    told = set_up(spec, found, answers, actor=at.actor, now=now, ports=at.ports)
    # Requests whose labels are still to come have to be here when these do.
    look_back = spec.labels.maturity + _FETCHED_AT_IMPORT
    fetched = fetch_files(spec.model, now=now, ports=at.ports, look_back=look_back)
    return told | {"sagemaker_model": answers, "fetched_captures": fetched.captures, "fetched_labels": fetched.labels}


def _model_of(endpoint: str, at: Stack) -> str:
    """The one model that answers the endpoint's requests."""
    from evergreen_ops.model_monitor.bring import ImportRefusedError

    sagemaker = at.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    models = sorted({variant["ModelName"] for variant in variants if "ModelName" in variant})
    if len(models) != 1:
        raise ImportRefusedError(
            f"endpoint {endpoint!r} runs {', '.join(models) or 'no model of its own'}: name the one to bring with "
            "--sagemaker-model"
        )
    return str(models[0])


def _print_import(told: dict[str, Any], *, dry_run: bool, write: Path | None) -> None:
    spec = told["spec"]
    classes = spec["labels"]["classes"]
    rows = [
        ("model", f"{told['model']}: {spec['task']}" + (f" of {', '.join(classes)}" if classes else "")),
        ("features", ", ".join(f"{name} ({given['type']})" for name, given in spec["features"].items())),
        ("requests", f"{told['requests']:,} from {told['from'][:16]} to {told['until'][:16]}"),
        ("labels", f"{told['labels']:,}, of which {told['joined']:,} meet a request"),
    ]
    for reason, count in list(told["unreadable"].items())[:_REASONS_SHOWN]:
        rows.append(("can't be read", f"{count:,} lines: {reason}"))
    if dry_run:
        rows.append(("", "nothing was changed: leave --dry-run out to set the model up"))
    else:
        rows.append(
            ("version 1", f"is {told['sagemaker_model']}, with {told['base_rows']:,} labelled rows to train on")
        )
        rows.append(("fetched", f"{told['fetched_captures']} capture files, {told['fetched_labels']} label files"))
    if write is not None:
        rows.append(("spec", str(write)))
    show_rows(rows, width=_WIDTH)


def violations(
    model: Model,
    baseline: Annotated[str, typer.Option(help="Folder with statistics.json and constraints.json.")],
    start: Annotated[str | None, typer.Option("--from", help="[default: seven days before --to]")] = None,
    end: Annotated[str | None, typer.Option("--to", help="[default: now]")] = None,
    out: Annotated[Path | None, typer.Option(help="Write constraint_violations.json to this file.")] = None,
    stack: StackName = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Check captured traffic against a baseline; see the help above, which the command shows."""
    from evergreen_ops.model_monitor.baseline import violations_json
    from evergreen_ops.model_monitor.bring import open_folder, read_baseline

    until = current_time() if end is None else instant(end, "--to")
    since = until - timedelta(days=7) if start is None else instant(start, "--from")
    if since >= until:
        raise UsageError(f"--from is {since:%Y-%m-%d %H:%M}, --to is {until:%Y-%m-%d %H:%M}: the window is empty")
    with work(stack, local) as at:
        known = read_baseline(open_folder(baseline, at.ports))
        rows, found = _violations(model, known, since, until, at.ports)
    document = violations_json(found)
    if out is not None:
        out.write_bytes(document)
    if as_json:
        typer.echo(document.decode())
    else:
        _print_violations(model, rows, found)
    if found:
        raise typer.Exit(REFUSED)


def _violations(
    model: str, baseline: Baseline, since: datetime, until: datetime, ports: Ports
) -> tuple[int, tuple[Violation, ...]]:
    from evergreen.domain.applied_spec import spec_of
    from evergreen.formats import outcomes
    from evergreen_ops.model_monitor.baseline import find_violations

    schema = spec_of(ports.ledger.read(model)).feature_schema()
    hour = whole_hour(since)
    entries = ports.catalog.between(model, CatalogKind.COMPACT_PRODUCTION, hour, until)
    try:
        tables = [outcomes.from_parquet(ports.data.get(entry.key)) for entry in entries]
    except FileNotFoundError as error:
        raise UsageError(f"captures since {since:%Y-%m-%d %H:%M} are no longer kept: give a later --since") from error
    table = outcomes.concat(tables, outcomes.capture_schema(schema))
    if not table.num_rows:
        raise UsageError(
            f"no captured request of {model} lies between {since:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M}"
        )
    return table.num_rows, find_violations(outcomes.feature_columns(table, schema), baseline)


def _print_violations(model: str, rows: int, found: tuple[Violation, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not found:
        show(Text(f"{model}: {rows:,} requests meet the baseline"), width=_WIDTH)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("feature", "check", "what was found"):
        table.add_column(name, overflow="fold")
    for violation in found:
        table.add_row(violation.feature_name, violation.constraint_check_type, Text(violation.description))
    show(table, width=_WIDTH)

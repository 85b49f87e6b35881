"""Take labels over HTTP, validate them, and hand them on to the ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from evergreen.domain.applied_spec import spec_of
from evergreen.errors import BadRequestError, UnknownModelError
from evergreen.formats.captures import GroundTruth, ground_truth_line
from evergreen.formats.requests import LONGEST_ID, parse_json
from evergreen.model.schema import Task
from evergreen.ports import Ports
from evergreen.spec import ModelSpec

MAX_LABELS = 1_000


@dataclass(frozen=True, slots=True)
class FeedbackTaken:
    """How many labels were handed on."""

    model: str
    labels: int


def collect_feedback(model: str, body: str, *, now: datetime, ports: Ports) -> FeedbackTaken:
    """Hand labels on: ``{"labels": [{"inference_id": "...", "label": ..., "features": {...}}]}``.

    `features` may be left out: a label is learned with what was captured of its request. Those that come are checked.

    Raises
    ------
    BadRequestError
        The model is unknown (404), or a label is not one the model can have; each problem names its entry.
    """
    try:
        spec = spec_of(ports.ledger.read(model))
    except UnknownModelError as error:
        raise BadRequestError((str(error),), status=404) from error
    labels = _parse(body, spec)
    refused = ports.labels.put([ground_truth_line(label, model=model) for label in labels])
    if refused:
        raise ConnectionError(
            f"the label stream refused {len(refused)} of {len(labels)} labels: send the request again"
        )
    return FeedbackTaken(model, len(labels))


def _parse(body: str, spec: ModelSpec) -> list[GroundTruth]:
    document = parse_json(body)
    entries = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRequestError(('the body has no labels: send {"labels": [{"inference_id": "...", "label": ...}]}',))
    if not 1 <= len(entries) <= MAX_LABELS:
        status = 413 if entries else 400
        raise BadRequestError((f"the request has {len(entries)} labels: send 1 to {MAX_LABELS}",), status=status)
    labels, problems = [], []
    schema = spec.feature_schema()
    for i, entry in enumerate(entries):
        event_id = entry.get("inference_id")
        if not isinstance(event_id, str) or not 0 < len(event_id) <= LONGEST_ID:
            wanted = f"send the id of the answer, 1 to {LONGEST_ID} characters"
            problems.append(f"labels[{i}].inference_id is {event_id!r}: {wanted}")
            continue
        text, problem = _label(entry.get("label"), spec)
        row = entry.get("features")
        if problem is None and row is not None:
            found = schema.validate(row) if isinstance(row, dict) else ["features is not an object"]
            problem = found[0] if found else None
        if problem is not None:
            problems.append(f"labels[{i}]: {problem}")
            continue
        labels.append(GroundTruth(event_id, text))
    if problems:
        raise BadRequestError(tuple(problems[:20]), status=422)
    return labels


def _label(value: object, spec: ModelSpec) -> tuple[str, str | None]:
    if spec.task is Task.REGRESSION:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "", f"label is {value!r}: send a finite number"
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        return repr(number), None if math.isfinite(number) else "label is too large: send a finite number"
    text = str(value)
    classes = spec.labels.classes or ()
    if text not in classes:
        return "", f"label is {value!r}: the model's classes are {', '.join(classes)}"
    return text, None

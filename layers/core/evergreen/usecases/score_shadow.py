"""Score captured requests with the version in shadow, and write its answers beside production's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evergreen.formats import Capture, FileKey, capture_line, read_captures
from evergreen.ports import Ports
from evergreen.scoring import ArtifactError
from evergreen.usecases.predict import serving


@dataclass(frozen=True, slots=True)
class ShadowScores:
    """What the shadow did with one capture file."""

    model: str
    version: int | None  # None: nothing is in shadow
    rows: int
    failure: str = ""


def score_shadow(key: str, *, now: datetime, ports: Ports) -> ShadowScores:
    """Score a production capture file with the shadow alias's version.

    A shadow that throws touches nothing else: the failure is reported, and rows without a shadow answer never count
    for it.
    """
    file = FileKey.parse(key)
    record = serving(ports).alias(file.model, "shadow", now) if file.variant == "production" else None
    if record is None:
        return ShadowScores(file.model, None, 0)
    captures, _ = read_captures(ports.data.get(key))
    captures = [capture for capture in captures if capture.version != record.version]
    if not captures:
        return ShadowScores(file.model, record.version, 0)
    try:
        scorer = serving(ports).scorer(record)
    except (ArtifactError, FileNotFoundError) as error:  # a bucket that can't be read raises: the file comes again
        return ShadowScores(file.model, record.version, 0, failure=f"{type(error).__name__}: {error}")
    try:
        predictions = scorer.score_rows([capture.features for capture in captures])
    except Exception as error:  # whatever a shadow throws is the shadow's failure, and nobody else's
        return ShadowScores(file.model, record.version, 0, failure=f"{type(error).__name__}: {error}")
    classes = scorer.schema.classes
    answers: Sequence[str | float] = predictions.predictions
    chances = predictions.probability_rows
    lines = [
        capture_line(
            Capture(
                event_id=capture.event_id,
                time=capture.time,
                version=record.version,
                features=capture.features,
                prediction=answer,
                probabilities=None if classes is None or row is None else dict(zip(classes, row, strict=True)),
                group=capture.group,
            ),
            model=file.model,
            variant="shadow",
        )
        for capture, answer, row in zip(captures, answers, chances, strict=True)
    ]
    target = file.beside("captures", "jsonl", variant="shadow", stem=f"{file.stem}.v{record.version}")
    ports.data.put(target, b"\n".join(lines) + b"\n", content_type="application/jsonlines")
    return ShadowScores(file.model, record.version, len(captures))

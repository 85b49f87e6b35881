"""What the use cases need from the world, as Protocols; `evergreen.aws` implements them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from evergreen.domain.live_pointer import LivePointer
from evergreen.domain.model_events import AnyEvent
from evergreen.domain.state import ModelState

if TYPE_CHECKING:
    from evergreen.domain.audit import RawItem
    from evergreen.domain.bake import Traffic  # its numpy is not there in functions that only pass ports on
    from evergreen.domain.history import History
    from evergreen.domain.retention import Retention
    from evergreen.spec import ModelSpec
    from evergreen.training.run_record import RunRecord
from evergreen.domain.aliases import AliasRecord
from evergreen.domain.catalog import CatalogEntry, CatalogKind
from evergreen.domain.training_jobs import TrainingRequest, TrainingStatus


class Ledger(Protocol):
    """Each model's state and its append-only history: the truth."""

    def read(self, model: str) -> ModelState:
        """The newest state; raises UnknownModelError."""

    def record(self, state: ModelState, *events: AnyEvent) -> ModelState:
        """Write the events and the state after them in one transaction; raises StaleStateError."""

    def models(self) -> tuple[str, ...]:
        """Every model that has a spec, sorted."""

    def history(self, model: str) -> History:
        """Every event of the model, oldest first."""

    def stored(self, model: str) -> tuple[RawItem | None, list[RawItem]]:
        """The items of the state and of the history as they are stored, for whoever checks them."""

    def note(self, model: str, kind: str, time: datetime, body: Mapping[str, Any], epoch: int) -> bool:
        """Keep what was found at a time, beside the history; False where that time has its note already.

        Kinds: `retraining` (an evaluation), `wish` (a retraining that was asked for), `shadow` (a comparison),
        `differences` and `registry` (what was found unlike the ledger, before it is repaired), `online` (a look at an
        online checkpoint).
        """

    def notes(self, model: str, kind: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """The notes of a kind with start <= time < end, oldest first, as plain data."""


class Files(Protocol):
    """A bucket."""

    def get(self, key: str) -> bytes:
        """The object's bytes; raises FileNotFoundError."""

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """The object's bytes and ETag, or None."""

    def put(self, key: str, body: bytes, *, content_type: str = "application/octet-stream") -> str:
        """Write the object and answer its ETag."""

    def put_if(self, key: str, body: bytes, *, etag: str | None) -> str:
        """Write only over the version with this ETag (None: only a new object); raises ConflictingWriteError."""

    def delete(self, key: str) -> None:
        """Delete the object; no error if it is gone."""

    def keys(self, prefix: str) -> Iterable[str]:
        """Keys below the prefix, sorted."""

    def etags(self, prefix: str) -> Iterable[tuple[str, str]]:
        """Keys below the prefix, sorted, with the ETag of what lies there now."""

    def uri(self, key: str) -> str:
        """The s3:// uri of a key."""


class Artifacts(Protocol):
    """Artifacts of versions, which may be kept nearer than the bucket."""

    def get(self, key: str, sha256: str) -> bytes:
        """The artifact's bytes; the caller checks that they have the hash; raises FileNotFoundError."""


class Catalog(Protocol):
    """Which files exist, by model, kind and hour: an index, so that nothing lists a bucket."""

    def add(self, entry: CatalogEntry) -> None:
        """Record the file; recording it twice changes nothing."""

    def remove(self, entry: CatalogEntry) -> None:
        """Forget the file."""

    def between(
        self, model: str, kind: CatalogKind, start: datetime, end: datetime, *, version: int | None = None
    ) -> list[CatalogEntry]:
        """Files of a kind, of profiles those of a version, with start <= time < end, in order of time and key."""

    def point(self, model: str, request_ids: Iterable[str], hour: datetime) -> None:
        """Note that captures of these requests lie in this hour's files; to note it twice changes nothing."""

    def hours_of(self, model: str, request_id: str, start: datetime, end: datetime) -> list[datetime]:
        """The noted hours of a request's captures with start <= hour < end, in order."""

    def pointed_since(self, model: str) -> datetime | None:
        """The hour from which on all captures are known to be noted; None where nobody has looked."""

    def all_pointed(self, model: str, since: datetime) -> None:
        """Note that all captures of this hour and later are noted."""


class Aliases(Protocol):
    """What a model's endpoint answers with, of either kind.

    Kind `lambda` is repointed by one write. A SageMaker endpoint takes minutes: what is there now is then what was
    there before, and whoever asked looks again when it has changed.
    """

    def read(self, model: str, alias: str) -> AliasRecord | None:
        """What the alias points to as it really is, or None."""

    def repoint(self, record: AliasRecord) -> AliasRecord:
        """Point the alias, unless a newer decision did; answers what is there now, cleared or not.

        Raises
        ------
        EndpointWentBackError
            It was asked for before, and the endpoint is what it was all the same.
        """

    def replace(self, found: AliasRecord, record: AliasRecord) -> AliasRecord:
        """Point the alias whatever its epoch, but only over exactly what was found; answers what is there now."""

    def clear(self, model: str, alias: str, epoch: int) -> None:
        """Point the alias nowhere, unless a newer decision pointed it."""

    def point_both(self, production: AliasRecord, shadow: AliasRecord) -> None:
        """Point both aliases in one change, the shadow perhaps nowhere; raises as :meth:`repoint` does."""

    def is_changing(self, model: str) -> bool:
        """Whether the endpoint is on its way, to whatever it may be: until it is there, nothing can be asked of it."""

    def try_again(self, model: str) -> None:
        """Let what went back be asked for once more."""

    def tidy(self, model: str, kept: frozenset[int]) -> None:
        """Delete what no version needs that is kept, or that answers."""

    def folders(self, model: str) -> tuple[str, ...]:
        """Where below ``captures/{model}/`` the captures of what answers, or answered lately, lie."""


class Trainer(Protocol):
    """Training jobs."""

    def start(self, request: TrainingRequest) -> None:
        """Start the job; a job of that name that exists already is the same job; raises TrainingRefusedError."""

    def status(self, job_name: str) -> TrainingStatus | None:
        """The job as it is, or None when there is none."""

    def stop(self, job_name: str) -> None:
        """Ask the job to stop; no error if it is over."""


class Schedules(Protocol):
    """Schedules that exist only while something is pending."""

    def every(
        self, name: str, period: timedelta, *, start: datetime, end: datetime, function: str, payload: Mapping[str, Any]
    ) -> None:
        """Call the function each period until the end; ensuring it twice changes nothing."""

    def once(self, name: str, at: datetime, *, function: str, payload: Mapping[str, Any]) -> None:
        """Call the function once."""

    def remove(self, name: str) -> None:
        """Delete the schedule; no error if it is gone."""

    def names(self, prefix: str) -> frozenset[str]:
        """The schedules there are whose names begin so."""

    def name_of(self, name: str) -> str:
        """The name under which a schedule is found: the service's names are shorter than ours may be."""


class LineStream(Protocol):
    """A Firehose stream of JSON Lines on its way to the data bucket."""

    def put(self, lines: Sequence[bytes]) -> Sequence[int]:
        """Hand the lines over; answers the places of those that were refused to the end."""


class LiveStates(Protocol):
    """Where the live states of versions are."""

    def read(self, model: str, version: int) -> LivePointer | None:
        """Where the state is, as it really is; None before anything was learned."""

    def recent(self, model: str, version: int) -> LivePointer | None:
        """Where the state is, or was a moment ago: for who answers requests."""

    def advance(self, before: LivePointer | None, after: LivePointer) -> None:
        """Point to what follows the state that was read; raises ConflictingWriteError when it is another by now."""


class TrafficMetrics(Protocol):
    """What versions answered, from CloudWatch."""

    def traffic(
        self, model: str, version: int, start: datetime, end: datetime, *, with_crashes: bool = False
    ) -> Traffic:
        """Requests, errors and slow answers of one version.

        With crashes, what the predict function died of counts as failed requests: it dies before it could count one,
        and nobody knows of which version.
        """


@dataclass(frozen=True, slots=True)
class RegistryView:
    """What the registry holds of a model, in the ledger's version numbers."""

    aliases: Mapping[str, int | None]  # None: points to a version that is not ours
    tags: Mapping[int, Mapping[str, str]]  # of each version


@dataclass(frozen=True, slots=True)
class Described:
    """What a reader of the registry is told of a version: a sentence or two, and what was found out about it."""

    text: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunLink:
    """The run that a version was trained in, and where a browser shows it ("" where no page is known)."""

    run_id: str
    url: str


class Registry(Protocol):
    """The model registry: a projection of the ledger, never the truth."""

    def require(self) -> None:
        """Ask something small; raises when the registry does not answer."""

    def register(
        self,
        model: str,
        version: int,
        *,
        artifact: str,
        tags: Mapping[str, str],
        described: Callable[[], Described] = Described,
        run: Callable[[], RunRecord | None] = lambda: None,
    ) -> None:
        """Register the version, once, on its job's run, and keep its tags as they are now.

        `described` is asked when the version is new or a tag changes; `run` when the registry has no run of the job.
        """

    def point(self, model: str, alias: str, version: int | None) -> None:
        """Set the alias, or delete it."""

    def view(self, model: str) -> RegistryView:
        """What is there as it really is; what was remembered of the model is forgotten."""

    def run(self, model: str, version: int) -> RunLink | None:
        """The run of a version, or None where the registry knows the version or its run not."""


class Ports(Protocol):
    """All ports; each is built at first use. Hashable, so that what is read through them can be cached."""

    def __hash__(self) -> int: ...

    @property
    def stack(self) -> str:
        """The stack's name."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def data(self) -> Files: ...
    @property
    def artifacts(self) -> Files: ...
    def bucket(self, name: str) -> Files:
        """Somebody else's bucket, from which files are fetched."""

    @property
    def kept_artifacts(self) -> Artifacts: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def aliases(self) -> Aliases: ...
    @property
    def trainer(self) -> Trainer: ...
    @property
    def schedules(self) -> Schedules: ...
    @property
    def captures(self) -> LineStream: ...
    @property
    def labels(self) -> LineStream: ...
    @property
    def live(self) -> LiveStates: ...
    @property
    def traffic(self) -> TrafficMetrics: ...
    def endpoint(self, spec: ModelSpec) -> Aliases:
        """A SageMaker endpoint's aliases, as its model's spec wants it."""

    def endpoint_traffic(self, spec: ModelSpec) -> TrafficMetrics:
        """What a SageMaker endpoint answered: its metrics know no versions, so the span has to be of one alone."""

    @property
    def registry(self) -> Registry | None: ...
    @property
    def retention(self) -> Retention:
        """How long the stack keeps files."""

"""What every service of the cloud is given, and what the cloud asks of each."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from local_cloud.kernel import callers
from local_cloud.kernel.callers import Keyring
from local_cloud.kernel.clock import Agenda, VirtualClock
from local_cloud.kernel.gate import Gate
from local_cloud.kernel.identities import Identities
from local_cloud.kernel.notices import Kind, Listener, Notice
from local_cloud.kernel.patching import Patch

DEFAULT_TRAINING_SECONDS = 600.0
DEFAULT_ENDPOINT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class FirehoseQuota:
    """What a delivery stream takes a second by PutRecordBatch; 5 MiB and more records in three regions.

    https://docs.aws.amazon.com/firehose/latest/dev/limits.html
    """

    size_bytes: int = 1_048_576
    records: int = 100_000
    calls: int = 1_000


@dataclass(slots=True)
class Options:
    """How a cloud behaves; all but ``real_time`` may be changed while it is open.

    Parameters
    ----------
    training_seconds, endpoint_seconds
        How long a training job takes in virtual time, and the start of an endpoint's fleet.
    real_time
        Whether a thread moves the agenda with the wall clock (the server) instead of a caller (a replay).
    keep_logs
        Whether what functions print is kept in CloudWatch Logs; slow, so off unless a person will look.
    firehose_quota
        What each delivery stream takes a second; None: all. Off unless asked for: a caller that moves the clock step by
        step puts hours of traffic into one second.
    address
        Where this cloud answers by HTTP already; without it a port is opened for the first container that needs one.
    """

    training_seconds: float = DEFAULT_TRAINING_SECONDS
    endpoint_seconds: float = DEFAULT_ENDPOINT_SECONDS
    real_time: bool = False
    keep_logs: bool = False
    address: str = ""
    firehose_quota: FirehoseQuota | None = None


class Service:
    """A service of the cloud. Most write nothing late and hold nothing: these are for those that do.

    Attributes
    ----------
    volatile
        Names of attributes that hold for this process alone: no saved state has them.
    """

    __slots__ = ()
    volatile: ClassVar[frozenset[str]] = frozenset()

    def flush(self) -> int:
        """Do at once what waits for a buffer to fill or a window to close; return how much there was."""
        return 0

    def resume(self) -> None:
        """Start again what ran behind a state that was saved, and has now been loaded."""

    def close(self) -> None:
        """End what the service started."""


@dataclass(frozen=True, slots=True)
class Core(Service):
    """What all services of one cloud share.

    Parameters
    ----------
    clock, agenda
        The present, and what is due when.
    work_dir
        Where services may write files; the cloud removes it.
    identities
        Ids that are the same in every run.
    gate
        Asked before one service does something for another.
    keyring
        Whose access key is whose.
    lock
        Held while the agenda runs. API calls from other threads do not wait for it.
    listeners
        Told of everything that happens.
    """

    clock: VirtualClock
    agenda: Agenda
    work_dir: Path
    options: Options = field(default_factory=Options)
    identities: Identities = field(default_factory=Identities)
    gate: Gate = field(default_factory=Gate)
    keyring: Keyring = field(default_factory=Keyring)
    lock: threading.RLock = field(default_factory=threading.RLock)
    listeners: list[Listener] = field(default_factory=list)

    def tell(self, kind: Kind, who: str, what: str, outcome: str) -> None:
        """Tell whoever looks on what happened now: names, states and codes, no data."""
        for listener in tuple(self.listeners):
            listener(Notice(self.clock.now, kind, who, what, outcome))


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_datetime(core: Core, original: ModuleType) -> ModuleType:
    """``moto.core.utils.datetime``: what moto takes for the present is the cloud's clock."""

    class VirtualDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            now = core.clock.now
            return now.astimezone(tz) if tz is not None else now.replace(tzinfo=None)

        @classmethod
        def fromtimestamp(cls, timestamp: float, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.fromtimestamp(timestamp, tz)

    shim = ModuleType("datetime")
    shim.__dict__.update({name: value for name, value in vars(original).items() if not name.startswith("__")})
    shim.datetime = VirtualDatetime  # type: ignore[attr-defined]
    return shim


PATCHES = (*callers.PATCHES, Patch("moto.core.utils:datetime", patched_datetime))

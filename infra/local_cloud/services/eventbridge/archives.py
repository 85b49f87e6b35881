"""Archives of event buses, and replays of what they hold.

moto archives by a rule of its own on the bus, whose one target stands for the archive.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from moto.events.models import Archive, EventsBackend, Replay, ReplayState, events_backends

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.core import Service
from local_cloud.kernel.courier import Parcel
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.times import moment
from local_cloud.services.eventbridge.buses import Events


class Archives(Service):
    """Keeps the events that a bus archives, and puts them on it again."""

    def __init__(self, buses: Events):
        self.buses = buses
        buses.archive = self.keep

    def keep(self, arn: Arn, parcel: Parcel) -> None:
        """Keep an event in the archive that its parcel names."""
        name, _, number = json.loads(parcel.body)["archive-arn"].rpartition("/")[2].partition(":")
        archive = _backend_of(arn.account, arn.region).archives.get(name)
        event: Any = parcel.envelope
        if archive is not None and archive.uuid == number:
            archive.events.append(event)

    def replay(self, replay: Replay, archive: Archive) -> None:
        """Send the archived events of a replay's time to the rules that it names, or to every rule of the bus.

        Each has an id of its own and the replay's name, so that no archive keeps it again.

        Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-replay-archived-event.html
        """
        backend = _backend_of(replay.account_id, replay.region)
        bus = backend.describe_event_bus(replay.destination["Arn"].rpartition("/")[2])
        named = replay.destination.get("FilterArns") or [rule.arn for rule in bus.rules.values()]
        first, last = moment(replay.event_start_time), moment(replay.event_end_time)
        for event in archive.events:
            if _is_within(event, first, last):
                again: Any = {**event, "id": self.buses.core.identities.uuid("event"), "replay-name": replay.name}
                for rule in [rule for rule in bus.rules.values() if rule.arn in named]:
                    rule.send_to_targets(again)
        replay.state = ReplayState.COMPLETED
        replay.end_time = self.buses.core.clock.now.timestamp()


def _backend_of(account: str, region: str) -> EventsBackend:
    found: EventsBackend = events_backends[account][region]
    return found


def _is_within(event: Mapping[str, Any], first: datetime | None, last: datetime | None) -> bool:
    when = moment(event["time"])
    return when is not None and (first is None or first <= when) and (last is None or when <= last)


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_replay_events(archives: Archives, original: Callable[..., Any]) -> Callable[..., Any]:
    """``Replay.replay_events``: of the replay's time and rules alone, delivered on the agenda."""

    def replay_events(self: Replay, archive: Archive) -> None:
        archives.replay(self, archive)

    return replay_events


PATCHES = (Patch("moto.events.models:Replay.replay_events", patched_replay_events),)

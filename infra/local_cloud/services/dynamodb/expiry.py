"""Time to live: items whose attribute names a past second are gone, once a day on the cloud's clock.

DynamoDB deletes them "within a few days"
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html); until then they are read as
before, here too. A stream says that the service did it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here
from local_cloud.services.dynamodb.streams import Streams

_SWEEP = timedelta(days=1)
_OLDEST_SECONDS = 5 * 365 * 86_400  # what lies further back is taken for a mistake, and stays
_BY_DYNAMODB = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class TimeToLive(Service):
    """The tables that have a time to live.

    Parameters
    ----------
    streams
        Told of each item that is gone.
    """

    def __init__(self, core: Core, streams: Streams):
        self.core = core
        self._streams = streams
        self._sweep_planned = False

    def table_changed(self) -> None:
        """A table got a time to live, or lost it."""
        if not self._sweep_planned:
            self._sweep_planned = True
            self.core.agenda.after(_SWEEP, self._sweep, "time to live")

    def _sweep(self) -> None:
        from moto.dynamodb.models import dynamodb_backends

        backend = dynamodb_backends[ACCOUNT][here().region]
        second = self.core.clock.now.timestamp()
        self._sweep_planned = False
        for table in list(backend.tables.values()):
            if table.ttl["TimeToLiveStatus"] != "ENABLED":
                continue
            self.table_changed()
            with self._streams.lock, self._streams.on_behalf_of(_BY_DYNAMODB):
                for key in list(_expired(table, second)):
                    backend.delete_item(table.name, key)


def _expired(table: Any, second: float) -> Iterator[dict[str, Any]]:
    """The keys of a table's items whose time has passed."""
    names = [name for name in (table.hash_key_attr, table.range_key_attr) if name is not None]
    for item in table.all_items():
        attributes = item.to_json()["Attributes"]
        if has_expired(attributes.get(table.ttl["AttributeName"]), second):
            yield {name: attributes[name] for name in names}


def has_expired(attribute: Mapping[str, Any] | None, second: float) -> bool:
    """Whether an item with such an attribute is to be gone: a number of seconds, past, and of the last five years.

    Examples
    --------
    >>> has_expired({"N": "1767225600"}, 1767225601.0), has_expired({"N": "1767225600"}, 1767225600.0)
    (True, False)
    >>> has_expired({"S": "1767225600"}, 1767225601.0), has_expired({"N": "3"}, 1767225601.0), has_expired(None, 0.0)
    (False, False, False)
    """
    try:
        time = Decimal((attribute or {})["N"])
    except (KeyError, InvalidOperation):
        return False
    return Decimal(second) - _OLDEST_SECONDS <= time < Decimal(second)


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_update_time_to_live(expiry: TimeToLive, original: Callable[..., Any]) -> Callable[..., Any]:
    """``DynamoDBBackend.update_time_to_live``: what has expired is looked for."""

    def update_time_to_live(self: Any, table_name: str, ttl_spec: dict[str, Any]) -> None:
        original(self, table_name, ttl_spec)
        expiry.table_changed()

    return update_time_to_live


PATCHES = (Patch("moto.dynamodb.models:DynamoDBBackend.update_time_to_live", patched_update_time_to_live),)

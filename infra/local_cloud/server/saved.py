"""The state of a cloud as bytes, and back: what moto keeps, what our services keep, what is due, and the clock.

Everything is written as one graph, because its parts share objects: a stack holds the queues that a backend holds, an
entry of the agenda holds the schedule that the timetable holds. The services, the backends and the core are not
written: they are wired into the process (patches hold them), so they are named, and filled when a state is read.
"""

from __future__ import annotations

import io
import itertools
import pickle
import threading
import weakref
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import cloudpickle
from botocore.client import BaseClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from moto.core.base_backend import BackendDict, BaseBackend
from moto.moto_api._internal import mock_random

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.clock import WallClock
from local_cloud.kernel.errors import LocalCloudError

_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())
_PLAIN = (dict, OrderedDict, defaultdict, Counter)
_KEYS = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)


class UnsavableError(LocalCloudError):
    """Something in a cloud cannot be written down."""


def save(cloud: LocalCloud) -> bytes:
    """Return the state of a cloud in which nothing happens meanwhile.

    Raises
    ------
    UnsavableError
        When something in it cannot be written.
    """
    written = io.BytesIO()
    state = {
        "now": cloud.clock.now,
        "stack_name": cloud.stack_name,
        "random": mock_random.getstate(),
        "core": _state_of_core(cloud),
        "services": {name: _state_of(service) for name, service in _services(cloud)},
        "backends": {name: vars(backend) for name, backend in _backends()},
        "dictionaries": {kept.service_name: _own(kept) for kept in _dictionaries()},
    }
    try:
        _Pickler(written, cloud).dump(state)
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        raise UnsavableError(f"The cloud holds something that cannot be kept: {error}.") from error
    return written.getvalue()


def load(cloud: LocalCloud, written: bytes) -> None:
    """Fill a cloud that was just opened with a state; its clock goes on from where it stood.

    Whoever calls vouches for the bytes: to read them is to run what they say.
    """
    state = _Unpickler(io.BytesIO(written), cloud).load()
    for service, own in state["dictionaries"].items():
        vars(_dictionary(service)).update(own)
    for (service, account, region), kept in state["backends"].items():
        backend = _dictionary(service)[account][region]
        vars(backend).clear()
        vars(backend).update(kept)
    for name, service in _services(cloud):
        vars(service).update(state["services"][name])
    _fill_core(cloud, state["core"])
    mock_random.setstate(state["random"])
    cloud.stack_name = state["stack_name"]
    if isinstance(cloud.clock, WallClock):
        cloud.clock.ahead = state["now"] - datetime.now(UTC)
    else:
        cloud.clock.move_to(state["now"])


# -- what is named and filled ----------------------------------------------------------------------------------------


def _services(cloud: LocalCloud) -> Iterator[tuple[str, Any]]:
    yield "Courier", cloud.courier
    for part in cloud.parts:
        if part.service is not cloud.core:
            yield type(part.service).__name__, part.service


def _state_of(service: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(service).items() if name not in getattr(service, "volatile", ())}


def _state_of_core(cloud: LocalCloud) -> dict[str, Any]:
    core, agenda = cloud.core, cloud.agenda
    return {
        "identities": core.identities._given,
        "keyring": core.keyring._holders,
        "heap": [entry for entry in agenda._heap if not entry.cancelled],
        "sequence": agenda._sequence,
    }


def _fill_core(cloud: LocalCloud, state: Mapping[str, Any]) -> None:
    cloud.core.identities._given.update(state["identities"])
    cloud.core.keyring._holders.update(state["keyring"])
    cloud.agenda._heap = sorted(state["heap"])
    cloud.agenda._sequence = state["sequence"]


def _things(cloud: LocalCloud) -> dict[str, Any]:
    core = cloud.core
    named = {
        "cloud": cloud,
        "core": core,
        "clock": core.clock,
        "agenda": core.agenda,
        "options": core.options,
        "identities": core.identities,
        "gate": core.gate,
        "keyring": core.keyring,
        "lock": core.lock,
        "listeners": core.listeners,
        "invoker": cloud.invoker,
        "random": mock_random,
    }
    return named | dict(_services(cloud))


def _dictionaries() -> list[Any]:
    """The dictionaries in which moto keeps the backends of each service."""
    kind: Any = BackendDict  # its list is typed by the class's own variable
    return list(kind._instances)


def _dictionary(service: str) -> Any:
    from moto.backends import get_backend

    find: Any = get_backend  # by a name that is only known here, not one of its overloads
    return find(service)


_Name = tuple[str, str, str]


def _backends() -> Iterator[tuple[_Name, BaseBackend]]:
    for kept in _dictionaries():
        for account, region, backend in kept.iter_backends():
            yield (kept.service_name, account, region), backend


def _own(kept: Any) -> dict[str, Any]:
    """What a dictionary of backends knows besides: S3 the accounts of buckets, whose names are the whole world's."""
    mine = vars(BackendDict(BaseBackend, "sts"))
    return {name: value for name, value in vars(kept).items() if name not in mine}


# -- how it is written -----------------------------------------------------------------------------------------------


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def __init__(self, file: io.BytesIO, cloud: LocalCloud):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._names: dict[int, tuple[str, ...]] = {id(thing): ("thing", name) for name, thing in _things(cloud).items()}
        self._names |= {id(backend): ("backend", *name) for name, backend in _backends()}
        self._names |= {id(kept): ("dictionary", kept.service_name) for kept in _dictionaries()}

    def persistent_id(self, obj: Any) -> Any:
        return self._names.get(id(obj))

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is _LOCK:
            return threading.Lock, ()
        if kind is _RLOCK:
            return threading.RLock, ()
        if kind is itertools.count:
            return itertools.count, (int(repr(obj).partition("(")[2].rstrip(")")),)
        if isinstance(obj, threading.Condition):
            return threading.Condition, ()
        if isinstance(obj, threading.Event):
            return _event, (obj.is_set(),)
        if isinstance(obj, weakref.WeakValueDictionary):
            return weakref.WeakValueDictionary, (), None, None, iter(list(obj.items()))
        if isinstance(obj, dict) and kind not in _PLAIN:
            return kind.__new__, (kind,), (dict(dict.items(obj)), dict(vars(obj))), None, None, _fill
        if isinstance(obj, BaseException):  # many take other arguments than they keep
            return kind.__new__, (kind, *obj.args), dict(vars(obj))
        if isinstance(obj, _KEYS):
            written = obj.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            return _private_key, (written,)
        if isinstance(obj, BaseClient | threading.Thread):
            raise pickle.PicklingError(f"{obj!r} lives in this process alone")
        return super().reducer_override(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, cloud: LocalCloud):
        super().__init__(file)
        self._things = _things(cloud)

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case "thing", name:
                return self._things[name]
            case "backend", service, account, region:
                return _dictionary(service)[account][region]
            case "dictionary", service:
                return _dictionary(service)
        raise pickle.UnpicklingError(f"{pid!r} names nothing of a cloud")


def _fill(kept: dict[Any, Any], state: tuple[dict[Any, Any], dict[str, Any]]) -> None:
    """Fill a dictionary as it was: those of moto answer other things than they hold, such as the newest version."""
    items, attributes = state
    dict.update(kept, items)
    vars(kept).update(attributes)


def _event(is_set: bool) -> threading.Event:
    event = threading.Event()
    if is_set:
        event.set()
    return event


def _private_key(written: bytes) -> Any:
    return serialization.load_der_private_key(written, None)

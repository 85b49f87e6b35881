"""Bucket lifecycles: objects that are older than their rule says are gone, once a day on the cloud's clock.

In a versioned bucket they get a delete marker, as in S3. Versions that were replaced or deleted go by their own rule.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here

_SWEEP = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ExpirationRule:
    """Objects below a prefix of a bucket live this long."""

    bucket: str
    prefix: str
    age: timedelta
    of_replaced: bool = False  # NoncurrentVersionExpiration: of versions that are not the newest any more


class Lifecycles(Service):
    """The expiration rules of all buckets, and what they apply to, oldest first."""

    def __init__(self, core: Core):
        self.core = core
        self._rules: dict[str, tuple[ExpirationRule, ...]] = {}
        self._written: dict[ExpirationRule, deque[tuple[datetime, str, Any]]] = defaultdict(deque)
        self._sweep_planned = False

    def set_rules(self, bucket: str, configuration: Mapping[str, Any]) -> None:
        """Take a bucket's LifecycleConfiguration as CloudFormation has it; it rules what is there already, too."""
        rules = tuple(
            found
            for rule in configuration.get("Rules", [])
            if rule.get("Status") == "Enabled"
            for found in _rules_of(bucket, rule)
        )
        before = self._rules.get(bucket, ())
        if rules == before:
            return
        for rule in before:
            self._written.pop(rule, None)
        self._rules[bucket] = rules
        for when, name, key in _written_before(bucket):
            for of_replaced in (False, True):
                self._note(bucket, name, key, when, of_replaced=of_replaced)

    def written(self, bucket: str, key: Any) -> None:
        """Note a new object; ``key`` is moto's."""
        for of_replaced in (False, True):
            self._note(bucket, key.name, key, self.core.clock.now, of_replaced=of_replaced)

    def deleted(self, bucket: str, name: str, marker: Any) -> None:
        """Note the delete marker that an object of a versioned bucket got."""
        self._note(bucket, name, marker, self.core.clock.now, of_replaced=True)

    def _note(self, bucket: str, name: str, key: Any, when: datetime, *, of_replaced: bool) -> None:
        for rule in self._rules.get(bucket, ()):
            if rule.of_replaced is of_replaced and name.startswith(rule.prefix):
                self._written[rule].append((when, name, key))
                if not self._sweep_planned:
                    self._plan_sweep()
                return

    def _plan_sweep(self) -> None:
        self._sweep_planned = True
        self.core.agenda.after(_SWEEP, self._sweep, "bucket lifecycles")

    def _sweep(self) -> None:
        from moto.s3.models import s3_backends

        backend = s3_backends[ACCOUNT][here().partition]
        buckets = backend.buckets
        for rule, written in self._written.items():
            keys: Any = buckets[rule.bucket].keys if rule.bucket in buckets else {}
            while written and self.core.clock.now - written[0][0] >= rule.age:
                _, name, key = written.popleft()
                if rule.of_replaced:
                    _forget_what_was_before(keys, name, key)
                    continue
                if keys.get(key.name) is not key:  # it was written again since, or deleted
                    continue
                if buckets[rule.bucket].is_versioned:
                    backend.delete_object(rule.bucket, key.name)
                else:
                    del keys[key.name]
                    key.dispose()
        self._sweep_planned = False
        if any(self._written.values()):
            self._plan_sweep()


def _rules_of(bucket: str, rule: Mapping[str, Any]) -> Iterator[ExpirationRule]:
    prefix = rule.get("Prefix", "")
    if "ExpirationInDays" in rule:
        yield ExpirationRule(bucket, prefix, timedelta(days=float(rule["ExpirationInDays"])))
    if "NoncurrentVersionExpiration" in rule:
        days = float(rule["NoncurrentVersionExpiration"]["NoncurrentDays"])
        yield ExpirationRule(bucket, prefix, timedelta(days=days), of_replaced=True)


def _written_before(bucket: str) -> list[tuple[datetime, str, Any]]:
    """The time, the name and moto's key of each version that a bucket holds, delete markers too, oldest first."""
    from moto.s3.models import s3_backends

    buckets = s3_backends[ACCOUNT][here().partition].buckets
    objects = buckets[bucket].keys.lists() if bucket in buckets else ()
    written = [(version.last_modified.replace(tzinfo=UTC), name, version) for name, kept in objects for version in kept]
    return sorted(written, key=lambda each: each[0])


def _forget_what_was_before(keys: Any, name: str, newest: Any) -> None:
    """Drop the versions that a version replaced; a delete marker with nothing before it goes too."""
    versions = keys.getlist(name, [])
    place = next((i for i, version in enumerate(versions) if version is newest), None)
    if place is None:
        return
    for version in versions[:place]:
        if hasattr(version, "dispose"):
            version.dispose()
    left = versions[place:]
    if len(left) == 1 and not hasattr(newest, "dispose"):
        del keys[name]
    else:
        keys.setlist(name, left)


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_put_object(lifecycles: Lifecycles, original: Callable[..., Any]) -> Callable[..., Any]:
    """``S3Backend.put_object``: a new object comes under its bucket's lifecycle."""

    def put_object(self: Any, bucket_name: str, *args: Any, **kwargs: Any) -> Any:
        key = original(self, bucket_name, *args, **kwargs)
        lifecycles.written(bucket_name, key)
        return key

    return put_object


def patched_delete_object(lifecycles: Lifecycles, original: Callable[..., Any]) -> Callable[..., Any]:
    """``S3Backend.delete_object``: what was deleted in a versioned bucket comes under its bucket's lifecycle."""

    def delete_object(self: Any, bucket_name: str, key_name: str, *args: Any, **kwargs: Any) -> Any:
        answer = original(self, bucket_name, key_name, *args, **kwargs)
        bucket = self.buckets.get(bucket_name)
        if bucket is not None and bucket.is_versioned and key_name in bucket.keys:
            lifecycles.deleted(bucket_name, key_name, bucket.keys[key_name])
        return answer

    return delete_object


PATCHES = (
    Patch("moto.s3.models:S3Backend.put_object", patched_put_object),
    Patch("moto.s3.models:S3Backend.delete_object", patched_delete_object),
)

"""Bucket lifecycles: objects that are older than their rule says are gone, once a day on the cloud's clock.

In a versioned bucket they get a delete marker, as in S3. Versions that were replaced are kept: nobody reads them here.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from local_cloud.kernel.arns import ACCOUNT
from local_cloud.kernel.core import Core, Service
from local_cloud.kernel.patching import Patch

_SWEEP = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ExpirationRule:
    """Objects below a prefix of a bucket live this long."""

    bucket: str
    prefix: str
    age: timedelta


class Lifecycles(Service):
    """The expiration rules of all buckets, and what they apply to, oldest first."""

    def __init__(self, core: Core):
        self.core = core
        self._rules: dict[str, tuple[ExpirationRule, ...]] = {}
        self._written: dict[ExpirationRule, deque[tuple[datetime, Any]]] = defaultdict(deque)
        self._sweep_planned = False

    def set_rules(self, bucket: str, configuration: Mapping[str, Any]) -> None:
        """Take a bucket's LifecycleConfiguration as CloudFormation has it."""
        self._rules[bucket] = tuple(
            ExpirationRule(bucket, rule.get("Prefix", ""), timedelta(days=float(rule["ExpirationInDays"])))
            for rule in configuration.get("Rules", [])
            if rule.get("Status") == "Enabled" and "ExpirationInDays" in rule
        )

    def written(self, bucket: str, key: Any) -> None:
        """Note a new object; ``key`` is moto's."""
        for rule in self._rules.get(bucket, ()):
            if key.name.startswith(rule.prefix):
                self._written[rule].append((self.core.clock.now, key))
                if not self._sweep_planned:
                    self._plan_sweep()
                return

    def _plan_sweep(self) -> None:
        self._sweep_planned = True
        self.core.agenda.after(_SWEEP, self._sweep, "bucket lifecycles")

    def _sweep(self) -> None:
        from moto.s3.models import s3_backends

        backend = s3_backends[ACCOUNT]["aws"]
        buckets = backend.buckets
        for rule, written in self._written.items():
            keys: Any = buckets[rule.bucket].keys if rule.bucket in buckets else {}
            while written and self.core.clock.now - written[0][0] >= rule.age:
                _, key = written.popleft()
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


# -- what replaces moto's own ----------------------------------------------------------------------------------------


def patched_put_object(lifecycles: Lifecycles, original: Callable[..., Any]) -> Callable[..., Any]:
    """``S3Backend.put_object``: a new object comes under its bucket's lifecycle."""

    def put_object(self: Any, bucket_name: str, *args: Any, **kwargs: Any) -> Any:
        key = original(self, bucket_name, *args, **kwargs)
        lifecycles.written(bucket_name, key)
        return key

    return put_object


PATCHES = (Patch("moto.s3.models:S3Backend.put_object", patched_put_object),)

"""A plugin of pytest: which of the template's grants decided the calls that tests make, and which test made them.

Clouds that deploy the template are listened to. Small clouds have moto's buckets and tables and no roles: there each
call of a handler is put to the template's policies, under the names that the handler's environment has. Their stories
put files where they like, so only what is allowed counts.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from grants import Asked, Grant, Names, decisive
from stack import EVERYTHING, names_in_environments, names_of, stacks

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.arns import ACCOUNT
from local_cloud.kernel.callers import PATCHES, Caller, acting_as
from local_cloud.kernel.patching import Patches
from local_cloud.services.iam import records
from local_cloud.services.iam.evaluation import Decision, Policies, Question, decide
from local_cloud.services.iam.needs import Need, needs_of
from local_cloud.services.iam.wire import OBJECT_READS

FOLDER = "PERMISSIONS_FOLDER"
"""Names the variable that says where the files go: one for each process."""
OF_THE_STACK = frozenset({"PredictRole", "LearnLiveRole"})
"""Whoever has these was made by Evergreen's template."""
_REQUEST = re.compile(r"_call_endpoint\(\s*(\w+)")
_HANDLER: ContextVar[str] = ContextVar("handler", default="")


class Watch:
    """What was heard in one process.

    Attributes
    ----------
    times
        How often each grant decided.
    seen
        By grant: what each test asked first.
    refused
        What roles of the template asked for and may not do, and in which test.
    """

    def __init__(self) -> None:
        self.times: Counter[Grant] = Counter()
        self.seen: dict[Grant, dict[str, str]] = {}
        self.refused: set[tuple[str, str]] = set()
        self._process = os.getpid()

    def hear(self, asked: Asked, grants: Iterable[Grant], *, allowed: bool) -> None:
        """Note a decision."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0]
        for grant in grants:
            self.times[grant] += 1
            tests = self.seen.setdefault(grant, {})
            if test not in tests:
                tests[test] = asked.told()
                if os.getpid() != self._process:
                    self.leave()  # a child that a test has made ends without a word
        if not allowed and not grants and asked.by:
            self.refused.add((f"{asked.by}: {asked.action} on {asked.resource}", test))

    def leave(self) -> None:
        """Write down what was heard."""
        (Path(os.environ[FOLDER]) / f"{os.getpid()}.json").write_text(json.dumps(self.to_json()))

    def to_json(self) -> list[Any]:
        """As plain data."""
        return [[[*grant, times, self.seen[grant]] for grant, times in self.times.items()], sorted(self.refused)]


# -- clouds that deploy the template ---------------------------------------------------------------------------------


def listener(names: Names, watch: Watch) -> Callable[[Question, Policies, Decision], None]:
    """Return what a cloud's authority tells its decisions."""
    known: dict[Any, tuple[Asked, list[Grant]]] = {}

    def listen(question: Question, policies: Policies, decision: Decision) -> None:
        if question.caller.arn.endswith(":root"):
            return  # whom moto asks for where nobody is known
        texts = tuple(policies.identity), policies.resource
        key = question.caller, question.action, question.resource, tuple(question.context.items()), texts
        if key not in known:
            known[key] = Asked.of(question, names), decisive(question, policies, names)
        watch.hear(*known[key], allowed=decision.allowed)

    return listen


def listen_to_clouds(watch: Watch) -> None:
    """Listen to each cloud of the template, to its deployment too."""
    deploy_stack = LocalCloud.deploy_stack

    def deploying(cloud: LocalCloud, *given: Any, **named: Any) -> None:
        heard: list[tuple[Question, Policies, Decision]] = []
        cloud.authority.listeners[:] = [lambda *each: heard.append(each)]  # names are known once all is deployed
        deploy_stack(cloud, *given, **named)
        cloud.authority.listeners.clear()
        if cloud.resources.keys() >= OF_THE_STACK:
            listen = listener(names_of(cloud), watch)
            for each in heard:
                listen(*each)
            cloud.authority.listeners.append(listen)

    LocalCloud.deploy_stack = deploying


# -- small clouds ----------------------------------------------------------------------------------------------------


class SmallWorld:
    """The template's policies, asked about the calls of handlers in clouds without roles."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.stack = watch, stacks()[1]
        self.known: dict[tuple[str, ...], tuple[Asked, list[Grant], bool]] = {}

    def ask(self, function: str, need: Need) -> None:
        """Put a handler's need to its role's policies."""
        role = "".join(part.title() for part in function.split("_")) + "Role"
        resource = self._translated(need.resource)
        given = {name.lower(): value() if callable(value) else value for name, value in need.known.items()}
        if need.action == "sagemaker:UpdateEndpoint":
            records.backend.cache_clear()  # each test has other backends
            tags = records.resource_tags(need.resource)
            given |= {f"aws:resourcetag/{name.lower()}": value for name, value in tags.items()}
        key = role, need.action, resource, repr(sorted(given.items()))
        if key not in self.known:
            arn = f"arn:aws:iam::{ACCOUNT}:role/{self.stack.names.physical(f'${{{role}}}')}"
            context = {name: self._translated(value) for name, value in given.items() if value is not None}
            question = Question(Caller.session(arn, function), need.action, resource, context)
            asked = Asked.of(question, self.stack.names)
            allowed = decide(question, self.stack.policies(asked)).allowed
            self.known[key] = asked, self.stack.decisive(asked) if allowed else [], allowed
        asked, grants, allowed = self.known[key]
        self.watch.hear(asked, grants, allowed=allowed or not need.action.startswith("sagemaker-mlflow:"))

    def _translated(self, value: Any) -> Any:
        """Return an ARN with the names that the template's resources have where they are deployed."""
        if not isinstance(value, str) or not value.startswith("arn:"):
            return value
        named = names_in_environments().items()
        small = {
            os.environ[name]: logical for name, logical in named if os.environ.get(name, "evergreen") != "evergreen"
        }
        if value in small:  # a role
            return f"arn:aws:iam::{ACCOUNT}:role/{self.stack.names.physical(f'${{{small[value]}}}')}"
        head, colon, rest = value.rpartition(":")
        parts = rest.split("/")
        at = 0 if ":s3:" in head + colon else 1
        if at < len(parts) and parts[at] in small:
            parts[at] = self.stack.names.physical(f"${{{small[parts[at]]}}}")
        elif at == 0 and parts[0] != EVERYTHING["MlflowArtifacts"].split("/")[2]:
            parts[0] = EVERYTHING["SourceBucket"]
        return f"{head}{colon}{'/'.join(parts)}"


def listen_to_handlers(world: SmallWorld) -> None:
    """Ask the template's policies about each call that a handler makes in a cloud without roles."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
    import small_cloud

    call, handler_of = BaseClient._make_api_call, small_cloud.handler_of

    def watched_handler_of(function: str) -> Callable[..., Any]:
        handler = handler_of(function)

        @functools.wraps(handler)
        def handle(*given: Any, **named: Any) -> Any:
            with _handling(function), acting_as(Caller(function)):  # so that threads take the handler's name along
                return handler(*given, **named)

        return handle

    def watched_call(client: Any, operation: str, params: Any) -> Any:
        function = _HANDLER.get()
        if not function or LocalCloud._open is not None:
            return call(client, operation, params)
        service = client.meta.service_model.service_name
        for need in needs_of(service, operation, params):
            world.ask(function, need)
        try:
            return call(client, operation, params)
        except ClientError as error:
            if service == "s3" and error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                for need in _listings(operation, params):
                    world.ask(function, need)
            raise

    watched_handler_of.cache_clear = handler_of.cache_clear
    small_cloud.handler_of = watched_handler_of
    BaseClient._make_api_call = watched_call
    Patches().apply(PATCHES, None)


def _listings(operation: str, params: Any) -> Iterator[Need]:
    """What S3 asks of who is told that an object is missing."""
    if operation in OBJECT_READS - {"CopyObject"}:
        yield Need("s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}")


# -- MLflow ----------------------------------------------------------------------------------------------------------


def requests_of(rest_store: type) -> dict[str, str]:
    """Return the request that each method of a store sends to a server: AWS's name of the action, but for one.

    AWS's list of actions has no CreateLoggedModel; it has LogModel beside the others about logged models.
    """
    sources = {name: inspect.getsource(one) for name, one in inspect.getmembers(rest_store, inspect.isfunction)}
    found = {name: _REQUEST.search(source) for name, source in sources.items()}
    named = {name: request[1].removesuffix("Request") for name, request in found.items() if request}
    return {name: "LogModel" if request == "CreateLoggedModel" else request for name, request in named.items()}


def listen_to_mlflow(world: SmallWorld) -> None:
    """Ask about each request to a managed server; stores in a file have the methods whose requests a server gets."""
    if importlib.util.find_spec("mlflow") is None:
        return
    from mlflow.store.model_registry.rest_store import RestStore as RestRegistry
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.rest_store import RestStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Store

    from evergreen.training import tracking

    for rest, others in ((RestStore, Store), (RestRegistry, Registry)):
        for method, request in requests_of(rest).items():
            for store in {rest, others} if hasattr(others, method) else {rest}:
                setattr(store, method, _told(getattr(store, method), request, world))
    record_run = tracking.record_run

    @functools.wraps(record_run)
    def watched_record_run(*given: Any, **named: Any) -> Any:
        with _handling("training"):
            return record_run(*given, **named)

    tracking.record_run = watched_record_run


def _told(method: Callable[..., Any], request: str, world: SmallWorld) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        if not (function := _HANDLER.get()):
            return method(*given, **named)
        world.ask(function, Need(f"sagemaker-mlflow:{request}", EVERYTHING["MlflowTrackingUri"]))
        with _handling(""):  # what a store does by other methods of its own is no request
            return method(*given, **named)

    return call


@contextmanager
def _handling(function: str) -> Iterator[None]:
    before = _HANDLER.set(function)
    try:
        yield
    finally:
        _HANDLER.reset(before)


# -- the plugin ------------------------------------------------------------------------------------------------------

_WATCH = Watch()


def pytest_configure() -> None:
    """Listen."""
    world = SmallWorld(_WATCH)
    listen_to_handlers(world)
    listen_to_mlflow(world)
    listen_to_clouds(_WATCH)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Leave what was heard."""
    _WATCH.leave()

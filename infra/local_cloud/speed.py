"""Short cuts through moto: what it works out anew for each request is worked out once. Behaviour stays the same."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import boto3
from botocore.config import Config
from dateutil.tz import tzutc  # type: ignore[import-untyped]
from moto import backend_index
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.request import normalize_request
from moto.core.utils import get_equivalent_url_in_aws_domain
from moto.dynamodb.comparisons import get_comparison_func
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.s3.models import FakeDeleteMarker
from werkzeug.exceptions import HTTPException

from local_cloud.kernel.core import Core
from local_cloud.kernel.patching import Patch
from local_cloud.kernel.place import ACCOUNT, here

Handler = Callable[[Any, str, Any], Any]


def patched_process_request(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``BotocoreStubber.process_request``: the handlers of a host are looked up once, not by 300 patterns a request.

    S3 would reload a module for each request besides.
    """
    handlers: dict[str, list[tuple[re.Pattern[str], Handler]] | None] = {}

    def process_request(self: BotocoreStubber, request: Any) -> Any:
        parsed, _ = get_equivalent_url_in_aws_domain(request.url)
        host = f"{parsed.scheme}://{parsed.netloc}"
        if host not in handlers:
            handlers[host] = _handlers_of(f"{host}{parsed.path}")
        known = handlers[host]
        if known is None:
            return original(self, request)
        clean_url = f"{host}{parsed.path}"
        for pattern, handler in known:
            if pattern.match(clean_url):
                normalized = normalize_request(request)
                try:
                    return handler(normalized, normalized.raw_url, normalized.headers)
                except HTTPException as error:
                    return error.code, error.get_headers(), error.get_body()
        return original(self, request)

    return process_request


def _handlers_of(url: str) -> list[tuple[re.Pattern[str], Handler]] | None:
    """Return the handlers of the first service whose pattern takes ``url``, as moto chooses it."""
    from moto import backends
    from moto.core.base_backend import BackendDict

    for service, pattern in backend_index.backend_url_patterns:
        if pattern.match(url):
            found: Any = backends.get_backend(service)  # type: ignore[call-overload]
            if not isinstance(found, BackendDict):
                return None
            of_account = found[ACCOUNT]
            place = here()
            backend = of_account[place.region if place.region in of_account else place.partition]
            return [(re.compile(path), handler) for path, handler in backend.urls.items()]
    return None


def patched_method_names(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``moto.core.responses.method_names_from_class``: a class is inspected once."""
    known: dict[object, list[str]] = {}

    def method_names_from_class(clazz: object) -> list[str]:
        if clazz not in known:
            known[clazz] = original(clazz)
        return known[clazz]

    return method_names_from_class


def use_light_clients() -> None:
    """Let clients of the default session skip what no local service needs: retries, checksums, a long user agent."""
    boto3.setup_default_session()
    session = boto3.DEFAULT_SESSION
    if session is not None:
        session.get_credentials()  # now, while they are the operator's: whoever makes the first client finds them
        session._session.set_default_client_config(
            Config(
                user_agent="local-cloud",
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
        )


def patched_request_id(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``gen_amzn_requestid_long``: not from the random numbers that name things, so that a read changes no name."""
    numbers = itertools.count(1)

    def gen_amzn_requestid_long(headerdict: dict[str, Any] | None = None) -> str:
        request_id = f"LOCAL{next(numbers):047d}"
        if isinstance(headerdict, dict):
            headerdict["x-amzn-requestid"] = request_id
        return request_id

    return gen_amzn_requestid_long


def patched_new_model(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``BaseModel.__new__``: no list of every object there ever was (only moto's dashboard reads it)."""

    def __new__(cls: type, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        return object.__new__(cls)

    return __new__


def patched_list_objects(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``S3Backend.list_objects``: only the keys under the prefix are looked at closely."""

    def list_objects(
        self: Any, bucket: Any, prefix: str | None, delimiter: str | None, marker: str | None, max_keys: int | None
    ) -> tuple[list[Any], list[str], bool, str | None]:
        under = prefix or ""
        names = sorted(name for name in dict.keys(bucket.keys) if name.startswith(under))
        folders: set[str] = set()
        keys: list[Any] = []
        for name in names:
            rest = name[len(under) :]
            if delimiter and delimiter in rest:
                folders.add(f"{under}{rest.split(delimiter)[0]}{delimiter}")
            elif not isinstance(key := bucket.keys[name], FakeDeleteMarker):
                keys.append(key)
        if marker:
            keys = self._get_results_from_token(keys, self._pagination_tokens.get(marker) or marker)
        truncated, token = False, None
        if max_keys is not None:
            keys, truncated, token = self._truncate_result(keys, max_keys)
        return keys, sorted(folders), truncated, token

    return list_objects


def patched_table_query(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``Table.query``: a query by the table's own key reads its partition, not the whole table."""

    def query(self: Table, hash_key: Any, range_comparison: Any, range_objs: Any, *args: Any, **kwargs: Any) -> Any:
        index_name = args[4] if len(args) > 4 else kwargs.get("index_name")
        if index_name or hash_key is None or not self.range_key_attr:
            return original(self, hash_key, range_comparison, range_objs, *args, **kwargs)
        partition = self.items.get(hash_key)
        items = list(partition.values()) if partition else []
        if range_comparison:
            holds, values = get_comparison_func(range_comparison), [value.cast_value for value in range_objs]
            items = [item for item in items if holds(_plain(item.range_key), *values)]
        self.all_items = lambda: items  # type: ignore[method-assign]
        try:
            return original(self, hash_key, range_comparison, range_objs, *args, **kwargs)
        finally:
            del self.all_items

    return query


def _plain(value: Any) -> Any:
    return value.value if value.type == "S" else value.cast_value


def patched_less_than(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``DynamoType.__lt__``: strings are compared as they are."""

    def __lt__(self: DynamoType, other: DynamoType) -> bool:  # noqa: N807
        if self.type == "S":
            return bool(self.value < other.value)
        return bool(original(self, other))

    return __lt__


class PlainAuth:
    """Signs nothing: the header names the key, as moto reads it, without the arithmetic nobody checks here."""

    REQUIRES_REGION = True
    REQUIRES_TOKEN = False
    REQUIRES_IDENTITY_CACHE = False

    def __init__(self, credentials: Any, service_name: str, region_name: str):
        self.credentials = credentials
        self.scope = f"20260101/{region_name}/{service_name}/aws4_request"

    def add_auth(self, request: Any) -> None:
        """Add the header."""
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.credentials.access_key}/{self.scope}, "
            "SignedHeaders=host, Signature=local"
        )


def patched_auth_types(core: Core, original: dict[str, Any]) -> dict[str, Any]:
    """``botocore.auth.AUTH_TYPE_MAPS``: requests carry a key and no signature.

    S3 signs as it does: its signature says how the body is framed.
    """
    return {**original, "v4": PlainAuth}


def patched_serialize_structure(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``BaseJSONSerializer._serialize_type_structure``: DynamoDB's attribute values are written as they are."""

    def _serialize_type_structure(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict) and len(value) == 1:
            self._default_serialize(serialized, wire_value(value), shape, key)
        else:
            original(self, serialized, value, shape, key)

    return _serialize_type_structure


def wire_value(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a DynamoDB attribute value as it goes over the wire.

    Examples
    --------
    >>> wire_value({"M": {"n": {"N": 3}, "b": {"B": b"x"}, "l": {"L": [{"BOOL": True}, {"NULL": True}]}}})
    {'M': {'n': {'N': '3'}, 'b': {'B': 'eA=='}, 'l': {'L': [{'BOOL': True}, {'NULL': True}]}}}
    """
    ((kind, inner),) = value.items()
    match kind:
        case "S" | "N":
            return {kind: str(inner)}
        case "M":
            return {kind: {name: wire_value(item) for name, item in inner.items()}}
        case "L":
            return {kind: [wire_value(item) for item in inner]}
        case "SS" | "NS":
            return {kind: [str(item) for item in inner]}
        case "B":
            return {kind: _base64(inner)}
        case "BS":
            return {kind: [_base64(item) for item in inner]}
    return {kind: inner}


def _base64(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def patched_parse_timestamp(core: Core, original: Callable[..., Any]) -> Callable[..., Any]:
    """``botocore.utils._parse_timestamp_with_tzinfo``: the usual ISO form is read by Python itself."""

    def _parse_timestamp_with_tzinfo(value: Any, tzinfo: Any) -> datetime:
        if isinstance(value, str) and _ISO_TIME.fullmatch(value):
            return datetime.fromisoformat(value).replace(tzinfo=tzutc())
        parsed: datetime = original(value, tzinfo)
        return parsed

    return _parse_timestamp_with_tzinfo


OF_BOTOCORE = (
    Patch("botocore.auth:AUTH_TYPE_MAPS", patched_auth_types),
    Patch("botocore.utils:_parse_timestamp_with_tzinfo", patched_parse_timestamp),
)
"""What a client signs and parses: a test that looks at requests leaves these out."""

OF_MOTO = (
    Patch("moto.core.botocore_stubber:BotocoreStubber.process_request", patched_process_request),
    Patch("moto.core.common_models:BaseModel.__new__", patched_new_model),
    Patch("moto.core.responses:gen_amzn_requestid_long", patched_request_id),
    Patch("moto.core.responses:method_names_from_class", patched_method_names),
    Patch("moto.core.serialize:BaseJSONSerializer._serialize_type_structure", patched_serialize_structure),
    Patch("moto.dynamodb.models.dynamo_type:DynamoType.__lt__", patched_less_than),
    Patch("moto.dynamodb.models.table:Table.query", patched_table_query),
    Patch("moto.s3.models:S3Backend.list_objects", patched_list_objects),
    Patch("moto.utilities.aws_headers:gen_amzn_requestid_long", patched_request_id),
)

PATCHES = (*OF_BOTOCORE, *OF_MOTO)

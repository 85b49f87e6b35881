"""Objects in an S3 bucket, with conditional writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from evergreen.domain.uris import uri_of
from evergreen.errors import ConflictingWriteError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_GONE = ("NoSuchKey", "404")
_CONFLICT = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class S3Files:
    """See :class:`evergreen.ports.Files`."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def get(self, key: str) -> bytes:
        found = self.get_with_etag(key)
        if found is None:
            raise FileNotFoundError(f"{self.uri(key)} does not exist")
        return found[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            raise
        return answer["Body"].read(), answer["ETag"].strip('"')

    def put(self, key: str, body: bytes, *, content_type: str = "application/octet-stream") -> str:
        answer = self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)
        return answer["ETag"].strip('"')

    def put_if(self, key: str, body: bytes, *, etag: str | None) -> str:
        try:
            if etag is None:
                answer = self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            else:
                answer = self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfMatch=etag)
        except ClientError as error:
            if error.response["Error"]["Code"] in (*_CONFLICT, *_GONE):
                raise ConflictingWriteError(key) from error
            raise
        return answer["ETag"].strip('"')

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)

    def keys(self, prefix: str) -> Iterable[str]:
        return (key for key, _ in self.etags(prefix))

    def etags(self, prefix: str) -> Iterable[tuple[str, str]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            yield from ((item["Key"], item["ETag"].strip('"')) for item in page.get("Contents", []))

    def uri(self, key: str) -> str:
        return uri_of(self._bucket, key)

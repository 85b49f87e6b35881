"""An object's place as S3 writes it: ``s3://bucket/key``, taken apart and put together."""

from __future__ import annotations

from evergreen.errors import EvergreenError

_SCHEME = "s3://"


class UriError(EvergreenError):
    """A place that is none in S3."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri!r} is no place in S3: write it as {_SCHEME}bucket/key")
        self.uri = uri


def is_uri(place: str) -> bool:
    """Whether a place is one in S3.

    Examples
    --------
    >>> is_uri("s3://bucket/a/b.csv"), is_uri("sagemaker-model:churn-2024")
    (True, False)
    """
    return place.startswith(_SCHEME)


def split_uri(uri: str) -> tuple[str, str]:
    """Take a uri apart into its bucket and its key, which is empty for a whole bucket.

    Raises
    ------
    UriError
        It is no ``s3://bucket/key``.

    Examples
    --------
    >>> split_uri("s3://bucket/a/b.csv"), split_uri("s3://bucket")
    (('bucket', 'a/b.csv'), ('bucket', ''))
    """
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not is_uri(uri) or not bucket:
        raise UriError(uri)
    return bucket, key


def uri_of(bucket: str, key: str) -> str:
    """Put a uri together.

    Examples
    --------
    >>> uri_of("bucket", "a/b.csv")
    's3://bucket/a/b.csv'
    """
    return f"{_SCHEME}{bucket}/{key}"

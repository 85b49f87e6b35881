"""Where the open cloud is: one account, one region of AWS, and what the names there are made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local_cloud.kernel.errors import LocalCloudError

ACCOUNT = "123456789012"
DEFAULT_REGION = "us-east-1"


class UnknownRegionError(LocalCloudError):
    """A region that AWS does not have."""

    def __init__(self, region: str) -> None:
        self.region = region
        super().__init__(f"AWS has no region {region!r}; name one such as {DEFAULT_REGION} or eu-central-1.")


@dataclass(frozen=True, slots=True)
class Place:
    """A region, the partition that it belongs to, how host names end there, and how mails call it.

    Examples
    --------
    >>> Place.of("us-gov-west-1").arn("sqs", "dead")
    'arn:aws-us-gov:sqs:us-gov-west-1:123456789012:dead'
    >>> Place.of("cn-north-1").bucket_arn("data/captures/1"), Place.of("cn-north-1").suffix
    ('arn:aws-cn:s3:::data/captures/1', 'amazonaws.com.cn')
    """

    region: str = DEFAULT_REGION
    partition: str = "aws"
    suffix: str = "amazonaws.com"
    title: str = "US East (N. Virginia)"

    @classmethod
    def of(cls, region: str) -> Place:
        """Look a region up in what botocore knows of AWS.

        Raises
        ------
        UnknownRegionError
            It knows no such region.

        Examples
        --------
        >>> Place.of("mars-1")
        Traceback (most recent call last):
        ...
        local_cloud.kernel.place.UnknownRegionError: AWS has no region 'mars-1'; name one such as us-east-1 or \
eu-central-1.
        """
        if region == DEFAULT_REGION:
            return cls()  # without a look into botocore's data
        from botocore.session import get_session

        for told in get_session().get_data("endpoints")["partitions"]:
            if region in told["regions"]:
                title = told["regions"][region]["description"].replace("Europe", "EU")  # as CloudWatch's mails have it
                return cls(region, told["partition"], told["dnsSuffix"], title)
        raise UnknownRegionError(region)

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{ACCOUNT}:{resource}"

    def bucket_arn(self, path: str) -> str:
        """Return the ARN of a bucket, or of ``bucket/key``: neither names an account or a region."""
        return f"arn:{self.partition}:s3:::{path}"

    def holder_of(self, service: str) -> str:
        """Return under which name moto keeps what a service holds: S3's and IAM's are those of the whole partition."""
        return self.partition if service in ("s3", "iam") else self.region


_HERE = [Place()]


def here() -> Place:
    """Return where the open cloud is; the default region where none is open."""
    return _HERE[-1]


@contextmanager
def settled(place: Place) -> Iterator[None]:
    """Be there as long as the context lasts."""
    _HERE.append(place)
    try:
        yield
    finally:
        _HERE.remove(place)

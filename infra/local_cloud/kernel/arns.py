"""Amazon Resource Names: the little of them that routing needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_cloud.kernel.place import ACCOUNT, here

_WITHOUT_KIND = frozenset({"s3", "sns", "sqs"})


@dataclass(frozen=True, slots=True)
class Arn:
    """The parts of an ARN.

    Examples
    --------
    >>> Arn.parse("arn:aws:events:us-east-1:123456789012:event-bus/orders").resource_name
    'orders'
    >>> Arn.parse("arn:aws:sqs:us-east-1:123456789012:dead").resource_name
    'dead'
    """

    text: str
    service: str
    region: str
    account: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Arn:
        """Split ``text``; missing parts are empty."""
        parts = [*text.split(":", 5), "", "", "", "", "", ""]
        region, account = parts[3] or here().region, parts[4] or ACCOUNT
        return cls(text=text, service=parts[2], region=region, account=account, resource=parts[5])

    @property
    def resource_name(self) -> str:
        """What follows the last slash or colon of the resource."""
        return self.resource.replace(":", "/").rsplit("/", 1)[-1]

    @property
    def short(self) -> str:
        """What people call it: the resource without its kind, with all that follows.

        Examples
        --------
        >>> Arn.parse("arn:aws:lambda:us-east-1:123456789012:function:predict:live").short
        'predict:live'
        >>> Arn.parse("arn:aws:s3:::data/captures/1").short
        'data/captures/1'
        """
        if self.service in _WITHOUT_KIND:
            return self.resource
        found = re.match(r"[^:/]+[:/]", self.resource)
        return self.resource if found is None else self.resource[found.end() :]

"""CloudWatch Logs: groups as the targets of rules."""

from __future__ import annotations

from local_cloud.kernel.arns import Arn
from local_cloud.kernel.courier import Parcel
from local_cloud.kernel.errors import DeliveryError


def deliver(arn: Arn, parcel: Parcel) -> None:
    """Put a parcel into a log group, in a stream of its own.

    Raises
    ------
    DeliveryError
        When there is no such group.
    """
    from moto.core.utils import unix_time_millis
    from moto.logs.models import logs_backends

    backend = logs_backends[arn.account][arn.region]
    group = arn.resource.removeprefix("log-group:").removesuffix(":*")
    if group not in backend.groups:
        raise DeliveryError("NO_RESOURCE", f"There is no log group {group}.")
    stream = f"local-{len(backend.groups[group].streams)}"
    backend.create_log_stream(group, stream)
    backend.put_log_events(group, stream, [{"timestamp": int(unix_time_millis()), "message": parcel.body}])

"""Delivery streams as a template writes them."""

from __future__ import annotations

from local_cloud.kernel.errors import TemplateError
from local_cloud.kernel.place import ACCOUNT
from local_cloud.kernel.resource_kinds import Context, Kind, LocalResource, Properties
from local_cloud.services.firehose.streams import Firehose, Settings


def _create_delivery_stream(context: Context[Firehose], name: str, properties: Properties) -> LocalResource:
    extended = properties.get("ExtendedS3DestinationConfiguration")
    config = extended or properties.get("S3DestinationConfiguration")
    if config is None:
        raise context.refuse("delivers elsewhere than to S3", "deliver to S3")
    try:
        Settings.parse(config)
    except ValueError as error:
        raise context.refuse(f"asks for too much: {error}", "write a partition query of plain paths") from error
    known = {"sts:ExternalId": ACCOUNT}
    if context.service.core.gate.not_assumed("firehose.amazonaws.com", config["RoleARN"], known) is not None:
        raise TemplateError(f"{context.logical_id}: Firehose is unable to assume role {config['RoleARN']}")
    backend = context.backend("firehose")
    arn = backend.create_delivery_stream(
        region=context.region,
        delivery_stream_name=name[:64],
        delivery_stream_type=properties.get("DeliveryStreamType", "DirectPut"),
        kinesis_stream_source_configuration={},
        delivery_stream_encryption_configuration_input={},
        s3_destination_configuration={},
        extended_s3_destination_configuration=config,
        redshift_destination_configuration={},
        elasticsearch_destination_configuration={},
        splunk_destination_configuration={},
        http_endpoint_destination_configuration={},
        snowflake_destination_configuration={},
        iceberg_destination_configuration={},
        tags=[],
    )
    return LocalResource(name[:64], {"Arn": arn}, lambda: backend.delete_delivery_stream(name[:64]))


KINDS: tuple[Kind[Firehose], ...] = (
    Kind("AWS::KinesisFirehose::DeliveryStream", "DeliveryStreamName", _create_delivery_stream),
)

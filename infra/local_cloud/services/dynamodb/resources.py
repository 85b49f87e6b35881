"""Tables as a template writes them."""

from __future__ import annotations

from typing import Any

from local_cloud.kernel.resource_kinds import Context, Kind, Properties, create_in_moto, delete_resource


def _create_table(context: Context[object], name: str, properties: Properties) -> Any:
    throughput = properties.get("ProvisionedThroughput")
    if throughput:
        properties["ProvisionedThroughput"] = {key: int(value) for key, value in throughput.items()}
    protected = str(properties.pop("DeletionProtectionEnabled", "false")).lower() == "true"
    if encryption := properties.get("SSESpecification"):  # templates and the API call it by different names
        encryption = {name: value for name, value in encryption.items() if name != "SSEEnabled"} | {
            "Enabled": str(encryption["SSEEnabled"]).lower() == "true"
        }
        properties["SSESpecification"] = encryption
    table = create_in_moto(context, name, {**properties, "DeletionProtectionEnabled": protected})
    return _finish_table(context, table, properties)


def _finish_table(context: Context[object], table: Any, properties: Properties) -> Any:
    backend = context.backend("dynamodb")
    recovery = properties.get("PointInTimeRecoverySpecification")
    if recovery:
        enabled = str(recovery.get("PointInTimeRecoveryEnabled", "false")).lower() == "true"
        backend.update_continuous_backups(table.name, {"PointInTimeRecoveryEnabled": enabled})
    expiry = properties.get("TimeToLiveSpecification")
    if expiry or table.ttl["TimeToLiveStatus"] == "ENABLED":
        wanted = {"Enabled": "false", "AttributeName": table.ttl.get("AttributeName", ""), **(expiry or {})}
        enabled = str(wanted["Enabled"]).lower() == "true"
        backend.update_time_to_live(table.name, wanted | {"Enabled": enabled})
    return table


def _update_table(context: Context[object], table: Any, name: str, properties: Properties) -> Any:
    kept = {item["AttributeName"] for item in properties["KeySchema"]} == {
        item["AttributeName"] for item in table.schema
    }
    if not kept or name != table.name:
        delete_resource(context.type, table, {"Properties": properties}, context.account, context.region)
        return _create_table(context, name, properties)
    table.deletion_protection_enabled = str(properties.get("DeletionProtectionEnabled", "false")).lower() == "true"
    return _finish_table(context, table, properties)


KINDS: tuple[Kind[object], ...] = (Kind("AWS::DynamoDB::Table", "TableName", _create_table, _update_table),)

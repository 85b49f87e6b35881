"""What a refused DynamoDB transaction means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


def somebody_was_faster(error: ClientError) -> bool:
    """Whether a transaction failed because of another one, rather than by itself (an item too large, throttling)."""
    if error.response["Error"]["Code"] == "TransactionConflictException":
        return True
    reasons: Any = error.response.get("CancellationReasons", [])
    return any(reason.get("Code") in ("ConditionalCheckFailed", "TransactionConflict") for reason in reasons)

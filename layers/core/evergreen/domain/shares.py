"""Which requests belong to a share of them: decided by a hash of an id, the same for whoever asks and whenever."""

from __future__ import annotations

import hashlib

_ALL = 2**64


def is_among(share: float, purpose: str, request: str) -> bool:
    """Whether a request is among a share of all requests.

    Parameters
    ----------
    share
        0 to 1. A request that is among a share is among every larger one.
    purpose
        What the share is for: shares for different purposes have nothing to do with each other.
    request
        The id that decides.

    Examples
    --------
    >>> is_among(0.5, "canary", "order-17"), is_among(0.5, "canary", "order-14")
    (False, True)
    >>> is_among(1.0, "canary", "order-17"), is_among(0.0, "canary", "order-14")
    (True, False)
    """
    digest = hashlib.sha256(f"{purpose}:{request}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * _ALL


def is_captured(share: float, inference_id: str) -> bool:
    """Whether an answer is among those that are captured: known from its id alone, so that its label knows it too.

    Examples
    --------
    >>> is_captured(1.0, "order-17"), is_captured(0.01, "order-17")
    (True, False)
    """
    return share >= 1 or is_among(share, "capture", inference_id)

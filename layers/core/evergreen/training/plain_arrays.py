"""A file of JSON and the arrays behind it: what a state is stored as, so that no pickle is ever loaded."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

_LENGTH = struct.Struct("<I")
"""Of the header."""


def write(magic: bytes, header: Any, arrays: Arrays) -> bytes:
    """Return a header and the arrays that were put meanwhile; the same bytes for the same content."""
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return b"".join((magic, _LENGTH.pack(len(text)), text, *arrays.parts))


def read(magic: bytes, content: bytes) -> tuple[Any, bytes]:
    """Return a header and the bytes of the arrays, which :func:`taken` reads.

    Raises
    ------
    ValueError, struct.error
        The bytes do not begin so, or are cut off.
    """
    begin = len(magic) + _LENGTH.size
    if not content.startswith(magic):
        raise ValueError("it does not begin as one")
    (length,) = _LENGTH.unpack_from(content, len(magic))
    return json.loads(content[begin : begin + length]), content[begin + length :]


class Arrays:
    """Arrays one behind the other, and for each value the JSON that says where its parts lie."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._length = 0

    def put(self, value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
            if array.dtype.kind in "OU":
                return {"texts": [str(text) for text in array.flat], "shape": list(array.shape)}
            content = array.tobytes()
            placed = {"at": self._length, "dtype": array.dtype.str, "shape": list(array.shape)}
            self.parts.append(content)
            self._length += len(content)
            return placed
        if isinstance(value, (list, tuple)):
            return {"tuple" if isinstance(value, tuple) else "list": [self.put(each) for each in value]}
        return value


def taken(value: Any, joined: bytes) -> Any:
    """Read what :class:`Arrays` put; arrays that may be written to."""
    if not isinstance(value, dict):
        return value
    if "texts" in value:
        texts = np.empty(len(value["texts"]), dtype=object)
        texts[:] = value["texts"]
        return texts.reshape(value["shape"])
    if "at" in value:
        count = int(np.prod(value["shape"], dtype=np.int64))
        array = np.frombuffer(joined, np.dtype(value["dtype"]), count, value["at"]).reshape(value["shape"])
        return array.copy() if value["shape"] else array[()]
    if "tuple" in value:
        return tuple(taken(each, joined) for each in value["tuple"])
    return [taken(each, joined) for each in value["list"]]

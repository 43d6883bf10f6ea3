"""Messages between the sidecar and a reducer's process: a length of four bytes, then JSON with all digits."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from sidecar.domain.json_safe import encode_json, parse_float

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 256 << 20


class ReducerTask(Struct):
    """First message to the process: the function, its limits and the state to begin with."""

    module: str
    function: str
    paths: list[str]
    memory_bytes: int
    cpu_s: int
    state: Any
    origins: Any


class ReducerFailure(Struct):
    """Answer of a process that cannot continue."""

    message: str
    position: str | None = None
    """The event on which the function failed; None if it could not be loaded."""


def encode_frame(message: Any) -> bytes:
    """Encode a message with its length in front."""
    data = encode_json(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


_decode: Any = msgspec.json.Decoder(float_hook=parse_float).decode


def decode_message(data: bytes) -> Any:
    """Decode a message without its length. Numbers keep all their digits."""
    return _decode(data)

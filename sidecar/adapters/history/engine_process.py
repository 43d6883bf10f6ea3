"""The process of the history's engine.

`python -m sidecar.adapters.history.engine_process SPOOL MEMORY_BYTES THREADS NICE_LEVELS`

It reads requests from its standard input and writes one reply for each to its standard output, both as MessagePack
after four bytes with the length. It ends when its input ends, so it never outlives the sidecar.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import duckdb
import msgspec

from sidecar.adapters.history.engine import HistoryEngine
from sidecar.adapters.history.engine_requests import EngineReply, EngineRequest

LENGTH_BYTES = 4


def main(arguments: list[str]) -> None:
    """Serve requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a terminal reaches the whole process group
    spool, memory_bytes, threads, nice_levels = arguments
    os.nice(int(nice_levels))
    engine = HistoryEngine(Path(spool), memory_bytes=int(memory_bytes), threads=int(threads))
    decoder, encoder = msgspec.msgpack.Decoder(EngineRequest), msgspec.msgpack.Encoder()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while (frame := _read_frame(source)) is not None:
        reply = encoder.encode(_run(engine, decoder.decode(frame)))
        target.write(len(reply).to_bytes(LENGTH_BYTES, "big") + reply)
        target.flush()


def _run(engine: HistoryEngine, request: EngineRequest) -> EngineReply:
    try:
        return engine.run(request)
    except (duckdb.Error, OSError) as error:
        text = str(error)
        return EngineReply(error=text[:2_000], is_full="No space left" in text or "Disk quota" in text)


def _read_frame(source: BinaryIO) -> bytes | None:
    head = source.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    return source.read(int.from_bytes(head, "big"))


if __name__ == "__main__":
    main(sys.argv[1:])

"""The process of a reducer: loads `module:function` and applies it to events that it reads from standard input.

It sets its own limits before it loads the module: memory, processor time, no core dumps, and no files that grow.
Standard input and output are replaced before, so that the function can neither read nor disturb the messages. The index
of the event in work is written to a shared file: the sidecar reads it there if this process dies or has to be killed.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import resource
import struct
import sys
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

from sidecar.adapters.reducers.frames import LENGTH_BYTES, ReducerFailure, ReducerTask, decode_message, encode_frame
from sidecar.domain.aggregate_fold import AggregateFold, AggregateState, Reduce, ReducerEvent
from sidecar.domain.json_safe import to_json_values

PROGRESS = struct.Struct("=q")


class _FunctionFailed(Exception):
    """The function failed; the message says how."""


def main() -> None:
    """Apply events from standard input until it is closed, and write each result to standard output."""
    progress = mmap.mmap(int(sys.argv[1]), PROGRESS.size)
    source, sink = _take_streams()
    task: Any = _read(source)
    if task is None:
        return
    try:
        fold = _prepare(ReducerTask(**task))
    except _FunctionFailed as error:
        _write(sink, {"failed": ReducerFailure(str(error))})
        return
    _write(sink, {"ready": True})
    _serve(source, sink, fold, progress)


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for messages, and give the function empty ones."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    return source, sink


def _prepare(task: ReducerTask) -> AggregateFold:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (task.cpu_s, task.cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (task.memory_bytes, task.memory_bytes))
    sys.path[:0] = task.paths
    sys.dont_write_bytecode = True
    try:
        function = getattr(importlib.import_module(task.module), task.function)
    except BaseException as error:
        raise _FunctionFailed(f"it cannot be loaded: {_describe(error)}") from None
    if not callable(function):
        raise _FunctionFailed(f"expected a function, found {type(function).__name__}")

    def reduce(state: Any, event: Mapping[str, Any]) -> Any:
        # The function may change its arguments: it gets a copy of the state, and what it returns is copied as well.
        try:
            result = to_json_values(function(to_json_values(state), event))
        except BaseException as error:
            raise _FunctionFailed(_describe(error)) from None
        if not isinstance(result, dict):
            raise _FunctionFailed(f"expected an object as the new state, found {type(result).__name__}")
        return result

    checked: Reduce = reduce
    return AggregateFold(checked, AggregateState(task.state, task.origins))


def _serve(source: BinaryIO, sink: BinaryIO, fold: AggregateFold, progress: mmap.mmap) -> None:
    count = 0
    while (message := _read(source)) is not None:
        if "state" in message:
            _write(sink, {"state": {"value": fold.state.value, "origins": fold.state.origins}})
            continue
        steps: list[Any] = []
        for position, document in message["events"]:
            PROGRESS.pack_into(progress, 0, count)
            try:
                steps.append(fold.apply(ReducerEvent(position, document)))
            except _FunctionFailed as error:
                _write(sink, {"failed": ReducerFailure(str(error), position)})
                return
            count += 1
        _write(sink, {"steps": steps})


def _read(source: BinaryIO) -> Any:
    head = source.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    return decode_message(source.read(int.from_bytes(head, "big")))


def _write(sink: BinaryIO, message: Any) -> None:
    with contextlib.suppress(BrokenPipeError):
        sink.write(encode_frame(message))
        sink.flush()


def _describe(error: BaseException) -> str:
    """Describe an exception with the place in the team's own code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen")]
    place = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {str(error)[:500]}{place}"


if __name__ == "__main__":
    main()

"""The process of one statement of people's SQL: `python -m sidecar.adapters.history.sql_process`.

It reads one request from its standard input and writes one reply to its standard output, both as MessagePack after four
bytes with the length. What keeps a statement within the history, each by itself:

1. It is one statement, and the engine's own parser says that it is a SELECT. So it writes nothing (COPY, CREATE), and
   attaches, installs and sets nothing.
2. File access is limited to the data files that the views read (`allowed_paths`), and the network with it
   (`enable_external_access`). The configuration is locked before the statement is parsed.
3. Limits of the operating system: memory, no file that grows, no core dumps, and processor time.
4. An environment without the sidecar's variables, and a working directory in which the files have relative names.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import threading
import time
from datetime import datetime
from typing import Any

import duckdb
import msgspec
from msgspec import Struct

from sidecar.adapters.history.engine_process import LENGTH_BYTES
from sidecar.domain.json_safe import to_json_values

MAX_CELL_BYTES = 1 << 20
ENGINE_THREADS_COUNT = 2
ROWS_PER_FETCH = 500
DATA_BYTES_FACTOR = 2.5
"""Writable memory of the process, as a multiple of the engine's own limit."""


class SqlRequest(Struct):
    """Request to the process: a statement, the SQL of its views, and its limits."""

    folder: str
    views: list[str]
    paths: list[str]
    """Data files, relative to the folder."""
    statement: str
    rows: int
    bytes: int
    timeout_s: float
    memory_bytes: int


class SqlReply(Struct):
    """Reply of the process: columns and rows, or the reason why the statement failed or was stopped."""

    columns: list[tuple[str, str]] = []
    rows: list[list[Any]] = []
    truncated: bool = False
    elapsed_s: float = 0.0
    wrong: str | None = None
    """The statement is wrong, or is not allowed."""
    exceeded: str | None = None
    """The statement exceeds a limit."""
    failed: str | None = None
    """The history cannot be read."""


def main() -> None:
    """Read one request from standard input, run it, and write the reply to standard output."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    length = int.from_bytes(source.read(LENGTH_BYTES), "big")
    request = msgspec.msgpack.decode(source.read(length), type=SqlRequest)
    reply = msgspec.msgpack.encode(_run(request))
    target.write(len(reply).to_bytes(LENGTH_BYTES, "big") + reply)
    target.flush()


def _run(request: SqlRequest) -> SqlReply:
    cpu_s = math.ceil(request.timeout_s * ENGINE_THREADS_COUNT + 10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    data_bytes = int(request.memory_bytes * DATA_BYTES_FACTOR)
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    os.chdir(request.folder)
    try:
        connection = _open(request)
    except duckdb.Error as error:
        return SqlReply(failed=_first_lines(error))
    try:
        statements = connection.extract_statements(request.statement)
    except duckdb.Error as error:
        return SqlReply(wrong=_first_lines(error))
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(str(each.type).rpartition(".")[2] for each in statements[:5]) or "nothing"
        return SqlReply(wrong=f"expected one SELECT statement, found {kinds}")
    return _select(connection, request, statements[0])


def _open(request: SqlRequest) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": ENGINE_THREADS_COUNT,
            "memory_limit": f"{request.memory_bytes // 1_000_000}MB",
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    for view in request.views:
        connection.execute(view)
    connection.execute("SET enable_progress_bar = false")
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in request.paths)
    connection.execute(f"SET allowed_paths = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _select(connection: duckdb.DuckDBPyConnection, request: SqlRequest, statement: duckdb.Statement) -> SqlReply:
    started = time.monotonic()
    timer = threading.Timer(request.timeout_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        result = connection.execute(statement)
        reply = SqlReply([(str(name), str(kind)) for name, kind, *_ in result.description])
        _fetch(result, request, reply)
    except duckdb.InterruptException:
        return SqlReply(exceeded=f"it took longer than {request.timeout_s:g} s")
    except (duckdb.OutOfMemoryException, MemoryError):
        return SqlReply(exceeded=f"it needs more memory than {request.memory_bytes // 1_000_000} MB")
    except duckdb.IOException as error:
        return SqlReply(failed=_first_lines(error))
    except duckdb.Error as error:
        return SqlReply(wrong=_first_lines(error))
    finally:
        timer.cancel()
    reply.elapsed_s = time.monotonic() - started
    return reply


def _fetch(result: duckdb.DuckDBPyConnection, request: SqlRequest, reply: SqlReply) -> None:
    size = 0
    while part := result.fetchmany(ROWS_PER_FETCH):
        for row in part:
            if len(reply.rows) == request.rows:
                reply.truncated = True
                return
            values = [_to_json(value) for value in row]
            size += len(msgspec.msgpack.encode(values))
            if size > request.bytes:
                reply.truncated = True
                return
            reply.rows.append(values)


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.isoformat() + "Z"
    if isinstance(value, str | bytes) and len(value) > MAX_CELL_BYTES:
        return f"(a value of {len(value)} characters: not shown)"
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _to_json(item) for name, item in value.items()}
    converted = to_json_values(value)
    return str(converted) if isinstance(converted, int) and converted.bit_length() > 63 else converted


def _first_lines(error: Exception) -> str:
    return str(error)[:1_000]


if __name__ == "__main__":
    if sys.flags.isolated:
        main()
    else:
        raise SystemExit("run it with python -I: its environment must not decide what it imports")

"""Runner of user SQL over the files of the history, each statement in a separate process.

How a statement can end; the process is gone afterwards in every case:

- It is wrong, or no SELECT: the process says so. QueryError with the engine's message.
- It takes too long: the process interrupts it. If it does not come back, the process is killed. Refused.
- It needs too much memory: the engine says so, or the process dies at its limit. Refused.
- A file was merged into another one and deleted meanwhile: the files are listed again and the statement runs once more;
  then Outage.
- The caller goes away: the task is canceled, and the process is killed and waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from sidecar.adapters.history.engine_process import LENGTH_BYTES
from sidecar.adapters.history.file_catalog import FileCatalog, HistoryFile
from sidecar.adapters.history.file_store import FileStore, StoredFile
from sidecar.adapters.history.sql_process import SqlReply, SqlRequest
from sidecar.adapters.history.sql_views import build_views, find_overlapping
from sidecar.domain.broker_traits import list_traits
from sidecar.domain.errors import Outage, QueryError, Refused
from sidecar.domain.history_rows import SCHEMA_VERSION
from sidecar.domain.ports.history_sql import MAX_STATEMENT_CHARACTERS, SqlAnswer, SqlColumn, SqlLimits

MAX_CONCURRENT_STATEMENTS = 2
MAX_CONCURRENT_COPIES = 4
"""Files that are copied from object storage at the same time. Each is in memory until it is written."""
MEMORY_BYTES = 256_000_000
GRACE_S = 5.0
"""Time to start the process, and to end by itself after the time limit."""
MAX_COPIED_BYTES = 2 << 30
"""Bytes of files that are copied from object storage for one statement."""
MAX_TRIES = 2
ONE_WORD_BITS = 64
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL")


class SqlFiles(Struct, frozen=True):
    """Local paths of the files that the views read."""

    folder: str
    distinct: list[str]
    overlapping: list[str]
    fates: list[str]
    by_name: bool


class HistorySqlRunner:
    """Runs each statement in a process of its own. Implements `ports.history_sql.HistorySql`."""

    def __init__(self, catalog: FileCatalog, store: FileStore, *, copies: bool) -> None:
        """Create the runner. `copies`: files have to be copied from object storage first."""
        self._catalog, self._store, self._copies = catalog, store, copies
        self._turns, self._copying = (
            asyncio.Semaphore(MAX_CONCURRENT_STATEMENTS),
            asyncio.Semaphore(MAX_CONCURRENT_COPIES),
        )

    async def run(self, statement: str, limits: SqlLimits) -> SqlAnswer:
        """Run one SELECT statement within `limits`. Raises QueryError, Refused and Outage, as listed above."""
        if len(statement) > MAX_STATEMENT_CHARACTERS:
            message = f"the statement has {len(statement)} characters; at most {MAX_STATEMENT_CHARACTERS} are allowed"
            raise QueryError(message, statement[:100], 0)
        async with self._turns:
            for attempt in range(MAX_TRIES):
                await self._catalog.refresh(force=attempt > 0)
                files = await self._collect(limits)
                reply = None if files is None else await self._ask(statement, limits, files)
                if files is not None and reply is not None and reply.failed is None:
                    return _answer(reply, files, statement)
        reason = "files were deleted while they were read" if reply is None else reply.failed
        raise Outage(
            f"the history cannot be read: {reason} ({MAX_TRIES} attempts); try again, and check that no other program "
            "deletes files below history.url"
        )

    async def _collect(self, limits: SqlLimits) -> SqlFiles | None:
        """Return the files that may hold the events asked for; None if one of them is gone."""
        chosen = [file for file in self._catalog.files() if _overlaps(file, limits)]
        fates = self._catalog.fate_files()
        size = sum(file.file.size_bytes for file in chosen) + sum(file.size_bytes for file in fates)
        if self._copies and size > MAX_COPIED_BYTES:
            raise Refused(
                f"the files for this statement have {size >> 20} MB and would have to be copied from object storage, "
                f"which is done for at most {MAX_COPIED_BYTES >> 20} MB: choose a shorter time with since and until"
            )
        overlapping = find_overlapping(chosen)
        files = [*(each.file for each in chosen), *fates]
        opened = await asyncio.gather(*(self._open(file) for file in files))
        paths = {file.name: path for file, path in zip(files, opened, strict=True)}
        if any(path is None for path in paths.values()):
            return None
        present = {name: path for name, path in paths.items() if path is not None}
        folder = Path(os.path.commonpath([path.parent for path in present.values()]) if present else "/")
        local = {name: str(path.relative_to(folder)) for name, path in present.items()}
        return SqlFiles(
            str(folder),
            [local[file.name] for file in chosen if file.name not in overlapping],
            [local[file.name] for file in chosen if file.name in overlapping],
            [local[file.name] for file in fates],
            any(file.header.schema_version != SCHEMA_VERSION for file in chosen),
        )

    async def _open(self, file: StoredFile) -> Path | None:
        async with self._copying:
            path = await self._store.open_local(file, None)
        return None if path is None else await asyncio.to_thread(path.resolve)

    async def _ask(self, statement: str, limits: SqlLimits, files: SqlFiles) -> SqlReply:
        split = [traits.scheme for traits in list_traits() if traits.offset_bits > ONE_WORD_BITS]
        views = build_views(files.distinct, files.overlapping, files.fates, by_name=files.by_name, split_offsets=split)
        request = SqlRequest(
            files.folder,
            views,
            [*files.distinct, *files.overlapping, *files.fates],
            statement,
            limits.rows,
            limits.bytes,
            limits.timeout_s,
            MEMORY_BYTES,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "sidecar.adapters.history.sql_process"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | {"MALLOC_ARENA_MAX": "2"},
            cwd="/",
        )
        try:
            async with asyncio.timeout(limits.timeout_s + GRACE_S):
                return await _exchange(process, msgspec.msgpack.encode(request))
        except TimeoutError:
            return SqlReply(exceeded=f"it took longer than {limits.timeout_s:g} s")
        except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError):
            code = await process.wait()
            return SqlReply(exceeded=f"its process ended with code {code}, so it needs too much memory or time")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())


async def _exchange(process: asyncio.subprocess.Process, request: bytes) -> SqlReply:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(len(request).to_bytes(LENGTH_BYTES, "big") + request)
    await process.stdin.drain()
    length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES), "big")
    return msgspec.msgpack.decode(await process.stdout.readexactly(length), type=SqlReply)


def _answer(reply: SqlReply, files: SqlFiles, statement: str) -> SqlAnswer:
    if reply.wrong is not None:
        raise QueryError(reply.wrong, statement, 0)
    if reply.exceeded is not None:
        advice = "choose a shorter time (since, until), or select and group less"
        raise Refused(f"the statement was stopped: {reply.exceeded}; {advice}")
    columns = [SqlColumn(name, kind) for name, kind in reply.columns]
    count = len(files.distinct) + len(files.overlapping)
    return SqlAnswer(columns, reply.rows, reply.truncated, reply.elapsed_s, count)


def _overlaps(file: HistoryFile, limits: SqlLimits) -> bool:
    low, high = file.header.min_ms, file.header.max_ms
    if low is None or high is None:
        return False
    return (limits.since_ms is None or high >= limits.since_ms) and (limits.until_ms is None or low < limits.until_ms)

"""A reducer of the operator's own code, `module:function`, in a process of its own.

The configuration names the function; no caller of the API can. It gets redacted events only, and an environment without
the sidecar's variables, in which secrets may be. It is the operator's code: the limits protect the sidecar from
mistakes, not from malice.

How a run can end. In every case the process is gone when the context is left:

- The function raises, or returns no object: the process says so, with the event. Refused, names the event.
- The module cannot be loaded: the process says so. Refused.
- The function takes too long (a loop, a lock, a read): there is no answer within the time that is left. The process is
  killed. Refused, names the event, which the process has written to the shared progress.
- It needs too much memory: MemoryError in the function, or the process dies. Refused, names the event.
- It ends the process (`os._exit`, a crash in C, too much processor time): its output ends. Refused, names the event and
  how the process ended.
- The caller goes away, or the sidecar stops: the task is canceled. The process is killed and waited for.
- The sidecar itself is killed: the process reads the end of its input after the event in work, or is ended by the
  limit of its processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from sidecar.adapters.reducers.frames import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    ReducerFailure,
    ReducerTask,
    decode_message,
    encode_frame,
)
from sidecar.adapters.reducers.worker import PROGRESS
from sidecar.domain.aggregate_fold import AggregateState, ReducerEvent, StateStep
from sidecar.domain.errors import Refused

START_TIMEOUT_S = 20.0
"""Time to start Python and to load the module."""
MAX_EVENTS_PER_FRAME = 256
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")


class ProcessReducer:
    """A reducer in a process of its own. Implements `ports.reducer.Reducer`."""

    def __init__(self, name: str, *, path: str | None, timeout_s: float, memory_bytes: int) -> None:
        """Create the reducer.

        Args:
            name: The function, as `module:function`.
            path: Directory that the module is imported from, before the installed packages.
            timeout_s: Time that the function may take for one question, for all events together.
            memory_bytes: Address space of the process.
        """
        self.name = name
        self._paths = [] if path is None else [str(Path(path).expanduser().resolve())]
        self._timeout_s, self._memory_bytes = timeout_s, memory_bytes

    @asynccontextmanager
    async def start(self, state: AggregateState) -> AsyncIterator[ProcessReduction]:
        with tempfile.TemporaryFile() as progress:
            progress.write(PROGRESS.pack(0))
            progress.flush()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "sidecar.adapters.reducers.worker", str(progress.fileno())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=[progress.fileno()],
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                cwd=tempfile.gettempdir(),
            )
            try:
                reduction = ProcessReduction(self.name, process, progress, self._timeout_s)
                module, _, function = self.name.partition(":")
                cpu_s = math.ceil(self._timeout_s + START_TIMEOUT_S)
                await reduction.begin(
                    ReducerTask(module, function, self._paths, self._memory_bytes, cpu_s, state.value, state.origins)
                )
                yield reduction
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
                assert process.stdin is not None
                process.stdin.close()


class ProcessReduction:
    """One run of the function in its process, from the initial state to the result."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, progress: IO[bytes], timeout_s: float) -> None:
        self._name, self._process, self._progress, self._timeout_s = name, process, progress, timeout_s
        self._used_s = 0.0
        self._positions: list[str] = []
        """Positions of all events that were handed over."""

    async def begin(self, task: ReducerTask) -> None:
        """Load the function in the process. Raises Refused."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._ask(task)
        except TimeoutError:
            raise Refused(f"the reducer {self._name} did not start within {START_TIMEOUT_S:g} s") from None

    async def apply(self, events: Sequence[ReducerEvent]) -> list[StateStep]:
        steps: list[StateStep] = []
        for start in range(0, len(events), MAX_EVENTS_PER_FRAME):
            part = events[start : start + MAX_EVENTS_PER_FRAME]
            self._positions += [event.position for event in part]
            answer = await self._ask_in_time({"events": [(event.position, event.document) for event in part]})
            steps += msgspec.convert(answer["steps"], list[StateStep])
        return steps

    async def state(self) -> AggregateState:
        answer = await self._ask_in_time({"state": True})
        return AggregateState(answer["state"]["value"], answer["state"]["origins"])

    async def _ask_in_time(self, message: Any) -> Any:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(0.001, self._timeout_s - self._used_s)):
                return await self._ask(message)
        except TimeoutError:
            place = self._event_in_work()
            message = f"the reducer {self._name} took longer than {self._timeout_s:g} s and was stopped{place}"
            raise Refused(message) from None
        finally:
            self._used_s += time.monotonic() - begun

    async def _ask(self, message: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(encode_frame(message))
            await self._process.stdin.drain()
            length = int.from_bytes(await self._process.stdout.readexactly(LENGTH_BYTES), "big")
            if length > MAX_FRAME_BYTES:
                raise Refused(f"the state that the reducer {self._name} builds is larger than {MAX_FRAME_BYTES} bytes")
            answer = decode_message(await self._process.stdout.readexactly(length))
        except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError):
            code = await self._process.wait()
            how = f"signal {-code}" if code < 0 else f"status {code}"
            raise Refused(f"the process of the reducer {self._name} ended with {how}{self._event_in_work()}") from None
        if "failed" in answer:
            failure = msgspec.convert(answer["failed"], ReducerFailure)
            place = "" if failure.position is None else f" on {failure.position}"
            raise Refused(f"the reducer {self._name} failed{place}: {failure.message}")
        return answer

    def _event_in_work(self) -> str:
        if not self._positions:
            return ""
        index = int(PROGRESS.unpack(os.pread(self._progress.fileno(), PROGRESS.size, 0))[0])
        return f", in the event at {self._positions[min(index, len(self._positions) - 1)]}"

"""Waiting for conditions that other tasks, threads or processes bring about."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable

TIMEOUT_S = 60.0
"""Longer than a busy machine needs; tests that pass do not wait for it."""


async def until(
    condition: Callable[[], object | Awaitable[object]],
    what: str = "the condition",
    *,
    timeout_s: float = TIMEOUT_S,
    pause_s: float = 0.005,
) -> None:
    """Return once the condition, a function or a coroutine function, returns a true value.

    Raises AssertionError with `what` after `timeout_s` seconds.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                answer = condition()
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer:
                    return
                await asyncio.sleep(pause_s)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s:g} s in vain for {what}") from None


def wait_until(
    condition: Callable[[], object],
    what: str = "the condition",
    *,
    timeout_s: float = TIMEOUT_S,
    pause_s: float = 0.01,
    ignore: type[Exception] | tuple[type[Exception], ...] = (),
) -> None:
    """Block until the condition returns a true value. Exceptions of the `ignore` types count as false."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(*(ignore if isinstance(ignore, tuple) else (ignore,))):
            if condition():
                return
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(pause_s)

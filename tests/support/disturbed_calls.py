"""Calls that are canceled or delayed at one of their awaits, for the contracts of adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

DISTURBANCES = ("canceled", "canceled when answered", "delayed")
"""Cancel the call while it waits; cancel it when the answer is there, before it is read; read the answer late."""
DELAY_S = 0.02
MAX_AWAITS = 500
"""Awaits of one call that are tried; a call with more fails the test."""


class DisturbedCall(Generic[T]):
    """A call whose `number`th await, counted over everything that it awaits in its own task, is disturbed."""

    def __init__(self, work: Coroutine[Any, Any, T], how: str, number: int) -> None:
        self._work, self._how, self._number = work, how, number
        self.awaits = 0
        """Awaits that were reached."""
        self.error: BaseException | None = None
        """The error that ended the call; CancelledError if it was canceled."""

    @property
    def was_disturbed(self) -> bool:
        """False if the call ended before the await that was to be disturbed."""
        return self.awaits >= self._number

    async def run(self) -> T | None:
        """Run the call to its end. Returns its result; None if it failed."""
        task = asyncio.ensure_future(self._disturbed())
        await asyncio.wait({task})
        if task.cancelled():
            self.error = asyncio.CancelledError()
            return None
        self.error = task.exception()
        return None if self.error else task.result()

    async def _disturbed(self) -> T:
        return await self

    def __await__(self) -> Generator[Any, None, T]:
        error: BaseException | None = None
        while True:
            try:
                awaited = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            error = None
            self.awaits += 1
            is_next = self.awaits == self._number
            if is_next:
                self._cancel(awaited)
            try:
                yield awaited
                if is_next and self._how == "delayed":
                    yield from asyncio.sleep(DELAY_S).__await__()
            except BaseException as raised:  # also a cancellation, which the call is to see
                error = raised

    def _cancel(self, awaited: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._how == "canceled":
            task.cancel()
        elif self._how == "canceled when answered":
            if awaited is None:
                task.cancel()
            else:
                # Called before the task wakes up, because the task has not yet added its own callback.
                awaited.add_done_callback(lambda _: task.cancel())


def disturbances() -> Iterator[tuple[str, Iterator[int]]]:
    """Return each kind of disturbance with the numbers of the awaits to try."""
    for how in DISTURBANCES:
        yield how, iter(range(1, MAX_AWAITS + 1))


async def disturb_each_await(
    call: Callable[[], Coroutine[Any, Any, T]], check: Callable[[DisturbedCall[T]], Coroutine[Any, Any, None]]
) -> int:
    """Make a call again and again, each time with another await disturbed, until every one was.

    `check` runs after each call. Returns the number of disturbances.
    """
    disturbed = 0
    for how, numbers in disturbances():
        for number in numbers:
            each = DisturbedCall(call(), how, number)
            await each.run()
            await check(each)
            if not each.was_disturbed:
                break
            disturbed += 1
        else:
            raise AssertionError(f"the call awaits more than {MAX_AWAITS} times")
    return disturbed

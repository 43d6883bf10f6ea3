"""Contract of indexes: whichever await of a question is canceled or delayed, other answers stay right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistoryKey
from sidecar.domain.position import Position
from tests.support.disturbed_calls import DisturbedCall, disturb_each_await

APPENDED_AT = 1_790_000_000_000
"""In milliseconds."""


class IndexCancellationContract:
    """Promises about questions that are canceled or delayed."""

    async def test_no_await_of_a_question_changes_another_answer(self, index):
        index.add(
            [
                Event(
                    Position("memory", "orders", 0, offset),
                    None,
                    APPENDED_AT + offset,
                    observed_at=APPENDED_AT * 1000,
                    event_id=f"e{offset}",
                    trace_id=offset // 3 + 1,
                    aggregate_id="4711",
                    causation_id=f"e{offset - 1}" if offset % 3 else None,
                    producer="shop",
                )
                for offset in range(30)
            ]
        )
        await self.held(index)
        questions: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: index.at(Position("memory", "orders", 0, 7)),
            lambda: index.lookup("e7"),
            lambda: index.flow("e7"),
            lambda: index.flows(5),
            lambda: index.aggregate("4711"),
            lambda: index.find_carriers([HistoryKey("event", "e7")], 10),
            lambda: index.find_consumption(["shop"]),
        ]
        expected = [await question() for question in questions]
        assert len(expected[4]) == 30

        async def check(_: DisturbedCall[Any]) -> None:
            answers = await asyncio.gather(*(questions[index]() for index in (0, 2, 6)))
            assert answers == [expected[index] for index in (0, 2, 6)]

        for question in questions:
            await disturb_each_await(question, check)

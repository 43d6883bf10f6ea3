"""Consumption by groups, over the API and on the command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from sidecar.adapters.brokers.memory.log import MemoryGroup
from sidecar.domain.errors import Outage
from sidecar.domain.position import Partition
from tests.support.api import OPERATOR, Sidecar, order, serving
from tests.unit.cli.test_commands import Outcome, within

MINUTE = 60_000_000


class Foreign:
    """Consumer groups beside a sidecar. The test moves their offsets and polls them."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar, self.now = sidecar, 1_700_000_000_000_000
        sidecar.follower._clock = lambda: self.now

    def commit(self, group: str, offset: int, stream: str = "orders") -> None:
        committed = self.sidecar.log.groups.setdefault(group, MemoryGroup()).committed
        committed[Partition("memory", stream, 0)] = offset

    async def look(self, after: int = 5_000_000) -> None:
        self.now += after
        await self.sidecar.follower.poll()

    async def stop(self, group: str, at: int) -> None:
        """Let a group make progress, and then stop in front of an offset."""
        self.commit(group, at - 1)
        await self.look()
        self.commit(group, at)
        await self.look()
        await self.look(MINUTE)

    async def cli(self, *arguments: str) -> Outcome:
        found = await within(*arguments, TRACECAR_URL=self.sidecar.url, TRACECAR_TOKEN=OPERATOR)
        assert found.code == 0, found.err
        return found


@pytest_asyncio.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Foreign]:
    async with serving(tmp_path / "token") as sidecar:
        yield Foreign(sidecar)


async def _get(foreign: Foreign, path: str) -> Any:
    async with foreign.sidecar.http() as http:
        response = await http.get(path)
        assert response.status_code == 200, response.text
        return response.json()


async def test_an_event_has_the_groups_that_consumed_it(foreign: Foreign) -> None:
    for number in range(4):
        await foreign.sidecar.pass_on(order(number))
    foreign.commit("mail", 4)
    await foreign.stop("billing", 2)
    found = await _get(foreign, "/v1/events/memory%3A%2F%2Forders%2F0%2F1")
    assert found["delivery"] == [
        {
            "group": "billing",
            "passed": True,
            "passed_after": "2023-11-14T22:13:25.000Z",
            "passed_at": "2023-11-14T22:13:30.000Z",
            "behind": 0,
            "deliveries": 0,
            "stopped": None,
        },
        {
            "group": "mail",
            "passed": True,
            "passed_after": None,
            "passed_at": None,
            "behind": 0,
            "deliveries": 0,
            "stopped": None,
        },
    ]
    assert found["delivery_at"] == "2023-11-14T22:14:30.000Z"
    (billing, _) = (await _get(foreign, "/v1/events/e-2"))["delivery"]
    assert (billing["passed"], billing["passed_at"], billing["behind"]) == (False, None, 1)
    assert billing["stopped"]["inferred"] is True
    assert billing["stopped"]["since"] == "2023-11-14T22:13:30.000Z"
    (event, *_) = (await _get(foreign, "/v1/events"))["items"]
    assert "delivery" not in event


async def test_before_the_first_look_nothing_is_claimed(foreign: Foreign) -> None:
    await foreign.sidecar.pass_on(order(1, correlationId="c-1"))
    assert "delivery" not in await _get(foreign, "/v1/events/e-1")
    assert "delivery" not in await _get(foreign, "/v1/flows/c-1")
    assert (await _get(foreign, "/v1/groups"))["note"] == "the groups have not been polled yet"


async def test_groups_are_listed_with_what_they_stopped_at(foreign: Foreign) -> None:
    await foreign.look()
    assert (await _get(foreign, "/v1/groups"))["items"] == []
    for number in range(4):
        await foreign.sidecar.pass_on(order(number))
    foreign.commit("mail", 4)
    foreign.commit("mail", 0, "payments")
    await foreign.stop("billing", 2)
    async with foreign.sidecar.client() as client:
        page = await client.groups()
    billing, mail = page.items
    assert (billing.group, billing.system, billing.lag, billing.stuck_at) == (
        "billing",
        "memory",
        2,
        "memory://orders/0/2",
    )
    assert [(one.stream, one.partitions, one.lag) for one in billing.streams] == [("orders", 1, 2)]
    assert (mail.lag, mail.stuck_at, mail.stopped) == (0, None, [])
    assert [one.stream for one in mail.streams] == ["orders", "payments"]
    assert (page.looked_at, page.note) == ("2023-11-14T22:14:35.000Z", None)
    (sentence,) = (await _get(foreign, "/v1/status"))["trouble"]
    assert sentence.startswith("billing stopped at memory://orders/0/2: ")


async def test_groups_that_could_not_be_read_are_reported(foreign: Foreign) -> None:
    foreign.sidecar.broker.fail_next("groups", Outage("connection refused"))
    await foreign.look()
    assert (await _get(foreign, "/v1/groups"))["note"] == "memory: connection refused"
    assert "memory: connection refused" in (await foreign.cli("groups")).err


async def test_a_flow_has_the_consumption_of_each_group(foreign: Foreign) -> None:
    for number in range(3):
        await foreign.sidecar.pass_on(order(number, correlationId="c-1"))
    await foreign.sidecar.pass_on(order(7, correlationId="c-1"), "payments")
    foreign.commit("billing", 1)
    foreign.commit("books", 1, "payments")
    await foreign.look()
    assert (await _get(foreign, "/v1/flows/c-1"))["delivery"] == [
        {"group": "billing", "events": 3, "passed": 1, "next": "memory://orders/0/1"},
        {"group": "books", "events": 1, "passed": 1, "next": None},
    ]
    shown = (await foreign.cli("flow", "c-1")).out
    assert "consumed by: billing 1 of 3 (next memory://orders/0/1), books 1 of 1\n" in shown


async def test_the_command_line_shows_who_has_read_it(foreign: Foreign) -> None:
    for number in range(4):
        await foreign.sidecar.pass_on(order(number))
    foreign.commit("mail", 4)
    await foreign.stop("billing", 2)
    line = next(line for line in (await foreign.cli("event", "e-1")).out.splitlines() if line.startswith("consumed by"))
    assert line.split(None, 2)[2] == "billing between 22:13:25 and 22:13:30, mail has (at an unknown time)"
    line = next(line for line in (await foreign.cli("event", "e-2")).out.splitlines() if line.startswith("consumed by"))
    assert (
        "billing not yet (1 behind, stopped here since 2023-11-14T22:13:30.000Z: nothing committed for 60 s: " in line
    )
    line = next(line for line in (await foreign.cli("event", "e-3")).out.splitlines() if line.startswith("consumed by"))
    assert "billing not yet (2 behind), mail has" in line
    rows = (await foreign.cli("groups")).out.splitlines()
    assert rows[0].split("\t")[0] == "group"
    assert rows[1].startswith("billing\tmemory\torders\t0\t2\t")
    assert "\tmemory://orders/0/2\t" in rows[1]
    listed = [json.loads(line) for line in (await foreign.cli("groups", "--json")).out.splitlines()]
    assert [(one["group"], one["stuck_at"]) for one in listed] == [("billing", "memory://orders/0/2"), ("mail", None)]

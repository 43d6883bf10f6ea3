"""The state of an aggregate at a moment, and changes between two moments, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import UNSET

from sidecar.api.services.aggregates import time_travel
from sidecar.config.aggregate_schema import AggregatesConfig, ReducerProcessConfig
from sidecar.domain.position import Partition, Position
from tests.support.api import READER, Sidecar, serving

NOON = "2026-01-31T12:00:0{}Z"


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token", redact=["body:data.card.*"]) as running:
        yield running


def paid(number: int, data: Any, **more: Any) -> dict[str, Any]:
    """Publish an event on a stream without a schema."""
    return {
        "eventId": f"e-{number}", "eventType": "OrderPaid", "aggregateId": "o-1", "aggregateType": "order",
        "occurredAt": NOON.format(number), "data": data, **more,
    }  # fmt: skip


async def ask(sidecar: Sidecar, status: int = 200, id: str = "o-1", **parameters: Any) -> Any:
    async with sidecar.http(READER) as http:
        response = await http.get(f"/v1/aggregates/{id}", params=parameters)
    assert response.status_code == status, response.text
    return response.json()


async def place(sidecar: Sidecar, *bodies: Any) -> list[str]:
    return [str((await sidecar.pass_on(body, "payments")).event.position) for body in bodies]


async def test_the_state_at_a_time_at_a_position_and_now(sidecar: Sidecar) -> None:
    positions = await place(
        sidecar,
        paid(1, {"status": "placed", "total": 10}),
        paid(3, {"status": "paid"}),
        paid(5, {"status": "sent", "total": 12}),
    )
    at_time = await ask(sidecar, at=NOON.format(4))
    assert at_time["state"] == {"status": "paid", "total": 10}
    assert (at_time["at"], at_time["applied"], len(at_time["events"])) == ("2026-01-31T12:00:04.000Z", 2, 2)
    assert at_time["origins"] == {"status": positions[1], "total": positions[0]}
    assert at_time["reducer"] == "auto"
    assert at_time["order"] == "appended"
    assert at_time["complete"] is False
    assert "diff" not in at_time
    assert "steps" not in at_time
    at_position = await ask(sidecar, at=positions[0])
    assert (at_position["at"], at_position["applied"]) == (positions[0], 1)
    assert at_position["state"] == {"status": "placed", "total": 10}
    assert (await ask(sidecar, at="now"))["state"] == {"status": "sent", "total": 12}
    before = await ask(sidecar, at="2020-01-01")
    assert (before["state"], before["applied"], before["events"], before["origins"]) == ({}, 0, [], {})


async def test_the_difference_goes_from_the_earlier_to_the_later_moment(sidecar: Sidecar) -> None:
    positions = await place(sidecar, paid(1, {"status": "placed", "a": 1}), paid(3, {"status": "paid", "b": [1]}))
    expected = [
        {"path": "status", "before": "placed", "after": "paid", "what": "changed"},
        {"path": "b", "before": None, "after": [1], "what": "added"},
    ]
    for at, diff in ((positions[0], "now"), ("now", positions[0]), (NOON.format(2), positions[1])):
        answer = await ask(sidecar, at=at, diff=diff)
        assert answer["changes"] == expected
    assert (await ask(sidecar, diff=NOON.format(2)))["changes"] == expected
    assert (await ask(sidecar, at="now", diff="now"))["changes"] == []


async def test_steps_say_what_each_listed_event_changed(sidecar: Sidecar) -> None:
    positions = await place(sidecar, *(paid(n, {"n": n, "same": 0}) for n in range(1, 6)))
    for _ in range(2):  # the second answer starts from a snapshot
        answer = await ask(sidecar, steps=True, limit=2)
        assert [event["position"] for event in answer["events"]] == positions[3:]
        assert [(step["position"], step["changes"]) for step in answer["steps"]] == [
            (positions[n], [{"path": "n", "before": n, "after": n + 1, "what": "changed"}]) for n in (3, 4)
        ]
    assert answer["origins"] == {"n": positions[4], "same": positions[0]}


async def test_events_that_are_not_applied_are_noted(sidecar: Sidecar) -> None:
    first, again, other = await place(sidecar, paid(1, {"n": 1}), paid(1, {"n": 2}), paid(2, {}))
    bad = (await sidecar.pass_on({**paid(3, {"total": [1]})}, "orders")).event.position  # does not match its schema
    tombstone = (await sidecar.pass_on(None, "payments", headers=(("aggregate-id", b"o-1"),))).event.position
    answer = await ask(sidecar, at="now")
    assert answer["state"] == {"n": 1}
    assert [event["position"] for event in answer["events"]] == [first, again, other, str(bad), str(tombstone)]
    assert [(note["kind"], note["position"]) for note in answer["notes"]] == [
        ("duplicate", again), ("rejected", str(bad)), ("unread", str(tombstone)),
    ]  # fmt: skip


async def test_numbers_keep_all_their_digits_and_equal_floats_with_other_digits_differ(sidecar: Sidecar) -> None:
    digits = ("0.1", "0.10000000000000000001")
    positions = await place(
        sidecar,
        *(
            json.dumps(paid(n, "DATA"))
            .replace('"DATA"', f'{{"rate": {digits[n]}, "big": 12345678901234567890123}}')
            .encode()
            for n in (0, 1)
        ),
    )
    async with sidecar.http(READER) as http:
        response = await http.get("/v1/aggregates/o-1", params={"at": positions[0], "diff": "now"})
        text = response.text
        assert '"state":{"rate":0.1,"big":12345678901234567890123}' in text
        assert '"changes":[{"path":"rate","before":0.1,"after":0.10000000000000000001,"what":"changed"}]' in text
        now = await http.get("/v1/aggregates/o-1", params={"at": "now"})
        assert '"rate":0.10000000000000000001' in now.text


async def test_hidden_values_are_in_no_state_and_no_difference(sidecar: Sidecar) -> None:
    positions = await place(sidecar, *(paid(n, {"card": {"number": f"secret-{n}"}, "n": n}) for n in (1, 2)))
    async with sidecar.http(READER) as http:
        for reducer in ("auto", "merge", "merge-patch", "after-image"):
            response = await http.get(
                "/v1/aggregates/o-1", params={"at": positions[0], "diff": "now", "reducer": reducer, "steps": True}
            )
            assert response.status_code == 200
            assert "secret" not in response.text
            assert "[redacted]" in response.text
    answer = await ask(sidecar, at=positions[0], diff="now")
    assert [change["path"] for change in answer["changes"]] == ["n"]


async def test_a_snapshot_answers_like_the_whole_and_only_for_the_same_events(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_travel, "EVENTS_PER_SNAPSHOT", 2)
    positions = await place(sidecar, *(paid(n, {"n": n, f"f{n}": n}) for n in (1, 2, 3, 5, 7)))
    expected = {position: (await ask(sidecar, at=position))["state"] for position in positions}
    assert expected[positions[2]] == {"n": 3, "f1": 1, "f2": 2, "f3": 3}
    read: list[int] = []
    original = sidecar.payloads.all

    async def count(wanted: Any) -> Any:
        read.append(len(wanted))
        return await original(wanted)

    monkeypatch.setattr(sidecar.payloads, "all", count)
    for position in positions:
        assert (await ask(sidecar, at=position))["state"] == expected[position]
    assert sum(read) <= len(positions)  # only events after the snapshot were read again
    (late,) = await place(sidecar, paid(4, {"n": 4}))
    assert (await ask(sidecar, at=late))["state"]["n"] == 4


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({"at": "noon"}, 400, "not a moment: expected a time such as"),
        ({"at": "memory://payments"}, 400, "not a position"),
        ({"at": "memory://secrets/0/1"}, 404, "does not watch"),
        ({"at": "memory://payments/0/99"}, 404, "does not have a record there yet"),
        ({"reducer": "os:system"}, 400, "there is no reducer 'os:system'; there are after-image, auto"),
        ({"at": "now", "id": "unknown"}, 404, "no aggregate has the id"),
    ],
)
async def test_a_wrong_question_is_answered_with_what_was_expected(
    sidecar: Sidecar, parameters: dict[str, Any], status: int, words: str
) -> None:
    await place(sidecar, paid(1, {"n": 1}))
    id = parameters.get("id", "o-1")
    answer = await ask(sidecar, status, id, **{name: value for name, value in parameters.items() if name != "id"})
    assert words in answer["detail"]


async def test_the_position_of_another_event_is_its_moment(sidecar: Sidecar) -> None:
    _, other, _ = await place(sidecar, paid(1, {"n": 1}), paid(2, {"x": 1}, aggregateId="o-2"), paid(3, {"n": 3}))
    answer = await ask(sidecar, at=other)
    assert (answer["state"], answer["at"]) == ({"n": 1}, "2026-01-31T12:00:02.000Z")


async def test_deleted_payloads_are_noted(sidecar: Sidecar) -> None:
    first, second = await place(sidecar, *(paid(n, {"n": n, f"f{n}": n}, aggregateVersion=n) for n in (1, 2)))
    whole = await ask(sidecar, at="now")
    assert (whole["complete"], whole["order"], whole["notes"]) == (True, "body:aggregateVersion", [])
    partition = Partition("memory", "payments", 0)
    sidecar.cache.discard(partition)
    sidecar.log.trim(partition, Position.parse(second).offset)
    answer = await ask(sidecar, at="now", reducer="merge")  # this reducer has no snapshot
    assert (answer["complete"], answer["state"]) == (False, {"n": 2, "f2": 2})
    assert [(note["kind"], note["position"]) for note in answer["notes"]] == [("unread", first)]
    assert "the broker no longer has this record" in answer["notes"][0]["message"]
    kept = await ask(sidecar, at="now")
    assert kept["state"] == {"n": 2, "f1": 1, "f2": 2}  # from the snapshot


async def test_events_of_a_stream_that_was_created_again_are_not_taken_for_the_old_ones(sidecar: Sidecar) -> None:
    (position,) = await place(sidecar, paid(1, {"n": 1}))
    sidecar.log.recreate("payments")
    sidecar.cache.discard(Partition("memory", "payments", 0))
    sidecar.publish(paid(1, {"n": 99}), "payments")
    answer = await ask(sidecar, at="now")
    assert answer["state"] == {}
    assert [(note["kind"], note["position"]) for note in answer["notes"]] == [("unread", position)]
    assert "created again" in answer["notes"][0]["message"]


async def test_the_dashboards_client_asks_for_a_state(sidecar: Sidecar) -> None:
    (position,) = await place(sidecar, paid(1, {"n": 1}))
    async with sidecar.client(READER) as client:
        aggregate = await client.aggregate("o-1", at=position, diff="now", steps=True)
        plain = await client.aggregate("o-1")
    assert (aggregate.state, aggregate.changes, aggregate.at) == ({"n": 1}, [], position)
    assert aggregate.steps is not UNSET
    assert [step.position for step in aggregate.steps] == [position]
    assert plain.at is UNSET


FUNCTION = """
def count(state, event):
    assert event["body"]["data"]["n"] < 3, "too large"
    return {"events": state.get("events", 0) + 1, "card": event["body"]["data"]["card"], "type": event["type"]}
"""


async def test_a_users_function_reduces_the_configured_types(tmp_path: Path) -> None:
    (tmp_path / "shop_counter.py").write_text(FUNCTION)
    aggregates = AggregatesConfig(
        reducers={"order": "shop_counter:count"},
        sequence=["body:rank"],
        process=ReducerProcessConfig(path=str(tmp_path)),
    )
    async with serving(tmp_path / "token", redact=["body:data.card.*"], aggregates=aggregates) as sidecar:
        card = {"number": "secret"}
        _, first = await place(
            sidecar, paid(1, {"n": 2, "card": card}, rank=2), paid(2, {"n": 1, "card": card}, rank=1)
        )
        answer = await ask(sidecar, at="now", diff=first)
        assert (answer["reducer"], answer["order"]) == ("shop_counter:count", "body:rank")
        assert answer["state"] == {"events": 2, "card": {"number": "[redacted]"}, "type": "OrderPaid"}
        assert [(change["path"], change["before"]) for change in answer["changes"]] == [("events", 1)]
        assert (await ask(sidecar, at="now", reducer="merge"))["state"]["n"] == 2
        (bad,) = await place(sidecar, paid(3, {"n": 3, "card": card}, rank=3))
        refusal = await ask(sidecar, 409, at="now")
        assert f"failed on {bad}: AssertionError: too large (shop_counter.py, line 3)" in refusal["detail"]
        await place(sidecar, paid(4, {"n": 1}, aggregateId="o-2", aggregateType="invoice", rank=4))
        assert (await ask(sidecar, at="now", id="o-2"))["reducer"] == "auto"

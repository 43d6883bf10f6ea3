"""A scripted API client with fixed answers: a small shop at a fixed time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from sidecar.api import models
from sidecar.api.client.client import BadRequest, Client, LiveConnected, LiveItem, NotFound
from sidecar.api.models import replays
from sidecar.decoding.formats.avro.outline import outline_text
from tests.support.aggregate_answers import SQL_ANSWER, AggregateAnswers
from tests.support.dashboard_insights import InsightAnswers
from tests.support.dashboard_times import TRACE, at, coverage

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m[bold]x[/bold][@click=app.quit]q[/]\u202eright\r\n\t\x00\U000e0041{{x}}"
"""Control sequences, markup, a mark that changes the direction of writing, line ends, a template."""


def event(number: int, stream: str, type: str | None, when: int, **more: Any) -> models.FlowEventModel:
    """Build an event of the flow, `when` milliseconds after 10:39."""
    fields: dict[str, Any] = {one.name: None for one in msgspec.structs.fields(models.FlowEventModel) if one.required}
    fields |= {
        "position": f"kafka://{stream}/0/{number}",
        "stream": stream,
        "partition": 0,
        "event_id": f"e-{number}",
        "type": type,
        "occurred_at": at(when),
        "appended_at": at(when + 2),
        "observed_at": at(when + 7),
        "aggregate_id": "order-1010",
        "trace_id": TRACE,
        "correlation_id": "c-1010",
        "producer": stream,
        "schema": models.SchemaRefModel(subject=f"{stream}-value", version=1, id=7, guid=None),
        "status": "ok",
        "trace_origin": "w3c",
        "parent_inferred": False,
        "depth": 0,
    }
    return models.FlowEventModel(**(fields | more))


WHY = models.RejectionModel(
    stage="schema",
    code="schema.mismatch",
    message='items[1].qty: expected int, found string "two" (shipping-value v1)',
    path="items[1].qty",
)
BODY: dict[str, Any] = {
    "parcelId": "parcel-1010",
    "orderId": "order-1010",
    "carrier": "Parcelo",
    "items": [{"sku": "PEN-FINE", "qty": 1}, {"sku": "DESK-160", "qty": "two"}],
    "card": "***",
    "weightGrams": 1400,
}


def flow_events() -> list[models.FlowEventModel]:
    """Build the events of an order: the parcel is rejected, one event is duplicated, one link is inferred."""
    orders, payments, shipping = "kafka://orders/0/1", "kafka://payments/0/2", "kafka://shipping/0/3"
    return [
        event(1, "orders", "OrderPlaced", 1_000),
        event(2, "payments", "PaymentAuthorized", 1_120, parent=orders, depth=1, causation_id="e-1"),
        event(3, "shipping", "shop.ParcelDispatched", 1_400, parent=payments, depth=2, status="rejected",
              rejection=WHY, causation_id="e-2", aggregate_id="parcel-1010"),
        event(4, "notifications", "CustomerNotified", 1_500, parent=shipping, depth=3, parent_inferred=True,
              aggregate_id="customer-7"),
        event(5, "payments", "PaymentAuthorized", 1_180, parent=orders, depth=1, event_id="e-2", status="duplicate"),
        event(6, "loyalty", "PointsGranted", 2_100, parent=orders, depth=1, status="unchecked", schema=None),
    ]  # fmt: skip


def flow(events: Sequence[models.FlowEventModel] | None = None, **more: Any) -> models.FlowModel:
    held = flow_events() if events is None else list(events)
    fields: dict[str, Any] = {
        "trace_id": TRACE,
        "started_at": at(1_000),
        "ended_at": at(2_100),
        "duration_ms": 1_100.0,
        "status": "rejected",
        "aggregates": ["order-1010", "parcel-1010", "customer-7"],
        "streams": ["orders", "payments", "shipping", "notifications", "loyalty"],
        "producers": ["orders"],
        "event_count": len(held),
        "events": held,
        "delivery": [],
    }
    return models.FlowModel(**(fields | more))


def letter(number: int = 1, **more: Any) -> models.DeadLetterModel:
    fields: dict[str, Any] = {
        "id": f"tracecar.shop@kafka://shipping/0/{number}",
        "position": f"kafka://shipping.dlt/0/{number}",
        "origin": f"kafka://shipping/0/{number}",
        "stream": "shipping",
        "group": "tracecar.shop",
        "stage": WHY.stage,
        "code": WHY.code,
        "message": WHY.message,
        "path": WHY.path,
        "event_id": f"e-{number}",
        "type": "shop.ParcelDispatched",
        "trace_id": TRACE,
        "aggregate_id": f"parcel-{1000 + number}",
        "failed_at": at(3_000 + number),
        "attempts": 1,
        "dialect": "tracecar",
        "state": "open",
        "cause": "dd16741c0358",
        "groups": ["tracecar.shop"],
        "schema": models.SchemaRefModel(subject="shipping-value", version=1, id=7, guid=None),
        "service": "shop",
    }
    return models.DeadLetterModel(**(fields | more))


def cause(code: str = "schema.mismatch", stream: str = "shipping", number: int = 3, **more: Any) -> models.CauseModel:
    fields: dict[str, Any] = {
        "cause": "dd16741c0358",
        "stream": stream,
        "stage": "schema",
        "code": code,
        "message": WHY.message,
        "path": WHY.path,
        "type": "shop.ParcelDispatched",
        "schema": None,
        "count": number,
        "states": {"open": number},
        "first_seen": at(3_000),
        "last_seen": at(9_000),
        "oldest_age_s": 57.0,
        "rate": 0.1,
        "aggregates": number,
        "some_aggregates": ["parcel-1001"],
        "groups": ["tracecar.shop"],
        "dialects": ["tracecar"],
        "latest": "tracecar.shop@kafka://shipping/0/3",
    }
    return models.CauseModel(**(fields | more))


AVRO = (
    '{"type":"record","name":"Parcel","namespace":"shop","fields":[{"name":"parcelId","type":"string"},'
    '{"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":['
    '{"name":"sku","type":"string"},{"name":"qty","type":"int"}]}}},'
    '{"name":"weightGrams","type":["null","int"],"default":null}]}'
)
OLDER_AVRO = AVRO.replace(',{"name":"weightGrams","type":["null","int"],"default":null}', "")


def stream_status(name: str, **more: Any) -> models.StreamStatusModel:
    fields: dict[str, Any] = {
        "stream": name, "partitions": 3, "settled_here": 3, "lag": 0, "events": 1_204, "rejected": 0, "rate": 12.5,
        "held": None, "system": "kafka", "group": "tracecar.shop", "pending": None,
    }  # fmt: skip
    return models.StreamStatusModel(**(fields | more))


def service_status(**more: Any) -> models.ServiceStatus:
    fields: dict[str, Any] = {
        "service": "shop",
        "version": "0.1.0",
        "ready": True,
        "filling": False,
        "streams": [
            stream_status("orders"),
            stream_status("payments", rate=4.4, lag=3),
            stream_status("shipping", rejected=7, rate=6.1),
            stream_status("notifications", rate=9.9),
            stream_status("loyalty", rate=3.0),
        ],
        "index": models.IndexStatus(events=50_000, max_events=200_000, evicted=0, coverage=coverage()),
        "exporters": [models.ExporterStatus(name="otlp", sent=1_200, dropped=0, failed=0)],
        "registry": models.RegistryStatus(reachable=True, schemas=11),
        "uptime_s": 312.0,
        "live": models.LiveStatus(subscribers=1, dropped=0),
    }
    return models.ServiceStatus(**(fields | more))


def job(**more: Any) -> replays.ReplayModel:
    fields: dict[str, Any] = {
        "id": "r-1", "state": "done", "query": None, "to": None, "selected": 1, "published": 1, "skipped": 0,
        "failed": 0, "returned": 0, "started_at": at(30_000), "ended_at": at(30_100), "by": "operator",
        "system": "kafka", "ids": 1,
    }  # fmt: skip
    return replays.ReplayModel(**(fields | more))


class Shop(AggregateAnswers, InsightAnswers, Client):
    """A client with fixed answers, which tests change. It records every request in `asked`."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "token")
        self.asked: list[tuple[Any, ...]] = []
        self.the_flow = flow()
        self.the_events: list[models.EventModel] = list(flow_events())
        self.the_letters = [letter(1), letter(2), letter(3)]
        self.the_causes = [cause()]
        self.the_groups = [
            models.GroupModel(
                group="warehouse", system="kafka", members=2, lag=0, rate=6.0, stuck_at=None,
                streams=[
                    models.GroupStreamModel(stream="shipping", partitions=3, lag=0, rate=6.0),
                    models.GroupStreamModel(stream="orders", partitions=3, lag=12, rate=6.0),
                ],
            )
        ]  # fmt: skip
        self.the_status = service_status()
        self.sampled = 0
        """Events that the index is said to hold; 0: as many as there are."""
        self.the_body: Any = BODY
        self.bodies: dict[str, Any] = {}
        """Bodies of single events by position."""
        self.the_jobs: list[replays.ReplayModel] = []
        self.the_plan = replays.PlanModel(
            selected=1, sendable=1, skipped={}, targets=[replays.TargetModel(stream="shipping", count=1, exists=True)],
            receivers=[
                replays.ReceiverModel(group="warehouse", stream="shipping", lag=0, passed=1, not_passed=0, unknown=0)
            ],
            passes=1, fails=[], looked_at=1, warnings=["1 group will receive it again"], changes=[],
        )  # fmt: skip
        self.coming: asyncio.Queue[LiveItem | Exception] = asyncio.Queue()
        self.the_acts: list[replays.AuditEntryModel] = []
        self.sql_answer = SQL_ANSWER
        self.failing: Exception | None = None

    def _note(self, *what: Any) -> None:
        self.asked.append(what)
        if self.failing is not None:
            raise self.failing

    async def live(self, query: str = "") -> AsyncIterator[LiveItem]:
        self._note("live", query)
        yield LiveConnected(False)
        while True:
            item = await self.coming.get()
            if isinstance(item, Exception):
                raise item
            yield item

    async def events(
        self, query: str = "", *, limit: int = 100, cursor: str | None = None, full: bool = False
    ) -> models.EventPage:
        self._note("events", query)
        if query == "type:(":
            raise BadRequest("expected a value, found an open bracket", query, 5)
        held = [one for one in self.the_events if "status:rejected" not in query or one.status == "rejected"]
        if full:
            held = [msgspec.structs.replace(one, body=self.bodies.get(one.position, self.the_body)) for one in held]
        held_by_index = msgspec.structs.replace(coverage(), events=self.sampled or len(held))
        more = "more" if len(held) > limit else None
        return models.EventPage(items=held[::-1][:limit], cursor=more, coverage=held_by_index)

    async def event(self, id: str) -> models.EventModel:
        self._note("event", id)
        for one in self.the_events:
            if one.position == id:
                headers: list[models.Header] = [("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"), ("x", None)]
                delivery = [models.DeliveryModel(group="warehouse", passed=True, passed_at=at(1_900))]
                body = self.bodies.get(id, self.the_body)
                return msgspec.structs.replace(one, headers=headers, body=body, payload_note=None, delivery=delivery)
        raise NotFound(f"nothing has the id {id}")

    async def flows(self, *, limit: int = 100, cursor: str | None = None) -> models.FlowPageModel:
        self._note("flows")
        first = msgspec.structs.replace(self.the_flow, events=UNSET, delivery=UNSET)
        second = msgspec.structs.replace(
            first, trace_id="b" * 32, status="ok", duration_ms=80.0, event_count=2, aggregates=["order-1011"]
        )
        return models.FlowPageModel(items=[second, first], cursor=None, coverage=coverage())

    async def flow(self, id: str) -> models.FlowModel:
        self._note("flow", id)
        if id == "nothing":
            raise NotFound("nothing has the id nothing")
        return self.the_flow

    async def dead_letters(
        self, query: str = "", *, limit: int = 100, cursor: str | None = None
    ) -> models.DeadLetterPage:
        self._note("dead_letters", query)
        if query == "type:(":
            raise BadRequest("expected a value, found an open bracket", query, 5)
        more = "more" if len(self.the_letters) > limit else None
        return models.DeadLetterPage(items=self.the_letters[:limit], cursor=more)

    async def causes(self, query: str = "", *, limit: int = 100) -> models.CausePage:
        self._note("causes", query)
        letters = sum(one.count for one in self.the_causes)
        return models.CausePage(items=list(self.the_causes), letters=letters, folded=0)

    async def dead_letter(self, id: str) -> models.DeadLetterModel:
        self._note("dead_letter", id)
        for one in self.the_letters:
            if one.id == id:
                return msgspec.structs.replace(one, headers=[("x", "y")], body=self.the_body, payload_note=None)
        raise NotFound(id)

    async def schemas(self, subject: str | None = None, version: int | None = None) -> models.SubjectPage:
        self._note("schemas", subject)
        names = ["orders-value", "shipping-value"] if subject is None else [subject]
        items = [_subject(name, version, with_text=subject is not None) for name in names]
        return models.SubjectPage(items=items, coverage=coverage())

    async def groups(self) -> models.GroupPage:
        self._note("groups")
        return models.GroupPage(items=self.the_groups)

    async def status(self) -> models.ServiceStatus:
        self._note("status")
        return self.the_status

    async def resume(self, stream: str) -> models.ReleaseResult:
        self._note("resume", stream)
        return models.ReleaseResult(stream=stream, partitions=1)

    async def plan(self, request: replays.ReplayRequestModel) -> replays.PlanModel:
        self._note("plan", request)
        return self.the_plan

    async def replay(self, request: replays.ReplayRequestModel) -> replays.ReplayModel:
        self._note("replay", request)
        self.the_jobs.insert(0, job())
        return self.the_jobs[0]

    async def replays(self, limit: int = 100) -> list[replays.ReplayModel]:
        self._note("replays")
        return list(self.the_jobs)

    async def audit(self, limit: int = 100) -> replays.AuditPage:
        self._note("audit")
        return replays.AuditPage(items=list(self.the_acts), note=None)

    async def replay_job(self, id: str) -> replays.ReplayModel:
        self._note("replay_job", id)
        return self.the_jobs[0]

    async def pause_replay(self, id: str) -> replays.ReplayModel:
        self._note("pause", id)
        self.the_jobs[0].state = "paused"
        return self.the_jobs[0]

    async def cancel_replay(self, id: str) -> replays.ReplayModel:
        self._note("cancel", id)
        self.the_jobs[0].state = "cancelled"
        return self.the_jobs[0]

    async def discard(self, ids: Sequence[str], reason: str, query: str = "") -> list[replays.OutcomeModel]:
        self._note("discard", list(ids), reason, query)
        return [replays.OutcomeModel(id=id, done=True, state="discarded") for id in ids]

    async def restore(self, ids: Sequence[str]) -> list[replays.OutcomeModel]:
        self._note("restore", list(ids))
        return [replays.OutcomeModel(id=id, done=True, state="open") for id in ids]

    def of(self, what: str) -> list[tuple[Any, ...]]:
        """Return the arguments of all requests of one kind."""
        return [one[1:] for one in self.asked if one[0] == what]


def _subject(name: str, version: int | None, *, with_text: bool) -> models.SubjectModel:
    orders = name == "orders-value"
    text = OLDER_AVRO if orders and version == 1 else AVRO
    lines = [models.OutlineLineModel(line.depth, line.name, line.type) for line in outline_text(text)]
    return models.SubjectModel(
        subject=name,
        versions=[1, 2] if orders else [1],
        compatibility="BACKWARD",
        kind="AVRO",
        id=7,
        text=text if with_text else UNSET,
        outline=lines if with_text else UNSET,
        seen=[models.SeenSchemaModel(version=1, id=7, streams=[name.removesuffix("-value")])],
    )

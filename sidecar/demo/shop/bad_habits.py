"""Bad habits of the shop: events that pass every check and are still wrong, each for one rule of `tracecar lint`.

Most of them are in `crm`, a stream that no service reads. They have no effect on orders.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sidecar.demo.shop.event_data import Data, aggregate_id_of, create_data
from sidecar.demo.shop.messages import Header, ShopMessage, WireRecord
from sidecar.demo.shop.orders import FIRST_NUMBER, Order, create_random
from sidecar.demo.shop.saga import PLACED, SERVICES
from sidecar.demo.shop.serializers import Serializers

ORDERS_PER_TURN = 16
"""Orders after which most habits come again."""
CHAIN_EVENTS = 12
CLOCK_AHEAD_MS = 3_600_000
WATCHLIST_ENTRY_BYTES = 1_000
MAX_WATCHLIST_ENTRIES = 50
CRM_VERSION = "v1"
"""Version of the form of most events in `crm`."""


class HabitRecord(NamedTuple):
    """A record of a bad habit."""

    service: str
    message: ShopMessage
    wire: WireRecord
    repeats_id: bool = False
    """True if an earlier record has the same event id."""


@dataclass(slots=True)
class HabitContext:
    """Input of a habit: one order, and a generator of ids for it."""

    order: Order
    at: int
    """Milliseconds since 1970."""
    formats: Serializers
    roll: random.Random
    correlation: str = field(init=False)

    def __post_init__(self) -> None:
        self.correlation = self.create_id()

    def create_id(self) -> str:
        """Return a new event id."""
        return str(UUID(int=self.roll.getrandbits(128), version=4))

    def message(self, service: str, type: str, aggregate: str, data: Data, *, cause: str | None = None) -> ShopMessage:
        """Return an event with a new id."""
        return ShopMessage(
            type=type,
            id=self.create_id(),
            order=self.order.id,
            aggregate=aggregate,
            aggregate_type=SERVICES[service].aggregate,
            correlation=self.correlation,
            cause=cause,
            trace=None,
            at=self.at,
            producer=service,
            data=data,
        )

    def contact(
        self,
        type: str,
        *,
        contact: str | None = None,
        version: str = CRM_VERSION,
        cause: HabitRecord | None = None,
        data: Data | None = None,
        key: str | None = "",
        without: str = "",
    ) -> HabitRecord:
        """Return an event about a contact, on `crm`.

        Args:
            type: Its type.
            contact: The contact's id; None: that of the order.
            version: Version that the event states.
            cause: The event that caused it.
            data: Further fields of the body.
            key: The record's key; empty: the contact's id.
            without: Name of a header or field that is left out.
        """
        id = contact or f"contact-{self.order.number}"
        message = self.message("crm", type, id, data or {}, cause=None if cause is None else cause.message.id)
        return HabitRecord("crm", message, _write_contact(message, version, id if key == "" else key, without))


def _write_contact(message: ShopMessage, version: str, key: str | None, without: str) -> WireRecord:
    time = datetime.fromtimestamp(message.at / 1000, UTC).isoformat(timespec="milliseconds")
    headers = {
        "event-id": message.id,
        "event-type": message.type,
        "event-version": version,
        "correlation-id": message.correlation,
        "causation-id": message.cause or "",
        "producer": message.producer,
    }
    body: dict[str, Any] = {"occurredAt": time, "aggregateId": message.aggregate, **message.data}
    body.pop(without, None)
    written: list[Header] = [
        (name, value.encode()) for name, value in headers.items() if value and name not in (without, "")
    ]
    value = json.dumps(body, separators=(",", ":")).encode()
    return WireRecord(None if key is None else key.encode(), value, tuple(written))


def _leave_out(type: str, name: str) -> Callable[[HabitContext], list[HabitRecord]]:
    return lambda case: [case.contact(type, without=name)]


def _publish_type(type: str) -> Callable[[HabitContext], list[HabitRecord]]:
    return lambda case: [case.contact(type)]


def _publish_without_key(case: HabitContext) -> list[HabitRecord]:
    return [case.contact("ContactTagged", key=None)]


def _spread_over_partitions(case: HabitContext) -> list[HabitRecord]:
    keys = [f"contact-{case.order.number}/{part}" for part in range(6)]
    return [case.contact("ContactScored", key=key) for key in keys]


def _number_with_gap(case: HabitContext) -> list[HabitRecord]:
    return [case.contact("ContactChanged", version=version) for version in ("1", "2", "3", "5")]


def _number_in_disorder(case: HabitContext) -> list[HabitRecord]:
    contact = f"company-{case.order.number}"
    return [case.contact("CompanyChanged", contact=contact, version=version) for version in ("1", "3", "2", "4")]


def _forward_often(case: HabitContext) -> list[HabitRecord]:
    chain: list[HabitRecord] = []
    for step in range(CHAIN_EVENTS):
        contact = f"contact-{case.order.number}-{step}"
        chain.append(case.contact("ContactForwarded", contact=contact, cause=chain[-1] if chain else None))
    return chain


def _turn_in_circles(case: HabitContext) -> list[HabitRecord]:
    merged = case.contact("ContactMerged")
    split = case.contact("ContactSplit", cause=merged)
    return [merged, split, case.contact("ContactMerged", cause=split)]


def _call_over_stream(case: HabitContext) -> list[HabitRecord]:
    requests = [case.contact("CreditCheckRequested") for _ in range(3)]
    return [record for each in requests for record in (each, case.contact("CreditCheckReplied", cause=each))]


def _run_ahead(case: HabitContext) -> list[HabitRecord]:
    case.at += CLOCK_AHEAD_MS
    return [case.contact("ContactScheduled")]


def _publish_rows(case: HabitContext) -> list[HabitRecord]:
    return [
        case.contact(f"Address{verb}", data={"row": case.order.number}) for verb in ("Created", "Updated", "Deleted")
    ]


def _grow(case: HabitContext) -> list[HabitRecord]:
    entries = (case.order.number - FIRST_NUMBER) // 2 % MAX_WATCHLIST_ENTRIES
    return [case.contact("WatchlistChanged", data={"entries": ["x" * WATCHLIST_ENTRY_BYTES] * entries})]


def _contradict(case: HabitContext) -> list[HabitRecord]:
    """Publish one event id on two streams, with different contents."""
    data = {"customerId": case.order.customer, "orderId": case.order.id, "points": int(case.order.total)}
    message = case.message("loyalty", "PointsExpired", case.order.customer, data)
    copy = ShopMessage(**{name: getattr(message, name) for name in message.__slots__} | {"data": data | {"points": 0}})
    return [
        HabitRecord("loyalty", message, case.formats.write(message, SERVICES["loyalty"])),
        HabitRecord("crm", copy, _write_contact(copy, CRM_VERSION, copy.aggregate, ""), repeats_id=True),
    ]


def _command_by_event(case: HabitContext) -> list[HabitRecord]:
    data = {"orderId": case.order.id, "invoiceId": f"invoice-{case.order.number}", "printer": "ground floor"}
    message = case.message("billing", "InvoiceSent", f"invoice-{case.order.number}", data)
    return [HabitRecord("billing", message, case.formats.write(message, SERVICES["billing"]))]


def _remind(case: HabitContext) -> list[HabitRecord]:
    """Publish a valid event that no service reacts to."""
    data = create_data("PaymentAuthorized", case.order, PLACED, case.order.lines[0])
    message = case.message("payment", "PaymentReminded", aggregate_id_of("payment", case.order), data)
    return [HabitRecord("payment", message, case.formats.write(message, SERVICES["payment"]))]


class BadHabit(NamedTuple):
    """A habit, and the findings of `tracecar lint` that it leads to."""

    findings: tuple[tuple[str, str], ...]
    """Rule and subject of each."""
    write: Callable[[HabitContext], list[HabitRecord]]
    """Function that creates the records for one order."""
    period_orders: int = ORDERS_PER_TURN
    partitions_only: bool = False
    """True if the finding exists on brokers with partitions only."""


HABITS = (
    BadHabit((("missing-id", "ContactCalled"),), _leave_out("ContactCalled", "event-id")),
    BadHabit((("missing-time", "ContactWritten"),), _leave_out("ContactWritten", "occurredAt")),
    BadHabit((("missing-version", "ContactVisited"),), _leave_out("ContactVisited", "event-version")),
    BadHabit((("missing-type", "crm"),), _leave_out("", "event-type")),
    BadHabit((("aggregate-without-key", "ContactTagged"),), _publish_without_key, partitions_only=True),
    BadHabit((("aggregate-on-several-partitions", "crm"),), _spread_over_partitions, partitions_only=True),
    BadHabit((("version-gap", "crm"),), _number_with_gap),
    BadHabit((("version-reordered", "crm"),), _number_in_disorder),
    BadHabit((("long-chain", "ContactForwarded"),), _forward_often),
    BadHabit((("cycle", "ContactMerged"),), _turn_in_circles),
    BadHabit((("synchronous-request-reply", "CreditCheckRequested"),), _call_over_stream),
    BadHabit((("clock-skew", "crm"),), _run_ahead),
    BadHabit((("event-named-as-command", "SendNewsletter"),), _publish_type("SendNewsletter")),
    BadHabit((("row-change", "crm"),), _publish_rows),
    BadHabit((("streams-disagree", "crm"),), _contradict),
    BadHabit((("command-named-as-event", "InvoiceSent"), ("deprecated-field", "InvoiceSent")), _command_by_event),
    BadHabit((("payload-growth", "WatchlistChanged"),), _grow, period_orders=2),
    BadHabit((("type-without-consumer", "PaymentReminded"),), _remind, period_orders=3),
)
OTHER_FINDINGS = (
    ("stream-without-consumer", "crm"),
    ("old-schema-version", "orders"),
    ("personal-data", "CustomerNotified"),
    ("id-with-different-bodies", "InvoiceIssued"),
    ("failing-events", "PaymentAuthorized"),
    ("failing-events", "shop.ParcelDispatched"),
    ("failing-events", "InvoiceIssued"),
    ("failing-events", "CustomerNotified"),
    ("failing-events", "ItemScanned"),
    ("failing-events", "scans"),
)
"""Findings of the services' own events: a stream without a consumer, outdated instances of a service, email addresses,
and the faults of single records."""


def create_habit_records(seed: int, order: Order, at: int, formats: Serializers) -> list[list[HabitRecord]]:
    """Return the records of each habit that has its turn with this order, in order of publication."""
    due = order.number - FIRST_NUMBER
    return [
        habit.write(HabitContext(order, at, formats, create_random(seed, "habit", slot, order.number)))
        for slot, habit in enumerate(HABITS)
        if due % habit.period_orders == slot % habit.period_orders
    ]


def list_planted_findings(*, partitioned: bool) -> list[tuple[str, str]]:
    """Return rule and subject of each finding that the shop leads to. `partitioned`: the broker has partitions."""
    habits = [habit for habit in HABITS if partitioned or not habit.partitions_only]
    return [*(finding for habit in habits for finding in habit.findings), *OTHER_FINDINGS]

"""What each event says: its `data`, by type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.demo.shop.orders import Order, OrderLine, OrderOutcome

Data = dict[str, Any]

_REASONS = {
    OrderOutcome.REFUSED: "PAYMENT_REFUSED",
    OrderOutcome.SHORT: "OUT_OF_STOCK",
    OrderOutcome.RETURNED: "UNDELIVERABLE",
}
_TEMPLATES = {
    "OrderConfirmed": "order-confirmed",
    "ParcelDispatched": "parcel-on-its-way",
    "InvoiceIssued": "your-invoice",
    "OrderCancelled": "order-cancelled",
}


def data_of(event_type: str, order: Order, on: str, line: OrderLine) -> Data:
    """The data of an event of this type, caused by one of type `on`; `line` counts for events about one line."""
    return _WRITERS[event_type](order, on, line)


def aggregate_of(kind: str, order: Order) -> str:
    """The id of the thing that an event is about."""
    return order.customer if kind == "customer" else f"{kind}-{order.number}"


def _placed(order: Order, on: str, line: OrderLine) -> Data:
    lines = [{"sku": each.sku, "name": each.name, "qty": each.qty, "price": each.price} for each in order.lines]
    return {
        "orderId": order.id,
        "customerId": order.customer,
        "currency": "EUR",
        "total": order.total,
        "shippingAddress": order.address,
        "items": lines,
        "channel": order.channel,
    }


def _quantities(order: Order) -> list[Data]:
    return [{"sku": line.sku, "qty": line.qty} for line in order.lines]


def _confirmed(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "customerId": order.customer, "total": order.total, "items": _quantities(order)}


def _cancelled(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "customerId": order.customer, "reason": _REASONS.get(order.fate, "OTHER")}


def _completed(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "customerId": order.customer, "total": order.total}


def _payment(order: Order, on: str, line: OrderLine) -> Data:
    card = {"holder": f"Customer {order.customer[-3:]}", "last4": f"{order.number * 7919 % 10000:04d}"}
    return {
        "paymentId": f"payment-{order.number}",
        "orderId": order.id,
        "amount": order.total,
        "currency": "EUR",
        "method": order.method,
        "card": card if order.method == "CARD" else None,
    }


def _refused(order: Order, on: str, line: OrderLine) -> Data:
    return _payment(order, on, line) | {"reason": "insufficient funds"}


def _stock(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "warehouse": "north", "lines": _quantities(order), "missing": None}


def _short(order: Order, on: str, line: OrderLine) -> Data:
    return _stock(order, on, line) | {"missing": order.lines[0].sku}


def _scanned(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "sku": line.sku, "qty": line.qty, "scanner": f"handheld-{order.number % 4 + 1}"}


def _parcel(order: Order, on: str, line: OrderLine) -> Data:
    return {
        "parcelId": f"parcel-{order.number}",
        "orderId": order.id,
        "carrier": ("Swift", "Parcelo", "Nordpost")[order.number % 3],
        "items": _quantities(order),
        "weightGrams": 350 * sum(each.qty for each in order.lines),
    }


def _invoice(order: Order, on: str, line: OrderLine) -> Data:
    return {"invoiceId": f"invoice-{order.number}", "orderId": order.id, "total": order.total, "currency": "EUR"}


def _credit_note(order: Order, on: str, line: OrderLine) -> Data:
    return _invoice(order, on, line) | {"total": -order.total}


def _notified(order: Order, on: str, line: OrderLine) -> Data:
    return {
        "customerId": order.customer,
        "orderId": order.id,
        "channel": "email",
        "template": _TEMPLATES[on],
        "email": f"{order.customer}@example.com",
    }


def _points(order: Order, on: str, line: OrderLine) -> Data:
    return {"customerId": order.customer, "orderId": order.id, "points": int(order.total)}


_WRITERS: dict[str, Callable[[Order, str, OrderLine], Data]] = {
    "OrderPlaced": _placed,
    "OrderConfirmed": _confirmed,
    "OrderCancelled": _cancelled,
    "OrderCompleted": _completed,
    "PaymentAuthorized": _payment,
    "PaymentRefused": _refused,
    "PaymentRefunded": _payment,
    "StockReserved": _stock,
    "StockShort": _short,
    "StockReleased": _stock,
    "ItemScanned": _scanned,
    "ParcelDispatched": _parcel,
    "ParcelDelivered": _parcel,
    "ParcelReturned": _parcel,
    "InvoiceIssued": _invoice,
    "CreditNoteIssued": _credit_note,
    "CustomerNotified": _notified,
    "PointsGranted": _points,
}

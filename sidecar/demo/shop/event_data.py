"""Data of each event, by type."""

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


def create_data(event_type: str, order: Order, on: str, line: OrderLine) -> Data:
    """Create the data of an event.

    Args:
        event_type: Type of the event.
        order: The order.
        on: Type of the event that caused it.
        line: Order line, for events about a single line.
    """
    return _WRITERS[event_type](order, on, line)


def aggregate_id_of(kind: str, order: Order) -> str:
    """Return the aggregate id of an event. `kind`: the aggregate type."""
    return order.customer if kind == "customer" else f"{kind}-{order.number}"


def _build_placed(order: Order, on: str, line: OrderLine) -> Data:
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


def _list_quantities(order: Order) -> list[Data]:
    return [{"sku": line.sku, "qty": line.qty} for line in order.lines]


def _build_confirmed(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "customerId": order.customer, "total": order.total, "items": _list_quantities(order)}


def _build_cancelled(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "customerId": order.customer, "reason": _REASONS.get(order.outcome, "OTHER")}


def _build_completed(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "customerId": order.customer, "total": order.total}


def _build_payment(order: Order, on: str, line: OrderLine) -> Data:
    card = {"holder": f"Customer {order.customer[-3:]}", "last4": f"{order.number * 7919 % 10000:04d}"}
    return {
        "paymentId": f"payment-{order.number}",
        "orderId": order.id,
        "amount": order.total,
        "currency": "EUR",
        "method": order.method,
        "card": card if order.method == "CARD" else None,
    }


def _build_refused(order: Order, on: str, line: OrderLine) -> Data:
    return _build_payment(order, on, line) | {"reason": "insufficient funds"}


def _build_stock(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "warehouse": "north", "lines": _list_quantities(order), "missing": None}


def _build_short(order: Order, on: str, line: OrderLine) -> Data:
    return _build_stock(order, on, line) | {"missing": order.lines[0].sku}


def _build_scanned(order: Order, on: str, line: OrderLine) -> Data:
    return {"orderId": order.id, "sku": line.sku, "qty": line.qty, "scanner": f"handheld-{order.number % 4 + 1}"}


def _build_parcel(order: Order, on: str, line: OrderLine) -> Data:
    return {
        "parcelId": f"parcel-{order.number}",
        "orderId": order.id,
        "carrier": ("Swift", "Parcelo", "Nordpost")[order.number % 3],
        "items": _list_quantities(order),
        "weightGrams": 350 * sum(each.qty for each in order.lines),
    }


def _build_invoice(order: Order, on: str, line: OrderLine) -> Data:
    return {"invoiceId": f"invoice-{order.number}", "orderId": order.id, "total": order.total, "currency": "EUR"}


def _build_credit_note(order: Order, on: str, line: OrderLine) -> Data:
    return _build_invoice(order, on, line) | {"total": -order.total}


def _build_notified(order: Order, on: str, line: OrderLine) -> Data:
    return {
        "customerId": order.customer,
        "orderId": order.id,
        "channel": "email",
        "template": _TEMPLATES[on],
        "email": f"{order.customer}@example.com",
    }


def _build_points(order: Order, on: str, line: OrderLine) -> Data:
    return {"customerId": order.customer, "orderId": order.id, "points": int(order.total)}


_WRITERS: dict[str, Callable[[Order, str, OrderLine], Data]] = {
    "OrderPlaced": _build_placed,
    "OrderConfirmed": _build_confirmed,
    "OrderCancelled": _build_cancelled,
    "OrderCompleted": _build_completed,
    "PaymentAuthorized": _build_payment,
    "PaymentRefused": _build_refused,
    "PaymentRefunded": _build_payment,
    "StockReserved": _build_stock,
    "StockShort": _build_short,
    "StockReleased": _build_stock,
    "ItemScanned": _build_scanned,
    "ParcelDispatched": _build_parcel,
    "ParcelDelivered": _build_parcel,
    "ParcelReturned": _build_parcel,
    "InvoiceIssued": _build_invoice,
    "CreditNoteIssued": _build_credit_note,
    "CustomerNotified": _build_notified,
    "PointsGranted": _build_points,
}

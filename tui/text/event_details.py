"""Details of one event or dead letter as foldable lines.

They show the failure, the body, the envelope fields, the headers and the consumer groups.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from sidecar.api import models
from sidecar.domain.json_safe import encode_json
from tui.text.advice import advice
from tui.text.body_lines import body_facts
from tui.text.columns import wrap
from tui.text.detail_line import DetailLine, FoldState, section, word
from tui.text.history_lines import history_lines, stack_facts
from tui.text.time_format import clock, count, micros, span


def event_facts(event: models.EventModel, folds: FoldState, width: int) -> list[DetailLine]:
    """Return all details of one event."""
    lines: list[DetailLine] = []
    lines += why_facts(event.rejection, event.changed, width)
    lines += body_facts(event.body, event.payload_note, event.rejection, folds, width)
    lines += section("about", "about", _envelope_lines(event), folds)
    if event.delivery is not UNSET:
        lines += section("readers", "consumed by", list(_readers(event.delivery)), folds)
    lines += headers_facts(event.headers, folds)
    return lines


def letter_details(letter: models.DeadLetterModel, folds: FoldState, width: int) -> list[DetailLine]:
    """Return all details of one dead letter."""
    why = models.RejectionModel(stage=letter.stage, code=letter.code, message=letter.message, path=letter.path)
    lines = why_facts(why, False, width)
    for number, piece in enumerate(wrap(advice(letter.code, letter.state), max(20, width - 6))):
        lines.append(DetailLine(f"do.{number}", 1, "", f"{' →'[number == 0]} {piece}", "do"))
    lines += history_lines(letter.history, folds, width)
    lines += stack_facts(letter.stacktrace, folds, width)
    lines += body_facts(letter.body, letter.payload_note, why, folds, width)
    words = [
        word("state", letter.state), word("id", letter.id), word("stream", letter.stream),
        word("origin", letter.origin, go=f"flow:{letter.origin}" if letter.origin else ""),
        word("position", letter.position), word("group", ", ".join(letter.groups) or letter.group),
        word("failed at", letter.failed_at), word("attempts", str(letter.attempts) if letter.attempts else None),
        word("cause", letter.cause, go=f"letters:cause:{letter.cause}"),
        word("event id", letter.event_id),
        word("aggregate", letter.aggregate_id, go=f"aggregate:{letter.aggregate_id}" if letter.aggregate_id else ""),
        word("trace", letter.trace_id, go=f"flow:{letter.trace_id}" if letter.trace_id else ""),
        word("schema", schema_name(letter.schema), go=schema_go(letter.schema)),
        word("dialect", letter.dialect), word("service", letter.service), word("replay of", letter.replay_of),
        word("replays", str(letter.replays) if letter.replays else None),
        word("returned as", letter.returned_as, go=f"letter:{letter.returned_as}" if letter.returned_as else ""),
        word("expires at", letter.expires_at), word("omitted", ", ".join(letter.omitted)),
    ]  # fmt: skip
    lines += section("about", "about", [line for line in words if line is not None], folds)
    lines += headers_facts(letter.headers, folds)
    return lines


def schema_name(ref: models.SchemaRefModel | None) -> str | None:
    """Format a schema reference, such as `orders-value v2`."""
    if ref is None:
        return None
    name = ref.subject or ref.guid or (f"id {ref.id}" if ref.id is not None else "?")
    return name if ref.version is None else f"{name} v{ref.version}"


def schema_go(ref: models.SchemaRefModel | None) -> str:
    """Return the target that Enter opens for this line."""
    return f"schema:{ref.subject}" if ref is not None and ref.subject else ""


def why_facts(why: models.RejectionModel | None, changed: bool, width: int) -> list[DetailLine]:
    """Return the lines about a rejection, and about a duplicate whose content differs."""
    lines: list[DetailLine] = []
    if why is not None:
        lines.append(DetailLine("why", 0, f"✗ {why.code}", "", "bad", copy=f"{why.code}: {why.message}"))
        text = why.message
        if why.path and why.path not in text:
            text = f"{why.path}: {text}"
        for number, piece in enumerate(wrap(text, max(20, width - 4))):
            lines.append(DetailLine(f"why.{number}", 1, "", piece, "bad", copy=why.message))
    if changed:
        lines.append(DetailLine("changed", 0, "≡ its content differs from the first event of this id", "", "warn"))
    return lines


def _envelope_lines(event: models.EventModel) -> list[DetailLine]:
    occurred, appended, observed = map(micros, (event.occurred_at, event.appended_at, event.observed_at))
    later = f"   +{span((appended - occurred) / 1000)} until appended" if appended and occurred else ""
    seen = f"   +{span((observed - appended) / 1000)} until observed" if observed and appended else ""
    inferred = " (inferred)" if isinstance(event, models.FlowEventModel) and event.parent_inferred else ""
    words = [
        word("status", event.status), word("type", event.type), word("version", event.version),
        word("event id", event.event_id),
        word("aggregate", event.aggregate_id, go=f"aggregate:{event.aggregate_id}" if event.aggregate_id else ""),
        word("aggregate type", event.aggregate_type), word("producer", event.producer),
        word("schema", schema_name(event.schema), go=schema_go(event.schema)),
        word("occurred", event.occurred_at and f"{clock(event.occurred_at)}{later}"),
        word("appended", event.appended_at and f"{clock(event.appended_at)}{seen}"),
        word("caused by", (event.causation_id or getattr(event, "parent", None) or "") + inferred or None),
        word("correlation", event.correlation_id), word("trace", event.trace_id),
        word("trace origin", event.trace_origin), word("span", event.span_id),
        word("parent span", event.parent_span_id), word("position", event.position), word("key", event.key),
        word("replay of", event.replay_of),
    ]  # fmt: skip
    return [line for line in words if line is not None]


def _readers(delivery: list[models.DeliveryModel]) -> Iterator[DetailLine]:
    if not delivery:
        yield DetailLine("readers.none", 1, "", "no other group consumes this stream", "dim")
    for reader in delivery:
        key = f"readers.{reader.group}"
        if reader.stopped is not None:
            words = f"✗ stopped at this event: {reader.stopped.reason}"
            yield DetailLine(key, 1, reader.group, words + (" (inferred)" if reader.stopped.inferred else ""), "bad")
        elif reader.passed:
            when = f" by {clock(reader.passed_at)}" if reader.passed_at else ""
            yield DetailLine(key, 1, reader.group, f"✓ consumed it{when}", "good")
        elif reader.passed is None:
            yield DetailLine(key, 1, reader.group, "? unknown", "dim")
        else:
            behind = f", {count(reader.behind)} behind" if reader.behind is not None else ""
            times = (
                f", delivered {reader.deliveries} time{'s' * (reader.deliveries > 1)}, not acknowledged"
                if reader.deliveries
                else ""
            )
            yield DetailLine(key, 1, reader.group, f"… not yet{behind}{times}", "warn")


def headers_facts(headers: Any, folds: FoldState) -> list[DetailLine]:
    if headers is UNSET or not headers:
        return []
    inner = []
    for number, (name, value) in enumerate(headers):
        shown = "null" if value is None else value if isinstance(value, str) else _inline(value)
        inner.append(
            DetailLine(f"headers.{number}", 1, str(name), shown, "dim" if value is None else "text", copy=shown)
        )
    return section("headers", "headers", inner, folds)


def _inline(value: Any) -> str:
    if isinstance(value, dict) and isinstance(text := value.get("base64"), str) and len(value) == 1:
        try:
            return "0x" + base64.b64decode(text, validate=True)[:64].hex()
        except (ValueError, binascii.Error):
            return text
    return encode_json(value).decode("utf-8", "replace")

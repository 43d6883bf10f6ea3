"""One event (or dead letter) in full as lines that fold: why it failed, its body, its words, headers and readers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import UNSET

from sidecar.api import models
from tui.times import clock, count, micros, span
from tui.widgets.columns import wrapped

OPEN_CHILDREN = 60
"""Containers with more children are folded until they are opened."""
MOST_LINES = 60_000
"""Lines of one body that are ever made."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A line: `label` and `value`, indented by `depth`."""

    key: str
    depth: int
    label: str
    value: str
    kind: str = "text"
    """What is said: `head`, `key`, `string`, `number`, `word`, `text`, `bad`, `good`, `warn`, `dim`, `hex`."""
    fold: str = ""
    """`open` or `closed` where it can be folded."""
    copy: Any = UNSET
    """What `y` copies, where it is not the value."""
    marked: bool = False
    """The error lies here."""
    go: str = ""
    """What enter leads to, such as `aggregate:order-1`."""


class Folds:
    """What a person opened and closed, by key; what they did not touch is as it is by itself."""

    def __init__(self) -> None:
        self._set: dict[str, bool] = {}

    def is_open(self, key: str, by_itself: bool = True) -> bool:
        return self._set.get(key, by_itself)

    def put(self, key: str, is_open: bool) -> None:
        self._set[key] = is_open


def event_facts(event: models.Event, folds: Folds, width: int) -> list[Fact]:
    """Everything that is known of one event."""
    lines: list[Fact] = []
    lines += _why(event.rejection, event.changed, width)
    lines += body_facts(event.body, event.payload_note, event.rejection, folds, width)
    lines += _section("about", "about", _words(event), folds)
    if event.delivery is not UNSET:
        lines += _section("readers", "read by", list(_readers(event.delivery)), folds)
    lines += headers_facts(event.headers, folds)
    return lines


def letter_facts(letter: models.DeadLetter, folds: Folds, width: int) -> list[Fact]:
    """Everything that is known of one dead letter."""
    why = models.Rejection(stage=letter.stage, code=letter.code, message=letter.message, path=letter.path)
    lines = _why(why, False, width)
    lines += body_facts(letter.body, letter.payload_note, why, folds, width)
    words = [
        _word("state", letter.state), _word("id", letter.id), _word("stream", letter.stream),
        _word("origin", letter.origin, go=f"flow:{letter.origin}" if letter.origin else ""),
        _word("letter", letter.position), _word("group", ", ".join(letter.groups) or letter.group),
        _word("failed at", letter.failed_at), _word("attempts", str(letter.attempts) if letter.attempts else None),
        _word("cause", letter.cause, go=f"letters:cause:{letter.cause}"),
        _word("event id", letter.event_id),
        _word("aggregate", letter.aggregate_id, go=f"flow:{letter.aggregate_id}" if letter.aggregate_id else ""),
        _word("trace", letter.trace_id, go=f"flow:{letter.trace_id}" if letter.trace_id else ""),
        _word("schema", schema_name(letter.schema), go=_schema_go(letter.schema)),
        _word("written as", letter.dialect), _word("by", letter.service), _word("replay of", letter.replay_of),
        _word("left out", ", ".join(letter.omitted)),
    ]  # fmt: skip
    lines += _section("about", "about", [word for word in words if word is not None], folds)
    lines += headers_facts(letter.headers, folds)
    return lines


def schema_name(ref: models.SchemaRef | None) -> str | None:
    """`orders-value v2`."""
    if ref is None:
        return None
    name = ref.subject or ref.guid or (f"id {ref.id}" if ref.id is not None else "?")
    return name if ref.version is None else f"{name} v{ref.version}"


def _schema_go(ref: models.SchemaRef | None) -> str:
    return f"schema:{ref.subject}" if ref is not None and ref.subject else ""


def _why(why: models.Rejection | None, changed: bool, width: int) -> list[Fact]:
    lines: list[Fact] = []
    if why is not None:
        lines.append(Fact("why", 0, f"✗ {why.code}", "", "bad", copy=f"{why.code}: {why.message}"))
        text = why.message
        if why.path and why.path not in text:
            text = f"{why.path}: {text}"
        for number, piece in enumerate(wrapped(text, max(20, width - 4))):
            lines.append(Fact(f"why.{number}", 1, "", piece, "bad", copy=why.message))
    if changed:
        lines.append(Fact("changed", 0, "≡ its content differs from the first event of this id", "", "warn"))
    return lines


def _section(key: str, title: str, inner: list[Fact], folds: Folds, by_itself: bool = True) -> list[Fact]:
    if not inner:
        return []
    is_open = folds.is_open(key, by_itself)
    head = Fact(key, 0, title, "" if is_open else f"{len(inner)} lines", "head", "open" if is_open else "closed")
    return [head, *inner] if is_open else [head]


def _word(label: str, value: str | None, go: str = "") -> Fact | None:
    return None if not value else Fact(f"about.{label}", 1, label, value, go=go)


def _words(event: models.Event) -> list[Fact]:
    occurred, appended, observed = map(micros, (event.occurred_at, event.appended_at, event.observed_at))
    later = f"   +{span((appended - occurred) / 1000)} to the stream" if appended and occurred else ""
    seen = f"   +{span((observed - appended) / 1000)} to us" if observed and appended else ""
    inferred = " (inferred)" if isinstance(event, models.FlowEvent) and event.parent_inferred else ""
    words = [
        _word("status", event.status), _word("type", event.type), _word("version", event.version),
        _word("event id", event.event_id),
        _word("aggregate", event.aggregate_id, go=f"aggregate:{event.aggregate_id}" if event.aggregate_id else ""),
        _word("of kind", event.aggregate_type), _word("producer", event.producer),
        _word("schema", schema_name(event.schema), go=_schema_go(event.schema)),
        _word("occurred", event.occurred_at and f"{clock(event.occurred_at)}{later}"),
        _word("appended", event.appended_at and f"{clock(event.appended_at)}{seen}"),
        _word("caused by", (event.causation_id or getattr(event, "parent", None) or "") + inferred or None),
        _word("correlation", event.correlation_id), _word("trace", event.trace_id),
        _word("trace from", event.trace_origin), _word("span", event.span_id),
        _word("parent span", event.parent_span_id), _word("position", event.position), _word("key", event.key),
        _word("replay of", event.replay_of),
    ]  # fmt: skip
    return [word for word in words if word is not None]


def _readers(delivery: list[models.Delivery]) -> Iterator[Fact]:
    if not delivery:
        yield Fact("readers.none", 1, "", "no other group reads this stream", "dim")
    for one in delivery:
        key = f"readers.{one.group}"
        if one.stopped is not None:
            words = f"✗ has stopped in front of it: {one.stopped.reason}"
            yield Fact(key, 1, one.group, words + (" (inferred)" if one.stopped.inferred else ""), "bad")
        elif one.passed:
            when = f" by {clock(one.passed_at)}" if one.passed_at else ""
            yield Fact(key, 1, one.group, f"✓ passed it{when}", "good")
        elif one.passed is None:
            yield Fact(key, 1, one.group, "? cannot be told", "dim")
        else:
            behind = f", {count(one.behind)} records before it" if one.behind is not None else ""
            times = f", given {one.deliveries} times" if one.deliveries else ""
            yield Fact(key, 1, one.group, f"… not yet{behind}{times}", "warn")


def headers_facts(headers: Any, folds: Folds) -> list[Fact]:
    if headers is UNSET or not headers:
        return []
    inner = []
    for number, (name, value) in enumerate(headers):
        shown = "null" if value is None else value if isinstance(value, str) else _inline(value)
        inner.append(Fact(f"headers.{number}", 1, str(name), shown, "dim" if value is None else "text", copy=shown))
    return _section("headers", "headers", inner, folds)


def _inline(value: Any) -> str:
    if isinstance(value, dict) and isinstance(text := value.get("base64"), str) and len(value) == 1:
        try:
            return "0x" + base64.b64decode(text, validate=True)[:64].hex()
        except (ValueError, binascii.Error):
            return text
    return msgspec.json.encode(value).decode("utf-8", "replace")


# --- bodies


def body_facts(body: Any, note: Any, why: models.Rejection | None, folds: Folds, width: int) -> list[Fact]:
    """The body as a tree whose containers fold; bytes as a hex dump; the error's path marked."""
    if body is UNSET:
        return []
    is_open = folds.is_open("body")
    head = Fact("body", 0, "body", "", "head", "open" if is_open else "closed", copy=body)
    if not is_open:
        return [head]
    lines = [head]
    if note is not UNSET and note:
        lines += [Fact(f"note.{n}", 1, "", piece, "warn") for n, piece in enumerate(wrapped(note, max(20, width - 4)))]
    if body is None:
        lines.append(Fact("body.none", 1, "", "it has none", "dim"))
    elif isinstance(body, dict | list):
        data = _bytes(body)
        lines += _hex(data, width) if data is not None else _tree(body, why, folds)
    elif isinstance(body, str):
        pieces = [piece for row in body[:20_000].split("\n")[:400] for piece in wrapped(row, max(20, width - 4), 200)]
        lines += [Fact(f"body.{number}", 1, "", piece, copy=body) for number, piece in enumerate(pieces)]
    else:
        lines.append(Fact("body.value", 1, "", _scalar(body)[0], _scalar(body)[1], copy=body))
    return lines


def _bytes(body: Any) -> bytes | None:
    if isinstance(body, dict) and set(body) == {"base64"} and isinstance(body["base64"], str):
        try:
            return base64.b64decode(body["base64"], validate=True)
        except (ValueError, binascii.Error):
            return None
    return None


def _hex(data: bytes, width: int) -> list[Fact]:
    per = 16 if width >= 78 else 8
    lines = []
    for at in range(0, min(len(data), 4_096), per):
        piece = data[at : at + per]
        text = "".join(chr(b) if 32 <= b < 127 else "·" for b in piece)
        lines.append(
            Fact(f"body.hex.{at}", 1, f"{at:04x}", f"{piece.hex(' '):<{per * 3}} {text}", "hex", copy=data.hex())
        )
    if len(data) > 4_096:
        lines.append(Fact("body.hex.more", 1, "", f"… {len(data) - 4_096:,} bytes more", "dim"))
    return lines


def _tree(body: Any, why: models.Rejection | None, folds: Folds) -> list[Fact]:
    path = why.path if why is not None else None
    marked = _steps(path) if path else None
    around = {tuple(marked[:n]) for n in range(len(marked) + 1)} if marked else set()
    lines: list[Fact] = []
    found = False
    waiting: list[tuple[str, Any, tuple[str, ...]]] = _children(body, ())[::-1]
    while waiting and len(lines) < MOST_LINES:
        label, value, steps = waiting.pop()
        key, depth = "body:" + "\x00".join(steps), len(steps)
        here = marked is not None and list(steps) == marked
        found = found or here
        if isinstance(value, dict | list) and value:
            by_itself = len(value) <= OPEN_CHILDREN or steps in around
            is_open = folds.is_open(key, by_itself) or (steps in around and not here and folds.is_open(key))
            words = f"{{{len(value)}}}" if isinstance(value, dict) else f"[{len(value)}]"
            lines.append(
                Fact(key, depth, label, words, "key", "open" if is_open else "closed", copy=value, marked=here)
            )
            if is_open:
                waiting += _children(value, steps)[::-1]
        else:
            text, kind = _scalar(value)
            lines.append(Fact(key, depth, label, text, kind, copy=value, marked=here))
    if waiting:
        lines.append(Fact("body:more", 1, "", "… more than can be shown", "dim"))
    if marked and not found:
        lines = _with_missing(lines, marked)
    return lines


def _with_missing(lines: list[Fact], marked: list[str]) -> list[Fact]:
    """Where the error's path is not in the body: a line below the deepest part of it that is."""
    for length in range(len(marked) - 1, -1, -1):
        parent = "body:" + "\x00".join(marked[:length])
        if any(line.key == parent and line.fold == "closed" for line in lines):
            return [replace(line, marked=line.key == parent) for line in lines]  # it lies in there
        at = -1 if length == 0 else next((n for n, line in enumerate(lines) if line.key == parent), None)
        if at is not None:
            rest = ".".join(marked[length:])
            missing = Fact("body:missing", length + 1, rest, "is not there", "bad", marked=True)
            return [*lines[: at + 1], missing, *lines[at + 1 :]]
    return lines


def _children(value: Any, steps: tuple[str, ...]) -> list[tuple[str, Any, tuple[str, ...]]]:
    if isinstance(value, dict):
        return [(str(name), inner, (*steps, str(name))) for name, inner in value.items()]
    return [(f"[{at}]", inner, (*steps, str(at))) for at, inner in enumerate(value)]


_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def _steps(path: str) -> list[str]:
    return [index or name for index, name in _STEP.findall(path)]


def _scalar(value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return f'"{value}"', "string"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value], "word"
    if isinstance(value, int | float):
        return repr(value), "number"
    return ("{}" if isinstance(value, dict) else "[]"), "word"


def as_text(value: Any) -> str:
    """What is copied of a value: text as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode("utf-8", "replace")

"""A body as lines: a tree with foldable containers, plain text, or a hex dump of bytes. The failing path is marked."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET

from sidecar.api import models
from sidecar.domain.json_path import InvalidPath, JsonPath, print_steps
from sidecar.domain.json_safe import encode_json
from tui.text.columns import wrap
from tui.text.detail_line import DetailLine, FoldState

MAX_OPEN_CHILD_NODES = 60
"""Containers with more children start folded."""
MAX_BODY_LINES = 60_000
"""Most lines made of one body."""


def body_facts(
    body: Any, note: Any, why: models.RejectionModel | None, folds: FoldState, width: int
) -> list[DetailLine]:
    """Return a body as lines: a tree with foldable containers, or a hex dump of bytes. The failing path is marked."""
    if body is UNSET:
        return []
    is_open = folds.is_open("body")
    head = DetailLine("body", 0, "body", "", "head", "open" if is_open else "closed", copy=body)
    if not is_open:
        return [head]
    lines = [head]
    if note is not UNSET and note:
        lines += [
            DetailLine(f"note.{n}", 1, "", piece, "warn") for n, piece in enumerate(wrap(note, max(20, width - 4)))
        ]
    if body is None:
        lines.append(DetailLine("body.none", 1, "", "none", "dim"))
    elif isinstance(body, dict | list):
        data = _bytes(body)
        lines += _hex(data, width) if data is not None else _tree(body, why, folds)
    elif isinstance(body, str):
        pieces = [piece for row in body[:20_000].split("\n")[:400] for piece in wrap(row, max(20, width - 4), 200)]
        lines += [DetailLine(f"body.{number}", 1, "", piece, copy=body) for number, piece in enumerate(pieces)]
    else:
        lines.append(DetailLine("body.value", 1, "", _scalar(body)[0], _scalar(body)[1], copy=body))
    return lines


def _bytes(body: Any) -> bytes | None:
    if isinstance(body, dict) and set(body) == {"base64"} and isinstance(body["base64"], str):
        try:
            return base64.b64decode(body["base64"], validate=True)
        except (ValueError, binascii.Error):
            return None
    return None


def _hex(data: bytes, width: int) -> list[DetailLine]:
    per = 16 if width >= 78 else 8
    lines = []
    for at in range(0, min(len(data), 4_096), per):
        piece = data[at : at + per]
        text = "".join(chr(b) if 32 <= b < 127 else "·" for b in piece)
        lines.append(
            DetailLine(f"body.hex.{at}", 1, f"{at:04x}", f"{piece.hex(' '):<{per * 3}} {text}", "hex", copy=data.hex())
        )
    if len(data) > 4_096:
        lines.append(DetailLine("body.hex.more", 1, "", f"… {len(data) - 4_096:,} bytes more", "dim"))
    return lines


def _tree(body: Any, why: models.RejectionModel | None, folds: FoldState) -> list[DetailLine]:
    path = why.path if why is not None else None
    marked = _steps(path) if path else None
    around = {tuple(marked[:n]) for n in range(len(marked) + 1)} if marked else set()
    lines: list[DetailLine] = []
    marked_child = False
    waiting: list[tuple[str, Any, tuple[str, ...]]] = _children(body, ())[::-1]
    while waiting and len(lines) < MAX_BODY_LINES:
        label, value, steps = waiting.pop()
        key, depth = "body:" + "\x00".join(steps), len(steps)
        here = marked is not None and list(steps) == marked
        marked_child = marked_child or here
        if isinstance(value, dict | list) and value:
            by_itself = len(value) <= MAX_OPEN_CHILD_NODES or steps in around
            is_open = folds.is_open(key, by_itself) or (steps in around and not here and folds.is_open(key))
            words = f"{{{len(value)}}}" if isinstance(value, dict) else f"[{len(value)}]"
            lines.append(
                DetailLine(key, depth, label, words, "key", "open" if is_open else "closed", copy=value, marked=here)
            )
            if is_open:
                waiting += _children(value, steps)[::-1]
        else:
            text, kind = _scalar(value)
            lines.append(DetailLine(key, depth, label, text, kind, copy=value, marked=here))
    if waiting:
        lines.append(DetailLine("body:more", 1, "", "… too many lines to show", "dim"))
    if marked and not marked_child:
        lines = _with_missing(lines, marked)
    return lines


def _with_missing(lines: list[DetailLine], marked: list[str]) -> list[DetailLine]:
    """Return a line below the deepest existing part of the failing path, if the path is not in the body."""
    for length in range(len(marked) - 1, -1, -1):
        parent = "body:" + "\x00".join(marked[:length])
        if any(line.key == parent and line.fold == "closed" for line in lines):
            return [replace(line, marked=line.key == parent) for line in lines]  # the path is in here
        at = -1 if length == 0 else next((n for n, line in enumerate(lines) if line.key == parent), None)
        if at is not None:
            rest = print_steps(int(step) if step.isdecimal() else step for step in marked[length:])
            missing = DetailLine("body:missing", length + 1, rest, "missing", "bad", marked=True)
            return [*lines[: at + 1], missing, *lines[at + 1 :]]
    return lines


def _children(value: Any, steps: tuple[str, ...]) -> list[tuple[str, Any, tuple[str, ...]]]:
    if isinstance(value, dict):
        return [(str(name), inner, (*steps, str(name))) for name, inner in value.items()]
    return [(f"[{at}]", inner, (*steps, str(at))) for at, inner in enumerate(value)]


def _steps(path: str) -> list[str]:
    try:
        return list(map(str, JsonPath.parse(path).steps))
    except InvalidPath:
        return []


def _scalar(value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return f'"{value}"', "string"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value], "word"
    if isinstance(value, int | float):
        return repr(value), "number"
    return ("{}" if isinstance(value, dict) else "[]"), "word"


def as_text(value: Any) -> str:
    """Return the text that is copied for a value: strings as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    return msgspec.json.format(encode_json(value), indent=2).decode("utf-8", "replace")

"""Streams that look like dead letters of other frameworks and are not read: told by `tracecar check`, never assumed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sidecar.dead_letters.dialects import DIALECTS
from sidecar.domain.ports.broker import Finding
from sidecar.domain.stream_names import StreamNames

MAX_SUGGESTIONS = 20
"""Streams that are told one by one."""
_ERROR = "error."
_USUAL = re.compile(r"(?i)(?:.*[._-])?(?:dlq|dlt|dead[._-]?letters?(?:[._-]?(?:queue|topic|stream))?)(?:[._-].*)?")


def suggest_streams(where: str, streams: Collection[str], naming: StreamNames) -> list[Finding]:
    """Findings that are all ok, each with what to add to `dead_letters.read`. `where` is such as `sources.kafka`."""
    found = [
        Finding(
            f"{where}: dead letters in {stream}?",
            True,
            f"the name is that of {whose}; to read it, add {name!r} to dead_letters.read",
        )
        for stream, whose, name in _unread(frozenset(streams), naming)
    ]
    if len(found) > MAX_SUGGESTIONS:
        rest = len(found) - MAX_SUGGESTIONS
        found[MAX_SUGGESTIONS:] = [
            Finding(f"{where}: dead letters?", True, f"{rest} more streams are called like dead letters")
        ]
    return found


def _unread(streams: frozenset[str], naming: StreamNames) -> Iterable[tuple[str, str, str]]:
    """Stream, whose it may be, and the name to read it by."""
    for stream in sorted(streams):
        if naming.is_dead_letter(stream):
            continue
        if stream.startswith(_ERROR):
            # A name that begins so is common; with the name of a stream in it, it is not.
            if any(stream[len(_ERROR) : at] in streams for at in _dots(stream)):
                yield stream, "Spring Cloud Stream's dead letters", "error.{stream}.*"
            continue
        for dialect in DIALECTS:
            name = next((name for name in dialect.streams if _fits(name, stream)), None)
            if name is not None:
                yield stream, f"dead letters of {dialect.framework}", name
                break
        else:
            if _USUAL.fullmatch(stream):
                yield stream, "dead letters", stream


def _fits(name: str, stream: str) -> bool:
    """Whether a default name without `{stream}` is this stream's: those with it are read unless they are left out."""
    return "{stream}" not in name and re.fullmatch(re.escape(name).replace(r"\*", ".+"), stream) is not None


def _dots(stream: str) -> Iterable[int]:
    return (at for at, character in enumerate(stream) if character == "." and at >= len(_ERROR))

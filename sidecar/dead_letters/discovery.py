"""Search for unread streams that look like other frameworks' dead letters, for `tracecar check`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sidecar.dead_letters.dialects import DIALECTS
from sidecar.domain.ports.broker import Finding
from sidecar.domain.stream_names import StreamNames

MAX_SUGGESTIONS = 20
"""Streams to suggest by name; the rest is counted."""
_ERROR = "error."
_USUAL = re.compile(r"(?i)(?:.*[._-])?(?:dlq|dlt|dead[._-]?letters?(?:[._-]?(?:queue|topic|stream))?)(?:[._-].*)?")


def suggest_streams(where: str, streams: Collection[str], naming: StreamNames) -> list[Finding]:
    """Return a passing finding for each such stream, with the name to add to `dead_letters.read`.

    `where` is the source's configuration path, such as `sources.kafka`.
    """
    findings = [
        Finding(
            f"{where}: dead letters in {stream}?",
            True,
            f"the name is that of {owner}; to read it, add {name!r} to dead_letters.read",
        )
        for stream, owner, name in _unread(frozenset(streams), naming)
    ]
    if len(findings) > MAX_SUGGESTIONS:
        rest = len(findings) - MAX_SUGGESTIONS
        findings[MAX_SUGGESTIONS:] = [
            Finding(f"{where}: dead letters?", True, f"{rest} more streams have names of dead-letter streams")
        ]
    return findings


def _unread(streams: frozenset[str], naming: StreamNames) -> Iterable[tuple[str, str, str]]:
    """Yield each stream, its probable owner, and the name to read it by."""
    for stream in sorted(streams):
        if naming.is_dead_letter(stream):
            continue
        if stream.startswith(_ERROR):
            # Many names begin like this; few also contain the name of a stream.
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
    """Return True if a default name without `{stream}` is this stream's. Names with `{stream}` are read by default."""
    return "{stream}" not in name and re.fullmatch(re.escape(name).replace(r"\*", ".+"), stream) is not None


def _dots(stream: str) -> Iterable[int]:
    return (at for at, character in enumerate(stream) if character == "." and at >= len(_ERROR))

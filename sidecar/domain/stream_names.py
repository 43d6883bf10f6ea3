"""Names of dead-letter streams: the one of a stream, and how to recognize them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

LEDGER = "tracecar.ledger"
_TAG = re.compile(r"\{([^{}]+)\}")
"""The hash tag of a Redis Cluster, which keeps a stream and its dead letters together."""


class StreamNames:
    """Names of dead-letter streams by `dead_letters.stream` and `dead_letters.read`.

    In the templates to read, `*` matches anything. A dead-letter stream is recognized by its name alone, with any
    stream in place of `{stream}`, so that no pattern of a source can match one.
    """

    def __init__(
        self, template: str, *, service: str, group: str, read: Iterable[str] = (), written: bool = True
    ) -> None:
        self._template, self._service, self._group = template, service, group
        self.written = written
        """True if dead letters are written."""
        self.templates: tuple[str, ...] = tuple(dict.fromkeys((template, *read)))
        self._shapes = [self._shape(template) for template in self.templates]

    def dead_letter_stream(self, stream: str) -> str:
        """Return the dead-letter stream for rejected records of `stream`."""
        return self._fill(self._template, stream)

    def is_dead_letter(self, stream: str) -> bool:
        """Check for a dead-letter stream or the ledger, which are never read as ordinary streams."""
        return stream == LEDGER or any(shape.fullmatch(stream) for shape in self._shapes)

    def origins(self, stream: str) -> list[str]:
        """Return the possible origins of a dead-letter stream by its name, most exact template first.

        Empty if the name does not tell: the stream may contain dead letters of any stream.
        """
        matches = (shape.fullmatch(stream) for shape in self._shapes)
        return list(dict.fromkeys(m["stream"] for m in matches if m and m.groupdict().get("stream")))

    def belongs(self, stream: str, watched: Collection[str]) -> bool:
        """Check whether, by its name, `stream` may contain dead letters of a `watched` stream."""
        for template, shape in zip(self.templates, self._shapes, strict=True):
            match = shape.fullmatch(stream)
            if match is None:
                continue
            if "stream" not in shape.groupindex:
                return True
            if match["stream"] in watched or _TAG.sub(r"\1", match["stream"]) in watched:
                return True
            # `error.{stream}.*` fits `error.a.b.c` in more than one way.
            if self._is_pattern(template) and any(
                re.fullmatch(self._pattern(template, name), stream, re.DOTALL) for name in watched
            ):
                return True
        return False

    def dead_letter_streams(self, stream: str) -> list[str]:
        """Return the streams that are searched for dead letters of `stream`, without names that contain `*`."""
        return list(
            dict.fromkeys(
                self._fill(template, stream)
                for template in self.templates
                if "{stream}" in template and not self._is_pattern(template)
            )
        )

    def _is_pattern(self, template: str) -> bool:
        return "*" in template and template != self._template

    def _fill(self, template: str, stream: str) -> str:
        filled = template.replace("{service}", self._service).replace("{group}", self._group)
        return filled.replace("{stream}", stream)

    def _shape(self, template: str) -> re.Pattern[str]:
        return re.compile(self._pattern(template, None), re.DOTALL)

    def _pattern(self, template: str, origin: str | None) -> str:
        filled = template.replace("{service}", self._service).replace("{group}", self._group)
        before, placeholder, after = filled.partition("{stream}")
        stream = "(?P<stream>.+)" if origin is None else re.escape(origin)
        parts = [re.escape(before), stream if placeholder else "", re.escape(after)]
        if self._is_pattern(template):
            parts[0], parts[2] = parts[0].replace(r"\*", ".*"), parts[2].replace(r"\*", ".*")
        return "".join(parts)

"""Which streams are dead-letter streams, and what the one for a stream is called."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

LEDGER = "tracecar.ledger"
_TAG = re.compile(r"\{([^{}]+)\}")
"""The hash tag of a Redis Cluster, which keeps a stream and its dead letters together."""


class StreamNames:
    """The names that `dead_letters.stream` and `dead_letters.read` make. In those to read, `*` stands for anything.

    A dead-letter stream is recognized by shape alone, so that no pattern of a source can ever match one: every template
    with `{stream}` in it, for any stream."""

    def __init__(
        self, template: str, *, service: str, group: str, read: Iterable[str] = (), written: bool = True
    ) -> None:
        self._template, self._service, self._group = template, service, group
        self.written = written
        """Whether dead letters are written at all."""
        self.templates: tuple[str, ...] = tuple(dict.fromkeys((template, *read)))
        self._shapes = [self._shape(template) for template in self.templates]

    def dead_letter_stream(self, stream: str) -> str:
        """Where a record of `stream` goes when it fails."""
        return self._fill(self._template, stream)

    def is_dead_letter(self, stream: str) -> bool:
        """Never to be read as an ordinary stream: a dead-letter stream, or the ledger."""
        return stream == LEDGER or any(shape.fullmatch(stream) for shape in self._shapes)

    def origins(self, stream: str) -> list[str]:
        """The streams whose dead letters `stream` may hold, by its name; most exact template first. Empty where the
        name does not tell: it is searched for letters of any stream."""
        matches = (shape.fullmatch(stream) for shape in self._shapes)
        return list(dict.fromkeys(m["stream"] for m in matches if m and m.groupdict().get("stream")))

    def belongs(self, stream: str, watched: Collection[str]) -> bool:
        """Whether `stream` is a dead-letter stream of one of the `watched` streams, or one that is searched for letters
        of any."""
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
                re.fullmatch(self._pattern(template, one), stream, re.DOTALL) for one in watched
            ):
                return True
        return False

    def dead_letter_streams(self, stream: str) -> list[str]:
        """All names under which dead letters of `stream` are looked for, but for those that a pattern makes."""
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
        before, found, after = filled.partition("{stream}")
        stream = "(?P<stream>.+)" if origin is None else re.escape(origin)
        parts = [re.escape(before), stream if found else "", re.escape(after)]
        if self._is_pattern(template):
            parts[0], parts[2] = parts[0].replace(r"\*", ".*"), parts[2].replace(r"\*", ".*")
        return "".join(parts)

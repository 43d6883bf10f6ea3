"""Which streams are dead-letter streams, and what the one for a stream is called."""

from __future__ import annotations

import re

from sidecar.config import Config

LEDGER = "tracecar.ledger"


class Naming:
    """The names that `dead_letters.stream` and `dead_letters.read` make.

    A dead-letter stream is recognised by shape alone, so that no pattern of a source can ever match one: every template
    with `{stream}` in it, for any stream."""

    def __init__(self, config: Config, group: str) -> None:
        self._template = config.dead_letters.stream
        self._service = config.service
        self._group = group
        self.templates: tuple[str, ...] = tuple(dict.fromkeys((self._template, *config.dead_letters.read)))
        self._shapes = [self._shape(template) for template in self.templates]

    def dead_letter_stream(self, stream: str) -> str:
        """Where a record of `stream` goes when it fails."""
        return self._fill(self._template, stream)

    def is_dead_letter(self, stream: str) -> bool:
        """Never to be read as an ordinary stream: a dead-letter stream, or the ledger."""
        return stream == LEDGER or any(shape.fullmatch(stream) for shape in self._shapes)

    def origins(self, stream: str) -> list[str]:
        """The streams whose dead letters `stream` may hold, by its name; most exact template first."""
        matches = (shape.fullmatch(stream) for shape in self._shapes)
        return list(dict.fromkeys(m["stream"] for m in matches if m and m.groupdict().get("stream")))

    def dead_letter_streams(self, stream: str) -> list[str]:
        """All names under which dead letters of `stream` are looked for."""
        return list(
            dict.fromkeys(self._fill(template, stream) for template in self.templates if "{stream}" in template)
        )

    def _fill(self, template: str, stream: str) -> str:
        filled = template.replace("{service}", self._service).replace("{group}", self._group)
        return filled.replace("{stream}", stream)

    def _shape(self, template: str) -> re.Pattern[str]:
        filled = template.replace("{service}", self._service).replace("{group}", self._group)
        before, _, after = filled.partition("{stream}")
        if "{stream}" not in filled:
            return re.compile(re.escape(filled))
        return re.compile(f"{re.escape(before)}(?P<stream>.+){re.escape(after)}", re.DOTALL)

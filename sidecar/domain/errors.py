"""Broken infrastructure and wrong usage, as exceptions whose class says what the caller must do.

Bad data is not here: a record that fails is a value, `sidecar.domain.model.Rejection`.

    TracecarError
    ├── ConfigError          the file is wrong; lists every mistake with its path        → tell the person, exit 2
    ├── QueryError           the query is wrong; says where and what was expected        → tell the person, exit 2
    ├── Outage               a server cannot be reached or asks to wait (retry_after)    → wait, try again
    │   └── Disconnected     the connection is gone                                      → connect again
    ├── Unknown              there is no such thing; says what was looked for            → tell the person, exit 1
    ├── Fenced               another member owns this now                                → drop the work
    └── Refused              the server said no, and will say it again                   → tell the person
        ├── TooLarge         the record is larger than the server takes                  → send less of it
        └── Trimmed          the position asked for is gone from the log                 → report the gap, go on
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class TracecarError(Exception):
    """Anything that Tracecar raises on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a configuration: where, what was expected, what was found."""

    path: str
    """Dotted path of the key, such as `sources.kafka.topics[0]`; empty for the file itself."""
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path or 'the file'}: expected {self.expected}, found {self.found}"


class ConfigError(TracecarError):
    """The configuration is wrong. Carries every mistake, not only the first."""

    def __init__(self, mistakes: Sequence[Mistake], source: str = "") -> None:
        self.mistakes = tuple(mistakes)
        self.source = source
        head = f"{source}: " if source else ""
        super().__init__("\n".join(f"{head}{mistake}" for mistake in self.mistakes))


class QueryError(TracecarError):
    """The query is wrong. `at` is the index of the first character that does not fit."""

    def __init__(self, message: str, query: str, at: int) -> None:
        self.query, self.at = query, at
        super().__init__(message)


class Outage(TracecarError):
    """A server cannot be reached, or asks to wait. Trying again later is right."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        """Seconds, where the server says how long to wait."""
        super().__init__(message)


class Disconnected(Outage):
    """The connection is gone: connect again."""


class NotFoundError(TracecarError):
    """There is no such thing here. The message says what was looked for, and where."""


class Fenced(TracecarError):
    """Another member owns this partition (or this replay) now: drop the work, it is theirs."""


class Refused(TracecarError):
    """The server said no, and will say it again until a person changes something."""


class TooLarge(Refused):
    """A record is larger than the server takes. `index` says which of the records handed over."""

    def __init__(self, message: str, index: int) -> None:
        self.index = index
        super().__init__(message)


class Trimmed(Refused):
    """The position asked for is gone: retention or a trim took it. `earliest` is what is still there."""

    def __init__(self, message: str, earliest: int | None = None) -> None:
        self.earliest = earliest
        super().__init__(message)

"""Exceptions for broken infrastructure and wrong usage. The class tells the caller what to do.

Bad data is never an exception: a record that fails has a `sidecar.domain.model.Rejection`.

    TracecarError
    ├── ConfigError          the configuration file is wrong; lists every mistake   → tell the user, exit 2
    ├── QueryError           the query is wrong; says where                         → tell the user, exit 2
    ├── NotFoundError        no such event, flow, dead letter …                     → tell the user, exit 1
    ├── Outage               a server is unreachable or asks to wait (retry_after)  → wait, then retry
    │   └── Disconnected     the connection is lost                                 → reconnect, then retry
    ├── Fenced               another member owns the partition or the replay now    → drop the work
    └── Refused              the server says no, and will again                     → tell the user
        └── RecordRefused    the server refuses one record for what it is           → leave that record out
            └── TooLarge     the record exceeds the server's limit                  → send a smaller record
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.domain.secrets import mask_credentials


class TracecarError(Exception):
    """Base class of all exceptions that Tracecar raises on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a configuration: the key, what was expected, what was found."""

    path: str
    """Dotted path of the key, such as `sources.kafka.topics[0]`; empty for the file itself."""
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.path or 'the file'}: expected {self.expected}, found {self.actual}"


class ConfigError(TracecarError):
    """A wrong configuration. Carries every mistake, not only the first."""

    def __init__(self, mistakes: Sequence[Mistake], source: str = "") -> None:
        self.mistakes = tuple(mistakes)
        self.source = source
        head = f"{source}: " if source else ""
        super().__init__("\n".join(f"{head}{mistake}" for mistake in self.mistakes))


class QueryError(TracecarError):
    """A wrong query. `at` is the index of the first character that does not fit."""

    def __init__(self, message: str, query: str, at: int, did_you_mean: str | None = None) -> None:
        self.query, self.at = query, at
        self.did_you_mean = did_you_mean
        """The query that was probably meant, if one is known."""
        super().__init__(message)


class Outage(TracecarError):
    """A server that cannot be reached, or that asks to wait. The caller retries."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        """Seconds to wait, if the server says so."""
        super().__init__(mask_credentials(message))


class Disconnected(Outage):
    """A lost connection. The caller reconnects."""


class NotFoundError(TracecarError):
    """An object that does not exist. The message says what was searched for, and where."""


class Fenced(TracecarError):
    """A loss of ownership: another member owns this partition or replay now. The caller drops the work."""


class Refused(TracecarError):
    """A refusal that the server will repeat until an operator changes something."""

    def __init__(self, message: str) -> None:
        super().__init__(mask_credentials(message))


class RecordRefused(Refused):
    """The server refuses one record because of its size, its time or its missing key. It would accept others."""

    def __init__(self, message: str, index: int | None = None) -> None:
        self.index = index
        """Index of the record among those to publish; None if the server does not say."""
        self.written: dict[int, Any] = {}
        """Positions of the records that were written nevertheless, by index."""
        super().__init__(message)


class TooLarge(RecordRefused):
    """A record larger than the server accepts. `index` is its index among the records to publish."""

    index: int

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message, index)

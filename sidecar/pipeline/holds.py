"""Holds of a partition: the reason why it commits nothing, and what an operator can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sidecar.domain.json_safe import to_text

HeldBy = Literal["registry", "breaker", "letters", "broker"]


@dataclass(frozen=True)
class WorkerHold:
    """The reason why a worker commits nothing."""

    by: HeldBy
    reason: str
    since: int
    """Microseconds since 1970."""


def explain_registry(stream: str, error: Exception) -> str:
    """Explain a hold by an outage of the schema registry."""
    return (
        f"the schema registry does not answer: {error}. It is retried; to let events pass unchecked, run "
        f"tracecar streams skip {to_text(stream)}, or set registry.on_outage to pass"
    )


def explain_breaker(stream: str, events: int, rejected: int, code: str) -> str:
    """Explain a hold by an open circuit breaker."""
    return (
        f"{rejected} of the last {events} events were rejected, most often by {code} (the limits are "
        f"dead_letters.breaker). Fix the schema or the producer and run tracecar streams resume {to_text(stream)}, or "
        f"dead-letter all of them with tracecar streams skip {to_text(stream)}"
    )


def explain_outage(sentence: str) -> str:
    """Explain a hold by a broker that does not take commits."""
    return f"{sentence}. It is retried, and reading continues at the first uncommitted record; nothing is lost"


def explain_refusal(stream: str, sentence: str) -> str:
    """Explain a hold by a broker that refuses a commit."""
    name = to_text(stream)
    return (
        f"{sentence}. Fix this and run tracecar streams resume {name}, or drop the refused records with "
        f"tracecar streams skip {name}"
    )

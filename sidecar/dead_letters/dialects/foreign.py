"""Dead-letter dialects of other frameworks: their table, and the writing of their headers beside Tracecar's.

`dead_letters.dialects` switches the writing on, so that tools that know those headers understand our dead letters.
Facts that Tracecar does not have (a timestamp's type, a class) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.dead_letters.dialects import (
    confluent_rules,
    connect,
    kafka_streams,
    karafka,
    share_group,
    smallrye,
    spring,
    spring_cloud_stream,
    spring_retry,
    watermill,
    wolverine,
)
from sidecar.dead_letters.dialects.dialect import Dialect, RejectionFields
from sidecar.domain.model import Decoded, Headers

FOREIGN_DIALECTS: tuple[Dialect, ...] = (
    spring.DIALECT,
    spring_retry.DIALECT,
    connect.DIALECT,
    kafka_streams.DIALECT,
    share_group.DIALECT,
    smallrye.DIALECT,
    spring_cloud_stream.DIALECT,
    karafka.DIALECT,
    wolverine.DIALECT,
    watermill.DIALECT,
    confluent_rules.DIALECT,
)
_WRITABLE: Mapping[str, Dialect] = {dialect.name: dialect for dialect in FOREIGN_DIALECTS if dialect.write is not None}
_MAX_MESSAGE_CHARACTERS = 2_000


def header_prefixes(dialects: Sequence[str]) -> tuple[str, ...]:
    """Return the prefixes of the headers that these dialects write. Unknown names are ignored."""
    return tuple(_WRITABLE[name].prefix for name in dialects if name in _WRITABLE)


def write_headers(decoded: Decoded, group: str, attempts: int, dialects: Sequence[str]) -> Headers:
    """Build the headers of these dialects for a rejected record."""
    rejection, record = decoded.event.rejection, decoded.record
    assert rejection is not None, "only a rejected record has a dead letter"
    failure = RejectionFields(
        position=record.position,
        timestamp=record.timestamp,
        group=group,
        error=f"tracecar.{rejection.code}",
        message=rejection.message[:_MAX_MESSAGE_CHARACTERS],
        path=rejection.path,
        attempts=attempts,
    )
    return tuple(
        (dialect.prefix + name, value if isinstance(value, bytes) else value.encode("utf-8", "backslashreplace"))
        for dialect in map(_WRITABLE.__getitem__, dialects)
        if dialect.write is not None
        for name, value in dialect.write(failure)
        if value is not None
    )

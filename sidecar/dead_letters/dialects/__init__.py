"""Header dialects of dead letters: one module each, for reading and where possible writing, and the table of all.

A record with Tracecar's headers is read as ours. Other frameworks append their headers, so the dialect with the last
marker header is that of the latest failure. Headers of earlier failures belong to the record.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects import tracecar, unknown
from sidecar.dead_letters.dialects.dialect import Dialect, ReadDialect
from sidecar.dead_letters.dialects.foreign import FOREIGN_DIALECTS
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

DIALECTS: tuple[Dialect, ...] = (tracecar.DIALECT, *FOREIGN_DIALECTS, unknown.DIALECT)
"""All dialects: Tracecar's first, `unknown` last."""
_READERS_BY_MARKER: dict[str, ReadDialect] = {
    marker: dialect.read for dialect in FOREIGN_DIALECTS for marker in dialect.markers
}


def read(record: Record, naming: StreamNames) -> DeadLetter:
    """Read a record of a dead-letter stream in its dialect, or as `unknown`. No header value makes it raise."""
    own_letter = tracecar.read(record)
    if own_letter is not None:
        return own_letter
    tried: set[ReadDialect] = set()
    for name, _ in reversed(record.headers):
        reader = _READERS_BY_MARKER.get(name)
        if reader is None or reader in tried:
            continue
        letter = reader(record, naming)
        if letter is not None:
            return tracecar.add_replay_facts(letter, record.headers)
        tried.add(reader)
    return tracecar.add_replay_facts(unknown.read(record, naming), record.headers)

"""Views for user queries: `events`, `bodies`, `dead_letters` and `flows`.

Files that cover the same offsets may hold rows of the same event: of these, the row observed last wins. All other
files are read as they are, which is much faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sidecar.adapters.history.engine_sql import FATE_COLUMNS, quote_literal
from sidecar.adapters.history.file_catalog import HistoryFile
from sidecar.domain.history_rows import COLUMNS

ROWS, FATES = "tracecar_rows", "tracecar_fates"
"""Internal views, which the others are made of."""
_TYPES = {
    "text": "VARCHAR",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "boolean": "BOOLEAN",
    "millis": "TIMESTAMP_MS",
    "micros": "TIMESTAMP",
}
_PLACE = ("system", "stream", '"partition"', "incarnation", "record_offset_high", "record_offset")
_PAYLOAD = frozenset({"body", "headers"})
_PLAIN_STREAM = "^[A-Za-z0-9._~:@!$()*+,;=^|-]+$"
_UNSIGNED_LOW = f"CASE WHEN record_offset < 0 THEN record_offset::HUGEINT + {1 << 64} ELSE record_offset END"
"""The lower half of an offset of two words, which is stored as a signed number."""
_QUOTED_STREAM = (
    f"CASE WHEN regexp_full_match(stream, {quote_literal(_PLAIN_STREAM)}) THEN stream "
    "WHEN contains(stream, '%') THEN replace(replace(stream, '/', '%2F'), ' ', '%20') ELSE url_encode(stream) END"
)
"""The stream as a position writes it. Names with a percent sign are partly encoded in the files already."""


def find_overlapping(files: Iterable[HistoryFile]) -> set[str]:
    """Return the names of the files that may share rows with another file: their offsets overlap or are not stated."""
    overlapping: set[str] = set()
    ranges = []
    for file in files:
        if file.header.rows and not file.covered:
            overlapping.add(file.name)
        ranges += [((each.partition, each.incarnation or ""), each.start, each.end, file.name) for each in file.covered]
    ranges.sort()
    last_end: dict[tuple[object, str], tuple[int, str]] = {}
    for log, start, end, name in ranges:
        before = last_end.get(log)
        if before is not None and start < before[0] and name != before[1]:
            overlapping |= {name, before[1]}
        if before is None or end > before[0]:
            last_end[log] = (end, name)
    return overlapping


def build_views(
    distinct: Sequence[str],
    overlapping: Sequence[str],
    fates: Sequence[str],
    *,
    by_name: bool,
    split_offsets: Sequence[str],
) -> list[str]:
    """Return the statements that create the views.

    Args:
        distinct: Paths of files that share no event with another one.
        overlapping: Paths of the other files.
        fates: Paths of files of facts about dead letters.
        by_name: The files do not all have the same columns.
        split_offsets: Systems with offsets of two words, which positions write as `HIGH-LOW`.
    """
    return [
        f"CREATE VIEW {ROWS} AS {_union_rows(distinct, overlapping, by_name=by_name)}",
        f"CREATE VIEW {FATES} AS {_union_fates(fates)}",
        f"CREATE VIEW events AS {_events(split_offsets)}",
        f"CREATE VIEW bodies AS {_bodies(split_offsets)}",
        f"CREATE VIEW dead_letters AS {_DEAD_LETTERS}",
        f"CREATE VIEW flows AS {_FLOWS}",
    ]


def _union_rows(distinct: Sequence[str], overlapping: Sequence[str], *, by_name: bool) -> str:
    names = ", ".join(f'"{column.name}"' for column in COLUMNS)
    queries = [f"SELECT {names} FROM {_read_rows(distinct, by_name=by_name)}"] if distinct else []
    if overlapping:
        once = f"row_number() OVER (PARTITION BY {', '.join(_PLACE)} ORDER BY observed_at DESC) = 1"
        queries.append(f"SELECT {names} FROM {_read_rows(overlapping, by_name=by_name)} QUALIFY {once}")
    if not queries:
        columns = ", ".join(f'NULL::{_TYPES[column.kind]} AS "{column.name}"' for column in COLUMNS)
        queries.append(f"SELECT {columns} WHERE false")
    return " UNION ALL ".join(queries)


def _union_fates(paths: Sequence[str]) -> str:
    if paths:
        return f"SELECT DISTINCT {', '.join(FATE_COLUMNS)} FROM {_read(paths, by_name=True)}"
    columns = ", ".join(f"NULL::{_TYPES[kind]} AS {name}" for name, kind in FATE_COLUMNS.items())
    return f"SELECT {columns} WHERE false"


def _read_rows(paths: Sequence[str], *, by_name: bool) -> str:
    """Return the source of rows; with `by_name`, files of any version of the columns."""
    if not by_name:
        return _read(paths, by_name=False)
    none = ", ".join(f'NULL::{_TYPES[column.kind]} AS "{column.name}"' for column in COLUMNS)
    return f"(SELECT * FROM {_read(paths, by_name=True)} UNION ALL BY NAME SELECT {none} WHERE false)"


def _read(paths: Sequence[str], *, by_name: bool) -> str:
    listed = ", ".join(map(quote_literal, paths))
    return f"read_parquet([{listed}], union_by_name = {str(by_name).lower()}, hive_partitioning = false)"


def _position(split_offsets: Sequence[str]) -> str:
    plain = f"system || '://' || {_QUOTED_STREAM} || '/' || \"partition\" || '/' || record_offset"
    if not split_offsets:
        return plain
    listed = ", ".join(map(quote_literal, split_offsets))
    split = f"system || '://' || {_QUOTED_STREAM} || '/' || record_offset_high || '-' || {_UNSIGNED_LOW}"
    return f"CASE WHEN system IN ({listed}) THEN {split} ELSE {plain} END"


def _events(split_offsets: Sequence[str]) -> str:
    status = (
        "CASE WHEN rejection_code IS NOT NULL THEN 'rejected' WHEN replay_of IS NOT NULL THEN 'replayed' "
        "WHEN unchecked THEN 'unchecked' ELSE 'ok' END"
    )
    names = ", ".join(f'"{column.name}"' for column in COLUMNS if column.name not in _PAYLOAD)
    return f"SELECT {_position(split_offsets)} AS position, {status} AS status, {names} FROM {ROWS}"


def _bodies(split_offsets: Sequence[str]) -> str:
    return (
        f'SELECT {_position(split_offsets)} AS position, stream, "type", event_id, aggregate_id, appended_at, '
        f"body::JSON AS body, headers::JSON AS headers FROM {ROWS} WHERE body IS NOT NULL"
    )


_DEAD_LETTERS = f"""
WITH letters AS (
    SELECT dead_letter_id, origin, origin_timestamp, arg_max(state, happened_at) AS state,
           min(happened_at) AS first_at, max(happened_at) AS changed_at, arg_max(replay_id, happened_at) AS replay_id,
           arg_max(actor, happened_at) AS actor, arg_max(reason, happened_at) AS reason
    FROM {FATES} GROUP BY dead_letter_id, origin, origin_timestamp
), rejected AS (SELECT * FROM events WHERE rejection_code IS NOT NULL)
SELECT letters.dead_letter_id AS id, coalesce(letters.origin, rejected.position) AS origin,
       coalesce(letters.state, 'open') AS state, rejected.stream, rejected."type", rejected.rejection_code AS code,
       rejected.rejection_message AS message, rejected.rejection_path AS path, rejected.event_id,
       rejected.aggregate_id, rejected.trace_id, rejected.producer,
       coalesce(rejected.appended_at, letters.origin_timestamp) AS appended_at,
       coalesce(letters.first_at, rejected.observed_at) AS failed_at, letters.changed_at, letters.replay_id,
       letters.actor, letters.reason
FROM letters FULL JOIN rejected
  ON letters.origin = rejected.position AND letters.origin_timestamp = rejected.appended_at
"""
_FLOWS = """
SELECT coalesce('trace:' || trace_id, 'correlation:' || correlation_id, 'causation:' || causation_id,
                'event:' || event_id, position) AS flow,
       min(coalesce(occurred_at, appended_at)) AS started_at, max(coalesce(occurred_at, appended_at)) AS ended_at,
       date_diff('microsecond', min(coalesce(occurred_at, appended_at)::TIMESTAMP),
                 max(coalesce(occurred_at, appended_at)::TIMESTAMP)) / 1000.0 AS duration_ms,
       count(*) AS events, count(*) FILTER (rejection_code IS NOT NULL) AS rejected,
       array_agg(DISTINCT stream ORDER BY stream) AS streams,
       array_agg(DISTINCT producer ORDER BY producer) FILTER (producer IS NOT NULL) AS producers,
       array_agg(DISTINCT "type" ORDER BY "type") FILTER ("type" IS NOT NULL) AS types,
       array_agg(DISTINCT aggregate_id ORDER BY aggregate_id) FILTER (aggregate_id IS NOT NULL) AS aggregates
FROM events GROUP BY flow
"""

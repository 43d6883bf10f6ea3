"""SQL statements of the history's engine. Functions return query text; they run nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sidecar.adapters.history.engine_requests import ReadRequest, RowGroupRows
from sidecar.adapters.history.id_filter import BITS_PER_ID, BLOCK_BITS
from sidecar.domain.history_rows import COLUMNS, MAX_TIME_US, MIN_TIME_US, SCHEMA_VERSION, HistoryColumn, line_key

MAX_LINE_BYTES = 64 << 20
"""Bytes of one line of JSON that the engine reads."""
MAX_ROWS_PER_GROUP = 20_480
"""Rows of a row group: smaller ones are quicker to look into, larger ones are compressed a little better."""
FATE_COLUMNS = {
    "origin": "text",
    "origin_timestamp": "millis",
    "dead_letter_id": "text",
    "state": "text",
    "happened_at": "micros",
    "position": "text",
    "replay_id": "text",
    "actor": "text",
    "reason": "text",
}
"""Columns of a file of facts about dead letters, with their kinds."""
_TYPES = {"text": "VARCHAR", "integer": "INTEGER", "bigint": "BIGINT", "boolean": "BOOLEAN"}
_PLACE = ("system", "stream", '"partition"', "incarnation", "record_offset_high", "record_offset")
ORDER = (
    "appended_at",
    "system",
    "stream",
    '"partition"',
    "record_offset_high",
    "record_offset < 0",
    "record_offset",
    "coalesce(incarnation, '')",
)
"""The order of rows; a negative lower half of an offset is a large unsigned number."""
_AFTER_TYPES = ("TIMESTAMP", "VARCHAR", "VARCHAR", "INTEGER", "BIGINT", "BOOLEAN", "BIGINT", "VARCHAR")


def quote_literal(text: str) -> str:
    """Quote a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _name(column: HistoryColumn) -> str:
    return f'"{column.name}"'


def _write_column(column: HistoryColumn) -> str:
    """Return the expression that makes a column of a file from its key in a line."""
    key = f'"{line_key(column)}"'
    low, high = MIN_TIME_US, MAX_TIME_US
    if column.kind == "millis":
        return (
            f"make_timestamp_ms(greatest({low // 1000}, least({high // 1000}, {key})))::TIMESTAMP_MS AS {_name(column)}"
        )
    if column.name == "observed_at":
        return f"make_timestamp(greatest({low}, least({high}, {key}))) AS {_name(column)}"
    if column.kind == "micros":
        return f"CASE WHEN {key} BETWEEN {low} AND {high} THEN make_timestamp({key}) END AS {_name(column)}"
    if column.kind == "boolean" or column.name == "record_offset_high":
        return f"coalesce({key}, {'false' if column.kind == 'boolean' else 0}) AS {_name(column)}"
    return f"{key} AS {_name(column)}"


def _read_column(column: HistoryColumn) -> str:
    """Return the expression that reads a column of a file as Python needs it."""
    function = {"millis": "epoch_ms", "micros": "epoch_us"}.get(column.kind)
    return _name(column) if function is None else f"{function}({_name(column)}) AS {_name(column)}"


def read_lines(path: str) -> str:
    """Return the query of the rows in a file of JSON lines, in file order (roughly by time)."""
    types = ", ".join(f"\"{line_key(column)}\": '{_TYPES.get(column.kind, 'BIGINT')}'" for column in COLUMNS)
    source = (
        f"read_json({quote_literal(path)}, format = 'newline_delimited', compression = 'uncompressed', "
        f"maximum_object_size = {MAX_LINE_BYTES}, columns = {{{types}}})"
    )
    return f"SELECT {', '.join(map(_write_column, COLUMNS))} FROM {source}"


def _select(version: int) -> str:
    """Return the columns to select from files of a version; those that it lacks are null."""
    return ", ".join(
        _name(column) if column.since <= version else f"NULL::{_TYPES[column.kind]} AS {_name(column)}"
        for column in COLUMNS
    )


def merge_files(paths: Sequence[str], *, distinct: bool, version: int = SCHEMA_VERSION) -> str:
    """Return the query of the rows in several data files, in order of the files.

    `version`: the newest version of their columns.
    """
    names = _select(version)
    query = f"SELECT {names} FROM {_files(paths)}"
    return f"{query} {_once()} ORDER BY appended_at" if distinct else query


def _files(paths: Sequence[str]) -> str:
    return (
        f"read_parquet([{', '.join(map(quote_literal, paths))}], union_by_name = true, hive_partitioning = false, "
        "file_row_number = true)"
    )


def _once() -> str:
    return f"QUALIFY row_number() OVER (PARTITION BY {', '.join(_PLACE)} ORDER BY observed_at DESC) = 1"


def copy_to(query: str, path: str, metadata: dict[str, str], rows_per_group: int = MAX_ROWS_PER_GROUP) -> str:
    """Return the statement that writes the rows of a query to a Parquet file."""
    pairs = ", ".join(f"{quote_literal(key)}: {quote_literal(value)}" for key, value in metadata.items())
    return (
        f"COPY ({query}) TO {quote_literal(path)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, "
        f"PARQUET_VERSION V2, ROW_GROUP_SIZE {rows_per_group}, KV_METADATA {{{pairs}}})"
    )


def describe_row_groups(path: str) -> str:
    """Return the query of rows, first byte, bytes, earliest and latest append time of each row group of a file."""
    place = "least(coalesce(dictionary_page_offset, data_page_offset), data_page_offset)"
    times = [
        f"epoch_ms(max({stat}) FILTER (path_in_schema = 'appended_at')::TIMESTAMP)"
        for stat in ("stats_min_value", "stats_max_value")
    ]
    return (
        f"SELECT max(row_group_num_rows), min({place}), sum(total_compressed_size), {times[0]}, {times[1]} "
        f"FROM parquet_metadata({quote_literal(path)}) GROUP BY row_group_id ORDER BY row_group_id"
    )


def count_ids(path: str, words: Iterable[str], group: str) -> str:
    """Return the query that estimates, per kind of id, the largest number of distinct ids in any row group."""
    counts = ", ".join(f'approx_count_distinct("{word}") AS "{word}"' for word in words)
    largest = ", ".join(f'max("{word}")' for word in words)
    return f"SELECT {largest} FROM (SELECT {group} AS g, {counts} FROM {_files([path])} GROUP BY g)"


def build_filters(path: str, blocks: dict[str, int], group: str) -> str:
    """Return the query of the Bloom filters of each row group: `BITS_PER_ID` bit strings per kind of id, to combine."""
    hashes = ", ".join(
        f'(md5_number("{word}") & {(1 << 64) - 1}::UHUGEINT)::UBIGINT AS h{n}' for n, word in enumerate(blocks)
    )
    parts = []
    for n, count in enumerate(blocks.values()):
        block = f"(h{n} >> 36::UBIGINT) % {count}::UBIGINT * {BLOCK_BITS}::UBIGINT"
        for bit in range(BITS_PER_ID):
            place = f"({block} + ((h{n} >> {9 * bit}::UBIGINT) & {BLOCK_BITS - 1}::UBIGINT))::INTEGER"
            parts.append(f"bitstring_agg({place}, 0, {count * BLOCK_BITS - 1})::BLOB")
    return f"SELECT {', '.join(parts)} FROM (SELECT {group} AS g, {hashes} FROM {_files([path])}) GROUP BY g ORDER BY g"


def group_expression(rows: Sequence[int]) -> str:
    """Return the SQL expression for the row group of a row. `rows`: number of rows of each row group."""
    if all(count == rows[0] for count in rows[:-1]) and rows[-1] <= rows[0]:
        return f"file_row_number // {rows[0]}"
    ends = [str(sum(rows[: n + 1])) for n in range(len(rows))]
    return f"list_position([file_row_number < e FOR e IN [{', '.join(ends)}]], true) - 1"


def read_rows(request: ReadRequest) -> tuple[str, list[object]]:
    """Return the query of the rows that a request asks for, with its parameters."""
    conditions, parameters = _conditions(request)
    queries, values = [], list[object]()
    for group in request.groups:
        where, ids = _group_conditions(group, request)
        names = _select(group.version)
        queries.append(f"SELECT {names} FROM {_files([group.path])} WHERE {' AND '.join([*where, *conditions])}")
        values += [*ids, *parameters]
    direction = "ASC" if request.oldest_first else "DESC"
    order = ", ".join(f"{column} {direction}" for column in ORDER)
    inner = f"SELECT * FROM ({' UNION ALL BY NAME '.join(queries)}) {_once()} ORDER BY {order} LIMIT {request.limit}"
    return f"SELECT {', '.join(map(_read_column, COLUMNS))} FROM ({inner})", values


def _group_conditions(group: RowGroupRows, request: ReadRequest) -> tuple[list[str], list[object]]:
    where = [f"file_row_number BETWEEN {group.first} AND {group.first + group.rows - 1}"]
    values: list[object] = []
    if group.words:
        where.append(
            "("
            + " OR ".join(f'"{word}" IN ({", ".join("?" * len(request.values[word]))})' for word in group.words)
            + ")"
        )
        values += [value for word in group.words for value in request.values[word]]
    return where, values


def _conditions(request: ReadRequest) -> tuple[list[str], list[object]]:
    where: list[str] = []
    values: list[object] = []
    for column, options in (("stream", request.streams), ('"type"', request.types), ("producer", request.producers)):
        if options:
            where.append(f"{column} IN ({', '.join('?' * len(options))})")
            values += options
    if request.since_ms is not None:
        where.append(f"appended_at >= {_moment(request.since_ms)}")
    if request.until_ms is not None:
        where.append(f"appended_at < {_moment(request.until_ms)}")
    if request.rejected:
        where.append("rejection_code IS NOT NULL")
    if request.positions:
        offsets = sorted({position[4] for position in request.positions})
        where.append(f"record_offset IN ({', '.join(map(str, offsets))})")
        places = ", ".join("(?, ?, ?, ?, ?)" for _ in request.positions)
        where.append(f'(system, stream, "partition", record_offset_high, record_offset) IN ({places})')
        values += [part for position in request.positions for part in position]
    if request.after is not None:
        moment, *rest = request.after
        sign, bound = (">", ">=") if request.oldest_first else ("<", "<=")
        where.append(f"appended_at {bound} {_moment(moment)}")
        marks = ", ".join(f"?::{kind}" for kind in _AFTER_TYPES[1:])
        where.append(f"row({', '.join(ORDER)}) {sign} row({_moment(moment)}, {marks})")
        values += rest
    return where, values


def _moment(milliseconds: int) -> str:
    bounded = min(max(milliseconds, MIN_TIME_US // 1000), MAX_TIME_US // 1000)
    return f"make_timestamp_ms({bounded})"


def collect_fates(lines: str | None, paths: Sequence[str]) -> str:
    """Return the query of facts about dead letters in a file of lines and in data files, each fact once."""
    sources = []
    if lines is not None:
        types = ", ".join(f"{name}: '{_TYPES.get(kind, 'BIGINT')}'" for name, kind in FATE_COLUMNS.items())
        functions = {"millis": "make_timestamp_ms({})::TIMESTAMP_MS", "micros": "make_timestamp({})"}
        columns = ", ".join(
            f"{functions.get(kind, '{}').format(name)} AS {name}" for name, kind in FATE_COLUMNS.items()
        )
        source = f"read_json({quote_literal(lines)}, format = 'newline_delimited', columns = {{{types}}})"
        sources.append(f"SELECT {columns} FROM {source}")
    if paths:
        sources.append(f"SELECT {', '.join(FATE_COLUMNS)} FROM {_fate_files(paths)}")
    return f"SELECT DISTINCT * FROM ({' UNION ALL '.join(sources)}) ORDER BY origin, happened_at"


def find_fates(paths: Sequence[str], origins: int) -> str:
    """Return the query of the facts about some origins. The origins are its parameters."""
    functions = {"millis": "epoch_ms({})", "micros": "epoch_us({})"}
    columns = ", ".join(functions.get(kind, "{}").format(name) for name, kind in FATE_COLUMNS.items())
    return f"SELECT DISTINCT {columns} FROM {_fate_files(paths)} WHERE origin IN ({', '.join('?' * origins)})"


def _fate_files(paths: Sequence[str]) -> str:
    return f"read_parquet([{', '.join(map(quote_literal, paths))}], union_by_name = true, hive_partitioning = false)"

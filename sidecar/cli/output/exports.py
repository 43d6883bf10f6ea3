"""Lists as files for other tools: CSV and Parquet."""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from sidecar.cli.errors import FAILED_CODE, print_error
from sidecar.cli.sanitize import sanitize_line
from sidecar.domain.json_safe import encode_json, parse_float

_VALUES = frozenset({"body", "headers"})
"""Fields with values of any shape, which CSV has as JSON."""


def print_csv(items: Sequence[Any]) -> None:
    """Print items as CSV (RFC 4180) with a header.

    A field of an inner object is a column such as `schema.subject`. Lists are written as JSON, and absent values are
    empty.
    """
    if not items:
        return
    documents = [_to_document(item) for item in items]
    present = {name for document in documents for name in document}
    names = [name for name in _list_columns(type(items[0])) if name.partition(".")[0] in present]
    rows = [dict(_flatten(document)) for document in documents]
    writer = csv.writer(sys.stdout, lineterminator="\r\n" if sys.platform == "win32" else "\n")
    writer.writerow(names)
    show = sanitize_line if sys.stdout.isatty() else str
    writer.writerows([show(row[name]) if row.get(name) is not None else None for name in names] for row in rows)
    sys.stdout.flush()


def write_parquet(items: Sequence[object]) -> None:
    """Write items to stdout as a Parquet file. Exits if that is a terminal, or if the needed extra is missing."""
    if sys.stdout.isatty():
        _fail("Parquet is binary: write it to a file, with -o parquet > FILE")
    if not items:
        _fail("no rows match, and a Parquet file needs at least one to know its columns")
    try:
        import duckdb
    except ImportError:
        _fail("-o parquet needs the extra tracecar[history]: pip install 'tracecar[history]'")
    with tempfile.TemporaryDirectory(prefix="tracecar-") as folder:
        source, target = Path(folder) / "rows.ndjson", Path(folder) / "rows.parquet"
        source.write_bytes(b"".join(encode_json(item) + b"\n" for item in items))
        with duckdb.connect() as connection:
            connection.execute(
                "COPY (SELECT * FROM read_json($source, format = 'newline_delimited', sample_size = -1, "
                "maximum_object_size = 268435456)) TO $target (FORMAT parquet, COMPRESSION zstd)",
                {"source": str(source), "target": str(target)},
            )
        sys.stdout.buffer.write(target.read_bytes())
        sys.stdout.buffer.flush()


def _fail(message: str) -> None:
    print_error(message)
    sys.exit(FAILED_CODE)


def _to_document(item: object) -> Mapping[str, Any]:
    document: Mapping[str, Any] = msgspec.json.Decoder(float_hook=parse_float).decode(encode_json(item))
    return document


def _list_columns(kind: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    """Yield the columns of a kind of item, whichever of its values are absent."""
    for field in msgspec.structs.fields(kind):
        members = (field.type, *get_args(field.type))
        inner = next(
            (member for member in members if isinstance(member, type) and issubclass(member, msgspec.Struct)), None
        )
        if inner is None or field.name in _VALUES:
            yield f"{path}{field.encode_name}"
        else:
            yield from _list_columns(inner, f"{path}{field.encode_name}.")


def _flatten(document: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    cells: list[tuple[str, Any]] = []
    for name, value in document.items():
        column = f"{path}{name}"
        if isinstance(value, dict) and name not in _VALUES:
            cells += _flatten(value, f"{column}.")
        else:
            cells.append((column, _format_cell(value)))
    return cells


def _format_cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return encode_json(value).decode("utf-8", "backslashreplace")

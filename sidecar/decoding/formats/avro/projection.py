"""Projections: a few fields of a record, read without building the values of all others, by code that is generated.

An event's envelope needs a handful of its fields, and few bodies are shown. So the generated function reads these,
steps over everything else, and still verifies all bytes: lengths, counts, branches, symbols, text in UTF-8, the
end. Where it finds anything unusual it gives up, and the full decoder decides. It accepts no payload that the full
decoder rejects, and gives the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader

from sidecar.decoding.envelope.coercion import EARLIEST_US, LATEST_US, to_micros
from sidecar.decoding.formats.avro import projection_steps
from sidecar.decoding.formats.avro.fastavro_schema import logical_reader, reading_schema
from sidecar.decoding.formats.avro.projection_steps import MAX_SHORT_BYTES, MAX_SHORT_NUMBERS
from sidecar.decoding.formats.avro.schema_parser import (
    MAX_DECIMAL_BYTES,
    AvroArray,
    AvroEnum,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
    children,
)
from sidecar.decoding.formats.avro.schema_survey import fewest_bytes
from sidecar.decoding.formats.schema_format import FieldSelection

MAX_TYPES = 200
"""Types, counted wherever they are used, for which code is generated: compiling takes about 40 µs for each."""
MAX_NESTED_BLOCKS = 40
"""Levels of the generated code; Python allows 20 loops inside one another, each of which takes two."""

Decode = Callable[[bytes, int], Any]
"""Decodes the payload from an index on."""

_WIDTHS = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_INDENT = "    "
_TIMESTAMPS = {"timestamp-millis": (1_000, 6), "timestamp-micros": (1, 8)}
"""Microseconds of a timestamp's unit, and bytes of the timestamps from 2004 to 2039."""


class _TooLarge(ValueError):
    """Raised for a schema for which no code is generated."""


def compile_projection(root: Type, selection: FieldSelection, decode: Decode, max_bytes: int) -> Decode | None:
    """Compile the projection of a record to some of its own fields. Only for a safe schema (`schema_survey`).

    Args:
        root: The schema.
        selection: The fields.
        decode: Decodes whole payloads and selects; its result stands where the projection gives up.
        max_bytes: Size above which payloads are left to the full decoder.

    Returns:
        None where the schema is no record, or too large or too deep for generated code.
    """
    if not isinstance(root, AvroRecord):
        return None
    strict: list[Decode] = []

    def verify_text(data: bytes, start: int) -> Any:
        if not strict:
            strict.append(_ProjectionCode(root, selection, decode, None, max_bytes).compile())
        return strict[0](data, start)

    try:
        return _ProjectionCode(root, selection, decode, verify_text, max_bytes).compile()
    except _TooLarge:
        return None


class _ProjectionCode:
    """The source of one projection, and the objects that it names.

    In the code, `at` is the index of the next byte. Text is verified in runs: lengths below 64, small numbers, branches
    and symbols are ASCII as well, so one look at the bytes of neighboring fields, `data[run:at]`, is enough. Text
    beyond ASCII is left to a second function, which verifies it text by text.
    """

    def __init__(
        self, root: AvroRecord, selection: FieldSelection, decode: Decode, strict: Decode | None, max_bytes: int
    ) -> None:
        """Begin. `decode` is called where the code gives up, and `strict` for text beyond ASCII.

        `strict` is None for the code that verifies each text.
        """
        self._root, self._selection, self._in_runs = root, selection, strict is not None
        self._max_bytes = max_bytes
        self._lines: list[str] = []
        self._indent = 2
        self._types = 0
        self._open = False
        """A run is open: its bytes are ASCII as far as nothing but text decides."""
        self._names: dict[str, Any] = {
            **projection_steps.NAMES,
            "decode": decode,
            "strict": strict,
            "to_micros": to_micros,
        }

    def compile(self) -> Decode:
        """Generate and compile the function. Raises _TooLarge."""
        chosen, time_at = self._selection.fields, self._selection.time_at
        time = chosen[time_at] if time_at >= 0 else None
        variables: dict[str, str] = {}
        for each in self._root.fields:
            if each.name in chosen or each.name in self._selection.others:
                variable = variables[each.name] = f"v{len(variables)}"
                if each.name == time:
                    self._read_time(each.type, variable)
                else:
                    self._read(each.type, variable)
            else:
                self._skip(each.type)
        self._close()
        values = [variables.get(name or "", "None") for name in chosen]
        others = [f"{name!r}: {variables[name]}" for name in self._selection.others if name in variables]
        lines = [
            "def project(data, start):",
            f"    if len(data) > {self._max_bytes}:",
            "        return decode(data, start)",
            "    try:",
            "        at = start",
            *self._lines,
            "        if at == len(data):",
            f"            return ({', '.join(values)}, {{{', '.join(others)}}})",
            "    except Exception:",
            "        pass",
            "    return decode(data, start)",
        ]
        exec(compile("\n".join(lines), "<generated from an Avro schema>", "exec"), self._names)
        compiled: Decode = self._names["project"]
        return compiled

    # --- code

    def _emit(self, *lines: str) -> None:
        self._lines += [_INDENT * self._indent + line for line in lines]

    def _name(self, value: Any) -> str:
        """Give the code a name for an object."""
        name = f"object_{len(self._names)}"
        self._names[name] = value
        return name

    def _count_type(self) -> None:
        self._types += 1
        if self._types > MAX_TYPES or self._indent > MAX_NESTED_BLOCKS:
            raise _TooLarge

    # --- runs

    def _begin(self) -> None:
        """Let the bytes from here on belong to a run."""
        if self._in_runs and not self._open:
            self._emit("run = at")
            self._open = True

    def _look(self) -> list[str]:
        """Return the lines that verify the open run up to here."""
        return ["if not data[run:at].isascii():", f"{_INDENT}return strict(data, start)"] if self._open else []

    def _close(self) -> None:
        """Verify the open run: the next bytes may be any."""
        self._emit(*self._look())
        self._open = False

    def _otherwise(self, *lines: str) -> None:
        """Emit the branch for what is not ASCII, though it may be in a run: the run ends before and begins after it."""
        self._emit("else:")
        self._indent += 1
        self._emit(*self._look(), *lines, *(["run = at"] if self._open else []))
        self._indent -= 1

    # --- steps over values

    def _skip(self, type: Type) -> None:
        self._count_type()
        match type:
            case AvroPrimitive(name) if name in _WIDTHS:
                self._pass_over(_WIDTHS[name])
            case AvroFixed(_, size):
                self._pass_over(size)
            case AvroPrimitive("string"):
                self._skip_text()
            case AvroPrimitive("bytes"):
                self._close()
                most = MAX_DECIMAL_BYTES if type.logical == "decimal" else (1 << 62)
                self._emit(f"at += STEPS[data[at]] or skip_bytes(data, at, {most})")
            case AvroPrimitive(_, logical) if logical is not None and "timestamp" in logical:
                self._close()
                self._emit("at = skip_number(data, at)")
            case AvroPrimitive():
                self._emit(f"if data[at] < {MAX_SHORT_BYTES}:", f"{_INDENT}at += 1")
                self._otherwise("at = skip_number(data, at)")
            case AvroEnum(_, symbols):
                self._emit(
                    f"if data[at] not in {self._choices(len(symbols))}:",
                    f"{_INDENT}return decode(data, start)",
                    "at += 1",
                )
            case AvroUnion(branches):
                self._branch(branches, self._skip)
            case AvroRecord(_, fields):
                for each in fields:
                    self._skip(each.type)
            case AvroArray(items):
                self._loop(items, lambda: self._skip(items))
            case AvroMap(values):
                self._loop(type, lambda: self._skip_entry(values))

    def _pass_over(self, size: int) -> None:
        if size:
            self._close()
            self._emit(f"at += {size}")

    def _skip_text(self) -> None:
        self._begin()
        if self._in_runs:
            self._emit("step = STEPS[data[at]]", "if step:", f"{_INDENT}at += step")
        else:
            self._emit("step = STEPS[data[at]]", "if step:", f"{_INDENT}data[at + 1 : at + step].decode()")
            self._emit(f"{_INDENT}at += step")
        self._otherwise("at = skip_text(data, at)")

    def _skip_entry(self, values: Type) -> None:
        self._skip_text()
        self._skip(values)

    def _choices(self, count: int) -> str:
        """Name the first bytes of the numbers below `count`; those of more bytes are left to the full decoder."""
        return self._name(frozenset(range(0, 2 * min(count, MAX_SHORT_NUMBERS), 2)))

    def _branch(self, branches: tuple[Type, ...], step: Callable[[Type], None]) -> None:
        """Emit a chain of conditions: the written branch of a union."""
        before, outcomes = self._open, list[tuple[list[str], bool]]()
        lines = self._lines
        self._indent += 1
        for branch in branches[:MAX_SHORT_NUMBERS]:
            self._lines, self._open = [], before
            step(branch)
            outcomes.append((self._lines or [_INDENT * self._indent + "pass"], self._open))
        begin = _INDENT * self._indent + "run = at"
        self._indent -= 1
        self._lines, self._open = lines, any(is_open for _, is_open in outcomes)
        self._emit("branch = data[at]", "at += 1")
        numbered = list(enumerate(outcomes))
        # The second branch first: it is what an optional field has when it has a value.
        for place, (number, (code, is_open)) in enumerate([*numbered[1:2], *numbered[:1], *numbered[2:]]):
            self._emit(f"{'elif' if place else 'if'} branch == {2 * number}:")
            self._lines += code if is_open or not self._open else [*code, begin]
        if numbered:
            self._emit("else:")
        self._emit(f"{_INDENT if numbered else ''}return decode(data, start)")

    def _loop(self, item: Type, step: Callable[[], None]) -> None:
        """Emit the loops over the blocks of an array or a map, and over the items of a block."""
        least = fewest_bytes(item.values) + 1 if isinstance(item, AvroMap) else fewest_bytes(item)
        in_run = self._in_runs and _has_text(item)
        if in_run:
            self._begin()
        else:
            self._close()
        self._emit("while count := data[at]:")
        self._indent += 1
        self._emit(f"if count < {MAX_SHORT_BYTES} and not count & 1:", f"{_INDENT}count >>= 1", f"{_INDENT}at += 1")
        self._otherwise(f"count, at = read_count(data, at, {least})")
        self._emit("for _ in range(count):")
        self._indent += 1
        emitted = len(self._lines)
        step()
        if in_run:
            self._begin()
        else:
            self._close()
        if len(self._lines) == emitted:
            self._emit("pass")
        self._indent -= 2
        self._emit("at += 1")

    # --- values

    def _read_time(self, type: Type, variable: str) -> None:
        """Emit code that reads a time in microseconds, as `to_micros` gives it for the value of the full decoder."""
        match type:
            case AvroPrimitive("long", "timestamp-millis" | "timestamp-micros" as logical):
                self._count_type()
                self._close()
                self._read_timestamp(type, variable, *_TIMESTAMPS[logical])
            case AvroUnion(branches):
                self._count_type()
                self._branch(branches, lambda branch: self._read_time(branch, variable))
            case _:
                self._read(type, variable)
                self._emit(f"{variable} = to_micros({variable})")

    def _read_timestamp(self, type: AvroPrimitive, variable: str, micros: int, length: int) -> None:
        """Emit code that reads a timestamp. Those of these years have `length` bytes; they are read without a loop."""
        names = [f"b{number}" for number in range(length)]
        terms = [name if number == 0 else f"({name} << {7 * number})" for number, name in enumerate(names)]
        surplus = sum(MAX_SHORT_BYTES << 7 * number for number in range(length - 1))
        self._emit(
            f"{', '.join(names)} = read_{length}_bytes(data, at)",
            f"if {names[-1]} < {MAX_SHORT_BYTES} and {' & '.join(names[:-1])} & {MAX_SHORT_BYTES} and not b0 & 1:",
            f"{_INDENT}at += {length}",
            # Of a number that is not negative, the last bit says so: half of it counts.
            f"{_INDENT}{variable} = ({' + '.join(terms)} - {surplus}) * {micros} >> 1",
            "else:",
            f"{_INDENT}number, at = read_number(data, at)",
            f"{_INDENT}{variable} = number * {micros}",
            f"if not {EARLIEST_US} <= {variable} < {LATEST_US}:",
            f"{_INDENT}return decode(data, start)",
        )

    def _read(self, type: Type, variable: str) -> None:
        """Emit code that reads a value, as the full decoder gives it, into a variable."""
        match type:
            case AvroUnion(branches):
                self._count_type()
                self._branch(branches, lambda branch: self._read(branch, variable))
            case AvroRecord() | AvroArray() | AvroMap():
                self._emit("begin = at")
                self._skip(type)
                self._emit(f"{variable} = {self._name(_compile_whole(type))}(data[begin:at])")
            case _:
                self._count_type()
                self._read_scalar(type, variable)
                convert = logical_reader(type) if isinstance(type, AvroPrimitive | AvroFixed) else None
                if convert is not None:
                    self._emit(f"{variable} = {self._name(convert)}({variable})")

    def _read_scalar(self, type: Type, variable: str) -> None:
        match type:
            case AvroPrimitive("null"):
                self._emit(f"{variable} = None")
            case AvroPrimitive("boolean"):
                self._emit(f"{variable} = data[at] != 0", "at += 1")
            case AvroPrimitive("float" | "double" as name):
                self._close()
                self._emit(f"({variable},) = read_{name}(data, at)", f"at += {_WIDTHS[name]}")
            case AvroPrimitive("string"):
                self._emit("step = STEPS[data[at]]", "if step:")
                self._emit(f"{_INDENT}{variable} = data[at + 1 : at + step].decode()", f"{_INDENT}at += step")
                self._otherwise(f"{variable}, at = read_text(data, at)")
            case AvroPrimitive("bytes"):
                self._close()
                most = MAX_DECIMAL_BYTES if type.logical == "decimal" else (1 << 62)
                self._emit("begin = at", f"at += STEPS[data[at]] or skip_bytes(data, at, {most})")
                self._emit(f"{variable} = data[read_number(data, begin)[1] : at]")
            case AvroPrimitive():
                self._emit("number = data[at]", f"if number < {MAX_SHORT_BYTES}:")
                self._emit(f"{_INDENT}{variable} = NUMBERS[number]", f"{_INDENT}at += 1")
                self._otherwise(f"{variable}, at = read_number(data, at)")
            case AvroFixed(_, size):
                self._close()
                self._emit(f"{variable} = data[at : at + {size}]", f"at += {size}")
            case AvroEnum(_, symbols):
                known = {2 * number: symbol for number, symbol in enumerate(symbols[:MAX_SHORT_NUMBERS])}
                self._emit(f"{variable} = {self._name(known)}[data[at]]", "at += 1")


def _has_text(type: Type) -> bool:
    return isinstance(type, AvroMap) or type == AvroPrimitive("string") or any(map(_has_text, children(type)))


def _compile_whole(type: Type) -> Callable[[bytes], Any]:
    schema = reading_schema(type)
    return lambda data: schemaless_reader(BytesIO(data), schema, None)

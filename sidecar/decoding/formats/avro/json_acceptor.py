"""Acceptors: code that is generated for a schema, and tells that a decoded JSON value fits it in the plainest form.

Nearly all events fit, so most checks need no path and no message. An acceptor accepts less than `json_validator` does,
and nothing that it rejects: where it says no, that check decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.decoding.formats.avro.json_scalars import Check
from sidecar.decoding.formats.avro.schema_parser import (
    AvroArray,
    AvroEnum,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)

MAX_TYPES = 200
"""Types, counted wherever they are used, for which code is generated: compiling takes about 15 µs for each."""
MAX_NESTED_BLOCKS = 40
"""Levels of the generated code; Python allows 20 loops inside one another."""

Acceptor = Callable[[Any], bool]

_INDENT = "    "
_CLASSES = {
    "boolean": ("bool",),
    "float": ("float", "int"),
    "double": ("float", "int"),
    "string": ("str",),
    "bytes": ("str",),
}
_RANGES = {"int": 1 << 31, "long": 1 << 63}


class _Unsupported(ValueError):
    """Raised for a type for which no code is generated."""


def compile_acceptor(root: Type, check_of: Callable[[Type], Check]) -> Acceptor | None:
    """Compile the acceptor of a schema.

    Args:
        root: The schema.
        check_of: Returns the check of a type that is neither record, array, map nor union.

    Returns:
        None for a schema that is recursive, too large or too deep, or has unions of several records, arrays or maps.
    """
    try:
        return _AcceptorCode(check_of).compile(root)
    except _Unsupported:
        return None


class _AcceptorCode:
    """The source of one acceptor, and the objects that it names."""

    def __init__(self, check_of: Callable[[Type], Check]) -> None:
        self._check_of = check_of
        self._lines: list[str] = []
        self._names: dict[str, Any] = {}
        self._open: set[int] = set()
        self._types = self._variables = 0
        self._indent = 2

    def compile(self, root: Type) -> Acceptor:
        """Generate and compile the function. Raises _Unsupported."""
        self._accept(root, "value")
        lines = [
            "def accept(value):",
            "    try:",
            *self._lines,
            "        return True",
            "    except Exception:",
            "        return False",
        ]
        exec(compile("\n".join(lines), "<generated from an Avro schema: acceptor>", "exec"), self._names)
        compiled: Acceptor = self._names["accept"]
        return compiled

    def _emit(self, *lines: str) -> None:
        self._lines += [_INDENT * self._indent + line for line in lines]

    def _name(self, value: Any) -> str:
        name = f"object_{len(self._names)}"
        self._names[name] = value
        return name

    def _variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def _accept(self, type: Type, variable: str) -> None:
        """Emit code that returns False unless a variable's value fits."""
        self._types += 1
        if self._types > MAX_TYPES or self._indent > MAX_NESTED_BLOCKS or id(type) in self._open:
            raise _Unsupported
        match type:
            case AvroRecord():
                self._open.add(id(type))
                self._record(type, variable)
                self._open.discard(id(type))
            case AvroArray(items):
                self._each(items, variable, "list", variable)
            case AvroMap(values):
                self._each(values, variable, "dict", f"{variable}.values()")
            case AvroUnion():
                self._union(type, variable)
            case _:
                self._emit(f"if not ({self._scalar(type, variable)}): return False")

    def _record(self, record: AvroRecord, variable: str) -> None:
        self._emit(f"if {variable}.__class__ is not dict: return False")
        get = self._variable()
        self._emit(f"{get} = {variable}.get")
        for each in record.fields:
            field = self._variable()
            self._emit(f"{field} = {get}({each.name!r})")
            if each.aliases:  # where the field is missing, its value may be under another name
                self._emit(f"if {field} is None: return False")
            self._accept(each.type, field)

    def _each(self, inner: Type, variable: str, kind: str, values: str) -> None:
        item = self._variable()
        self._emit(f"if {variable}.__class__ is not {kind}: return False", f"for {item} in {values}:")
        self._indent += 1
        self._accept(inner, item)
        self._indent -= 1

    def _union(self, union: AvroUnion, variable: str) -> None:
        scalars = [branch for branch in union.branches if isinstance(branch, AvroPrimitive | AvroEnum | AvroFixed)]
        structured = [branch for branch in union.branches if branch not in scalars]
        if not union.branches or len(structured) > 1:
            raise _Unsupported
        fits = " or ".join(self._scalar(branch, variable) for branch in scalars) or "False"
        if not structured:
            self._emit(f"if not ({fits}): return False")
            return
        self._emit(f"if not ({fits}):")
        self._indent += 1
        self._accept(structured[0], variable)
        self._indent -= 1

    def _scalar(self, type: Type, variable: str) -> str:
        """Return the condition that a scalar fits."""
        match type:
            case AvroPrimitive("null"):
                return f"{variable} is None"
            case AvroPrimitive(name, None) if name in _CLASSES:
                return " or ".join(f"{variable}.__class__ is {each}" for each in _CLASSES[name])
            case AvroPrimitive(name, None) if name in _RANGES:
                return f"({variable}.__class__ is int and {-_RANGES[name]} <= {variable} < {_RANGES[name]})"
            case AvroEnum(_, symbols):
                return f"{variable} in {self._name(frozenset(symbols))}"
        return f"{self._name(self._check_of(type))}({variable}) is None"

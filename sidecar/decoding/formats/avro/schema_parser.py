"""Parser of an Avro schema's text into a tree of types, with all names resolved.

(Avro 1.12 specification, "Schema Declaration".) The texts come from a registry to which anyone may write, so they are
as hostile as records: their size, depth and number of types are bounded, and an invalid text raises `UnusableSchema`
with the place. Parts that a reader does not need (docs, orders, a default of the wrong type) never make a schema
unusable: consumers read such schemas every day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from sidecar.decoding.formats.schema_format import UnusableSchema

MAX_SCHEMA_CHARACTERS = 4_000_000
"""Characters of one schema with its references."""
MAX_TYPES = 20_000
"""Types written in one schema with its references."""
MAX_DEPTH = 100
"""Deepest nesting of types."""
MAX_DECIMAL_DIGITS = 2_000
"""Largest precision of a decimal. Above it the logical type is ignored, as the specification demands for invalid
ones."""
MAX_DECIMAL_BYTES = 1_024
"""Longest unscaled value of a decimal, because its conversion takes quadratic time."""

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "<no default>"})()
"""Placeholder for a missing default, because None is the default null."""

_LOGICAL_TYPES = {
    "int": {"date", "time-millis"},
    "long": {
        "time-micros",
        *(f"{local}timestamp-{unit}" for local in ("", "local-") for unit in ("millis", "micros", "nanos")),
    },
    "string": {"uuid"},
}


class UnknownTypeName(UnusableSchema):
    """A type name that neither the text nor its references declare. `names` are the possible full names."""

    def __init__(self, message: str, names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.names = names


@dataclass(eq=False, slots=True)
class AvroPrimitive:
    """One of null, boolean, int, long, float, double, bytes and string, possibly with a logical type."""

    name: str
    logical: str | None = None
    """Logical type that is known and fits. Others are ignored, as the specification demands."""
    precision: int = 0
    scale: int = 0


@dataclass(eq=False, slots=True)
class AvroFixed:
    """A fixed type: values of `size` bytes."""

    name: str
    size: int
    logical: str | None = None
    precision: int = 0
    scale: int = 0


@dataclass(eq=False, slots=True)
class AvroEnum:
    """An enum."""

    name: str
    symbols: tuple[str, ...]
    default: str | None


@dataclass(eq=False, slots=True)
class AvroArray:
    """An array."""

    items: Type


@dataclass(eq=False, slots=True)
class AvroMap:
    """A map with text keys."""

    values: Type


@dataclass(eq=False, slots=True)
class AvroUnion:
    """A union."""

    branches: tuple[Type, ...]


@dataclass(eq=False, slots=True)
class AvroField:
    """A field of a record."""

    name: str
    type: Type
    default: Any
    """The default as JSON; ABSENT if there is none."""
    aliases: tuple[str, ...]


@dataclass(eq=False, slots=True)
class AvroRecord:
    """A record, or an error, which is encoded like a record."""

    name: str
    fields: tuple[AvroField, ...] = ()


Type: TypeAlias = AvroPrimitive | AvroFixed | AvroEnum | AvroArray | AvroMap | AvroUnion | AvroRecord


def parse(text: str, references: Sequence[str] = ()) -> Type:
    """Parse the type that `text` declares.

    `references` are the texts of referenced schemas, dependencies first. Several of them may declare the same type.
    Raises UnusableSchema.
    """
    if len(text) + sum(map(len, references)) > MAX_SCHEMA_CHARACTERS:
        raise UnusableSchema(f"expected at most {MAX_SCHEMA_CHARACTERS} characters of schema, with its references")
    parsing = _SchemaParser()
    for reference in references:
        parsing.type(_json(reference), "", "reference", 0)
    return parsing.type(_json(text), "", "", 0)


def children(type: Type) -> Iterator[Type]:
    """Iterate over the types directly inside this one."""
    match type:
        case AvroArray(items):
            yield items
        case AvroMap(values):
            yield values
        case AvroUnion(branches):
            yield from branches
        case AvroRecord():
            for each in type.fields:
                yield each.type


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise UnusableSchema(f"not JSON: {error}") from None


@dataclass(slots=True)
class _SchemaParser:
    """One pass over a schema and its references: the names seen so far, and how much has been read."""

    names: dict[str, Type] = field(default_factory=dict)
    """Full name to declaration. A later declaration of the same name replaces an earlier one from there on, so that a
    type reached twice, by two references or two branches of a union, is never an error."""
    heights: dict[int, int] = field(default_factory=dict)
    """Depth of the types inside a finished one, by identity. Names make chains longer than any one text is deep."""
    count: int = 0

    def type(self, node: Any, namespace: str, where: str, depth: int) -> Type:
        read = self._type(node, namespace, where, depth)
        if id(read) not in self.heights:
            inside = (self.heights.get(id(child), 0) for child in children(read))
            self.heights[id(read)] = 1 + max(inside, default=0)
        return read

    def _type(self, node: Any, namespace: str, where: str, depth: int) -> Type:
        self.count += 1
        if self.count > MAX_TYPES:
            raise UnusableSchema(f"{where}: expected at most {MAX_TYPES} types")
        if depth > MAX_DEPTH:
            raise UnusableSchema(f"{where[:200]}: expected types at most {MAX_DEPTH} deep")
        if isinstance(node, str):
            named = self._resolve_name(node, namespace, where)
            if depth + self.heights.get(id(named), 0) > MAX_DEPTH:
                raise UnusableSchema(f"{where[:200]}: expected types at most {MAX_DEPTH} deep")
            return named
        if isinstance(node, list):
            branches = (self.type(each, namespace, f"{where}[{n}]", depth + 1) for n, each in enumerate(node))
            union = AvroUnion(tuple(branches))
            if any(isinstance(branch, AvroUnion) for branch in union.branches):
                raise UnusableSchema(f"{where or 'the schema'}: expected no union directly in a union")
            return union
        if not isinstance(node, dict):
            raise UnusableSchema(f"{where or 'the schema'}: expected a name, an object or a list, found {_show(node)}")
        kind = node.get("type")
        match kind:
            case "record" | "error":
                return self._record(node, namespace, where, depth)
            case "enum":
                return self._enum(node, namespace, where)
            case "fixed":
                return self._parse_fixed(node, namespace, where)
            case "array":
                return AvroArray(self.type(node.get("items"), namespace, f"{where}.items", depth + 1))
            case "map":
                return AvroMap(self.type(node.get("values"), namespace, f"{where}.values", depth + 1))
            case str() if kind in PRIMITIVES:
                logical = node.get("logicalType")
                if kind == "bytes" and logical == "decimal" and (decimal := _decimal(node, None)):
                    return AvroPrimitive(kind, "decimal", *decimal)
                known = isinstance(logical, str) and logical in _LOGICAL_TYPES.get(kind, ())
                return AvroPrimitive(kind, logical if known else None)
            case str() | dict() | list():
                return self.type(kind, namespace, where, depth + 1)
        raise UnusableSchema(f"{where or 'the schema'}: expected a type, found {_show(kind)}")

    def _resolve_name(self, name: str, namespace: str, where: str) -> Type:
        if name in PRIMITIVES:
            return AvroPrimitive(name)
        qualified = f"{namespace}.{name}" if "." not in name and namespace else name.removeprefix(".")
        # Where the namespace has no such name, the one without namespace is meant, as Java takes it.
        for each in (qualified, name):
            if each in self.names:
                return self.names[each]
        message = f"{where or 'the schema'}: expected a known type, found the name {_show(name)}"
        raise UnknownTypeName(message, (qualified, name))

    def _record(self, node: dict[str, Any], namespace: str, where: str, depth: int) -> AvroRecord:
        name, namespace = _full_name(node, namespace, where)
        record = self.names[name] = AvroRecord(name)
        fields = node.get("fields", [])
        if not isinstance(fields, list):
            raise UnusableSchema(f"{where or name}.fields: expected a list, found {_show(fields)}")
        read: dict[str, AvroField] = {}
        for each in fields:
            if not isinstance(each, dict) or not isinstance(each.get("name"), str) or "type" not in each:
                raise UnusableSchema(f"{where or name}.fields: expected fields with name and type, found {_show(each)}")
            if each["name"] in read:
                raise UnusableSchema(f"{where or name}: the field {_show(each['name'])} is declared twice")
            inner = self.type(each["type"], namespace, f"{where}.{each['name'][:80]}", depth + 1)
            aliases = each.get("aliases")
            names = (alias for alias in aliases if isinstance(alias, str)) if isinstance(aliases, list) else ()
            read[each["name"]] = AvroField(each["name"], inner, each.get("default", ABSENT), tuple(names))
        record.fields = tuple(read.values())
        return record

    def _enum(self, node: dict[str, Any], namespace: str, where: str) -> AvroEnum:
        name, _ = _full_name(node, namespace, where)
        symbols = node.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise UnusableSchema(f"{where or name}.symbols: expected a list of names, found {_show(symbols)}")
        default = node.get("default")
        declared = AvroEnum(name, tuple(symbols), default if default in symbols else None)
        self.names[name] = declared
        return declared

    def _parse_fixed(self, node: dict[str, Any], namespace: str, where: str) -> AvroFixed:
        name, _ = _full_name(node, namespace, where)
        size = node.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 31:
            raise UnusableSchema(f"{where or name}.size: expected a number of bytes, found {_show(size)}")
        declared = AvroFixed(name, size)
        match node.get("logicalType"):
            case "decimal" if decimal := _decimal(node, size):
                declared = AvroFixed(name, size, "decimal", *decimal)
            case "uuid" if size == 16:
                declared = AvroFixed(name, size, "uuid")
            case "duration" if size == 12:
                declared = AvroFixed(name, size, "duration")
        self.names[name] = declared
        return declared


def _full_name(node: dict[str, Any], namespace: str, where: str) -> tuple[str, str]:
    """Return the full name of a declaration, and the namespace for the names inside it."""
    name, own = node.get("name"), node.get("namespace")
    if not isinstance(name, str) or not name or len(name) > 1_000:
        raise UnusableSchema(f"{where or 'the schema'}.name: expected a name, found {_show(name)}")
    if "." in name:
        return name.removeprefix("."), name.rpartition(".")[0]
    space = own if isinstance(own, str) else namespace
    return (f"{space}.{name}" if space else name), space


def _decimal(node: dict[str, Any], size: int | None) -> tuple[int, int] | None:
    precision, scale = node.get("precision"), node.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int) or not 0 < precision <= MAX_DECIMAL_DIGITS:
        return None
    if not 0 <= scale <= precision or (size is not None and size > MAX_DECIMAL_BYTES):
        return None
    return precision, scale


def _show(value: Any) -> str:
    return f"{value!r:.80}"

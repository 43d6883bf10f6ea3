"""Hypothesis strategies for Avro schemas: nested, named, recursive, with logical types, with items of zero bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_LOGICAL: list[dict[str, Any]] = [
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "long", "logicalType": "timestamp-nanos"},
    {"type": "long", "logicalType": "local-timestamp-millis"},
    {"type": "string", "logicalType": "uuid"},
    {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3},
    {"type": "bytes", "logicalType": "decimal"},
    {"type": "string", "logicalType": "made-up"},
    {"type": "long", "logicalType": 7},
]
_PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> Any:
    """Draw a valid schema as JSON. Names are unique; a known name may be used again, also inside itself."""
    return draw(_Drawing().type(depth, ()))


class _Drawing:
    def __init__(self) -> None:
        self._named: list[str] = []

    def type(self, depth: int, around: tuple[str, ...]) -> st.SearchStrategy[Any]:
        @st.composite
        def drawn(draw: st.DrawFn) -> Any:
            kinds = ["primitive", "logical", "enum", "fixed", "name"]
            if depth > 0:
                kinds += ["record", "record", "array", "map", "union"]
            return self._one(draw, draw(st.sampled_from(kinds)), depth, around)

        return drawn()

    def _one(self, draw: st.DrawFn, kind: str, depth: int, around: tuple[str, ...]) -> Any:
        match kind:
            case "logical":
                return draw(st.sampled_from(_LOGICAL))
            case "enum":
                return {
                    "type": "enum",
                    "name": self._name(),
                    "symbols": draw(st.sampled_from([["A"], ["A", "B", "C"]])),
                }
            case "fixed":
                size = draw(st.sampled_from([0, 1, 12, 16]))
                logical = {12: {"logicalType": "duration"}, 16: {"logicalType": "uuid"}}.get(size, {})
                return {"type": "fixed", "name": self._name(), "size": size, **draw(st.sampled_from([{}, logical]))}
            case "name" if self._named:
                return draw(st.sampled_from(self._named))
            case "array":
                return {"type": "array", "items": draw(self.type(depth - 1, around))}
            case "map":
                return {"type": "map", "values": draw(self.type(depth - 1, around))}
            case "union":
                branches = draw(st.lists(self.type(depth - 1, around), min_size=1, max_size=3))
                return [
                    "null",
                    *({"type": "array", "items": each} if isinstance(each, list) else each for each in branches),
                ]
            case "record":
                name = self._name()
                count = draw(st.integers(0, 3))
                types = [draw(self.type(depth - 1, (*around, name))) for _ in range(count)]
                fields = [{"name": f"f{number}", "type": each} for number, each in enumerate(types)]
                return {"type": "record", "name": name, "fields": fields}
        return draw(st.sampled_from(_PRIMITIVES))

    def _name(self) -> str:
        name = f"n{len(self._named)}.T{len(self._named)}"
        self._named.append(name)
        return name


def payloads() -> st.SearchStrategy[bytes]:
    """Draw bytes that sometimes look like Avro: small numbers, long numbers, text, and any bytes."""
    pieces = st.one_of(
        st.sampled_from(
            [b"\x00", b"\x02", b"\x04", b"\x01", b"\x03", b"\x06abc", b"\x02\xff", b"\x80", b"\xff" * 9 + b"\x01"]
        ),
        st.binary(max_size=8),
    )
    return st.lists(pieces, max_size=30).map(b"".join)


def plain(declared: Any) -> Any:
    """Return the schema without its logical types."""
    match declared:
        case list():
            return [plain(each) for each in declared]
        case {"type": type, **rest}:
            kept = {name: value for name, value in rest.items() if name not in ("logicalType", "precision", "scale")}
            for name in ("items", "values"):
                if name in kept:
                    kept[name] = plain(kept[name])
            if "fields" in kept:
                kept["fields"] = [{"name": each["name"], "type": plain(each["type"])} for each in kept["fields"]]
            return {"type": type, **kept}
    return declared

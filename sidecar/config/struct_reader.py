"""Conversion of plain data to the structs of `sidecar.config.schema`, which collects every mistake.

It uses the types that msgspec sees; msgspec itself stops at the first mistake.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from msgspec import NODEFAULT, inspect

from sidecar.config.env_interpolation import EnvironmentText, UnresolvedValue
from sidecar.config.string_formats import KINDS, parse_start
from sidecar.config.value_types import Duration, StartPosition, StrictStruct
from sidecar.domain import timestamps
from sidecar.domain.errors import Mistake
from sidecar.domain.secrets import is_secret, mask_url

WRONG: Final = object()
"""Marks a value that cannot be used. Its mistake is recorded already."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MAX_SHOWN_CHARACTERS = 60


class StructReader:
    """One reading of a file. `read` holds every value without a mistake, including defaults, by its path."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self._mistakes = mistakes
        self.read: dict[str, Any] = {}

    def value(self, type_: inspect.Type, value: Any, path: str, *, secret: bool = False) -> Any:
        """Convert a value to a type. Returns WRONG if it does not fit."""
        read = WRONG if isinstance(value, UnresolvedValue) else self._value(type_, value, _ReadContext(path, secret))
        if read is not WRONG:
            self.read[path] = read
        return read

    def _value(self, type_: inspect.Type, value: Any, at: _ReadContext) -> Any:
        extra = describe_type(type_)
        type_ = unwrap_type(type_)
        if isinstance(type_, inspect.UnionType):
            return self._union(type_, value, at)
        if isinstance(type_, inspect.StrType):
            return self._text(value, at, extra)
        return _READERS[type(type_)](self, type_, value, at)

    def _wrong(self, at: _ReadContext, expected: str, value: Any) -> Any:
        self._mistakes.append(Mistake(at.path, expected, show_value(value, secret=at.secret)))
        return WRONG

    def _union(self, type_: inspect.UnionType, value: Any, at: _ReadContext) -> Any:
        options = [option for option in map(unwrap_type, type_.types) if not isinstance(option, inspect.NoneType)]
        chosen = next((o for o in type_.types if isinstance(unwrap_type(o), _kind_of(value))), None)
        if value is None and not isinstance(options[0], inspect.StructType):
            return None
        if chosen is None and len(options) > 1:
            return self._wrong(at, "text, or a list of texts", value)
        return self._value(chosen or next(o for o in type_.types if unwrap_type(o) is options[0]), value, at)

    def _struct(self, type_: inspect.StructType, value: Any, at: _ReadContext) -> Any:
        if type_.cls is StartPosition:
            return self._start(value, at)
        mapping = {} if value is None else value
        if not isinstance(mapping, dict):
            return self._wrong(at, "a mapping", value)
        fields = {field.encode_name: field for field in type_.fields}
        read: dict[str, Any] = {}
        for key, item in mapping.items():
            if key in fields:
                read[key] = self.value(fields[key].type, item, at.key(key), secret=at.secret or is_secret(key))
            else:
                self._unknown(at.key(key), key, fields)
                read[key] = WRONG
        for name, field in fields.items():
            if name not in mapping:
                read[name] = self._absent(field, at.key(name))
        return WRONG if any(item is WRONG for item in read.values()) else type_.cls(**read)

    def _absent(self, field: inspect.Field, path: str) -> Any:
        if field.required:
            self._mistakes.append(Mistake(path, expectation(field.type), "nothing: the key is missing"))
            return WRONG
        if isinstance(field.default, StrictStruct):
            return self.value(field.type, {}, path)
        default = field.default if field.default is not NODEFAULT else field.default_factory()
        self.read[path] = default
        return default

    def _unknown(self, path: str, key: str, fields: Mapping[str, Any]) -> None:
        near = get_close_matches(key, fields, n=1)
        expected = f"a known key, perhaps {near[0]}" if near else f"a known key ({', '.join(sorted(fields))})"
        self._mistakes.append(Mistake(path, expected, "an unknown key"))

    def _list(self, type_: inspect.ListType, value: Any, at: _ReadContext) -> Any:
        items = [] if value is None else value
        if not isinstance(items, list):
            return self._wrong(at, "a list", value)
        read = [self.value(type_.item_type, item, f"{at.path}[{n}]", secret=at.secret) for n, item in enumerate(items)]
        return WRONG if any(item is WRONG for item in read) else read

    def _dict(self, type_: inspect.DictType, value: Any, at: _ReadContext) -> Any:
        mapping = {} if value is None else value
        if not isinstance(mapping, dict):
            return self._wrong(at, "a mapping", value)
        read = {}
        for key, item in mapping.items():
            path = f"{at.path}[{key}]" if "." in key else at.key(key)
            wrong = self._value(type_.key_type, key, _ReadContext(path, secret=False)) is WRONG
            read[key] = self.value(type_.value_type, item, path, secret=at.secret or is_secret(key))
            read[key] = WRONG if wrong else read[key]
        return WRONG if any(item is WRONG for item in read.values()) else read

    def _text(self, value: Any, at: _ReadContext, extra: Mapping[str, Any]) -> Any:
        kind = KINDS[extra["kind"]] if "kind" in extra else None
        expected = kind.expected if kind else "text"
        if not isinstance(value, str):
            hint = " (in quotes, if it is meant as text)" if isinstance(value, bool | int | float) else ""
            return self._wrong(at, expected + hint, value)
        if extra.get("empty") and not value:
            return ""
        if _CONTROL.search(value):
            return self._wrong(at, "text without line breaks and other control characters", value)
        if kind is not None and not kind.fits(value):
            why = None if hides(value, secret=at.secret) else kind.why_not(value)
            if why is None:
                return self._wrong(at, expected, value)
            self._mistakes.append(Mistake(at.path, expected, mask_url(why)))
            return WRONG
        return str(value)

    def _literal(self, type_: inspect.LiteralType, value: Any, at: _ReadContext) -> Any:
        if isinstance(value, str) and value in type_.values:
            return str(value)
        return self._wrong(at, expectation(type_), value)

    def _integer(self, type_: inspect.IntType, value: Any, at: _ReadContext) -> Any:
        if isinstance(value, EnvironmentText) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not _within(type_, value):
            return self._wrong(at, expectation(type_), value)
        return value

    def _float(self, type_: inspect.FloatType, value: Any, at: _ReadContext) -> Any:
        if isinstance(value, EnvironmentText) and re.fullmatch(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._wrong(at, expectation(type_), value)
        if not math.isfinite(value) or not _within(type_, value):
            return self._wrong(at, expectation(type_), value)
        return float(value)

    def _truth(self, type_: inspect.BoolType, value: Any, at: _ReadContext) -> Any:
        if isinstance(value, EnvironmentText) and value in ("true", "false"):
            return value == "true"
        return value if isinstance(value, bool) else self._wrong(at, expectation(type_), value)

    def _duration(self, type_: inspect.CustomType, value: Any, at: _ReadContext) -> Any:
        if isinstance(value, str):
            try:
                return Duration(timestamps.parse_duration(value))
            except ValueError:
                pass
        return self._wrong(at, expectation(type_), value)

    def _start(self, value: Any, at: _ReadContext) -> Any:
        if isinstance(value, str):
            try:
                return parse_start(value)
            except (ValueError, OverflowError):
                pass
        return self._wrong(at, START, value)

    def _anything(self, type_: inspect.AnyType, value: Any, at: _ReadContext) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return str(value) if isinstance(value, str) else value
        return self._wrong(at, "a plain value (text, number, true or false)", value)


class _ReadContext:
    """The path of the value being read, and if it is secret."""

    __slots__ = ("path", "secret")

    def __init__(self, path: str, secret: bool) -> None:
        self.path, self.secret = path, secret

    def key(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


_READERS: dict[type, Callable[[StructReader, Any, Any, _ReadContext], Any]] = {
    inspect.StructType: StructReader._struct,
    inspect.ListType: StructReader._list,
    inspect.DictType: StructReader._dict,
    inspect.LiteralType: StructReader._literal,
    inspect.IntType: StructReader._integer,
    inspect.FloatType: StructReader._float,
    inspect.BoolType: StructReader._truth,
    inspect.CustomType: StructReader._duration,
    inspect.AnyType: StructReader._anything,
}
START = "latest, earliest, a duration such as 1h, or a time such as 2026-01-31T12:00:00Z"


def unwrap_type(type_: inspect.Type) -> inspect.Type:
    """Remove the metadata from a type."""
    return type_.type if isinstance(type_, inspect.Metadata) else type_


def describe_type(type_: inspect.Type) -> Mapping[str, Any]:
    """Return the format of a type, and whether it may be empty."""
    return (type_.extra or {}) if isinstance(type_, inspect.Metadata) else {}


def expectation(type_: inspect.Type) -> str:
    """Describe the values that a type accepts."""
    extra = describe_type(type_)
    match unwrap_type(type_):
        case inspect.StrType() if "kind" in extra:
            return KINDS[extra["kind"]].expected
        case inspect.UnionType(types=types):
            return expectation(types[0])
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case inspect.IntType() as number:
            return "a whole number" + _bounds(number)
        case inspect.FloatType() as number:
            return "a number" + _bounds(number)
        case inspect.BoolType():
            return "true or false"
        case inspect.CustomType():
            return "a duration such as 250ms, 60s, 15m, 24h or 7d"
        case inspect.ListType():
            return "a list"
        case inspect.StructType() | inspect.DictType():
            return "a mapping"
        case _:
            return "text"


def _bounds(type_: inspect.IntType | inspect.FloatType) -> str:
    lowest = (
        f"more than {type_.gt:g}" if type_.gt is not None else f"at least {type_.ge}" if type_.ge is not None else ""
    )
    highest = f"at most {type_.le}" if type_.le is not None else ""
    return "".join(f", {bound}" for bound in (lowest, highest) if bound)


def _within(type_: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return (
        (type_.gt is None or value > type_.gt)
        and (type_.ge is None or value >= type_.ge)
        and (type_.le is None or value <= type_.le)
    )


def _kind_of(value: Any) -> tuple[type, ...]:
    if isinstance(value, list):
        return (inspect.ListType,)
    return (inspect.StrType,) if isinstance(value, str) else ()


def hides(value: Any, *, secret: bool) -> bool:
    """Check whether this value must not be shown."""
    return secret or (isinstance(value, EnvironmentText) and value.secret)


def show_value(value: Any, *, secret: bool = False) -> str:
    """Format a value for an error message: short, on one line, without secrets."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            plain, kind = str(value).lower(), "true or false"
        case str():
            text = mask_url(value)
            plain, kind = (
                json.dumps(
                    text[:_MAX_SHOWN_CHARACTERS] + ("…" if len(text) > _MAX_SHOWN_CHARACTERS else ""),
                    ensure_ascii=False,
                ),
                "text",
            )
            plain = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", plain)
        case _:
            plain, kind = f"{value}", "a number"
    if hides(value, secret=secret):
        plain = "empty text" if value == "" else f"{kind} that is not shown here"
    return f"{plain} (from {value.origin})" if isinstance(value, EnvironmentText) else plain

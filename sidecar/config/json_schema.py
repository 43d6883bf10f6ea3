"""JSON Schema of the configuration file, from the same types that the loader uses."""

from __future__ import annotations

from typing import Any

from msgspec import NODEFAULT, inspect, to_builtins

from sidecar.config.schema import Config
from sidecar.config.string_formats import KINDS, format_start
from sidecar.config.struct_reader import unwrap_type
from sidecar.config.value_types import Duration, StartPosition, StrictStruct
from sidecar.domain import timestamps

_FROM_ENVIRONMENT = {"$ref": "#/$defs/FromEnvironment"}
_START = rf"^(?:latest|earliest|{timestamps.DURATION}|[0-9]{{4}}-?[0-9]{{2}}.*|[0-9]{{4}}-?W.*)$"


def json_schema() -> dict[str, Any]:
    """Build the JSON Schema (draft 2020-12) of the file as it is written, before ${VAR} is replaced.

    It is never stricter than the loader. Rules about several keys together are left to the loader.
    """
    defs: dict[str, Any] = {
        "FromEnvironment": {
            "description": "A text with ${VAR} or ${VAR:-default} in it, filled in from the environment.",
            "type": "string",
            "pattern": r"\$\{",
        }
    }
    root = inspect.type_info(Config)
    assert isinstance(root, inspect.StructType)
    _define(root, defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tracecar's configuration",
        **defs.pop("Config"),
        "type": "object",
        "$defs": dict(sorted(defs.items())),
    }


def _define(type_: inspect.StructType, defs: dict[str, Any]) -> dict[str, Any]:
    name = type_.cls.__name__
    if name not in defs:
        defs[name] = {}
        defs[name] = {
            "description": " ".join((type_.cls.__doc__ or "").split()),
            "type": ["object", "null"],
            "properties": {field.encode_name: _property(field, defs) for field in type_.fields},
            "required": [field.encode_name for field in type_.fields if field.required],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


def _property(field: inspect.Field, defs: dict[str, Any]) -> dict[str, Any]:
    schema = _schema(field.type, defs)
    default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
    if default is not NODEFAULT and default is not None and not isinstance(default, StrictStruct):
        schema = {**schema, "default": format_value(default)}
    return schema


def format_value(value: Any) -> Any:
    """Format a value of a struct as it is written in the file."""
    if isinstance(value, Duration):
        return timestamps.format_duration(value)
    return format_start(value) if isinstance(value, StartPosition) else to_builtins(value)


def _schema(type_: inspect.Type, defs: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    kind = None
    empty = False
    if isinstance(type_, inspect.Metadata):
        metadata = dict(type_.extra_json_schema or {})
        extra = type_.extra or {}
        kind, empty = KINDS[extra["kind"]] if "kind" in extra else None, extra.get("empty", False)
    match unwrap_type(type_):
        case inspect.StructType(cls=cls) as struct if cls is not StartPosition:
            return _define(struct, defs) | metadata
        case inspect.StructType():
            return _or_from_environment({"type": "string", "pattern": _START}) | metadata
        case inspect.UnionType(types=types):
            return _any_of([_schema(option, defs) for option in types]) | metadata
        case inspect.ListType(item_type=item):
            return {"type": ["array", "null"], "items": _schema(item, defs)} | metadata
        case inspect.DictType(key_type=key, value_type=item):
            keys = {"propertyNames": _schema(key, defs)} if isinstance(key, inspect.Metadata) else {}
            return {"type": ["object", "null"], "additionalProperties": _schema(item, defs)} | keys | metadata
        case inspect.StrType() if kind is not None and kind.pattern:
            pattern = f"^$|{kind.pattern}" if empty else kind.pattern
            return _or_from_environment({"type": "string", "pattern": pattern}) | {"title": kind.expected} | metadata
        case inspect.StrType():
            return {"type": "string"} | metadata
        case inspect.LiteralType(values=values):
            return _or_from_environment({"enum": list(values)}) | metadata
        case inspect.IntType() as number:
            return _or_from_environment({"type": "integer"} | _bounds(number)) | metadata
        case inspect.FloatType() as number:
            return _or_from_environment({"type": "number"} | _bounds(number)) | metadata
        case inspect.BoolType():
            return _or_from_environment({"type": "boolean"}) | metadata
        case inspect.CustomType():
            return _or_from_environment({"type": "string", "pattern": f"^{timestamps.DURATION}$"}) | metadata
        case inspect.NoneType():
            return {"type": "null"}
        case _:
            return {"type": ["string", "number", "boolean", "null"]} | metadata


def _or_from_environment(plain: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [plain, _FROM_ENVIRONMENT]}


def _any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    return {"anyOf": options}


def _bounds(type_: inspect.IntType | inspect.FloatType) -> dict[str, float]:
    names = {"exclusiveMinimum": type_.gt, "minimum": type_.ge, "maximum": type_.le}
    return {name: bound for name, bound in names.items() if bound is not None}

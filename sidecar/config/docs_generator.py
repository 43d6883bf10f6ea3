"""The configuration's reference as Markdown, from the JSON Schema: `python -m sidecar.config.docs_generator`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sidecar.config.json_schema import json_schema

_HEAD = """\
# The configuration file

Written by `python -m sidecar.config.docs_generator` from the types that the loader reads by; `tracecar config schema`
prints the same as JSON Schema, for editors and charts. `tracecar check -c FILE` validates a file and tries every
connection in it.

YAML 1.2. In every text `${VAR}` and `${VAR:-default}` come from the environment (the default also where VAR is empty;
`$${` is a plain `${`). An unknown key, a wrong type, a missing variable: every mistake is told at once, with its path.
Lengths of time are written `250ms`, `60s`, `15m`, `24h`, `7d` or `1h30m`.
"""


def markdown() -> str:
    """One table for each mapping of the file."""
    schema = json_schema()
    return "\n".join([_HEAD, *_section("", schema, schema["$defs"], {})])


def _section(path: str, mapping: dict[str, Any], defs: dict[str, Any], told: dict[str, str]) -> Iterator[str]:
    """A table, and the tables of what stands under its keys; `told` has the paths of those that there are already."""
    yield f"## {f'`{path}`' if path else 'The file'}\n\n{mapping['description']}\n"
    yield "| key | | default |\n|---|---|---|"
    inner: list[tuple[str, dict[str, Any]]] = []
    for key, schema in mapping["properties"].items():
        inner_path = f"{path}.{key}" if path else key
        target = _target(schema, defs)
        about = _about(schema)
        if target is not None:
            if target["description"] not in told:
                inner.append((inner_path, target))
            at = told.setdefault(target["description"], inner_path)
            about = f"{target['description']} See [`{at}`](#{at.replace('.', '')})."
        yield f"| `{key}` | {about} | {_default(key, schema, mapping)} |"
    yield ""
    for inner_path, target in inner:
        yield from _section(inner_path, target, defs, told)


def _target(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any] | None:
    """The mapping that stands under a key, or in the list under it."""
    for option in (schema, schema.get("items", {}), *schema.get("anyOf", [])):
        name = option.get("$ref", "").rpartition("/")[2]
        if name and name != "FromEnvironment":
            found: dict[str, Any] = defs[name]
            return found
    return None


def _about(schema: dict[str, Any]) -> str:
    choices = _choices(schema) or _choices(schema.get("items", {}))
    said = [schema.get("description", ""), f"One of {', '.join(f'`{c}`' for c in choices)}." if choices else ""]
    return " ".join(part for part in said if part).replace("|", "\\|") or _title(schema)


def _choices(schema: dict[str, Any]) -> list[str]:
    return next((option["enum"] for option in (schema, *schema.get("anyOf", [])) if "enum" in option), [])


def _title(schema: dict[str, Any]) -> str:
    options = (schema, schema.get("items", {}), *schema.get("anyOf", []))
    title: str = next((option["title"] for option in options if "title" in option), "text")
    return f"{title[0].upper()}{title[1:]}."


def _default(key: str, schema: dict[str, Any], mapping: dict[str, Any]) -> str:
    if key in mapping["required"]:
        return "required"
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`" if "default" in schema else ""


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201  # its output is the document

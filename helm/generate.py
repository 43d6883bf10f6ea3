"""Generates `values.schema.json` of the chart and the table of values in its README.

Sources: the schema of the configuration, and `values.yaml`. `python -m helm.generate` writes both, and a test compares
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sidecar.config.loader import json_schema

CHART = Path(__file__).parent / "tracecar"
SCHEMA, README = CHART / "values.schema.json", CHART / "README.md"
BEGIN, END = "<!-- values -->", "<!-- /values -->"

_NAME = {"type": "string", "pattern": "^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$|[{][{].*[}][}]"}
_REFERENCE = r"\$\{"
_REFERENCE_OR_TEMPLATE = r"\$\{|[{][{]"
_AMOUNT = {"type": ["integer", "string", "null"], "minimum": 0, "pattern": "^[0-9]{1,3}%$|^[0-9]+$"}
_PORTABLE = {"type": ["array", "null"], "items": {"type": "object"}}
_EXACT: dict[str, dict[str, Any]] = {
    "mode": {"enum": ["standalone", "sidecar", "injection"]},
    "workload": {"enum": ["Deployment", "StatefulSet"]},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.digest": {"type": "string", "pattern": "^$|^sha256:[0-9a-f]{64}$"},
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "sidecar.native": {"enum": ["auto", True, False, "true", "false"]},
    "sidecar.configMap": _NAME,
    "existingSecret": _NAME,
    "nameOverride": _NAME,
    "fullnameOverride": _NAME,
    "schemasConfigMap": _NAME,
    "podDisruptionBudget.maxUnavailable": _AMOUNT,
    "podDisruptionBudget.minAvailable": _AMOUNT,
    "extraObjects": {"type": ["array", "null"], "items": {"type": ["object", "string"]}},
    "injection.configs": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Config"}},
    "imagePullSecrets": {"type": ["array", "null"], "items": {"type": ["object", "string"]}},
    "keda.fallback": {"type": ["object", "null"]},
    "service.port": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    "service.ipFamilyPolicy": {"enum": ["", "SingleStack", "PreferDualStack", "RequireDualStack"]},
    "service.ipFamilies": {"type": ["array", "null"], "items": {"enum": ["IPv4", "IPv6"]}},
    "podDisruptionBudget.unhealthyPodEvictionPolicy": {"enum": ["", "IfHealthyBudget", "AlwaysAllow"]},
    "prometheusRule.disabled": {"type": ["array", "null"], "items": {"type": "string"}},
    "serviceMonitor.targetLabels": {"type": ["array", "null"], "items": {"type": "string"}},
    "podMonitor.podTargetLabels": {"type": ["array", "null"], "items": {"type": "string"}},
    "httpRoute.hostnames": {"type": ["array", "null"], "items": {"type": "string"}},
    "resources": {"type": ["object", "null"]},
    "podSecurityContext": {"type": ["object", "null"]},
    "securityContext": {"type": ["object", "null"]},
}
_TEXTS = ("labels", "annotations", "commonLabels", "commonAnnotations", "podLabels", "podAnnotations", "nodeSelector")
_STRINGS = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}


class Value(NamedTuple):
    """A documented value: its path, its default, what it does."""

    path: str
    default: Any
    text: str


def values() -> Iterator[Value]:
    """Yield the documented values in the file's order. A comment that begins with `# --` stands before each."""
    text = (CHART / "values.yaml").read_text("utf-8")
    defaults = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# --"):
            comment = [stripped.removeprefix("# --").strip()]
        elif stripped.startswith("#"):
            if comment:
                comment.append(stripped.removeprefix("#").strip())
        elif found := re.match(r"( *)([A-Za-z]+):", line):
            indent = len(found[1])
            path = [*((depth, name) for depth, name in path if depth < indent), (indent, found[2])]
            if comment:
                value = defaults
                for _, name in path:
                    value = value[name]
                yield Value(".".join(name for _, name in path), value, " ".join(comment))
            comment = []
        else:
            comment = []


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the values: draft 7, which every Helm 3 reads."""
    config = _templated(json_schema())
    defs = config.pop("$defs")
    del config["$schema"]
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart tracecar",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "enabled": {"type": "boolean", "description": "For the `condition` of a chart that depends on this one."}
        },
    }
    for value in values():
        at, *names = root, *value.path.split(".")
        for name in names[:-1]:
            closed = {"type": "object", "additionalProperties": False, "properties": {}}
            at = at["properties"].setdefault(name, closed)
        at["properties"][names[-1]] = {"description": value.text, **_kind(value)}
    # What must be there is said by the templates, in words: the bare chart can be linted.
    root["properties"]["config"] = {**config, "required": []}
    root["$defs"] = {**defs, "Config": config}
    return root


def _templated(schema: Any) -> Any:
    """Return a schema in which templates are accepted wherever references such as `${NAME}` are."""
    if isinstance(schema, dict):
        return {
            key: _REFERENCE_OR_TEMPLATE if key == "pattern" and value == _REFERENCE else _templated(value)
            for key, value in schema.items()
        }
    return [_templated(item) for item in schema] if isinstance(schema, list) else schema


def _kind(value: Value) -> dict[str, Any]:
    if value.path in _EXACT:
        return _EXACT[value.path]
    if value.path.rpartition(".")[2] in _TEXTS:
        return _STRINGS
    match value.default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case str():
            return {"type": "string"}
        case list():
            return _PORTABLE
        case _:
            return {"type": ["object", "null"]}


def table() -> str:
    """Return the values as a table in Markdown."""
    rows = ["| value | default | what it does |", "|---|---|---|"]
    for value in values():
        default = json.dumps(value.default, ensure_ascii=False)
        rows.append(f"| `{value.path}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def files() -> dict[Path, str]:
    """Each generated file with what must be in it."""
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        README: f"{before}{BEGIN}\n{table()}\n{END}{after}",
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text, "utf-8")

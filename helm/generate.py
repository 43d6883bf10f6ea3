"""Generates what the chart derives from `values.yaml` and from the schema of the configuration.

That is `values.schema.json`, the tables of values in its README, and `_values.tpl`, by which the templates know
defaults, modes, keys and the chart's version. `python -m helm.generate` writes all of them, and a test compares them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from helm import kubernetes_shapes as shapes
from sidecar.config.loader import json_schema

CHART = Path(__file__).parent / "tracecar"
SCHEMA, README = CHART / "values.schema.json", CHART / "README.md"
TEMPLATE = CHART / "templates" / "_values.tpl"
BEGIN, END = "<!-- values -->", "<!-- /values -->"
MODES = ("standalone", "sidecar", "injection")

_NAME = {"type": "string", "pattern": f"^$|{shapes.NAME_OR_TEMPLATE}"}
_REFERENCE = r"\$\{"
_REFERENCE_OR_TEMPLATE = r"\$\{|[{][{]"
_AMOUNT = {"type": ["integer", "string", "null"], "minimum": 0, "pattern": "^[0-9]{1,3}%$|^[0-9]+$"}
_OPEN_LIST = shapes.listed({"type": "object"})
_TEXT_LIST = shapes.listed(shapes.TEXT)
_AT_LEAST_ONE = {"type": "integer", "minimum": 1}
_EXACT: dict[str, dict[str, Any]] = {
    "mode": {"enum": list(MODES)},
    "workload": {"enum": ["Deployment", "StatefulSet"]},
    "strategy": shapes.STRATEGY,
    "resources": shapes.RESOURCES,
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.registry": {"type": "string", "pattern": f"^[^ ]*$|{shapes.TEMPLATE}"},
    "image.repository": {"type": "string", "pattern": f"^[a-z0-9._/-]*$|[:@]|{shapes.TEMPLATE}"},
    "image.tag": {"type": "string", "pattern": f"^$|^[A-Za-z0-9_][-A-Za-z0-9_.]{{0,127}}$|{shapes.TEMPLATE}"},
    "image.digest": {"type": "string", "pattern": "^$|^sha256:[0-9a-f]{64}$"},
    "imagePullSecrets": shapes.PULL_SECRETS,
    "sidecar.native": {"enum": ["auto", True, False, "true", "false"]},
    "sidecar.configMap": _NAME,
    "openshift": {"enum": ["auto", True, False, "true", "false"]},
    "existingSecret": _NAME,
    "nameOverride": _NAME,
    "fullnameOverride": _NAME,
    "schemasConfigMap": _NAME,
    "autoscaling.minReplicas": _AT_LEAST_ONE,
    "autoscaling.maxReplicas": _AT_LEAST_ONE,
    "autoscaling.targetCPU": {"type": "string", "pattern": "^$|^[0-9]+(\\.[0-9]+)?m?$|[{][{].*[}][}]"},
    "autoscaling.metrics": shapes.METRICS,
    "autoscaling.behavior": shapes.SCALING_BEHAVIOR,
    "keda.maxReplicas": _AT_LEAST_ONE,
    "keda.lagThreshold": _AT_LEAST_ONE,
    "keda.pollingInterval": _AT_LEAST_ONE,
    "keda.authenticationRef": shapes.KEDA_AUTHENTICATION,
    "keda.fallback": shapes.KEDA_FALLBACK,
    "keda.advanced": shapes.KEDA_ADVANCED,
    "keda.triggers": shapes.KEDA_TRIGGERS,
    "podDisruptionBudget.maxUnavailable": _AMOUNT,
    "podDisruptionBudget.minAvailable": _AMOUNT,
    "podDisruptionBudget.unhealthyPodEvictionPolicy": {"enum": ["", "IfHealthyBudget", "AlwaysAllow"]},
    "networkPolicy.from": shapes.NETWORK_PEERS,
    "networkPolicy.apiFrom": shapes.NETWORK_PEERS,
    "networkPolicy.egress": shapes.EGRESS_RULES,
    "serviceAccount.name": _NAME,
    "probes.startup": shapes.LIVENESS_PROBE,
    "probes.readiness": shapes.PROBE,
    "probes.liveness": shapes.LIVENESS_PROBE,
    "serviceMonitor.interval": shapes.DURATION,
    "serviceMonitor.scrapeTimeout": shapes.DURATION,
    "serviceMonitor.targetLabels": _TEXT_LIST,
    "serviceMonitor.relabelings": shapes.RELABELINGS,
    "serviceMonitor.metricRelabelings": shapes.RELABELINGS,
    "podMonitor.interval": shapes.DURATION,
    "podMonitor.scrapeTimeout": shapes.DURATION,
    "podMonitor.podTargetLabels": _TEXT_LIST,
    "podMonitor.relabelings": shapes.RELABELINGS,
    "podMonitor.metricRelabelings": shapes.RELABELINGS,
    "podMonitor.namespaceSelector": shapes.POD_MONITOR_NAMESPACES,
    "prometheusRule.disabled": _TEXT_LIST,
    "prometheusRule.additionalRuleLabels": shapes.TEXTS,
    "prometheusRule.groups": shapes.RULE_GROUPS,
    "prometheusRule.thresholds": {"type": ["object", "null"], "additionalProperties": {"type": ["object", "null"]}},
    "injection.configs": {
        "type": ["object", "null"],
        "additionalProperties": {"$ref": "#/$defs/Config"},
    },
    "injection.namespaceSelector": shapes.SELECTOR,
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.port": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    "service.ipFamilyPolicy": {"enum": ["", "SingleStack", "PreferDualStack", "RequireDualStack"]},
    "service.ipFamilies": {**shapes.listed({"enum": ["IPv4", "IPv6"]}), "uniqueItems": True},
    "ingress.host": shapes.HOST_NAME,
    "ingress.tls": shapes.INGRESS_TLS,
    "httpRoute.parentRefs": shapes.PARENTS,
    "httpRoute.hostnames": shapes.listed(shapes.HOST_NAME),
    "extraEnv": shapes.ENVIRONMENT,
    "extraEnvFrom": shapes.ENVIRONMENT_SOURCES,
    "extraVolumes": shapes.VOLUMES,
    "extraVolumeMounts": shapes.VOLUME_MOUNTS,
    "extraContainers": shapes.CONTAINERS,
    "initContainers": shapes.CONTAINERS,
    "extraObjects": shapes.listed({"type": ["object", "string"]}),
    "lifecycle": shapes.LIFECYCLE,
    "podSecurityContext": shapes.POD_SECURITY_CONTEXT,
    "securityContext": shapes.SECURITY_CONTEXT,
    "affinity": shapes.AFFINITY,
    "dnsConfig": shapes.DNS_CONFIG,
    "global": {
        "type": ["object", "null"],
        "properties": {"imageRegistry": shapes.MAYBE_TEXT, "imagePullSecrets": shapes.PULL_SECRETS},
    },
    "serviceMonitor.namespace": _NAME,
    "podMonitor.namespace": _NAME,
    "prometheusRule.namespace": _NAME,
    "prometheusRule.runbookUrl": {"type": "string", "pattern": f"^$|^https?://|{shapes.TEMPLATE}"},
    "grafanaDashboard.namespace": _NAME,
    "dnsPolicy": {
        "type": "string",
        "pattern": f"^(|ClusterFirst|ClusterFirstWithHostNet|Default|None)$|{shapes.TEMPLATE}",
    },
    "tolerations": shapes.TOLERATIONS,
    "topologySpreadConstraints": shapes.SPREAD,
    "hostAliases": shapes.HOST_ALIASES,
}
_OTHER_NAMES = {
    "": {
        "replicas": "replicaCount",
        "livenessProbe": "probes.liveness",
        "readinessProbe": "probes.readiness",
        "startupProbe": "probes.startup",
        "env": "extraEnv",
        "extraEnvVars": "extraEnv",
        "envFrom": "extraEnvFrom",
        "volumes": "extraVolumes",
        "volumeMounts": "extraVolumeMounts",
        "sidecars": "extraContainers",
        "extraInitContainers": "initContainers",
        "updateStrategy": "strategy",
        "containerSecurityContext": "securityContext",
        "pdb": "podDisruptionBudget",
        "hpa": "autoscaling",
        "configuration": "config",
        "secretName": "existingSecret",
        "labels": "commonLabels",
        "annotations": "commonAnnotations",
        "extraManifests": "extraObjects",
        "extraDeploy": "extraObjects",
        "metrics": "serviceMonitor or podMonitor",
        "alerts": "prometheusRule",
        "dashboards": "grafanaDashboard",
    },
    "image": {"name": "image.repository", "pullSecrets": "imagePullSecrets"},
    "ingress": {"hosts": "ingress.host", "hostname": "ingress.host", "ingressClassName": "ingress.className"},
    "keda": {"minReplicaCount": "keda.minReplicas", "maxReplicaCount": "keda.maxReplicas"},
    "autoscaling": {"targetCPUUtilization": "autoscaling.targetCPUUtilizationPercentage"},
    "podDisruptionBudget": {"create": "podDisruptionBudget.enabled"},
    "serviceMonitor": {"additionalLabels": "serviceMonitor.labels"},
    "podMonitor": {"additionalLabels": "podMonitor.labels"},
    "prometheusRule": {"rules": "prometheusRule.groups", "additionalLabels": "prometheusRule.labels"},
}
"""What other charts call values of this one, by the map that they are in."""
_ANNOTATIONS = ("annotations", "commonAnnotations", "podAnnotations")
_LABELS = ("labels", "commonLabels", "podLabels", "nodeSelector")


class Value(NamedTuple):
    """A documented value: its path, its default, the modes that use it, its section, and what it does."""

    path: str
    default: Any
    modes: tuple[str, ...]
    section: str
    text: str


def values() -> Iterator[Value]:
    """Yield the documented values in the file's order.

    A comment that begins with `# --` stands before each, a line that begins with `##` before each section. Modes in
    parentheses at a comment's beginning hold for the value; those of a map's first value hold for all without a mark.
    """
    text = (CHART / "values.yaml").read_text("utf-8")
    defaults = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    section = ""
    inherited: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("## "):
            section = stripped.removeprefix("## ")
        elif stripped.startswith("# --"):
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
                modes, words = _split_modes(" ".join(comment))
                inherited.setdefault(path[0][1], modes)
                modes = modes or inherited[path[0][1]] or MODES
                yield Value(".".join(name for _, name in path), value, modes, section, words)
            comment = []
        else:
            comment = []


def _split_modes(comment: str) -> tuple[tuple[str, ...], str]:
    marked = re.match(r"\(([a-z, ]+)\) ", comment)
    if marked is None:
        return (), comment
    modes = tuple(re.split(r", | and ", marked[1]))
    unknown = set(modes) - set(MODES)
    if unknown:
        raise ValueError(f"values.yaml: ({marked[1]}): expected modes, found {', '.join(sorted(unknown))}")
    return modes, comment[marked.end() :]


def schema() -> dict[str, Any]:
    """Build the JSON Schema of the values: draft 7, which every Helm 3 reads."""
    config = _templated(json_schema())
    defs = config.pop("$defs")
    del config["$schema"]
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart tracecar",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "enabled": {
                "type": "boolean",
                "description": "As a dependency: false renders the including chart without the sidecar.",
            }
        },
    }
    for value in values():
        at, *names = root, *value.path.split(".")
        for name in names[:-1]:
            inner = {"type": "object", "additionalProperties": False, "properties": {}}
            at = at["properties"].setdefault(name, inner)
        at["properties"][names[-1]] = {"description": value.text, **_kind(value)}
    for path, names in _OTHER_NAMES.items():
        at = root["properties"][path] if path else root
        # No keyword of JSON Schema suggests a name. Helm prints this one as: properties '…' required, if '…' exists.
        at["dependencies"] = {other: [f"{name} instead of {other}"] for other, name in names.items()}
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
    if value.path.rpartition(".")[2] in _ANNOTATIONS:
        return shapes.TEXTS
    if value.path.rpartition(".")[2] in _LABELS:
        return shapes.LABELS
    match value.default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case str():
            return {"type": "string"}
        case list():
            return _OPEN_LIST
        case _:
            return shapes.OPEN


def known_keys(schema: dict[str, Any], defs: dict[str, Any]) -> Any:
    """Return the names that a closed object may have, as a tree with 1 for its leaves."""
    if "$ref" in schema:
        return known_keys(defs[schema["$ref"].rpartition("/")[2]], defs)
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if isinstance(tree := known_keys(choice, defs), dict):
            return tree
    if schema.get("additionalProperties") is False and schema.get("properties"):
        return {name: known_keys(inner, defs) for name, inner in schema["properties"].items()}
    return 1


def template() -> str:
    """Build the named templates by which the chart knows its defaults, the modes of its values, and all keys."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    scopes = {value.path: value.modes for value in values() if value.modes != MODES}
    whole = schema()
    known = known_keys(whole, whole["$defs"])
    facts = {"defaults": defaults, "scopes": scopes, "knownKeys": known}
    parts = ["{{/* Generated from values.yaml and the schema of the configuration (`make chart`). */}}"]
    for name, fact in facts.items():
        # A line for each value, so that changes of two values do not meet in one line.
        lines = (f"{json.dumps(key)}:{_compact(value)}" for key, value in fact.items())
        text = "{" + ",\n".join(lines) + "}"
        # Two braces would begin an action.
        parts.append(f'{{{{- define "tracecar.{name}" -}}}}\n{text.replace("{{", "{ {")}\n{{{{- end }}}}')
    version = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"]
    # The context of a chart that includes the sidecar has that chart's own version.
    parts.append(f'{{{{- define "tracecar.appVersion" -}}}}{version}{{{{- end }}}}')
    return "\n\n".join(parts) + "\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def tables() -> str:
    """Build the values as tables in Markdown, one for each section."""
    lines: list[str] = []
    section = ""
    for value in values():
        if value.section != section:
            section = value.section
            lines += ["", f"### {section}", "", "| value | default | mode | what it does |", "|---|---|---|---|"]
        default = json.dumps(value.default, ensure_ascii=False)
        modes = "all" if value.modes == MODES else ", ".join(value.modes)
        lines.append(f"| `{value.path}` | `{default}` | {modes} | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines[1:])


def files() -> dict[Path, str]:
    """Return each generated file with its content."""
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        TEMPLATE: template(),
        README: f"{before}{BEGIN}\n{tables()}\n{END}{after}",
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text, "utf-8")

"""Every value has an effect in its modes and is refused in the others; no mistake ends in an error of a template."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from helm import generate
from tests.helm.charts import POLICIES, REDIS, SHARED, attempted, service_chart, template
from tests.helm.effects import EFFECTS, INGRESS, ROUTE, WITHOUT, needs
from tests.helm.matrix import INGRESS_CONTROLLER, ON

IMAGE = {"repository": "tracecar"}
SCOPES = {value.path: value.modes for value in generate.values()}
MODES: dict[str, dict[str, Any]] = {
    "standalone": {"image": IMAGE, "config": SHARED},
    "sidecar": {"mode": "sidecar", "image": IMAGE, "config": SHARED},
    "injection": {"mode": "injection", "image": IMAGE},
}
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: web}]}}}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of a service whose Deployment has the sidecar."""
    return service_chart(tmp_path_factory.mktemp("service") / "shop", DEPLOYMENT)


def _with(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    inner = values.get(name)
    return {**values, name: _with(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def _merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    for name, value in more.items():
        inner = values.get(name)
        values = {
            **values,
            name: _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value,
        }
    return values


def _rendered(mode: str, values: dict[str, Any], service: Path, *, ok: bool = True) -> str:
    if mode == "sidecar":
        return template({"tracecar": values}, "--api-versions", POLICIES, chart=service, ok=ok)
    return template(values, "--api-versions", POLICIES, ok=ok)


def test_each_value_is_tried() -> None:
    assert SCOPES.keys() == EFFECTS.keys() | WITHOUT.keys()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", EFFECTS)
def test_a_value_has_an_effect_or_is_refused(path: str, mode: str, service: Path) -> None:
    """What a mode does not use is refused; what it uses changes what is rendered."""
    if mode not in SCOPES[path]:
        if EFFECTS[path]:  # what is switched off is off
            complaint = _rendered(mode, _with(MODES[mode], path, EFFECTS[path]), service, ok=False)
            assert re.search(rf"\b{re.escape(path)}: has no effect in mode {mode}", complaint)
        return
    section = path.partition(".")[0]
    used = {name: value for name, value in needs(path).items() if name == section or mode in SCOPES.get(name, MODES)}
    base = _merged(MODES[mode], used)
    if path.endswith(".enabled") and EFFECTS[path]:
        base = _with(base, path, False)
    if path in ("nameOverride", "fullnameOverride") and mode == "sidecar":
        base = {**base, "podMonitor": ON}
    before = _rendered(mode, base, service, ok=path != "schemasConfigMap" or mode == "injection")
    assert _rendered(mode, _with(base, path, EFFECTS[path]), service) != before


def test_a_value_that_accepts_something_is_what_the_refusal_names(service: Path, tmp_path: Path) -> None:
    several = service_chart(tmp_path / "shop", DEPLOYMENT.replace("spec: {template", "spec: {replicas: 2, template"))
    beside = {**MODES["sidecar"], "config": REDIS}
    assert "tracecar.sidecar.allowPartialView=true" in _rendered("sidecar", beside, several, ok=False)
    _rendered("sidecar", _with(beside, "sidecar.allowPartialView", True), several)
    both = {**MODES["standalone"]}
    assert "tracecar.sidecar.withStandalone=true" in _rendered("sidecar", both, service, ok=False)
    _rendered("sidecar", _with(both, "sidecar.withStandalone", True), service)
    plain = _with(INGRESS, "ingress.tls", [])
    assert "ingress.allowPlainHttp=true" in template(plain, ok=False)
    template(_with(plain, "ingress.allowPlainHttp", True))


@pytest.mark.parametrize("mode", ["standalone", "sidecar"])
def test_injection_can_be_added_to_another_mode(mode: str, service: Path) -> None:
    text = _rendered(mode, _with(MODES[mode], "injection.enabled", True), service)
    assert "kind: MutatingAdmissionPolicy\n" in text
    assert "kind: Deployment" in text


# --- templates in values

TEMPLATE = "{{ .Release.Name }}"
TEMPLATED: dict[str, Any] = {
    "image": {"registry": TEMPLATE, "repository": TEMPLATE, "tag": TEMPLATE},
    "imagePullSecrets": [TEMPLATE],
    "nameOverride": TEMPLATE,
    "config": {
        "service": TEMPLATE,
        "sources": {"redis": {"url": f"redis://{TEMPLATE}:6379", "streams": [TEMPLATE]}},
        "registry": {"directory": f"/mnt/{TEMPLATE}"},
        "index": {"redis": {"url": f"redis://{TEMPLATE}"}},
        "api": {"host": "0.0.0.0"},
    },
    "existingSecret": TEMPLATE,
    "resources": {"limits": {"memory": TEMPLATE}},
    "strategy": {"type": TEMPLATE},
    "keda": {
        **ON,
        "authenticationRef": TEMPLATE,
        "annotations": {"a": TEMPLATE},
        "advanced": {"horizontalPodAutoscalerConfig": {"name": TEMPLATE}},
    },
    "networkPolicy": {"from": [{"podSelector": {"matchLabels": {"a": TEMPLATE}}}], "apiFrom": INGRESS_CONTROLLER},
    "serviceAccount": {"name": TEMPLATE, "annotations": {"a": TEMPLATE}, "labels": {"a": TEMPLATE}},
    "probes": {"readiness": {"exec": {"command": [TEMPLATE]}}},
    "serviceMonitor": {
        **ON,
        "labels": {"a": TEMPLATE},
        "namespace": TEMPLATE,
        "jobLabel": TEMPLATE,
        "targetLabels": [TEMPLATE],
        "relabelings": [{"regex": TEMPLATE}],
        "metricRelabelings": [{"regex": TEMPLATE}],
    },
    "prometheusRule": {
        **ON,
        "labels": {"a": TEMPLATE},
        "namespace": TEMPLATE,
        "additionalRuleLabels": {"a": TEMPLATE},
        "runbookUrl": TEMPLATE,
    },
    "grafanaDashboard": {"enabled": True, "labels": {"a": TEMPLATE}, "annotations": {"a": TEMPLATE}},
    "service": {"annotations": {"a": TEMPLATE}, "labels": {"a": TEMPLATE}},
    "ingress": {
        **ON,
        "host": TEMPLATE,
        "className": TEMPLATE,
        "tls": [{"secretName": TEMPLATE}],
        "annotations": {"a": TEMPLATE},
    },
    "httpRoute": {**ON, "parentRefs": [{"name": TEMPLATE}], "hostnames": [TEMPLATE], "annotations": {"a": TEMPLATE}},
    "extraEnv": [{"name": "A", "value": TEMPLATE}],
    "extraEnvFrom": [{"secretRef": {"name": TEMPLATE}}],
    "extraVolumes": [{"name": "v", "secret": {"secretName": TEMPLATE}}],
    "extraVolumeMounts": [{"name": "v", "mountPath": "/mnt"}],
    "extraContainers": [{"name": "c", "image": TEMPLATE}],
    "initContainers": [{"name": "i", "image": TEMPLATE}],
    "commonLabels": {"a": TEMPLATE},
    "commonAnnotations": {"a": TEMPLATE},
    "podLabels": {"b": TEMPLATE},
    "podAnnotations": {"b": TEMPLATE},
    "lifecycle": {"preStop": {"exec": {"command": [TEMPLATE]}}},
    "podSecurityContext": {"seLinuxOptions": {"level": TEMPLATE}},
    "securityContext": {"seLinuxOptions": {"level": TEMPLATE}},
    "nodeSelector": {"a": TEMPLATE},
    "tolerations": [{"key": TEMPLATE}],
    "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": TEMPLATE}]}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": TEMPLATE, "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": TEMPLATE,
    "runtimeClassName": TEMPLATE,
    "schedulerName": TEMPLATE,
    "hostAliases": [{"ip": TEMPLATE}],
    "dnsPolicy": TEMPLATE,
    "dnsConfig": {"searches": [TEMPLATE]},
    "global": {"imagePullSecrets": [TEMPLATE]},
}


def _unrendered(text: str) -> list[str]:
    manifests = [manifest for manifest in yaml.safe_load_all(text) if manifest]
    # Grafana and Prometheus have templates of their own.
    own = [manifest for manifest in manifests if "dashboards" not in manifest["metadata"]["name"]]
    for manifest in own:
        for group in manifest["spec"]["groups"] if manifest["kind"] == "PrometheusRule" else ():
            for rule in group["rules"]:
                rule["annotations"].pop("summary", None)
                rule["annotations"].pop("description", None)
    return [json.dumps(manifest) for manifest in own if "{{" in json.dumps(manifest)]


def test_strings_are_templates_everywhere(service: Path) -> None:
    assert _unrendered(template(TEMPLATED)) == []
    beside = {
        name: value
        for name, value in TEMPLATED.items()
        if "sidecar" in SCOPES.get(name, MODES) and name not in ("keda", "service", "ingress", "httpRoute", "probes")
    }
    beside = {name: value for name, value in beside.items() if "sidecar" in SCOPES.get(f"{name}.enabled", MODES)}
    beside = {name: value for name, value in beside.items() if name not in ("networkPolicy", "serviceAccount")}
    assert _unrendered(_rendered("sidecar", {**beside, "mode": "sidecar"}, service)) == []


# --- mistakes

ODD = {
    "list": [[None], [{}], ["x"], [1], {"a": "b"}, "x"],
    "map": [{"a": None}, {"a": {"b": 1}}, [], "x"],
    "text": [1, True, [], {}],
    "number": ["x", -1, {}],
}


def _odd() -> list[tuple[str, Any]]:
    """Values of another shape that the schema lets through: the templates have to cope with them."""
    validator = Draft7Validator(generate.schema())
    kinds = {list: "list", dict: "map", str: "text", int: "number"}
    cases: list[tuple[str, Any]] = []
    for value in generate.values():
        for odd in (None, *ODD[kinds.get(type(value.default), "text")]):
            if validator.is_valid(_with({}, value.path, odd)) or odd is None:
                cases.append((value.path, odd))
    return cases


def _complaint(mode: str, values: dict[str, Any], service: Path) -> str:
    if mode == "sidecar":
        return attempted({"tracecar": values}, "--api-versions", POLICIES, chart=service)
    return attempted(values, "--api-versions", POLICIES)


def test_no_value_ends_in_an_error_of_a_template(service: Path) -> None:
    """Helm says `executing "FILE" at <EXPRESSION>` where a template fails on a value instead of refusing it."""
    on = dict.fromkeys(("serviceMonitor", "prometheusRule", "grafanaDashboard", "keda"), ON)
    base = _merged(_merged(INGRESS, ROUTE), {**on, "image": IMAGE})

    def attempt(case: tuple[str, Any]) -> str:
        complaint = _complaint("standalone", _with(base, *case), service)
        return f"{case}: {complaint}" if "executing " in complaint else ""

    with ThreadPoolExecutor(2) as pool:
        assert [failure for failure in pool.map(attempt, _odd()) if failure] == []


@pytest.mark.parametrize("mode", MODES)
def test_values_that_are_null_are_no_error(mode: str, service: Path) -> None:
    """As `--reuse-values` gives them of a release before, which did not have them yet."""
    values = MODES[mode]
    for path in SCOPES:
        if path not in ("mode", "config", "image.repository"):
            values = _with(values, path, None)
    assert _complaint(mode, values, service) == ""
    for name in {path.partition(".")[0] for path in SCOPES if "." in path} - {"image"}:
        values = {**values, name: None}
    assert _complaint(mode, values, service) == ""

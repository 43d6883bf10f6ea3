"""Strings of the values are templates: rendered one by one, and refused with their place if they are another tool's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helm.charts import CHART, REDIS, helm, of_kind, rendered, service_chart, template, workload
from tests.servers import kubernetes_tools

VAULT = '{{- with secret "database/creds" }}{{ .Data.password }}{{ end }}'
DEPLOYMENT = """
kind: Deployment
apiVersion: apps/v1
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web}]}}}
"""
WORDS = re.findall(
    r'"([\w ]+)"', (CHART / "templates" / "_templates.tpl").read_text().partition('define "tracecar.templateWords"')[2]
)


def _annotation(text: str) -> Any:
    pod = workload(rendered({"config": REDIS, "podAnnotations": {"a": text}}))["spec"]["template"]
    return pod["metadata"]["annotations"]["a"]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"podAnnotations": {"agent-inject-template": VAULT}}, "podAnnotations.agent-inject-template"),
        ({"extraEnv": [{"name": "A", "value": VAULT}]}, "extraEnv[0].value"),
        ({"extraObjects": [{"kind": "A", "apiVersion": "v1", "data": {"a": VAULT}}]}, "extraObjects[0].data.a"),
        ({"extraObjects": [f"kind: A\napiVersion: v1\ndata: {{a: '{VAULT}'}}"]}, "extraObjects[0]"),
        ({"config": {**REDIS, "redact": [VAULT]}}, "config.redact[0]"),
        ({"commonLabels": {VAULT: "a"}}, "commonLabels"),
        ({"serviceAccount": {"annotations": {"a": VAULT}}}, "serviceAccount.annotations.a"),
        ({"probes": {"liveness": {"exec": {"command": ["sh", VAULT]}}}}, "probes.liveness.exec.command[1]"),
        ({"existingSecret": VAULT}, "existingSecret"),
        ({"priorityClassName": VAULT}, "priorityClassName"),
        ({"image": {"repository": "tracecar", "tag": VAULT}}, "image.tag"),
    ],
)
def test_a_template_of_another_tool_is_refused_with_its_place(values: dict[str, Any], place: str) -> None:
    complaint = template({"config": REDIS, **values}, ok=False)
    assert f'{place}: Helm has no template function "secret"' in complaint
    assert 'write a literal {{ as {{ "{{" }}' in complaint


def test_beside_a_service_the_place_has_the_prefix(tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop", DEPLOYMENT)
    values = {"mode": "sidecar", "image": {"repository": "tracecar"}, "config": REDIS}
    complaint = template({"tracecar": {**values, "podAnnotations": {"a": VAULT}}}, chart=chart, ok=False)
    assert 'tracecar.podAnnotations.a: Helm has no template function "secret"' in complaint


@pytest.mark.parametrize("text", ["{{ .Release.Name", "a {{", '{{ "}}" '])
def test_braces_without_an_end_are_refused(text: str) -> None:
    complaint = template({"config": REDIS, "podAnnotations": {"a": text}}, ok=False)
    assert "podAnnotations.a: found {{ without }}." in complaint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{{ "{{ .pass }}" }}', "{{ .pass }}"),
        ("{{ `{{ with secret }}` }}", "{{ with secret }}"),
        ("{{/* with secret */}}a", "a"),
        ("{{- /* with secret */ -}} a", "a"),
        ('{{ "}}" }}', "}}"),
        ('{{ "a \\"secret\\"" }}', 'a "secret"'),
        ("{{ $secret := .Release.Name }}{{ $secret | upper | quote }}", '"R"'),
        ('{{ if eq 1e3 1000.0 }}a{{ else if true }}b{{ else }}c{{ end }}{{ (dict "a" 1).a }}', "a1"),
        ("{{ range $i, $e := list 1 2 }}{{ $e }}{{ end }}", "12"),
        ('{{ include "tracecar.fullname" . }}', "r-tracecar"),
        ("{{ .Values.config.service }}", "shop"),
    ],
)
def test_templates_of_helm_are_rendered(text: str, expected: str) -> None:
    assert _annotation(text) == expected


@pytest.mark.parametrize(
    "text", ["a: b\nc: d", "# not a comment", "'\"", "- a\n- b", "true", "1e3", "null", " a ", "{}"]
)
def test_what_a_template_renders_stays_a_text(text: str) -> None:
    """It cannot change the YAML around it."""
    values = {"config": REDIS, "global": {"text": text}, "commonAnnotations": {"a": "{{ .Values.global.text }}"}}
    assert of_kind(rendered(values), "ConfigMap")["metadata"]["annotations"]["a"] == text


def test_names_of_keys_are_templates_too() -> None:
    values = {"config": REDIS, "podAnnotations": {"{{ .Release.Name }}/a": "b", "c": "d"}}
    annotations = workload(rendered(values))["spec"]["template"]["metadata"]["annotations"]
    assert (annotations["r/a"], annotations["c"]) == ("b", "d")


def test_every_function_of_helm_is_known(tmp_path: Path) -> None:
    known = set(" ".join(WORDS).split())
    go = kubernetes_tools.find_go()
    assert go is not None
    command = [go, "list", "-m", "-f", "{{.Dir}}", "github.com/Masterminds/sprig/v3", "helm.sh/helm/v3"]
    done = subprocess.run(command, cwd=kubernetes_tools.MODULE, capture_output=True, text=True, check=False)
    sprig, own = map(Path, done.stdout.split())
    functions = set(re.findall(r'^\t"(\w+)": ', (sprig / "functions.go").read_text(), re.MULTILINE))
    functions |= set(re.findall(r'^\t\t"(\w+)": ', (own / "pkg" / "engine" / "funcs.go").read_text(), re.MULTILINE))
    assert len(functions) > 200
    assert functions - known == {"env", "expandenv"}  # Helm removes these
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: a, version: 0.1.0}")
    calls = "".join(f"{{{{ {name} }}}}" for name in sorted(functions & known))
    (tmp_path / "templates" / "a.yaml").write_text(f"{{{{ if false }}}}{calls}{{{{ end }}}}")
    assert not helm("template", "r", tmp_path).strip()

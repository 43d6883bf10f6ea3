"""The notes after an installation, in each mode, as a person reads them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helm.charts import CHART, POLICIES, REDIS, of_kind, rendered
from tests.helm.effects import INGRESS, OPEN_API, ROUTE

OBJECT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  notes: {{ include "notes" . | quote }}
"""


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the chart that renders its notes as an object: Helm prints notes only if there is a cluster."""
    copy = shutil.copytree(CHART, tmp_path_factory.mktemp("notes") / "tracecar")
    notes = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "notes.yaml").write_text(f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}{OBJECT}')
    return copy


def _notes(chart: Path, values: dict[str, Any]) -> str:
    manifests = rendered({"image": {"repository": "tracecar"}, **values}, "--api-versions", POLICIES, chart=chart)
    return str(of_kind([one for one in manifests if one["metadata"]["name"] == "notes"], "ConfigMap")["data"]["notes"])


def test_the_notes_of_the_usual_release(chart: Path) -> None:
    assert (
        _notes(chart, {"config": {**REDIS, "api": {"token_file": "/tmp/token"}}}).strip()
        == """Tracecar watches the streams of shop. Wait until it is ready, then test it:

  kubectl rollout status deployment/r-tracecar -n events
  helm test r -n events --logs

Open the dashboard over kubectl. It finds the pod, port and token for you:

  tracecar tui --kube deployment/r-tracecar -n events

Or by hand. The API listens on the pod's loopback interface, which kubectl port-forward reaches:

  kubectl port-forward deployment/r-tracecar 8425:8425 -n events &
  export TRACECAR_TOKEN=$(kubectl exec deployment/r-tracecar -n events -c tracecar -- cat /tmp/token)
  tracecar status --url http://127.0.0.1:8425

List dead letters by cause, without installing anything locally:

  kubectl exec deployment/r-tracecar -n events -c tracecar -- tracecar dlq groups

If it does not become ready, test every connection and permission:

  kubectl exec deployment/r-tracecar -n events -c tracecar -- tracecar check -c /etc/tracecar/config/tracecar.yaml"""
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (OPEN_API, "in the cluster, the Service r-tracecar has the API too"),
        (
            OPEN_API,
            "If Helm cannot read the Secret tracecar (helm template, GitOps), restart the pods after it changes:",
        ),
        ({**OPEN_API, "secretChecksum": False}, "Restart the pods after the Secret tracecar changes:"),
        (INGRESS, "tracecar tui --url https://a.example.org\n"),
        (
            {**INGRESS, "ingress": {"enabled": True, "host": "b.example.org", "allowPlainHttp": True}},
            "tracecar tui --url https://b.example.org\n",
        ),
        ({**ROUTE, "httpRoute": {**ROUTE["httpRoute"], "hostnames": ["c.org"]}}, "tracecar tui --url https://c.org\n"),
        ({"mode": "injection"}, "New pods with the label tracecar.io/inject: NAME get a sidecar"),
        (
            {"mode": "sidecar", "config": REDIS, "grafanaDashboard": {"enabled": True}},
            "beside the services whose charts",
        ),
    ],
)
def test_the_notes_follow_the_values(values: dict[str, Any], words: str, chart: Path) -> None:
    notes = _notes(chart, values)
    assert words in notes
    assert "\n\n\n" not in notes

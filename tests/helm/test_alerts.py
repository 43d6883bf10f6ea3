"""The alert rules and the dashboard in Prometheus' own tool, and with the metrics of `/metrics`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.servers.otlp import Receiver
from tests.support.promql import promql_expressions
from tests.support.sidecar_process import Sidecar

ROOT = Path(__file__).parents[2]
RULES, CASES = ROOT / "helm" / "tracecar" / "rules" / "tracecar.yaml", Path(__file__).with_name("alerts.yaml")
PROMTOOL = shutil.which("promtool")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus"),
]


def promtool(*arguments: str | Path, said: str = "") -> str:
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], input=said, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_alert_fires_if_and_only_if_it_must() -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", CASES)
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts


def test_every_expression_of_the_dashboard_is_one(tmp_path: Path) -> None:
    asked = [expression.replace("$__rate_interval", "5m") for _, expression in promql_expressions()]
    rules = [{"record": f"tracecar:asked:{number}", "expr": one} for number, one in enumerate(asked)]
    (tmp_path / "asked.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", tmp_path / "asked.yaml")


@pytest.mark.valkey
def test_the_metrics_of_a_sidecar_follow_prometheus_conventions(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    from redis import Redis

    client, stream = Redis.from_url(valkey.url), f"alerts-{tmp_path.name}"
    client.xadd(stream, {"correlation-id": "c", "payload": '{"eventId": "a"}'})
    client.xadd(stream, {"correlation-id": "c", "causation-id": "a", "payload": '{"eventId": "b"}'})
    client.xadd(stream, {"__value_schema_id": b"\x00\x00\x00\x00\x07", "payload": b"no schema"})
    client.xgroup_create(stream, "billing", "0")
    with Receiver() as receiver:
        config: dict[str, Any] = {
            "service": "shop",
            "sources": {"redis": {"url": valkey.url, "streams": [stream], "start": "earliest"}},
            "registry": {"directory": str(tmp_path)},
            "exporters": {"otlp": {"endpoint": receiver.endpoint("grpc"), "protocol": "grpc"}},
        }
        with Sidecar(tmp_path, config) as sidecar:
            wanted = ("tracecar_rejections_total{", "tracecar_edge_duration_seconds_sum{", "tracecar_group_lag{")
            sidecar.wait(lambda: all(one in metrics(sidecar) for one in wanted), "all kinds of metrics")
            assert promtool("check", "metrics", said=metrics(sidecar)) == ""


def metrics(sidecar: Sidecar) -> str:
    return httpx2.get(f"{sidecar.url}/metrics", timeout=30).text

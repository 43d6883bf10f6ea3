"""Values to render the chart with: each switch on and off, both kinds of workload, and common additions."""

from __future__ import annotations

from typing import Any

from tests.helm.charts import KAFKA, REDIS, SHARED

ON = {"enabled": True}
OFF = {"enabled": False}
INGRESS_CONTROLLER = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
MATRIX: dict[str, dict[str, Any]] = {
    "redis": {"config": REDIS},
    "kafka": {"config": KAFKA, "existingSecret": "tracecar", "schemasConfigMap": "schemas"},
    "stateful-set": {"config": REDIS, "workload": "StatefulSet"},
    "replicas": {"config": SHARED, "replicaCount": 3},
    "all-partitions": {"config": {**REDIS, "index": {"memory": {"scope": "all"}}}, "replicaCount": 2},
    "autoscaling": {
        "config": SHARED,
        "autoscaling": {
            **ON,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "tracecar_lag"},
                        "target": {"type": "AverageValue", "averageValue": "5000"},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        },
    },
    "keda": {"config": KAFKA, "keda": {**ON, "authenticationRef": "kafka"}},
    "keda-own": {"config": SHARED, "keda": {**ON, "triggers": [{"type": "cron", "metadata": {"timezone": "UTC"}}]}},
    "opened": {
        "config": {**REDIS, "api": {"host": "0.0.0.0", "port": 9000}},
        "existingSecret": "tracecar",
        "service": {"annotations": {"example.org/a": "b"}},
        "networkPolicy": {"apiFrom": [{"namespaceSelector": {}}]},
    },
    "closed": {
        "config": REDIS,
        "networkPolicy": {
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 6379}]}],
        },
    },
    "monitored": {
        "config": REDIS,
        "serviceMonitor": {**ON, "labels": {"release": "prometheus"}, "honorLabels": True, "jobLabel": "team"},
        "prometheusRule": {**ON, "groups": [{"name": "own", "rules": [{"alert": "A", "expr": "vector(1)"}]}]},
        "grafanaDashboard": {**ON, "annotations": {"grafana_folder": "Events"}},
    },
    "pods-monitored": {"config": REDIS, "podMonitor": {**ON, "namespaceSelector": {"any": True}}},
    "ingress": {
        "config": {**REDIS, "api": {"host": "0.0.0.0"}},
        "existingSecret": "tracecar",
        "service": {"type": "LoadBalancer", "port": 443},
        "ingress": {**ON, "host": "tracecar.example.org", "tls": [{"secretName": "tls"}], "className": "nginx"},
        "networkPolicy": {"apiFrom": INGRESS_CONTROLLER},
    },
    "route": {
        "config": {**REDIS, "api": {"host": "0.0.0.0"}},
        "existingSecret": "tracecar",
        "httpRoute": {**ON, "parentRefs": [{"name": "public", "sectionName": "https"}], "hostnames": ["t.example.org"]},
        "networkPolicy": {"apiFrom": INGRESS_CONTROLLER},
    },
    "bare": {
        "config": REDIS,
        "networkPolicy": OFF,
        "podDisruptionBudget": OFF,
        "serviceAccount": {"create": False},
        "tests": OFF,
        "resources": None,
    },
    "everything": {
        "config": KAFKA,
        "schemasConfigMap": "schemas",
        "existingSecret": "tracecar",
        "image": {"repository": "example.org/tracecar", "digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "global": {"imagePullSecrets": [{"name": "pull-too"}]},
        "fullnameOverride": "eyes",
        "replicaCount": 2,
        "podDisruptionBudget": {"minAvailable": "50%"},
        "extraEnv": [{"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "team=events"}],
        "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
        "extraVolumes": [{"name": "certificates", "secret": {"secretName": "kafka-ca"}}],
        "extraVolumeMounts": [{"name": "certificates", "mountPath": "/etc/kafka", "readOnly": True}],
        "extraContainers": [{"name": "more", "image": "example.org/more:1"}],
        "initContainers": [{"name": "first", "image": "example.org/first:1"}],
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}",
        ],
        "commonLabels": {"team": "events"},
        "commonAnnotations": {"example.org/owner": "events"},
        "podLabels": {"tier": "eyes"},
        "podAnnotations": {"example.org/checked": "yes"},
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "events", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
        "priorityClassName": "high",
        "runtimeClassName": "gvisor",
        "probes": {"readiness": {"periodSeconds": 3}},
        "serviceAccount": {"name": "own", "annotations": {"example.org/role": "reader"}},
    },
    "injection-only": {"mode": "injection", "podMonitor": ON, "injection": {**ON, "configs": {"shop": REDIS}}},
}
NEEDS_DEFINITIONS = ("ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute")
"""Kinds that operators define; other clusters do not know them."""

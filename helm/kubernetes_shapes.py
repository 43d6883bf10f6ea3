"""Shapes of the Kubernetes objects that values hold, as JSON Schema.

They are closed where the API has been stable for years, so that a typo is found before a cluster sees it. What still
grows in Kubernetes (affinity, volumes, security contexts …) is open: the API server checks it.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
OPEN: Schema = {"type": ["object", "null"]}
TEXTS: Schema = {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}}
PORT: Schema = {"type": ["integer", "string"]}
QUANTITY: Schema = {"type": ["string", "number", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
NAME_OR_TEMPLATE = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$|[{][{].*[}][}]"


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """Build an object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def nullable(shape: Schema) -> Schema:
    """Return the shape of an object that may be null as well."""
    return {**shape, "type": ["object", "null"]}


def listed(items: Schema) -> Schema:
    """Build a list that may be null."""
    return {"type": ["array", "null"], "items": items}


HTTP_GET = closed(
    path=TEXT,
    port=PORT,
    host=TEXT,
    scheme={"enum": ["HTTP", "HTTPS"]},
    httpHeaders=listed(closed(name=TEXT, value=TEXT)),
)
PROBE = nullable(
    closed(
        enabled={"type": "boolean"},
        httpGet=nullable(HTTP_GET),
        exec=nullable(closed(("command",), command={"type": "array", "items": TEXT})),
        tcpSocket=nullable(closed(("port",), port=PORT, host=TEXT)),
        grpc=nullable(closed(("port",), port={"type": "integer"}, service=MAYBE_TEXT)),
        **dict.fromkeys(
            (
                "initialDelaySeconds",
                "timeoutSeconds",
                "periodSeconds",
                "successThreshold",
                "failureThreshold",
                "terminationGracePeriodSeconds",
            ),
            COUNT,
        ),
    )
)
QUANTITIES: Schema = {"type": ["object", "null"], "additionalProperties": QUANTITY}
RESOURCES = nullable(closed(requests=QUANTITIES, limits=QUANTITIES, claims=listed(OPEN)))
ENVIRONMENT = listed(closed(("name",), name=TEXT, value=MAYBE_TEXT, valueFrom=OPEN))
SOURCE = nullable(closed(("name",), name=TEXT, optional={"type": "boolean"}))
ENVIRONMENT_SOURCES = listed(closed(prefix=TEXT, configMapRef=SOURCE, secretRef=SOURCE))
VOLUMES = listed({"type": "object", "required": ["name"], "properties": {"name": TEXT}})
VOLUME_MOUNTS = listed(
    closed(
        ("name", "mountPath"),
        name=TEXT,
        mountPath=TEXT,
        subPath=TEXT,
        subPathExpr=TEXT,
        readOnly={"type": "boolean"},
        recursiveReadOnly=TEXT,
        mountPropagation=TEXT,
    )
)
CONTAINERS = listed({"type": "object", "required": ["name"], "properties": {"name": TEXT}})
PULL_SECRETS = listed({"anyOf": [{"type": "string", "minLength": 1}, closed(("name",), name={**TEXT, "minLength": 1})]})
TOLERATIONS = listed(
    closed(key=TEXT, operator=TEXT, value=TEXT, effect=TEXT, tolerationSeconds={"type": ["integer", "null"]})
)
HOST_ALIASES = listed(closed(("ip",), ip=TEXT, hostnames={"type": "array", "items": TEXT}))
SPREAD = listed(
    {"type": "object", "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"], "properties": {"maxSkew": COUNT}}
)
INGRESS_TLS = listed(closed(secretName=TEXT, hosts=listed(TEXT)))
PARENTS = listed({"type": "object", "required": ["name"], "properties": {"name": TEXT}})
NETWORK_PEERS = listed(closed(podSelector=OPEN, namespaceSelector=OPEN, ipBlock=OPEN))
EGRESS_RULES = listed(closed(to=NETWORK_PEERS, ports=listed(OPEN)))
SELECTOR = nullable(closed(matchLabels=TEXTS, matchExpressions=listed(OPEN)))
SCALING_BEHAVIOR = nullable(closed(scaleUp=OPEN, scaleDown=OPEN))
METRICS = listed({"type": "object", "required": ["type"], "properties": {"type": TEXT}})
LIFECYCLE = nullable(closed(postStart=OPEN, preStop=OPEN, stopSignal=TEXT))
STRATEGY = nullable(closed(type=TEXT, rollingUpdate=OPEN))
KEDA_AUTHENTICATION: Schema = {
    "anyOf": [
        {"type": "string"},
        closed(("name",), name=TEXT, kind={"enum": ["TriggerAuthentication", "ClusterTriggerAuthentication"]}),
    ]
}
KEDA_TRIGGERS = listed(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["type", "metadata"],
        "properties": {
            "type": TEXT,
            "name": TEXT,
            "metadata": {"type": "object", "additionalProperties": TEXT},
            "authenticationRef": OPEN,
            "metricType": TEXT,
            "useCachedMetrics": {"type": "boolean"},
        },
    }
)
KEDA_FALLBACK = nullable(closed(failureThreshold=COUNT, replicas=COUNT, behavior=TEXT))
POD_MONITOR_NAMESPACES = nullable(closed(any={"type": "boolean"}, matchNames=listed(TEXT)))
DURATION: Schema = {"type": "string", "pattern": "^(([0-9]+(ms|[smhdwy]))+|0|[{][{].*[}][}])$"}
RELABELINGS = listed(
    closed(
        sourceLabels=listed(TEXT),
        separator=TEXT,
        targetLabel=TEXT,
        regex=TEXT,
        modulus=COUNT,
        replacement=TEXT,
        action=TEXT,
    )
)

"""Shapes of the Kubernetes objects that values hold, as JSON Schema.

They are closed, so that a typo is found before a cluster sees it: an API server drops unknown fields with a warning.
What still grows in Kubernetes (containers, what a volume holds …) is open. A test compares them with a new release.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
OPEN: Schema = {"type": ["object", "null"]}
TEXTS: Schema = {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}}
PORT: Schema = {"type": ["integer", "string"]}
TEMPLATE = "[{][{].*[}][}]"
QUANTITY: Schema = {
    "type": ["string", "number", "null"],
    "pattern": f"^[0-9]+([.][0-9]+)?(m|k|[MGTPE]|[KMGTPE]i|[eE][0-9]+)?$|{TEMPLATE}",
}
_LABEL = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
LABELS: Schema = {
    "type": ["object", "null"],
    "additionalProperties": {"type": ["string", "null"], "pattern": f"^{_LABEL}$|{TEMPLATE}"},
}
"""Values that labels may have."""
COUNT: Schema = {"type": "integer", "minimum": 0}
NAME_OR_TEMPLATE = f"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$|{TEMPLATE}"


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """Build an object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def one_or_more(shape: Schema) -> Schema:
    """Return the shape of an object that has a property."""
    return {**shape, "minProperties": 1}


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
    protocol=TEXT,
    httpHeaders=listed(closed(name=TEXT, value=TEXT)),
)
_PROBE = nullable(
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
PROBE: Schema = _PROBE
_LIVE: Schema = {**_PROBE["properties"], "successThreshold": {"type": "integer", "enum": [1]}}
LIVENESS_PROBE: Schema = {**_PROBE, "properties": _LIVE}
"""Kubernetes takes no other successThreshold of these probes than 1."""
QUANTITIES: Schema = {"type": ["object", "null"], "additionalProperties": QUANTITY}
RESOURCES = nullable(closed(requests=QUANTITIES, limits=QUANTITIES, claims=listed(OPEN)))
_VARIABLE: Schema = {"type": "string", "pattern": f"^[-._a-zA-Z][-._a-zA-Z0-9]*$|{TEMPLATE}"}
VALUE_SOURCE = nullable(
    one_or_more(closed(configMapKeyRef=OPEN, fieldRef=OPEN, fileKeyRef=OPEN, resourceFieldRef=OPEN, secretKeyRef=OPEN))
)
ENVIRONMENT = listed(closed(("name",), name=_VARIABLE, value=MAYBE_TEXT, valueFrom=VALUE_SOURCE))
SOURCE = nullable(closed(("name",), name=TEXT, optional={"type": "boolean"}))
ENVIRONMENT_SOURCES = listed(closed(prefix=TEXT, configMapRef=SOURCE, secretRef=SOURCE))
_VOLUME_SOURCES = (
    *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi", "downwardAPI"),
    *("emptyDir", "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "hostPath"),
    *("image", "iscsi", "nfs", "persistentVolumeClaim", "photonPersistentDisk", "portworxVolume", "projected"),
    *("quobyte", "rbd", "scaleIO", "secret", "storageos", "vsphereVolume"),
)
VOLUME = {**closed(("name",), name=TEXT, **dict.fromkeys(_VOLUME_SOURCES, OPEN)), "minProperties": 2}
VOLUMES = listed(VOLUME)
VOLUME_MOUNTS = listed(
    closed(
        ("name", "mountPath"),
        name=TEXT,
        mountPath={"type": "string", "pattern": f"^/[^:]+$|{TEMPLATE}"},
        subPath=TEXT,
        subPathExpr=TEXT,
        readOnly={"type": "boolean"},
        recursiveReadOnly=TEXT,
        mountPropagation=TEXT,
        bindMountOptions=listed(TEXT),
    )
)
CONTAINERS = listed({"type": "object", "required": ["name", "image"], "properties": {"name": TEXT, "image": TEXT}})
_TERMS = {
    "requiredDuringSchedulingIgnoredDuringExecution": {"type": ["array", "object", "null"]},
    "preferredDuringSchedulingIgnoredDuringExecution": {"type": ["array", "null"]},
}
_TERM = nullable(closed(**_TERMS))
AFFINITY = nullable(closed(nodeAffinity=_TERM, podAffinity=_TERM, podAntiAffinity=_TERM))
_ID: Schema = {"type": ["integer", "null"], "minimum": 0}
_SWITCH: Schema = {"type": ["boolean", "null"]}
_IDENTITY: dict[str, Schema] = {
    "appArmorProfile": OPEN,
    "runAsGroup": _ID,
    "runAsNonRoot": _SWITCH,
    "runAsUser": _ID,
    "seLinuxOptions": OPEN,
    "seccompProfile": OPEN,
    "windowsOptions": OPEN,
}
SECURITY_CONTEXT = nullable(
    closed(
        **_IDENTITY,
        allowPrivilegeEscalation=_SWITCH,
        capabilities=nullable(closed(add=listed(TEXT), drop=listed(TEXT))),
        privileged=_SWITCH,
        procMount=MAYBE_TEXT,
        readOnlyRootFilesystem=_SWITCH,
    )
)
POD_SECURITY_CONTEXT = nullable(
    closed(
        **_IDENTITY,
        fsGroup=_ID,
        fsGroupChangePolicy=MAYBE_TEXT,
        seLinuxChangePolicy=MAYBE_TEXT,
        supplementalGroups=listed(_ID),
        supplementalGroupsPolicy=MAYBE_TEXT,
        sysctls=listed(closed(("name", "value"), name=TEXT, value=TEXT)),
    )
)
DNS_CONFIG = nullable(
    closed(nameservers=listed(TEXT), searches=listed(TEXT), options=listed(closed(name=TEXT, value=MAYBE_TEXT)))
)
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
SELECTOR = nullable(closed(matchLabels=LABELS, matchExpressions=listed(OPEN)))
_ADDRESSES = nullable(closed(("cidr",), **{"cidr": TEXT, "except": listed(TEXT)}))
NETWORK_PEERS = listed(one_or_more(closed(podSelector=SELECTOR, namespaceSelector=SELECTOR, ipBlock=_ADDRESSES)))
EGRESS_RULES = listed(
    closed(to=NETWORK_PEERS, ports=listed(closed(port=PORT, endPort={"type": "integer"}, protocol=TEXT)))
)
SCALING_BEHAVIOR = nullable(closed(scaleUp=OPEN, scaleDown=OPEN))
METRICS = listed({"type": "object", "required": ["type"], "properties": {"type": TEXT}})
HANDLER = nullable(
    one_or_more(
        closed(
            exec=nullable(closed(("command",), command={"type": "array", "items": TEXT})),
            httpGet=nullable(HTTP_GET),
            sleep=nullable(closed(("seconds",), seconds=COUNT)),
            tcpSocket=nullable(closed(("port",), port=PORT, host=TEXT)),
        )
    )
)
LIFECYCLE = nullable(closed(postStart=HANDLER, preStop=HANDLER, stopSignal=TEXT))
STRATEGY = nullable(closed(type=TEXT, rollingUpdate=OPEN))
KEDA_AUTHENTICATION: Schema = {
    "anyOf": [
        {"type": "string"},
        closed(
            ("name",),
            name={**TEXT, "minLength": 1},
            kind={"enum": ["TriggerAuthentication", "ClusterTriggerAuthentication"]},
        ),
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
KEDA_FALLBACK: Schema = {
    **nullable(closed(failureThreshold=COUNT, replicas=COUNT, behavior=TEXT)),
    "dependencies": {"failureThreshold": ["replicas"], "replicas": ["failureThreshold"], "behavior": ["replicas"]},
}
KEDA_ADVANCED = nullable(
    closed(
        horizontalPodAutoscalerConfig=nullable(closed(behavior=SCALING_BEHAVIOR, name=TEXT)),
        restoreToOriginalReplicaCount={"type": "boolean"},
        scalingModifiers=OPEN,
    )
)
RULE_GROUPS = listed({"type": "object", "required": ["name", "rules"], "properties": {"name": TEXT}})
HOST_NAME: Schema = {"type": "string", "pattern": f"^$|^([*][.])?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$|{TEMPLATE}"}
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

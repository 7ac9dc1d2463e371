"""Any JSON, for Hypothesis: trees without sense, and trees along a schema with a value here and there that does not fit."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pinnace import schema
from pinnace.kinds import Kind
from pinnace.schema import Field, Schema
from tests.support import customkinds

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=20),
    st.sampled_from(["", "a", "Always", "1", "-1", "10.0.0.1", "a.b/c", "..", "/", "1Gi", "9" * 400, "\ud800", "\0", "Localhost"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
# What a field of a type is mostly given; anything else is rarer.
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=12)
    | st.sampled_from(["", "a", "a-1", "A_b", "Never", "Exists", "Gt", "0", "x/y", "metadata.name"]),
    "bytes": st.sampled_from(["", "AA==", "e30=", "{"]),
    "bool": st.booleans(),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-2, 70_000),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-2, 70_000),
    "time": st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]),
    "microtime": st.sampled_from(["2026-01-01T00:00:00.000001Z", "0001-01-01T00:00:00Z"]),
    "duration": st.sampled_from(["0s", "500ms", "1h30m0s", "-2.5s", "1x"]),
    "quantity": st.sampled_from(["0", "1", "-1", "1m", "1Gi", "1e3", "1n", "999999999E", 5, 0.5]),
    "intorstring": st.integers(-5, 70_000) | st.sampled_from(["", "http", "80", "--"]),
    "raw": st.just({}),
    "json": st.deferred(lambda: TREES),
}


def fields_of(spec: Schema) -> dict[str, Field]:
    return {name: item for name, item, _ in schema.flatten(spec)}


@st.composite
def objects(draw: st.DrawFn, spec: Schema, depth: int = 0) -> Any:
    """JSON along a schema, with a value in ten that does not fit."""
    known = fields_of(spec)
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=6, unique=True)) if known and depth < 7 else []
    out = {name: draw(values(known[name], depth + 1)) for name in names}
    if draw(st.integers(0, 30)) == 0:
        out[draw(st.text(max_size=6))] = draw(TREES)
    return out


@st.composite
def values(draw: st.DrawFn, item: Field, depth: int) -> Any:
    if draw(st.integers(0, 10)) == 0:
        return draw(TREES)
    one = objects(item.message, depth) if item.message is not None else FITTING[item.type]
    if item.repeated:
        return draw(st.lists(one, max_size=3))
    if item.map:
        return draw(st.dictionaries(st.text(max_size=6) | st.sampled_from(["cpu", "a.b/c"]), one, max_size=3))
    return draw(one)


WORKLOAD = {
    "selector": {"matchLabels": {"app": "web"}},
    "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}},
}
JOB = {"template": {"spec": {**WORKLOAD["template"]["spec"], "restartPolicy": "Never"}}}
# What makes the smallest object of a kind valid, besides its metadata.
BASES: dict[str, Any] = {
    "CustomResourceDefinition": {"spec": customkinds.definition()["spec"]},
    "Deployment": {"spec": WORKLOAD},
    "EndpointSlice": {"addressType": "IPv4"},
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "HorizontalPodAutoscaler": {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3},
    },
    "Ingress": {"spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}},
    "IngressClass": {"spec": {"controller": "example.com/controller"}},
    "CronJob": {"spec": {"schedule": "@daily", "jobTemplate": {"spec": JOB}}},
    "Job": {"spec": JOB},
    "ReplicationController": {"spec": {"template": WORKLOAD["template"]}},
    "ReplicaSet": {"spec": WORKLOAD},
    "StatefulSet": {"spec": WORKLOAD},
    "DaemonSet": {"spec": WORKLOAD},
    "ControllerRevision": {"data": {"spec": {}}},
    "PodTemplate": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}},
    "Event.events.k8s.io": {
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/a",
        "reportingInstance": "a-1",
        "action": "Do",
        "reason": "Done",
        "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
    },
    "LimitRange": {"spec": {"limits": [{"type": "Container"}]}},
    "Pod": {"spec": {"containers": [{"name": "main", "image": "x"}]}},
    "RuntimeClass": {"handler": "native"},
    "StorageClass": {"provisioner": "example.com/disk"},
    "PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
    "PersistentVolume": {
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"}},
    },
    "RoleBinding": {"roleRef": {"kind": "Role", "name": "reader"}},
    "ClusterRoleBinding": {"roleRef": {"kind": "ClusterRole", "name": "reader"}},
}


def base_of(kind: Kind) -> dict[str, Any]:
    """What makes the smallest object of a kind valid: of the group's kind, where there is another one of the name."""
    found: dict[str, Any] = BASES.get(kind.group_kind, BASES.get(kind.kind, {}))
    return found

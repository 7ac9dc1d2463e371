"""The columns of the built-in kinds: those of Kubernetes' printers, and the cells of one object of each."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import resources
from controlplane.resources.columns import Cell
from pinnace import codec, kinds
from pinnace.kinds import Kind

NOW = 1_000_000.0
CREATED = "1970-01-12T13:45:40Z"
AGE = "60s"
_QUOTA = {
    "status": {"hard": {"pods": "5", "limits.cpu": "4", "requests.cpu": "2"}, "used": {"pods": "2", "limits.cpu": "500m"}},
}
_TEMPLATE = {
    "metadata": {"labels": {"b": "2", "a": "1"}},
    "spec": {"containers": [{"name": "a", "image": "b"}, {"name": "c", "image": "d"}]},
}
_NODE = {
    "spec": {"unschedulable": True},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "ExternalIP", "address": "203.0.113.1"}, {"type": "InternalIP", "address": "192.0.2.1"}],
        "nodeInfo": {
            "kubeletVersion": "v1",
            "osImage": "Debian",
            "kernelVersion": "6",
            "containerRuntimeVersion": "native://1",
        },
    },
}
_POD = {
    "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}], "readinessGates": [{"conditionType": "a/b"}, {"conditionType": "c/d"}]},
    "status": {
        "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "nominatedNodeName": "node-2",
        "conditions": [{"type": "c/d", "status": "True"}],
        "containerStatuses": [
            {"name": "c", "ready": True, "restartCount": 2, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "1970-01-12T13:41:40Z"}}},
        ],
    },
}  # fmt: skip
_BINDING = {
    "roleRef": {"kind": "ClusterRole", "name": "view"},
    "subjects": [
        {"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "ci", "namespace": "team"}, {"kind": "User", "name": "bob"},
        {"kind": "Group", "name": "staff"}, {"kind": "Robot", "name": "x"},
    ],
}  # fmt: skip
_INGRESS = {
    "spec": {"ingressClassName": "web", "tls": [{}], "rules": [{"host": f"{name}.example"} for name in "abcde"]},
    "status": {"loadBalancer": {"ingress": [{"hostname": "b.example"}, {"ip": "192.0.2.1"}, {"ip": "192.0.2.1"}, {}]}},
}
_METRICS = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}},
    {"type": "ContainerResource", "containerResource": {"name": "memory", "target": {"averageValue": "64Mi"}}},
    {"type": "Pods"},
]
_AUTOSCALER = {
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "web"},
        "minReplicas": 2,
        "maxReplicas": 9,
        "metrics": _METRICS[:2],
    },
    "status": {
        "currentReplicas": 3,
        "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12, "averageValue": "6m"}}},
            {"type": "ContainerResource", "containerResource": {"name": "memory", "current": {"averageValue": "32Mi"}}},
        ],
    },
}
_SERVICE = {
    "spec": {
        "type": "NodePort", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "externalIPs": ["192.0.2.9"], "selector": {"b": "2", "a": "1"},
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
    },
}  # fmt: skip
_EVENT = {
    "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{c}"}, "type": "Normal", "reason": "Pulled",
    "message": " two\nlines ", "source": {"component": "agent", "host": "node-1"}, "count": 3,
    "firstTimestamp": "1970-01-12T13:44:40Z", "lastTimestamp": "1970-01-12T13:46:30Z",
}  # fmt: skip


def made(kind: Kind, value: dict[str, Any]) -> Any:
    return codec.decode(
        kind.cls, {**value, "metadata": {"name": "one", "creationTimestamp": CREATED, **value.get("metadata", {})}}
    )


def shown(kind: Kind, value: dict[str, Any]) -> list[Cell]:
    columns = resources.built_in().resource(kind).columns
    return list(columns.cells(made(kind, value), NOW))


def titles(kind: Kind, priority: int = 0) -> list[str]:
    found = resources.built_in().resource(kind).columns.definitions
    return [column.name for column in found if column.priority == priority]


@pytest.mark.parametrize(
    ("kind", "usual", "wide"),
    [
        (kinds.POD, "Name|Ready|Status|Restarts|Age", "IP|Node|Nominated Node|Readiness Gates"),
        (kinds.NODE, "Name|Status|Roles|Age|Version", "Internal-IP|External-IP|OS-Image|Kernel-Version|Container-Runtime"),
        (kinds.NAMESPACE, "Name|Status|Age", ""),
        (kinds.CONFIG_MAP, "Name|Data|Age", ""),
        (kinds.SECRET, "Name|Type|Data|Age", ""),
        (kinds.SERVICE_ACCOUNT, "Name|Age", ""),
        (kinds.SERVICE, "Name|Type|Cluster-IP|External-IP|Port(s)|Age", "Selector"),
        (kinds.ENDPOINTS, "Name|Endpoints|Age", ""),
        (kinds.ENDPOINT_SLICE, "Name|AddressType|Ports|Endpoints|Age", ""),
        (kinds.EVENT, "Last Seen|Type|Reason|Object|Message", "Subobject|Source|First Seen|Count|Name"),
        (kinds.LEASE, "Name|Holder|Age", ""),
        (kinds.RUNTIME_CLASS, "Name|Handler|Age", ""),
        (kinds.PRIORITY_CLASS, "Name|Value|Global-Default|Age|PreemptionPolicy", ""),
        (kinds.POD_TEMPLATE, "Name|Containers|Images|Pod Labels", ""),
        (kinds.LIMIT_RANGE, "Name|Created At", ""),
        (kinds.CUSTOM_RESOURCE_DEFINITION, "Name|Created At", ""),
        (kinds.RESOURCE_QUOTA, "Name|Request|Limit|Age", ""),
        (kinds.NETWORK_POLICY, "Name|Pod-Selector|Age", ""),
        (kinds.INGRESS, "Name|Class|Hosts|Address|Ports|Age", ""),
        (kinds.INGRESS_CLASS, "Name|Controller|Parameters|Age", ""),
        (kinds.ROLE, "Name|Created At", ""),
        (kinds.CLUSTER_ROLE, "Name|Created At", ""),
        (kinds.ROLE_BINDING, "Name|Role|Age", "Users|Groups|ServiceAccounts"),
        (kinds.CLUSTER_ROLE_BINDING, "Name|Role|Age", "Users|Groups|ServiceAccounts"),
    ],
)
def test_columns_are_those_of_kubernetes(kind: Kind, usual: str, wide: str) -> None:
    """By name, in order; those of -o wide have priority 1."""
    assert "|".join(titles(kind)) == usual
    assert "|".join(titles(kind, 1)) == wide


@pytest.mark.parametrize(
    ("kind", "value", "cells"),
    [
        (kinds.POD, _POD, ["one", "1/1", "Running", "2 (5m ago)", AGE, "10.0.0.1", "node-1", "node-2", "1/2"]),
        (kinds.POD, {}, ["one", "0/0", "Unknown", "0", AGE, "<none>", "<none>", "<none>", "<none>"]),
        (kinds.NODE, {**_NODE, "metadata": {"labels": {"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a", "node-role.kubernetes.io/": ""}}},
         ["one", "Ready,SchedulingDisabled", "a,b", AGE, "v1", "192.0.2.1", "203.0.113.1", "Debian", "6", "native://1"]),
        (kinds.NODE, {}, ["one", "Unknown", "<none>", AGE, "", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"]),
        (kinds.NODE, {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, ["one", "NotReady", "<none>", AGE, "", "<none>", "<none>", *["<unknown>"] * 3]),
        (kinds.NAMESPACE, {"status": {"phase": "Terminating"}}, ["one", "Terminating", AGE]),
        (kinds.CONFIG_MAP, {"data": {"a": "1"}, "binaryData": {"b": "AA=="}}, ["one", 2, AGE]),
        (kinds.SECRET, {"type": "Opaque", "data": {"a": "AA=="}}, ["one", "Opaque", 1, AGE]),
        (kinds.SERVICE_ACCOUNT, {"secrets": [{"name": "a"}]}, ["one", AGE]),
        (kinds.SERVICE, _SERVICE, ["one", "NodePort", "10.96.0.5", "192.0.2.9", "80:30080/TCP,53/UDP", AGE, "a=1,b=2"]),
        (kinds.SERVICE, {"spec": {"type": "LoadBalancer"}}, ["one", "LoadBalancer", "<none>", "<pending>", "<none>", AGE, "<none>"]),
        (kinds.SERVICE, {"spec": {"type": "LoadBalancer", "externalIPs": ["192.0.2.9"]}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"hostname": "a"}]}}},
         ["one", "LoadBalancer", "<none>", "192.0.2.8,a,192.0.2.9", "<none>", AGE, "<none>"]),
        (kinds.SERVICE, {"spec": {"type": "ExternalName", "externalName": "a.example"}}, ["one", "ExternalName", "<none>", "a.example", "<none>", AGE, "<none>"]),
        (kinds.ENDPOINTS, {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "::1"}], "ports": [{"port": 80}, {"port": 81}]}, {"addresses": [{"ip": "10.0.0.9"}]}]},
         ["one", "10.0.0.1:80,[::1]:80,10.0.0.1:81 + 2 more...", AGE]),
        (kinds.ENDPOINTS, {}, ["one", "<none>", AGE]),
        (kinds.ENDPOINT_SLICE, {"addressType": "IPv4", "ports": [{"port": 80}, {"name": "a"}, {}], "endpoints": [{"addresses": [f"10.0.0.{number}"]} for number in range(5)]},
         ["one", "IPv4", "80,a,*", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...", AGE]),
        (kinds.ENDPOINT_SLICE, {"addressType": "IPv6"}, ["one", "IPv6", "<unset>", "<unset>", AGE]),
        (kinds.EVENT, _EVENT, ["10s", "Normal", "Pulled", "pod/web", "spec.containers{c}", "agent, node-1", "two\nlines", "2m", 3, "one"]),
        (kinds.EVENT, {"involvedObject": {"kind": "Pod"}, "eventTime": "1970-01-12T13:46:00.5Z", "reportingComponent": "x"},
         ["40s", "", "", "pod", "", "x", "", "40s", 1, "one"]),
        (kinds.EVENT, {"eventTime": "1970-01-12T13:44:00Z", "series": {"count": 7, "lastObservedTime": "1970-01-12T13:46:35Z"}, "reportingComponent": "x", "reportingInstance": "y"},
         ["5s", "", "", "", "", "x, y", "", "2m40s", 7, "one"]),
        (kinds.EVENT, {}, ["<unknown>", "", "", "", "", "", "", "<unknown>", 1, "one"]),
        (kinds.HORIZONTAL_POD_AUTOSCALER, _AUTOSCALER, ["one", "Deployment/web", "cpu: 12%/50%, memory: 32Mi/64Mi", "2", 9, 3, AGE]),
        (kinds.HORIZONTAL_POD_AUTOSCALER, {"spec": {"metrics": _METRICS}}, ["one", "/", "cpu: <unknown>/50%, memory: <unknown>/64Mi + 1 more...", "<unset>", 0, 0, AGE]),
        (kinds.HORIZONTAL_POD_AUTOSCALER, {}, ["one", "/", "<none>", "<unset>", 0, 0, AGE]),
        (kinds.NETWORK_POLICY, {"spec": {"podSelector": {"matchLabels": {"b": "2"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}}}, ["one", "a,b=2", AGE]),
        (kinds.NETWORK_POLICY, {}, ["one", "<none>", AGE]),
        (kinds.INGRESS, {}, ["one", "<none>", "*", "", "80", AGE]),
        (kinds.INGRESS, _INGRESS, ["one", "web", "a.example,b.example,c.example + 2 more...", "192.0.2.1,b.example", "80, 443", AGE]),
        (kinds.INGRESS, {"spec": {"rules": [{"host": "a"}, {}, {"host": "b"}]}}, ["one", "<none>", "a,b", "", "80", AGE]),
        (kinds.INGRESS_CLASS, {"spec": {"controller": "example.com/a"}}, ["one", "example.com/a", "<none>", AGE]),
        (kinds.INGRESS_CLASS, {"spec": {"controller": "example.com/a", "parameters": {"apiGroup": "example.com", "kind": "A", "name": "b"}}}, ["one", "example.com/a", "A.example.com/b", AGE]),
        (kinds.LEASE, {"spec": {"holderIdentity": "me"}}, ["one", "me", AGE]),
        (kinds.RUNTIME_CLASS, {"handler": "runc"}, ["one", "runc", AGE]),
        (kinds.PRIORITY_CLASS, {"value": -7, "globalDefault": True, "preemptionPolicy": "Never"}, ["one", -7, True, AGE, "Never"]),
        (kinds.POD_TEMPLATE, {"template": _TEMPLATE}, ["one", "a,c", "b,d", "a=1,b=2"]),
        (kinds.POD_TEMPLATE, {}, ["one", "", "", "<none>"]),
        (kinds.LIMIT_RANGE, {}, ["one", CREATED]),
        (kinds.CUSTOM_RESOURCE_DEFINITION, {}, ["one", CREATED]),
        (kinds.RESOURCE_QUOTA, _QUOTA, ["one", "pods: 2/5, requests.cpu: 0/2", "limits.cpu: 500m/4", AGE]),
        (kinds.RESOURCE_QUOTA, {}, ["one", "", "", AGE]),
        (kinds.CLUSTER_ROLE, {}, ["one", CREATED]),
        *((kind, _BINDING, ["one", "ClusterRole/view", AGE, "ann, bob", "staff", "team/ci"]) for kind in (kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING)),
    ],
)  # fmt: skip
def test_cells_are_those_of_kubernetes(kind: Kind, value: dict[str, Any], cells: list[Cell]) -> None:
    """Numbers and booleans as such; an absent field as the printer of its kind shows it."""
    assert shown(kind, value) == cells


@pytest.mark.parametrize("kind", [*kinds.ALL, *kinds.FORMS], ids=lambda kind: str(kind.group_kind))
def test_every_kind_has_a_cell_for_each_column(kind: Kind) -> None:
    """Also for an empty object. One column is the name, by which clients find it."""
    columns = resources.built_in().resource(kind).columns
    assert len(columns.cells(kind.cls(), NOW)) == len(columns.definitions)
    assert [column.name for column in columns.definitions if column.format == "name"] == ["Name"]
    assert all(column.description for column in columns.definitions)


def test_a_kind_without_columns_has_name_and_age() -> None:
    """As a new kind has at first."""
    kind: Kind = Kind("example.com/v1", "Widget", "widgets", kinds.CONFIG_MAP.cls)
    columns = resources.Resource(kind).columns
    assert [column.name for column in columns.definitions] == ["Name", "Age"]
    assert list(columns.cells(made(kind, {}), NOW)) == ["one", AGE]


def test_an_age_needs_a_time() -> None:
    """An object that was never stored has none."""
    assert resources.built_in().resource(kinds.SERVICE_ACCOUNT).columns.cells(kinds.SERVICE_ACCOUNT.cls(), NOW) == (
        "",
        "<unknown>",
    )

"""Services and EndpointSlices as a node gets them, in few words."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice

# Addresses of endpoints are those of pods of two nodes.
HERE, THERE = "node-1", "node-2"


def service(name: str = "web", *, ip: str = "10.96.0.20", port: int = 80, **spec: Any) -> Service:
    """With one TCP port, unless `ports` has others. `ingress`: addresses of the load balancer."""
    ingress = [{"ip": item} if isinstance(item, str) else item for item in spec.pop("ingress", ())]
    made = {"ports": [{"port": port, "protocol": "TCP"}], "clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP", **spec}
    found = json_format.ParseDict(
        {"metadata": {"name": name, "namespace": "default"}, "spec": made, "status": {"loadBalancer": {"ingress": ingress}}},
        Service(), ignore_unknown_fields=False,
    )  # fmt: skip
    return found


def endpoint(address: str, node: str = HERE, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


def slice_(*endpoints: dict[str, Any] | str, of: str = "web", name: str = "", port: int = 8080, **fields: Any) -> EndpointSlice:
    """With one TCP port, unless `ports` has others."""
    items = [item if isinstance(item, dict) else endpoint(item) for item in endpoints]
    made = {
        "metadata": {"name": name or f"{of}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4", "endpoints": items, "ports": [{"name": "", "port": port, "protocol": "TCP"}], **fields,
    }  # fmt: skip
    return json_format.ParseDict(made, EndpointSlice())

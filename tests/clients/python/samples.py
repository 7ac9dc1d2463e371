"""Objects that the clients under test write, and the entry of each client's program: no client is imported here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

# Of the calling test; made before and removed after it.
NAMESPACE = os.environ.get("CHECK_NAMESPACE", "default")
# Seconds that a check waits for the cluster.
WITHIN = 30


def run(*checks: Callable[[], Any]) -> None:
    """Run the check that is named by the first argument."""
    {check.__name__: check for check in checks}[sys.argv[1]]()
    print(sys.argv[1], "done")


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


def web(name: str = "web") -> dict[str, Any]:
    """A pod that logs `started` and serves a page, `hello`, on port 8080."""
    script = "mkdir -p /www; echo hello > /www/index.html; echo started; exec httpd -f -p 8080 -h /www"
    container = {
        "name": "main", "image": "busybox", "imagePullPolicy": "Never", "command": ["sh", "-c", script],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
    }  # fmt: skip
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }  # fmt: skip


def definition(group: str) -> dict[str, Any]:
    """Kind Boat with `spec.oars`, any status, and the subresource for that."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["oars"], "properties": {"oars": {"type": "integer", "minimum": 1}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {
        "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"boats.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }  # fmt: skip


def boat(group: str, name: str = "pinnace", oars: int = 8) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": metadata, "spec": {"oars": oars}}

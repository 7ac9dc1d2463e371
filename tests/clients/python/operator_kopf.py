"""An operator on kopf: Boats with a crew, which is a ConfigMap. Run by `kopf run`; the test creates, changes and deletes Boats."""

from __future__ import annotations

from typing import Any

import kopf
from kubernetes import client, config


@kopf.on.startup()
def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config()
    settings.posting.enabled = True
    settings.persistence.finalizer = "kopf.example.com/boats"


@kopf.on.create("kopf.example.com", "v1", "boats")
def launched(spec: kopf.Spec, name: str, namespace: str, body: kopf.Body, **_: Any) -> dict[str, Any]:
    """Its crew belongs to the Boat; what is returned is in the status, under this function's name."""
    crew: dict[str, Any] = {"metadata": {"name": f"{name}-crew"}, "data": {"rowers": str(spec["oars"])}}
    kopf.adopt(crew, owner=body)
    client.CoreV1Api().create_namespaced_config_map(namespace, crew)
    kopf.info(body, reason="Launched", message=f"with {spec['oars']} oars")
    return {"oars": spec["oars"]}


@kopf.on.update("kopf.example.com", "v1", "boats", field="spec.oars")
def refitted(old: int, new: int, name: str, namespace: str, patch: kopf.Patch, retry: int, **_: Any) -> None:
    """Fails once, so that kopf must remember in the status that it is to be tried again."""
    if not retry:
        raise kopf.TemporaryError("the carpenter is away", delay=0.5)
    client.CoreV1Api().patch_namespaced_config_map(f"{name}-crew", namespace, {"data": {"rowers": str(new)}})
    patch.status["refitted"] = f"{old} to {new}"


@kopf.on.delete("kopf.example.com", "v1", "boats")
def scrapped(name: str, namespace: str, **_: Any) -> None:
    """Before the object is gone: kopf's finalizer holds it until then."""
    client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"{name}-wreck"}})


@kopf.timer("kopf.example.com", "v1", "boats", interval=0.5)
def sailing(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    patch.status["miles"] = status.get("miles", 0) + 1

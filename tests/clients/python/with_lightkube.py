"""Checks with the package lightkube: typed and generic resources, apply, watches, logs, commands."""

from __future__ import annotations

import time

from lightkube import ApiError, Client, codecs
from lightkube.generic_resource import load_in_cluster_generic_resources
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import ConfigMap, Node, Pod
from lightkube.types import PatchType
from samples import NAMESPACE, WITHIN, boat, config_map, definition, run, web

GROUP = "light.example.com"


def refused(error: ApiError, code: int, reason: str) -> bool:
    return (error.status.code, error.status.reason) == (code, reason)


def typed() -> None:
    """Objects from creation to deletion, each kind of patch, apply, and what is refused."""
    with Client(namespace=NAMESPACE, field_manager="light") as client:
        made = client.create(ConfigMap(metadata=ObjectMeta(name="a", labels={"of": "light"}), data={"k": "1"}))
        assert made.metadata.namespace == NAMESPACE
        client.patch(ConfigMap, "a", {"data": {"j": "x", "k": None}})
        client.patch(ConfigMap, "a", [{"op": "add", "path": "/data/l", "value": "y"}], patch_type=PatchType.JSON)
        client.patch(ConfigMap, "a", {"data": {"m": "z"}}, patch_type=PatchType.MERGE)
        assert client.get(ConfigMap, "a").data == {"j": "x", "l": "y", "m": "z"}
        try:
            client.replace(made)
        except ApiError as error:
            assert refused(error, 409, "Conflict")
        else:
            raise AssertionError("an old version was accepted")
        applied = client.apply(codecs.from_dict(config_map("b", k="1")))
        assert [entry.manager for entry in applied.metadata.managedFields] == ["light"]
        try:
            client.apply(codecs.from_dict(config_map("b", k="2")), field_manager="other")
        except ApiError as error:
            assert refused(error, 409, "Conflict")
        else:
            raise AssertionError("another manager's field was taken")
        assert {"a", "b"} <= {item.metadata.name for item in client.list(ConfigMap, chunk_size=1)}
        client.delete(ConfigMap, "b")
        client.deletecollection(ConfigMap)
        assert not {"a", "b"} & {item.metadata.name for item in client.list(ConfigMap)}
        assert len(list(client.list(Node))) == 2


def pods() -> None:
    """A pod to Ready, its logs, commands with input and an exit code, until a watch says that it is gone."""
    with Client(namespace=NAMESPACE) as client:
        client.create(codecs.from_dict(web()))
        client.wait(Pod, "web", for_conditions=["Ready"])
        assert list(client.log("web")) == ["started\n"]
        found = client.exec("web", command=["sh", "-c", "cat; echo bad >&2; exit 3"], stdin="words", stdout=True, stderr=True)
        assert (found.stdout, found.stderr, found.exit_code) == ("words", "bad\n", 3), found
        version = client.get(Pod, "web").metadata.resourceVersion
        client.delete(Pod, "web")
        for operation, _ in client.watch(Pod, fields={"metadata.name": "web"}, resource_version=version, server_timeout=WITHIN):
            if operation == "DELETED":
                return
    raise AssertionError("the pod was not deleted")


def untyped() -> None:
    """A kind that it defines, as a generic resource that it reads from the cluster."""
    with Client(namespace=NAMESPACE, field_manager="light") as client:
        client.create(codecs.from_dict(definition(GROUP)))
        client.wait(CustomResourceDefinition, f"boats.{GROUP}", for_conditions=["Established"])
        load_in_cluster_generic_resources(client)
        made = client.create(codecs.from_dict(boat(GROUP)))
        kind = type(made)
        assert client.patch(kind, "pinnace", {"spec": {"oars": 9}}, patch_type=PatchType.MERGE).spec == {"oars": 9}
        found = client.patch(kind.Status, "pinnace", {"status": {"sails": 2}}, patch_type=PatchType.MERGE)
        assert found.status == {"sails": 2}
        for operation, event in client.watch(kind, server_timeout=WITHIN):
            assert (operation, event.metadata.name) == ("ADDED", "pinnace")
            break
        client.delete(kind, "pinnace")
        client.delete(CustomResourceDefinition, f"boats.{GROUP}")
        deadline = time.monotonic() + WITHIN
        while f"boats.{GROUP}" in [item.metadata.name for item in client.list(CustomResourceDefinition)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


if __name__ == "__main__":
    run(typed, pods, untyped)

"""Every verb of every kind answers as the OpenAPI v3 documents say: with a declared code, and no field that a schema does not have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinnace import kinds
from pinnace.clock import settle
from tests.support import customkinds
from tests.support.cluster import TURNS, Cluster
from tests.support.conformance import NAME, VIRTUAL, Documents, sample
from tests.support.rest import Rest

PATCHES = {
    "application/merge-patch+json": {"metadata": {"labels": {"a": "1"}}},
    "application/strategic-merge-patch+json": {"metadata": {"labels": {"a": "2"}}},
    "application/json-patch+json": [{"op": "add", "path": "/metadata/annotations", "value": {"a": "1"}}],
}


class Asked:
    """Requests along the documents, each response compared with them."""

    def __init__(self, rest: Rest, documents: Documents) -> None:
        self._rest = rest
        self.documents = documents

    async def ask(
        self, method: str, path: str, body: Any = None, *, name: str = NAME, query: str = "", media: str = "application/json"
    ) -> Any:
        url = path.format(namespace="default", name=name, path="healthz") + query
        answer = await self._rest.respond(method.upper(), url, body, content_type=media)
        data = answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
        return self.documents.check(method, path, answer.status, answer.content_type.partition(";")[0], data)

    async def watch(self, path: str, one: str) -> None:
        """The first event has an object as one that is read."""
        async with self._rest.watch(path.format(namespace="default") + "?watch=1&resourceVersion=0") as events:
            event = await anext(events)
        assert event["type"] == "ADDED"
        self.documents.check("get", one, 200, "application/json", json.dumps(event["object"]).encode())


@pytest.fixture
async def asked(cluster: Cluster) -> Asked:
    rest = Rest(cluster)
    await rest.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _definition())
    await settle(TURNS)
    entries = (await rest.get("/openapi/v3"))["paths"].values()
    return Asked(rest, Documents([await rest.get(entry["serverRelativeURL"]) for entry in entries]))


def _definition() -> dict[str, Any]:
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    return customkinds.definition(subresources={"status": {}, "scale": scale})


def collections(documents: Documents) -> list[tuple[str, dict[str, Any]]]:
    """The paths at which objects are created, each with its kind."""
    return [
        (path, operation["x-kubernetes-group-version-kind"])
        for (method, path), operation in documents.operations.items()
        if method == "post" and "{name}" not in path
    ]


async def test_responses_are_as_the_documents_say(asked: Asked) -> None:
    """What succeeds and what is refused; in the end every operation has been compared but those of streams."""
    for path, kind in collections(asked.documents):
        await _life(asked, path, kind)
    for method, path in asked.documents.operations.keys() - asked.documents.seen:
        # Lists over all namespaces, metrics of nodes and pods that there are not, and streams that are asked for wrongly.
        await asked.ask(method, path)
    assert asked.documents.operations.keys() == asked.documents.seen


async def _life(asked: Asked, path: str, gvk: dict[str, str]) -> None:
    operations = asked.documents.operations
    name, body = sample(gvk["kind"], "/".join(filter(None, (gvk["group"], gvk["version"]))))
    made = await asked.ask("post", path, body)
    assert made["kind"] == gvk["kind"], made
    one = f"{path}/{{name}}"
    if ("get", one) not in operations:
        return
    await asked.ask("post", path, body)
    await asked.ask("post", path, {**body, "metadata": {"name": "A_B"}})
    await asked.ask("post", path, {**body, "nonsense": 1}, query="?fieldValidation=Strict&dryRun=All")
    found = await asked.ask("get", one, name=name)
    await asked.watch(path, one)
    await asked.ask("get", one, name="nothing")
    await asked.ask("put", one, {**found, "metadata": {**found["metadata"], "labels": {"b": "1"}}}, name=name)
    await asked.ask("put", one, found, name=name)
    await _patched(asked, one, name, body)
    for part in [key for key in operations if key[1].startswith(f"{one}/")]:
        await _part(asked, *part, name=name)
    for query in ("", "?limit=1", "?labelSelector=a%3D1", "?fieldSelector=metadata.name%3Dthing", "?limit=-1", "?continue=x"):
        await asked.ask("get", path, query=query)
    if ("delete", path) in operations:
        await asked.ask("delete", path, query="?dryRun=All&labelSelector=a")
    await asked.ask("delete", one, name=name, query="?dryRun=All")
    await asked.ask("delete", one, name=name)
    await asked.ask("delete", one, name=name)


async def _patched(asked: Asked, one: str, name: str, body: dict[str, Any]) -> None:
    for media, patch in PATCHES.items():
        await asked.ask("patch", one, patch, name=name, media=media)
    manifest = json.dumps({**body, "metadata": {"name": name, "labels": {"c": "1"}}}).encode()
    for query in ("", "?fieldManager=tester", "?fieldManager=other&force=true"):
        await asked.ask("patch", one, manifest, name=name, query=query, media="application/apply-patch+yaml")
    await asked.ask("patch", one, manifest, name=name, media="text/plain")


async def _part(asked: Asked, method: str, path: str, *, name: str) -> None:
    operation = asked.documents.operations[method, path]
    if operation["x-kubernetes-action"] == "connect":
        await asked.ask(method, path, name=name)
        return
    gvk = operation["x-kubernetes-group-version-kind"]
    body: Any = None
    if method == "post":
        body = sample(gvk["kind"], "/".join(filter(None, (gvk["group"], gvk["version"]))))[1]
    elif method == "put":
        body = (
            await asked.ask("get", path, name=name)
            if ("get", path) in asked.documents.operations
            else sample(gvk["kind"], gvk["version"])[1]
        )
    elif method == "patch":
        for media, patch in PATCHES.items():
            await asked.ask("patch", path, patch, name=name, media=media)
        return
    await asked.ask(method, path, body, name=name)


def test_every_kind_has_a_sample() -> None:
    """A kind whose smallest object needs more than a name is in BASES."""
    assert {kind.kind for kind in kinds.REVIEWS if "/" not in kind.plural} <= {*VIRTUAL, "SelfSubjectReview"}

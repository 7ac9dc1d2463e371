"""Versions of custom kinds over REST: each object is shown along the schema of the version, as it is at the time."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import kinds
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.customkinds import CRONTAB, GROUP, crontab, definition
from tests.support.rest import Rest

CRD = kinds.CUSTOM_RESOURCE_DEFINITION
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
# Without the fields of the other version, and with a default, which applies to stored objects where the version is stored.
OTHER = {"type": "object", "properties": {"cronSpec": {"type": "string"}, "color": {"type": "string", "default": "red"}}}
IMAGE = [
    {"name": "Image", "type": "string", "jsonPath": ".spec.image"},
    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
]


@pytest.fixture
async def rest(cluster: Cluster, api: Api) -> Rest:
    """A CronTab with an image, which the version v2 does not have."""
    manifest = definition(versions=("v1", "v2"), additionalPrinterColumns=IMAGE)
    manifest["spec"]["versions"][1]["schema"] = {"openAPIV3Schema": {"type": "object", "properties": {"spec": OTHER}}}
    await api.create(CRD, manifest)
    await cluster.advance(1)
    await api.create(CRONTAB, crontab(image="x", cronSpec="* * * * *"))
    return Rest(cluster)


def url(version: str, query: str = "") -> str:
    return f"/apis/{GROUP}/{version}/namespaces/default/crontabs{query}"


SEEN: dict[str, Any] = {
    "v1": {"cronSpec": "* * * * *", "image": "x", "replicas": 1},
    "v2": {"cronSpec": "* * * * *"},
}
CELLS = {"v1": ["backup", "x", None], "v2": ["backup", None, None]}


@pytest.mark.parametrize("version", SEEN)
async def test_a_version_shows_its_own_fields(rest: Rest, version: str) -> None:
    """One by one, in lists, in watches and in tables."""
    assert (await rest.get(f"{url(version)}/backup"))["spec"] == SEEN[version]
    [item] = (await rest.get(url(version)))["items"]
    assert (item["apiVersion"], item["spec"]) == (f"{GROUP}/{version}", SEEN[version])
    [row] = (await rest.get(url(version), accept=TABLE))["rows"]
    assert row["cells"] == CELLS[version]
    async with rest.watch(url(version, "?watch=1")) as events:
        assert (await anext(events))["object"]["spec"] == SEEN[version]
    async with rest.watch(url(version, "?watch=1"), accept=TABLE) as events:
        assert (await anext(events))["object"]["rows"][0]["cells"] == CELLS[version]


async def test_a_changed_schema_is_seen_at_once(cluster: Cluster, api: Api, rest: Rest) -> None:
    """Also of an object that was shown before, and not written since."""
    [before] = (await rest.get(url("v1")))["items"]
    await api.update(CRD, definition(OTHER, versions=("v1", "v2")))
    await cluster.advance(1)
    [after] = (await rest.get(url("v1")))["items"]
    assert (before["spec"], after["spec"]) == (SEEN["v1"], {"cronSpec": "* * * * *", "color": "red"})
    assert before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


async def test_what_discovery_does_not_list_is_not_allowed(cluster: Cluster, api: Api, rest: Rest) -> None:
    """All namespaces cannot be deleted at once, and nothing is created of a kind whose definition is being deleted."""
    status, refused = await rest.ask("DELETE", "/api/v1/namespaces")
    assert (status, refused["reason"]) == (405, "MethodNotAllowed")
    held = crontab("held")
    held["metadata"]["finalizers"] = ["example.com/keep"]
    await api.create(CRONTAB, held)
    await api.delete(CRD, f"crontabs.{GROUP}")
    await cluster.advance(1)
    status, refused = await rest.ask("POST", url("v1"), crontab("late"))
    assert (status, refused["reason"]) == (405, "MethodNotAllowed")
    release = {"metadata": {"finalizers": None}}
    status, _ = await rest.ask("PATCH", f"{url('v1')}/held", release, content_type="application/merge-patch+json")
    assert status == 200

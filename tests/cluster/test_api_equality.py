"""Updates that state the same in other words: no write, no generation, no owner, no refusal."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, kinds
from pinnace.errors import Invalid
from tests.support.api import Api
from tests.support.cluster import Cluster

MERGE, JSON_PATCH, STRATEGIC = "MERGE", "JSON", "STRATEGIC"


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return Api(cluster)


def quota(**hard: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}


def pod(cpu: str, **container: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "app:1", "resources": {"requests": {"cpu": cpu}}, **container}
    # With its token a pod would have a volume, which an update from this manifest would take away.
    spec = {"containers": [main], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}


def mark(item: Any) -> tuple[str, int, Any]:
    return item.metadata.resourceVersion, item.metadata.generation, list(item.metadata.managedFields)


@pytest.mark.parametrize("hard", [{"cpu": "1000m"}, {"cpu": "1.0"}, {"cpu": "1e0"}])
async def test_an_update_in_other_words_writes_nothing(api: Api, cluster: Cluster, hard: dict[str, str]) -> None:
    """Also by another manager, who then owns nothing. What is stored stays as it was written."""
    made = await api.create(kinds.RESOURCE_QUOTA, quota(cpu="1"))
    made = await api.get(kinds.RESOURCE_QUOTA, "q")
    other = Api(cluster, "other")
    for found in (
        await other.update(kinds.RESOURCE_QUOTA, quota(**hard)),
        await other.patch(kinds.RESOURCE_QUOTA, "q", MERGE, {"spec": {"hard": hard}}),
        await other.patch(kinds.RESOURCE_QUOTA, "q", STRATEGIC, {"spec": {"hard": hard}}),
        await other.patch(kinds.RESOURCE_QUOTA, "q", JSON_PATCH, [{"op": "replace", "path": "/spec/hard/cpu", "value": hard["cpu"]}]),
        await api.get(kinds.RESOURCE_QUOTA, "q"),
    ):  # fmt: skip
        assert mark(found) == mark(made)
        assert found.spec.hard["cpu"].string == "1"


async def test_a_change_next_to_other_words_is_written(api: Api) -> None:
    """As the client wrote it; of the desired state alone there is a new generation."""
    await api.create(kinds.POD, pod("1"))
    made = await api.get(kinds.POD, "web")
    labelled = await api.update(kinds.POD, {**pod("1000m"), "metadata": {"name": "web", "labels": {"a": "b"}}})
    assert int(labelled.metadata.resourceVersion) > int(made.metadata.resourceVersion)
    assert labelled.metadata.generation == made.metadata.generation
    changed = await api.update(kinds.POD, pod("1000m", image="app:2"))
    assert changed.metadata.generation == made.metadata.generation + 1


async def test_a_pod_update_may_state_its_resources_in_other_words(api: Api) -> None:
    """They may not change, and they do not; another amount is refused."""
    await api.create(kinds.POD, pod("1"))
    await api.update(kinds.POD, pod("1000m", image="app:2"))
    with pytest.raises(Invalid, match="may not change fields other than"):
        await api.update(kinds.POD, pod("1001m"))


async def test_an_empty_struct_is_an_absent_one(api: Api) -> None:
    """As kubectl writes back what kube-apiserver shows: `resources: {}`."""
    manifest = pod("1")
    del manifest["spec"]["containers"][0]["resources"]
    await api.create(kinds.POD, manifest)
    made = await api.get(kinds.POD, "web")
    manifest["spec"]["containers"][0] |= {"resources": {}, "env": [], "args": None}
    assert mark(await api.update(kinds.POD, manifest)) == mark(made)


async def test_a_status_in_other_words_writes_nothing(api: Api) -> None:
    """Times in another zone, quantities in another unit."""
    await api.create(kinds.NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    status = {
        "capacity": {"memory": "1Gi"},
        "conditions": [{"type": "A", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": status}
    made = await api.update_status(
        kinds.NODE, codec.decode(kinds.NODE.cls, {k: v for k, v in node.items() if k not in ("apiVersion", "kind")})
    )
    status["capacity"], status["conditions"][0]["lastTransitionTime"] = {"memory": "1048576Ki"}, "2026-01-01T03:00:00+03:00"
    again = await api.update_status(
        kinds.NODE, codec.decode(kinds.NODE.cls, {k: v for k, v in node.items() if k not in ("apiVersion", "kind")})
    )
    assert again.metadata.resourceVersion == made.metadata.resourceVersion

"""Lists by selectors visit the objects that an index finds, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.requests.selection import Selection
from controlplane.store import StoredObject
from pinnace import kinds
from pinnace.kinds import Kind
from tests.support.api import Api, opened
from tests.support.cluster import Cluster
from tests.support.objects import pod

NODES, PODS = 5, 20


@pytest.fixture
async def api(cluster: Cluster) -> Api:
    """Pods p0 to p19 on five nodes, the same names in another namespace, and an event of each."""
    await cluster.create(kinds.NAMESPACE.cls(metadata={"name": "other"}))
    for number in range(PODS):
        for namespace in ("default", "other"):
            made = pod(f"p{number}", nodeName=f"n{number % NODES}")
            made.metadata.namespace, made.metadata.labels["half"] = namespace, str(number % 2)
            made = await cluster.create(made)
            event = kinds.EVENT.cls(reason="Made", type="Normal")
            event.metadata.name, event.metadata.namespace = f"p{number}.1", namespace
            event.involvedObject.name, event.involvedObject.uid = f"p{number}", made.metadata.uid
            event.involvedObject.kind, event.involvedObject.namespace = "Pod", namespace
            event.lastTimestamp.seconds = int(cluster.clock.now())
            await cluster.create(event)
    return Api(cluster)


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The key of each object that a list looks at."""
    keys: list[str] = []
    matches = Selection.matches

    def counted(self: Selection, row: StoredObject | None) -> bool:
        assert row is not None
        keys.append(row.key)
        return matches(self, row)

    monkeypatch.setattr(Selection, "matches", counted)
    return keys


async def names(api: Api, kind: Kind, *, namespace: str = "default", **how: Any) -> list[str]:
    items = (await api.list(kind, ref=api.ref(kind, namespace=namespace), **how)).items
    return sorted(opened(item).metadata.name for item in items)


@pytest.mark.parametrize(
    ("kind", "namespace", "selector", "listed", "looks"),
    [
        (kinds.POD, "default", "spec.nodeName=n1", 4, 4),
        (kinds.POD, "", "spec.nodeName=n1", 8, 8),
        (kinds.POD, "default", "metadata.name=p3", 1, 1),
        (kinds.POD, "", "metadata.name=p3", 2, 2),
        (kinds.POD, "", "metadata.namespace=other", PODS, PODS),
        (kinds.POD, "", "metadata.namespace=other,metadata.name=p3", 1, 1),
        (kinds.POD, "other", "metadata.namespace=default", 0, PODS),
        (kinds.POD, "", "spec.nodeName=n1,metadata.name=p6", 2, 2),
        (kinds.POD, "", "spec.nodeName=n1,metadata.name=p7", 0, 2),
        (kinds.POD, "", "spec.nodeName!=n1", 32, 40),
        (kinds.POD, "", "status.phase=Pending", 40, 40),
        (kinds.EVENT, "default", "involvedObject.name=p3,involvedObject.kind=Pod", 1, 1),
        (kinds.EVENT, "", "involvedObject.name=p3", 2, 2),
        (kinds.EVENT, "", "involvedObject.uid=none", 0, 0),
        (kinds.NAMESPACE, "", "metadata.name=other", 1, 1),
    ],
)
async def test_a_field_selector_visits_what_its_index_finds(
    api: Api, visited: list[str], kind: Kind, namespace: str, selector: str, listed: int, looks: int
) -> None:
    """Of the required fields the one with the fewest objects counts; what has no index costs a look at each object."""
    found = await names(api, kind, namespace=namespace, fieldSelector=selector)
    assert (len(found), len(visited)) == (listed, looks)


async def test_labels_and_fields_share_the_smaller_index(api: Api, visited: list[str]) -> None:
    """The node has fewer pods than the label."""
    assert await names(api, kinds.POD, labelSelector="half=1", fieldSelector="spec.nodeName=n1") == ["p1", "p11"]
    assert len(visited) == 4


async def test_an_index_follows_a_change(api: Api, cluster: Cluster, visited: list[str]) -> None:
    """A deleted pod is not found, nor visited."""
    await names(api, kinds.POD, fieldSelector="spec.nodeName=n1")
    visited.clear()
    await cluster.delete(kinds.POD, "p1", grace=0)
    assert await names(api, kinds.POD, fieldSelector="spec.nodeName=n1") == ["p11", "p16", "p6"]
    assert len(visited) == 3

"""Mirrors of static pods: what an agent may show, and that it may do nothing else by it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.dispatcher import mirrors, reports
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.errors import Invalid
from pinnace.podresources import MIRROR
from tests.support.cluster import Cluster
from tests.support.objects import pod


def static(name: str = "web-n1", uid: str = "u1", **rest: Any) -> Any:
    meta = {"uid": uid, **rest.pop("meta", {})}
    return pod(name, meta=meta, **rest)


async def show(cluster: Cluster, node: str, *pods: Any) -> list[str]:
    """What the RPC does, transaction by transaction."""
    call = cluster.call("nodeagent")
    for item in cluster.store.view(lambda tx: mirrors.stale(tx, node, pods)):
        await cluster.store.update(lambda tx, item=item: mirrors.drop(tx, node, item, call))
    found = [await cluster.store.update(lambda tx, item=item: mirrors.show(tx, node, item, call)) for item in pods]
    return [text for text in found if text]


async def test_a_static_pod_is_shown_bound_to_its_node(cluster: Cluster) -> None:
    """With a uid of its own; the scheduler leaves it alone."""
    await cluster.join("n1")
    assert await show(cluster, "n1", static(meta={"labels": {"app": "web"}})) == []
    found = cluster.get(kinds.POD, "web-n1")
    assert (found.spec.nodeName, found.metadata.annotations[MIRROR], found.metadata.labels["app"]) == ("n1", "u1", "web")
    assert found.metadata.uid != "u1"
    assert found.status.phase == "Pending"


async def test_what_is_shown_already_is_not_touched(cluster: Cluster) -> None:
    """Asking again is free."""
    await cluster.join("n1")
    await show(cluster, "n1", static())
    before = cluster.get(kinds.POD, "web-n1").metadata.resourceVersion
    await show(cluster, "n1", static())
    assert cluster.get(kinds.POD, "web-n1").metadata.resourceVersion == before


async def test_another_version_replaces_it_and_none_removes_it(cluster: Cluster) -> None:
    """A new object each time."""
    await cluster.join("n1")
    await show(cluster, "n1", static())
    first = cluster.get(kinds.POD, "web-n1").metadata.uid
    await show(cluster, "n1", static(uid="u2"))
    second = cluster.get(kinds.POD, "web-n1")
    assert (second.metadata.uid != first, second.metadata.annotations[MIRROR]) == (True, "u2")
    await show(cluster, "n1")
    assert cluster.get(kinds.POD, "web-n1") is None


async def test_a_deleted_mirror_comes_back(cluster: Cluster) -> None:
    """At once: nobody waits for anything to stop."""
    await cluster.join("n1")
    await show(cluster, "n1", static())
    first = cluster.get(kinds.POD, "web-n1").metadata.uid
    await cluster.delete(kinds.POD, "web-n1")
    await show(cluster, "n1", static())
    found = cluster.get(kinds.POD, "web-n1")
    assert (found.metadata.deletionTimestamp.seconds, found.metadata.uid != first) == (0, True)


async def test_the_agents_word_reaches_the_mirror(cluster: Cluster) -> None:
    """Status and events name the static pod's uid, which only the mirror knows."""
    await cluster.join("n1")
    await show(cluster, "n1", static())
    await cluster.report("n1", static())
    found = cluster.get(kinds.POD, "web-n1")
    assert found.status.phase == "Running"
    request = nodes_pb2.ReportStatusRequest()
    event = request.events.add(reason="Told", message="words")
    about = event.involvedObject
    about.kind, about.namespace, about.name, about.uid = "Pod", "default", "web-n1", "u1"
    await cluster.store.update(lambda tx: reports.report(tx, "n1", request, now=cluster.clock.now()))
    [told] = cluster.events("Told")
    assert told.involvedObject.uid == found.metadata.uid


async def test_no_agent_touches_what_is_not_its_mirror(cluster: Cluster) -> None:
    """Neither another node's nor anybody's pod of the name."""
    await cluster.join("n1")
    await cluster.join("n2")
    await cluster.create(pod("theirs"))
    await show(cluster, "n1", static())
    assert await show(cluster, "n2", static("web-n1", "u9"), static("theirs")) == [
        "default/web-n1: another pod has this name", "default/theirs: another pod has this name",
    ]  # fmt: skip
    assert cluster.get(kinds.POD, "web-n1").metadata.annotations[MIRROR] == "u1"
    await show(cluster, "n2")
    assert cluster.get(kinds.POD, "web-n1") is not None
    assert cluster.get(kinds.POD, "theirs") is not None


@pytest.mark.parametrize(
    "spec",
    [
        {"volumes": [{"name": "v", "secret": {"secretName": "root"}}]},
        {"imagePullSecrets": [{"name": "root"}]},
    ],
)
async def test_a_mirror_brings_no_secret_to_its_node(cluster: Cluster, spec: dict[str, Any]) -> None:
    """An agent that was taken over could read any of them."""
    await cluster.join("n1")
    [refusal] = await show(cluster, "n1", static(**spec))
    assert "a mirror may not name other objects" in refusal
    assert cluster.get(kinds.POD, "web-n1") is None


async def test_a_refused_pod_holds_up_no_other(cluster: Cluster) -> None:
    """A namespace that is not there is told."""
    await cluster.join("n1")
    [refusal] = await show(cluster, "n1", static("a-n1", "u1", namespace="none"), static("b-n1", "u2"))
    assert refusal == 'none/a-n1: namespaces "none" not found'
    assert cluster.get(kinds.POD, "b-n1") is not None


async def test_a_mirror_stays_one(cluster: Cluster) -> None:
    """Without its annotation it would be run beside the pod that it shows; a pod that is not bound cannot be one."""
    await cluster.join("n1")
    await show(cluster, "n1", static())
    with pytest.raises(Invalid, match="may not remove or update mirror pod annotation"):
        await cluster.change(kinds.POD, "web-n1", lambda found: found.metadata.annotations.pop(MIRROR))
    with pytest.raises(Invalid, match=r"must set spec\.nodeName if mirror pod annotation is set"):
        await cluster.create(pod("web", meta={"annotations": {MIRROR: "u1"}}))

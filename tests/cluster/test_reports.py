"""What agents may say, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from controlplane.dispatcher import reports
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.podranges import Range
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.core.v1 import pod_pb2
from pinnace.errors import Invalid, TooManyRequests
from pinnace.kinds import MAX_VALUES
from pinnace.wellknown import ANNOTATION_WIREGUARD_KEY
from tests.support.cluster import Cluster
from tests.support.objects import pod


@pytest.fixture
async def bound(cluster: Cluster) -> Any:
    """A pod on n1; n2 is another node."""
    await cluster.join("n1")
    await cluster.join("n2")
    return await cluster.create(pod(nodeName="n1"))


def phase(cluster: Cluster) -> str:
    return str(cluster.get(kinds.POD, "web").status.phase)


async def test_an_agent_writes_the_status_of_its_pod(cluster: Cluster, bound: Any) -> None:
    """Status only; spec and metadata are others'."""
    await cluster.report("n1", bound)
    found = cluster.get(kinds.POD, "web")
    assert (found.status.phase, found.spec, found.metadata.generation) == ("Running", bound.spec, 1)


async def test_an_agent_cannot_write_pods_of_another_node(cluster: Cluster, bound: Any) -> None:
    """Its report is dropped, and so is its word that the pod is gone."""
    await cluster.report("n2", bound)
    assert phase(cluster) == "Pending"
    await cluster.delete(kinds.POD, "web")
    await cluster.report("n2", bound, removed=True)
    assert cluster.get(kinds.POD, "web") is not None


async def test_a_report_of_an_earlier_pod_of_the_name_is_dropped(cluster: Cluster, bound: Any) -> None:
    """The uid decides."""
    await cluster.delete(kinds.POD, "web", grace=0)
    await cluster.create(pod(nodeName="n1"))
    await cluster.report("n1", bound)
    assert phase(cluster) == "Pending"


async def test_a_deleted_pod_is_gone_once_its_agent_removed_it(cluster: Cluster, bound: Any) -> None:
    """Not before: somebody might run the next one beside it."""
    await cluster.report("n1", bound)
    assert await cluster.delete(kinds.POD, "web") is False
    await cluster.report("n1", bound, phase="Succeeded")
    assert cluster.get(kinds.POD, "web") is not None
    await cluster.report("n1", bound, phase="Succeeded", removed=True)
    assert cluster.get(kinds.POD, "web") is None


async def test_removed_alone_deletes_nothing(cluster: Cluster, bound: Any) -> None:
    """Only the API decides that a pod is to go."""
    await cluster.report("n1", bound, phase="Failed", removed=True)
    assert phase(cluster) == "Failed"


async def test_a_finalizer_holds_a_pod_that_was_removed(cluster: Cluster) -> None:
    """Taking it off is then all that is left to do."""
    await cluster.join("n1")
    made = await cluster.create(pod("web", meta={"finalizers": ["example.com/hold"]}, nodeName="n1"))
    await cluster.report("n1", made)
    await cluster.delete(kinds.POD, "web")
    await cluster.report("n1", made, phase="Succeeded", removed=True)
    assert phase(cluster) == "Succeeded"
    await cluster.change(kinds.POD, "web", lambda found: found.metadata.ClearField("finalizers"))
    assert cluster.get(kinds.POD, "web") is None


async def test_an_agent_leaves_the_schedulers_condition_and_the_class_alone(cluster: Cluster) -> None:
    """One writer per field."""
    await cluster.join("n1")
    await cluster.create(pod())
    made = cluster.get(kinds.POD, "web")
    request = nodes_pb2.ReportStatusRequest()
    item = request.pods.add(namespace="default", name="web", uid=made.metadata.uid)
    item.status.qosClass = "Guaranteed"
    item.status.conditions.add(type="PodScheduled", status="False")
    item.status.conditions.add(type="Ready", status="True")
    await cluster.store.update(lambda tx: reports.report(tx, "n1", request, now=cluster.clock.now()))
    found = cluster.get(kinds.POD, "web")
    assert found.status.qosClass == "BestEffort"
    assert {item.type: item.status for item in found.status.conditions} == {"PodScheduled": "True", "Ready": "True"}


async def test_a_status_of_too_many_values_is_dropped(cluster: Cluster, bound: Any) -> None:
    """Of a pod and of a node: within the bytes that it may have, tens of thousands of conditions would hold up everyone."""
    before = cluster.get(kinds.NODE, "n1")
    request = nodes_pb2.ReportStatusRequest()
    item = request.pods.add(namespace="default", name="web", uid=bound.metadata.uid)
    item.status.phase = "Running"
    for part in (item.status, request.node):
        for _ in range(MAX_VALUES // 2 + 1):
            part.conditions.add(type="x")
    await cluster.store.update(lambda tx: reports.report(tx, "n1", request, now=cluster.clock.now()))
    assert (phase(cluster), cluster.get(kinds.NODE, "n1")) == ("Pending", before)
    hello = nodes_pb2.Hello()
    hello.node.status.CopyFrom(request.node)
    with pytest.raises(Invalid, match="at most 10000 fields"):
        await cluster.store.update(lambda tx: reports.register(tx, "n1", hello, now=cluster.clock.now()))


@pytest.mark.parametrize("wrong", ["no address", "fe80::1%eth0", "10.244.0.2\n", "::ffff:10.244.0.2"])
async def test_addresses_of_a_pod_that_nodes_cannot_read_are_dropped(cluster: Cluster, bound: Any, wrong: str) -> None:
    """All nodes, as policies and Services lead them there; in the list, and in the field alone."""
    request = nodes_pb2.ReportStatusRequest()
    item = request.pods.add(namespace="default", name="web", uid=bound.metadata.uid)
    for address, listed, expected in ((wrong, [], "Pending"), (wrong, [wrong], "Pending"), ("10.244.0.2", [], "Running")):
        item.status.phase, item.status.podIP = "Running", address
        del item.status.podIPs[:]
        item.status.podIPs.extend(pod_pb2.PodIP(ip=text) for text in listed)
        await cluster.store.update(lambda tx: reports.report(tx, "n1", request, now=cluster.clock.now()))
        assert phase(cluster) == expected


async def test_a_node_announces_no_other_node_s_key(cluster: Cluster) -> None:
    """Peers would use neither; its own stays its own, and one that is no key is named."""
    key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
    for name in ("n1", "n2"):
        await cluster.join(name)

    async def hello(name: str, key: str) -> None:
        said = nodes_pb2.Hello(vtepMac="0a:00:00:00:00:01", wireguardKey=key)
        await cluster.store.update(lambda tx: reports.register(tx, name, said, now=cluster.clock.now()))

    for _ in range(2):
        await hello("n1", key)
    with pytest.raises(Invalid, match='wireguardKey: node "n1" has this key'):
        await hello("n2", key)
    for wrong in ("x", f"{key}=", "A" * 43 + "="):
        with pytest.raises(Invalid, match="wireguardKey: must be 32 bytes"):
            await hello("n2", wrong)
    await hello("n1", "")
    await hello("n2", key)
    assert cluster.get(kinds.NODE, "n2").metadata.annotations[ANNOTATION_WIREGUARD_KEY] == key


async def test_the_same_status_again_is_no_write(cluster: Cluster, bound: Any) -> None:
    """A re-sent report wakes nobody."""
    await cluster.report("n1", bound)
    version = cluster.get(kinds.POD, "web").metadata.resourceVersion
    await cluster.report("n1", bound)
    assert cluster.get(kinds.POD, "web").metadata.resourceVersion == version


async def tell(cluster: Cluster, agent: str, **about: str) -> None:
    request = nodes_pb2.ReportStatusRequest()
    event = request.events.add(reason="Told", message="words")
    for key, value in about.items():
        setattr(event.involvedObject, key, value)
    event.metadata.finalizers.append("example.com/hold")
    event.source.host = "n9"
    await cluster.store.update(lambda tx: reports.report(tx, agent, request, now=cluster.clock.now()))


async def test_events_are_taken_about_own_pods_and_the_own_node(cluster: Cluster, bound: Any) -> None:
    """With the reporter's name on them, whatever they claim."""
    about = {"kind": "Pod", "namespace": "default", "name": "web"}
    await tell(cluster, "n2", **about)
    await tell(cluster, "n2", kind="Node", name="n1")
    await tell(cluster, "n1", kind="Pod", namespace="default", name="none")
    assert cluster.events("Told") == []
    await tell(cluster, "n1", **about)
    await tell(cluster, "n1", kind="Node", name="n1")
    assert [event.source.host for event in cluster.events("Told")] == ["n1", "n1"]


async def test_an_event_brings_no_metadata_of_its_own(cluster: Cluster, bound: Any) -> None:
    """A finalizer in it would hold its namespace for ever."""
    await tell(cluster, "n1", kind="Node", name="n1")
    [event] = cluster.events("Told")
    assert not event.metadata.finalizers


async def test_a_node_registers_with_a_range_of_its_own_and_keeps_it(cluster: Cluster) -> None:
    """Also across sessions; the next node gets the next one."""
    first, second = await cluster.join("n1"), await cluster.join("n2")
    assert (first.spec.podCIDR, second.spec.podCIDR) == ("10.244.0.0/24", "10.244.1.0/24")
    again = await cluster.join("n1", cpu="8")
    assert (again.spec.podCIDR, again.metadata.uid) == ("10.244.0.0/24", first.metadata.uid)
    assert again.status.allocatable["cpu"].string == "8"
    assert len(cluster.events("RegisteredNode")) == 2


async def test_the_range_of_a_deleted_node_is_used_again(cluster: Cluster) -> None:
    """The lowest free one."""
    await cluster.join("n1")
    await cluster.join("n2")
    await cluster.delete(kinds.NODE, "n1")
    assert (await cluster.join("n3")).spec.podCIDR == "10.244.0.0/24"


async def test_a_full_cluster_takes_no_more_nodes(cluster: Cluster) -> None:
    """The refusal names the range."""
    cidrs = PodCIDRs(Range("10.244.0.0/24", 25))

    def register(tx: Any, name: str) -> Any:
        return reports.ensure(tx, name, cidrs=cidrs, ids=cluster.ids, now=0)

    for name in ("n1", "n2"):
        await cluster.store.update(lambda tx, name=name: register(tx, name))
    with pytest.raises(TooManyRequests, match=r"10\.244\.0\.0/24"):
        await cluster.store.update(lambda tx: register(tx, "n3"))


async def test_a_node_may_not_label_or_taint_itself(cluster: Cluster) -> None:
    """It would draw pods, and their Secrets, to itself."""
    made = await cluster.join(
        "n1", meta={"labels": {"kubernetes.io/hostname": "n1", "tier": "secret"}}, taints=[{"key": "k", "effect": "NoExecute"}]
    )  # fmt: skip
    assert dict(made.metadata.labels) == {"kubernetes.io/hostname": "n1"}
    assert not made.spec.taints


async def test_a_node_status_report_leaves_readiness_to_the_heartbeat(cluster: Cluster) -> None:
    """A lost node cannot report itself ready, or another one anything."""
    await cluster.join("n1")
    await cluster.advance(20)
    request = nodes_pb2.ReportStatusRequest()
    request.node.conditions.add(type="Ready", status="True")
    request.node.conditions.add(type="DiskPressure", status="True")
    await cluster.store.update(lambda tx: reports.report(tx, "n1", request, now=cluster.clock.now()))
    status = cluster.get(kinds.NODE, "n1").status
    assert conditions.find(status, "Ready").status == "Unknown"
    assert conditions.find(status, "DiskPressure").status == "True"

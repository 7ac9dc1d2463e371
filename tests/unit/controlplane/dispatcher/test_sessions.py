"""Sessions of the Nodes service, without a wire: what agents get, and what their heartbeats do."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.dispatcher.router import SHARED_PER_SESSION, TOGETHER
from controlplane.dispatcher.service import Nodes, Settings
from controlplane.store.memory import MemoryBackend
from pinnace import codec, kinds, pki
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock, settle
from pinnace.errors import Invalid, Unauthenticated
from pinnace.wellknown import LABEL_ZONE, LEADER_LEASE
from tests.cluster.test_assignment import service
from tests.support import objects
from tests.support.cluster import TURNS, Cluster, running

CA = pki.new_ca(VirtualClock().now())
HEARTBEAT = 4.0


class Counting(MemoryBackend):
    """Counts transactions but the leader's renewals, and those that conflicted."""

    def __init__(self) -> None:
        super().__init__()
        self.txns = self.conflicts = 0

    async def commit(self, txns: Any) -> list[int | None]:
        results = await super().commit(txns)
        self.txns += sum(1 for txn in txns if not any(write.key.endswith(LEADER_LEASE) for write in txn.writes))
        self.conflicts += results.count(None)
        return results


def _address_of(node: str) -> str:
    """Of its own: a node with the address of another is rejected."""
    return str(ipaddress.IPv4Address("198.18.0.0") + zlib.crc32(node.encode()) % 65_536)


class Context:
    """A call with the certificate of a node's agent, that lasts for `lifetime` seconds."""

    def __init__(self, name: str, lifetime: float = 1e6) -> None:
        self._pair = pki.issue(CA, f"{pki.NODE_PREFIX}{name}", (pki.NODES,), now=VirtualClock().now(), lifetime=lifetime)

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._pair.certificate]}


class Agent:
    """One session of an agent; `messages` are what it was sent."""

    def __init__(self, nodes: Nodes, name: str, hello: nodes_pb2.Hello | None = None, lifetime: float = 1e6) -> None:
        self.name = name
        self._context = Context(name, lifetime)
        self.messages: list[Any] = []
        self._speech: asyncio.Queue[Any] = asyncio.Queue()
        node = objects.node(name)
        node.status.addresses.add(type="InternalIP", address=_address_of(name))
        self.say(hello=hello or nodes_pb2.Hello(node=node, vtepMac="0a:00:00:00:00:01"))
        self.task = asyncio.ensure_future(self._run(nodes))

    def say(self, **message: Any) -> None:
        self._speech.put_nowait(nodes_pb2.NodeMessage(**message))

    def beat(self) -> None:
        self.say(heartbeat=nodes_pb2.Heartbeat())

    async def _listen(self) -> AsyncIterator[Any]:
        while (message := await self._speech.get()) is not None:
            yield message

    async def _run(self, nodes: Nodes) -> None:
        async for message in nodes.Session(self._listen(), self._context):
            self.messages.append(nodes_pb2.ControlMessage.FromString(message))

    @property
    def keys(self) -> list[str]:
        return [change.key for message in self.messages for change in message.assignment.changes]


class Plane:
    def __init__(self, cluster: Cluster, backend: Counting) -> None:
        self.cluster, self.backend = cluster, backend
        self.nodes = Nodes(
            cluster.store, cluster.clock, cluster.ids, Settings(HEARTBEAT, 15.0, 1, 4789), ca=CA, cidrs=cluster.cidrs,
            create_token=lambda request, caller, *, now: request,
        )  # fmt: skip

    async def agents(self, *names: str) -> list[Agent]:
        for name in names:
            await self.cluster.join(name)
        made = [Agent(self.nodes, name) for name in names]
        await settle(TURNS)
        return made

    def renewed(self, name: str) -> float:
        lease = self.cluster.get(kinds.LEASE, name, namespace="kube-node-lease")
        return codec.seconds_of(lease.spec.renewTime) if lease is not None else -math.inf

    def ready(self, name: str) -> str:
        return next(c.status for c in self.cluster.get(kinds.NODE, name).status.conditions if c.type == "Ready")


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    backend = Counting()
    async with running(backend=backend) as cluster:
        made = Plane(cluster, backend)
        task = asyncio.ensure_future(made.nodes.run())
        await settle()
        yield made
        task.cancel()
        made.nodes.close()
        await settle(TURNS)


async def test_an_agent_names_the_namespaces_of_its_static_pods(plane: Plane) -> None:
    """In its hello and in heartbeats; each has all of them."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress"]}
    await plane.cluster.create(objects.make(kinds.NETWORK_POLICY, "deny", namespace="default", spec=spec))
    [agent] = await plane.agents("n1")
    assert not [key for key in agent.keys if "Policy" in key]
    agent.say(heartbeat=nodes_pb2.Heartbeat(staticNamespaces=["default"]))
    await settle(TURNS)
    assert agent.keys[-2:] == ["NetworkPolicy/default/deny", "PolicyNamespace//default"]
    agent.say(heartbeat=nodes_pb2.Heartbeat(staticNamespaces=["default"]))
    await settle(TURNS)
    assert agent.keys.count("NetworkPolicy/default/deny") == 1
    agent.beat()
    await settle(TURNS)
    assert agent.keys[-2:] == ["NetworkPolicy/default/deny", "PolicyNamespace//default"]
    assert agent.keys.count("NetworkPolicy/default/deny") == 2
    hello = nodes_pb2.Hello(node=plane.cluster.get(kinds.NODE, "n1"), vtepMac="0a:00:00:00:00:01", staticNamespaces=["default"])
    again = Agent(plane.nodes, "n1", hello)
    await settle(TURNS)
    assert {"NetworkPolicy/default/deny", "PolicyNamespace//default"} <= set(again.keys)


async def test_an_agent_gets_its_pods_and_then_what_changes(plane: Plane) -> None:
    """Complete once, then incremental, each message applying to the revision before."""
    first, second = await plane.agents("n1", "n2")
    made = await plane.cluster.create(objects.pod(nodeName="n1"))
    welcome, complete, *rest = first.messages
    assert welcome.welcome.podCIDR == "10.244.0.0/24"
    assert [*welcome.welcome.serviceCIDRs, *welcome.welcome.clusterDNS] == ["10.96.0.0/12", "10.96.0.10"]
    assert (welcome.welcome.clusterDomain, welcome.welcome.nodePortRange) == ("cluster.local", "30000-32767")
    assert (complete.assignment.complete, first.keys[-1]) == (True, "Pod/default/web")
    assert not any(message.assignment.complete for message in rest)
    assert [m.assignment.appliesTo for m in rest] == [m.assignment.revision for m in (complete, *rest[:-1])]
    assert "Pod/default/web" not in second.keys
    await plane.cluster.delete(kinds.POD, made.metadata.name, grace=0)
    assert first.keys.count("Pod/default/web") == 2


async def test_many_sessions_learn_of_a_peer_a_few_at_a_time(plane: Plane) -> None:
    """So that a join in a large cluster delays no other request; and a second change meanwhile makes no second message."""
    agents = await plane.agents(*(f"n{number}" for number in range(2 * TOGETHER + 1)))
    every = SHARED_PER_SESSION * len(agents)
    await plane.cluster.advance(2 * every)

    counts = [len(agent.messages) for agent in agents]
    await plane.agents("new")
    assert sum("Peer//new" in agent.keys for agent in agents) == TOGETHER
    await plane.agents("newer")
    await plane.cluster.advance(every)
    assert all("Peer//new" in agent.keys for agent in agents)
    assert sum(agent.keys.count("Peer//newer") for agent in agents) >= len(agents) - TOGETHER
    await plane.cluster.advance(2 * every)
    assert all(agent.keys.count("Peer//newer") == 1 for agent in agents)
    sent = [len(agent.messages) - count for agent, count in zip(agents, counts, strict=True)]
    assert sorted(sent) == [1] * (len(agents) - TOGETHER) + [2] * TOGETHER


async def test_a_change_of_a_service_costs_each_session_one_message(plane: Plane) -> None:
    """Whichever node it is of, and one for several changes that come at once."""
    agents = await plane.agents(*(f"n{number}" for number in range(2 * TOGETHER + 1)))
    await plane.cluster.advance(2 * SHARED_PER_SESSION * len(agents))
    counts = [len(agent.messages) for agent in agents]
    await asyncio.gather(*(plane.cluster.create(service(f"s{number}")) for number in range(5)))
    await plane.cluster.advance(4 * SHARED_PER_SESSION * len(agents))
    assert all(agent.keys.count(f"Service/default/s{number}") == 1 for agent in agents for number in range(5))
    sent = [len(agent.messages) - count for agent, count in zip(agents, counts, strict=True)]
    assert max(sent) <= 2
    # A pass over all sessions and maybe a second one, not one for each Service.
    assert sum(sent) <= 2 * len(agents)


async def test_heartbeats_renew_leases_without_touching_nodes(plane: Plane) -> None:
    """And without reading them in the transaction: a busy node starves no lease."""
    agents = await plane.agents("n1", "n2", "n3")
    version = plane.cluster.get(kinds.NODE, "n1").metadata.resourceVersion
    began, txns = plane.cluster.clock.now(), plane.backend.txns
    for _ in range(10):
        for agent in agents:
            agent.beat()
        await plane.cluster.advance(HEARTBEAT)
    assert plane.renewed("n1") >= began + 9 * HEARTBEAT
    assert plane.cluster.get(kinds.NODE, "n1").metadata.resourceVersion == version
    # Not one for each node.
    assert plane.backend.txns - txns <= 11
    assert plane.backend.conflicts == 0


async def test_a_silent_agent_is_lost_and_a_heartbeat_brings_it_back(plane: Plane) -> None:
    """Though its session stays open."""
    [agent] = await plane.agents("n1")
    await plane.cluster.advance(40)
    assert plane.ready("n1") == "Unknown"
    agent.beat()
    await plane.cluster.advance(HEARTBEAT)
    assert plane.ready("n1") == "True"


async def test_a_dispatcher_that_was_late_blames_no_agent(plane: Plane) -> None:
    """It was frozen, and the heartbeats of that time lie unread."""
    await plane.agents("n1")
    clock = plane.cluster.clock
    await plane.cluster.advance(HEARTBEAT)
    # Time passes and nothing runs.
    clock.stall(12)
    await plane.cluster.advance(2)
    assert plane.renewed("n1") >= clock.now() - 2


async def test_many_agents_at_once_conflict_with_nothing(plane: Plane) -> None:
    """Their joins and first sessions write different objects; none is tried twice."""
    names = [f"n{number}" for number in range(100)]
    before = plane.backend.conflicts
    await asyncio.gather(*(plane.cluster.join(name) for name in names))
    agents = [Agent(plane.nodes, name) for name in names]
    await settle(5 * TURNS)
    assert plane.backend.conflicts == before
    assert len({plane.cluster.get(kinds.NODE, name).spec.podCIDR for name in names}) == 100
    assert all(agent.messages for agent in agents)


async def test_a_repeated_hello_writes_the_lease_only(plane: Plane) -> None:
    """After a restart of the control plane every agent says what it said before."""
    await plane.agents("n1")
    version = plane.cluster.get(kinds.NODE, "n1").metadata.resourceVersion
    Agent(plane.nodes, "n1")
    await settle(TURNS)
    assert plane.cluster.get(kinds.NODE, "n1").metadata.resourceVersion == version


async def test_a_later_session_replaces_the_earlier_one(plane: Plane) -> None:
    """Which ends without an error."""
    [first] = await plane.agents("n1")
    second = Agent(plane.nodes, "n1")
    await settle(TURNS)
    assert (first.task.done(), first.task.exception()) == (True, None)
    assert not second.task.done()


async def test_a_session_ends_when_the_zone_of_its_node_changes(plane: Plane) -> None:
    """The next welcome has the new one. Other labels, and other nodes, change nothing."""
    first, second = await plane.agents("n1", "n2")
    for label, ended in (("other", False), (LABEL_ZONE, True)):
        await plane.cluster.change(
            kinds.NODE, "n1", lambda node, label=label: node.metadata.labels.update({label: "a"}), namespace=""
        )
        await settle(TURNS)
        assert (first.task.done(), second.task.done()) == (ended, False)
    again = Agent(plane.nodes, "n1")
    await settle(TURNS)
    assert [item.messages[0].welcome.zone for item in (first, again)] == ["", "a"]


async def test_a_session_ends_with_its_certificate(plane: Plane) -> None:
    """Within a part of the heartbeat interval."""
    await plane.cluster.join("n1")
    agent = Agent(plane.nodes, "n1", lifetime=10)
    await settle(TURNS)
    await plane.cluster.advance(8)
    assert not agent.task.done()
    await plane.cluster.advance(HEARTBEAT)
    with pytest.raises(Unauthenticated, match="expired"):
        await agent.task


async def test_an_agent_that_breaks_off_ends_its_own_session_only(plane: Plane) -> None:
    """Whatever its connection raises."""
    first, second = await plane.agents("n1", "n2")
    first._speech.put_nowait(None)
    await settle(TURNS)
    assert (first.task.done(), second.task.done()) == (True, False)


async def test_a_hello_with_absurd_numbers_is_refused(plane: Plane) -> None:
    """With the field; the Node stays as it was."""
    await plane.cluster.join("n1")
    node = objects.node("n1")
    node.status.allocatable["cpu"].string = "1e300"
    agent = Agent(plane.nodes, "n1", nodes_pb2.Hello(node=node))
    await settle(TURNS)
    with pytest.raises(Invalid, match=r"node\.status\.allocatable\[cpu\]"):
        await agent.task
    assert plane.cluster.get(kinds.NODE, "n1").status.allocatable["cpu"].string != "1e300"


async def report(plane: Plane, request: nodes_pb2.ReportStatusRequest) -> None:
    await plane.nodes.ReportStatus(request, Context("n1"))
    await settle(TURNS)


def absurd(item: nodes_pb2.PodReport, how: str) -> None:
    status = item.status.containerStatuses.add(name="main")
    if how == "negative":
        status.allocatedResources["memory"].string = "-1"
    elif how == "no quantity":
        status.allocatedResources["memory"].string = "\x00"
    elif how == "year 300,000":
        status.state.running.startedAt.seconds = 1 << 62
    elif how == "nanoseconds":
        item.status.startTime.nanos = -1
    else:
        item.status.message = "x" * (1 << 20)


@pytest.mark.parametrize("how", ["negative", "no quantity", "year 300,000", "nanoseconds", "size"])
async def test_an_absurd_status_is_dropped_for_that_pod_only(plane: Plane, how: str) -> None:
    """The other pod of the same report, its event and the node's status are taken; the agent is not told to repeat it."""
    await plane.agents("n1")
    pods = [await plane.cluster.create(objects.pod(name, nodeName="n1")) for name in ("bad", "good")]
    request = nodes_pb2.ReportStatusRequest()
    for made in pods:
        item = request.pods.add(namespace="default", name=made.metadata.name, uid=made.metadata.uid)
        item.status.phase = "Running"
    absurd(request.pods[0], how)
    request.node.conditions.add(type="DiskPressure", status="True")
    await report(plane, request)
    phases = [plane.cluster.get(kinds.POD, name).status.phase for name in ("bad", "good")]
    assert phases == ["Pending", "Running"]
    assert any(c.type == "DiskPressure" for c in plane.cluster.get(kinds.NODE, "n1").status.conditions)


async def test_a_node_status_of_unchanged_content_writes_nothing(plane: Plane) -> None:
    """Though the time of its heartbeat is another."""
    await plane.agents("n1")
    for second in (1, 2):
        request = nodes_pb2.ReportStatusRequest()
        condition = request.node.conditions.add(type="DiskPressure", status="False", reason="fine")
        condition.lastHeartbeatTime.seconds = condition.lastTransitionTime.seconds = second
        await report(plane, request)
        version = plane.cluster.get(kinds.NODE, "n1").metadata.resourceVersion
        if second == 1:
            before = version
    assert version == before


async def test_what_a_user_may_request_an_agent_may_report(plane: Plane) -> None:
    """A pod with an absurd request is refused by its node, and that has to arrive."""
    await plane.agents("n1")
    made = await plane.cluster.create(objects.pod(nodeName="n1"))
    request = nodes_pb2.ReportStatusRequest()
    item = request.pods.add(namespace="default", name="web", uid=made.metadata.uid)
    item.status.phase = "Failed"
    item.status.containerStatuses.add(name="main").resources.requests["memory"].string = "16Ei"
    await report(plane, request)
    assert plane.cluster.get(kinds.POD, "web").status.phase == "Failed"


@pytest.mark.parametrize("amount", ["1e300", "16Ei", "-1", "x"])
async def test_an_absurd_node_status_changes_nothing(plane: Plane, amount: str) -> None:
    """The scheduler goes on with what the node had."""
    await plane.agents("n1")
    before = plane.cluster.get(kinds.NODE, "n1").status
    request = nodes_pb2.ReportStatusRequest()
    request.node.allocatable["memory"].string = amount
    await report(plane, request)
    assert plane.cluster.get(kinds.NODE, "n1").status == before


async def test_an_advance_of_the_clock_renews_the_leases_of_agents_that_answer(plane: Plane) -> None:
    """Without waiting; those of others are waited for until their nodes are late, and an agent that has gone is not."""
    live, silent, gone = await plane.agents("live", "silent", "gone")
    gone.say(heartbeat=None)
    await plane.cluster.advance(2 * HEARTBEAT)
    before = {name: plane.renewed(name) for name in ("live", "silent")}
    plane.cluster.clock.step(3600)
    gone.task.cancel()
    await settle(TURNS)
    task = asyncio.ensure_future(plane.nodes.clock_advanced())
    await settle(TURNS)
    assert all(agent.messages[-1].HasField("clock") for agent in (live, silent))
    live.beat()
    await settle(TURNS)
    await plane.cluster.clock.advance(1.0)
    assert not task.done()
    live.beat()
    for _ in range(3):
        await plane.cluster.advance(HEARTBEAT)
        live.beat()
    await plane.cluster.advance(HEARTBEAT)
    assert await task == ["silent"]
    assert plane.renewed("live") >= before["live"] + 3600
    assert plane.renewed("silent") == before["silent"]


async def test_an_advance_of_the_clock_returns_when_all_have_answered(plane: Plane) -> None:
    """Long before any of them is late."""
    agents = await plane.agents("n1", "n2")
    plane.cluster.clock.step(3600)
    task = asyncio.ensure_future(plane.nodes.clock_advanced())
    await settle(TURNS)
    for agent in agents:
        agent.beat()
    await settle(TURNS)
    await plane.cluster.clock.advance(0.1)
    assert await task == []
    now = plane.cluster.clock.now()
    assert [plane.renewed(name) for name in ("n1", "n2")] == pytest.approx([now, now], abs=1)


async def test_a_node_does_not_register_with_an_address_of_pods_or_services(plane: Plane) -> None:
    """By the ranges of this cluster."""
    for address, range_ in (("10.244.9.1", "pod CIDR 10.244.0.0/16"), ("10.96.0.1", "Service CIDR 10.96.0.0/12")):
        await plane.cluster.join("n1")
        node = objects.node("n1")
        node.status.addresses.add(type="InternalIP", address=address)
        agent = Agent(plane.nodes, "n1", nodes_pb2.Hello(node=node, vtepMac="0a:00:00:00:00:01"))
        await settle(TURNS)
        with pytest.raises(Invalid, match=f"{address} is in the {range_}"):
            await agent.task

"""When the node's policies are programmed: before a pod is attached, with what came meanwhile, and again after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from nodeagent.control.changes import Change
from nodeagent.network.elements import Element
from nodeagent.network.interface import NetworkError
from nodeagent.network.policies import shares
from nodeagent.network.policies.compiler import Compiler
from nodeagent.network.policies.enforcer import INTERVAL, RETRY, Enforcer
from nodeagent.network.policies.evaluator import Traffic, Verdict
from nodeagent.network.policies.model import IN, Pod
from nodeagent.network.ruleset import Ruleset
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from pinnace.policypeers import PeerSelector
from tests.support.policysets import Tables
from tests.support.policyworlds import message

WEB, OTHER = "10.244.1.2", "10.244.2.9"
POD = Pod("default", {"app": "web"}, (WEB,))
TCP = Traffic("tcp", 80)
EVERY_POD = PeerSelector("default", (), ()).id()
DENY = Change("NetworkPolicy/default/deny", None, message("default", "deny", {"podSelector": {}, "policyTypes": ["Ingress"]}))
ALLOW = Change(
    "NetworkPolicy/default/allow", None,
    message("default", "allow", {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}], "policyTypes": ["Ingress"]}),
)  # fmt: skip


def members(*addresses: str) -> Change:
    found = [nodes_pb2.PolicyGroupMember(podIPs=[address]) for address in addresses]
    return Change(f"PolicyGroup//{EVERY_POD}.0", None, nodes_pb2.PolicyGroup(members=found))


class Kernel:
    """The network's thread and the table: `elements` are in the kernel, as the table believes. `fault` fails every transaction;
    `gate`, where it is not set, makes it wait."""

    def __init__(self) -> None:
        self.elements = set[Element]()
        # After each portion.
        self.history = list[set[Element]]()
        self.transactions = 0
        self.declared = 0
        self.fault = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def program(self, work: Callable[[Ruleset], None]) -> None:
        await self.gate.wait()
        work(cast(Ruleset, self))
        self.history.append(self.elements)

    def declare(self, concern: str, wanted: Iterable[Element]) -> None:
        self.declared += 1
        self._commit(set(wanted))

    def change(self, concern: str, add: Iterable[Element], remove: Iterable[Element]) -> None:
        self._commit(self.elements - set(remove) | set(add))

    def _commit(self, elements: set[Element]) -> None:
        self.transactions += 1
        if self.fault:
            raise NetworkError(self.fault)
        self.elements = elements

    def allows(self, source: str, destination: str = WEB) -> bool:
        return Tables(self.elements).passes(source, destination, TCP)


class Node:
    def __init__(self, max_named: int = shares.MAX_NAMED) -> None:
        self.kernel, self.clock = Kernel(), VirtualClock()
        # Namespaces of which the assignment has no policies, though there may be some.
        self.unknown = set[str]()
        self.enforcer = Enforcer(
            self.kernel, self.clock, lambda namespace: namespace not in self.unknown, compiler=lambda: Compiler(max_named)
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.enforcer.run())
        try:
            await self.clock.advance(INTERVAL)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_pod_is_isolated_when_isolate_returns() -> None:
    """Of a policy that came just before; its peers may come later, and are denied until then."""
    node = Node()
    async with node.running():
        node.enforcer.assigned([ALLOW])
        await node.enforcer.isolate("u1", POD)
        assert not node.kernel.allows(OTHER)
        node.enforcer.assigned([members(OTHER)])
        await node.clock.advance(INTERVAL)
        assert node.kernel.allows(OTHER)


async def test_a_pod_waits_for_nothing_where_no_policy_applies() -> None:
    """Though a transaction for others is under way."""
    node = Node()
    async with node.running():
        node.kernel.gate.clear()
        node.enforcer.assigned(
            [
                Change(
                    "NetworkPolicy/other/deny", None, message("other", "deny", {"podSelector": {}, "policyTypes": ["Ingress"]})
                )
            ]
        )
        await node.clock.advance(INTERVAL)
        await asyncio.wait_for(node.enforcer.isolate("u1", POD), 5)
        node.kernel.gate.set()


async def test_a_policy_that_comes_later_isolates_pods_that_are_there() -> None:
    node = Node()
    async with node.running():
        await node.enforcer.isolate("u1", POD)
        assert node.kernel.allows(OTHER)
        node.enforcer.assigned([DENY])
        await node.clock.advance(INTERVAL)
        assert not node.kernel.allows(OTHER)
        node.enforcer.assigned([Change(DENY.key, DENY.new, None)])
        await node.clock.advance(INTERVAL)
        assert node.kernel.elements == set()


async def test_policies_that_leave_with_the_last_pod_of_the_assignment_stay_until_the_pod_has_ended() -> None:
    """It was deleted by force, and is killed after that."""
    node = Node()
    async with node.running():
        node.enforcer.assigned([DENY])
        await node.enforcer.isolate("u1", POD)
        node.unknown = {"default"}
        node.enforcer.assigned([Change(DENY.key, DENY.new, None)])
        node.enforcer.settle()
        await node.clock.advance(INTERVAL)
        assert not node.kernel.allows(OTHER)
        node.enforcer.update("u1", None)
        await node.clock.advance(INTERVAL)
        assert node.kernel.elements == set()
        assert not node.enforcer._withdrawn


async def test_an_assignment_that_has_the_namespace_again_decides_what_stays() -> None:
    """Of the policies of a pod that ends: one that comes back stays, one that does not was deleted."""
    other = Change(
        "NetworkPolicy/default/other", None, message("default", "other", {"podSelector": {}, "policyTypes": ["Egress"]})
    )
    node = Node()
    async with node.running():
        node.enforcer.assigned([DENY, other])
        await node.enforcer.isolate("u1", POD)
        node.unknown = {"default"}
        node.enforcer.assigned([Change(DENY.key, DENY.new, None), Change(other.key, other.new, None)])
        node.enforcer.assigned([DENY])
        node.unknown = set()
        node.enforcer.settle()
        assert set(node.enforcer._policies) == {("default", "deny")}
        node.enforcer.assigned([Change(DENY.key, DENY.new, None)])
        assert not node.enforcer._policies


async def test_a_pod_that_starts_with_unknown_policies_is_reported() -> None:
    """A static pod without a control plane; those that the node still has apply."""
    node, events = Node(), list[tuple[str, str, bool]]()
    node.enforcer.event = lambda *event: events.append(event)
    async with node.running():
        node.enforcer.assigned([DENY])
        node.unknown = {"default"}
        await node.enforcer.isolate("u1", POD)
        assert not node.kernel.allows(OTHER)
        await node.enforcer.isolate("u2", Pod("other", {}, (OTHER,)))
    [(reason, text, warning)] = events
    assert (reason, warning) == ("NetworkPoliciesUnknown", True)
    assert text.startswith("the NetworkPolicies of namespace default are not known: ")


async def test_labels_decide_anew() -> None:
    """Those of pods that the enforcer knows; a pod in the host's network is none of them."""
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}
    node = Node()
    async with node.running():
        node.enforcer.assigned([Change("NetworkPolicy/default/db", None, message("default", "db", spec))])
        await node.enforcer.isolate("u1", POD)
        assert node.kernel.allows(OTHER)
        node.enforcer.relabel("u1", {"app": "db"})
        node.enforcer.relabel("unknown", {"app": "db"})
        await node.clock.advance(INTERVAL)
        assert not node.kernel.allows(OTHER)


async def test_an_address_that_is_used_again_has_the_policies_of_its_new_pod() -> None:
    """The old pod's are removed in the same transaction, even if nothing was programmed in between."""
    node = Node()
    async with node.running():
        node.enforcer.assigned([ALLOW, members(OTHER)])
        await node.enforcer.isolate("u1", POD)
        assert node.kernel.allows(OTHER)
        node.enforcer.update("u1", None)
        node.enforcer.assigned(
            [
                Change(
                    "NetworkPolicy/other/deny", None, message("other", "deny", {"podSelector": {}, "policyTypes": ["Ingress"]})
                )
            ]
        )
        await node.enforcer.isolate("u2", Pod("other", {}, (WEB,)))
        assert not node.kernel.allows(OTHER)


async def test_a_change_after_a_pause_is_programmed_at_once_and_those_that_follow_together() -> None:
    """A thousand policies that are applied come one by one; each by itself would cost a transaction."""
    node = Node()
    async with node.running():
        node.enforcer.assigned([DENY])
        node.enforcer.update("u1", POD)
        await node.clock.advance(0)
        assert not node.kernel.allows(OTHER)
        before = node.kernel.transactions
        for number in range(5):
            node.enforcer.update(f"u{number}", Pod("default", {}, (f"10.244.1.{number + 3}",)))
            await node.clock.advance(INTERVAL / 10)
        assert node.kernel.transactions == before
        await node.clock.advance(INTERVAL)
        assert node.kernel.transactions == before + 1
        assert not node.kernel.allows(OTHER, "10.244.1.7")


async def test_changes_that_come_during_a_transaction_are_one_transaction() -> None:
    node = Node()
    async with node.running():
        node.kernel.gate.clear()
        node.enforcer.assigned([DENY])
        await node.clock.advance(0)
        before = node.kernel.transactions
        for number in range(5):
            node.enforcer.update(f"u{number}", Pod("default", {}, (f"10.244.1.{number + 3}",)))
            await node.clock.advance(INTERVAL / 10)
        node.kernel.gate.set()
        await node.clock.advance(INTERVAL)
        # That of the policy had nothing to change: the node had no pod.
        assert node.kernel.transactions == before + 1
        assert not node.kernel.allows(OTHER, "10.244.1.7")


def heavy(namespace: str, number: int, *, ports: int = 10_000) -> Change:
    """A policy of which five make a portion: it grants that many ports to all of the namespace's pods."""
    rule = {"from": [{"podSelector": {}}], "ports": [{"port": 1 + port} for port in range(ports)]}
    spec = {"podSelector": {"matchLabels": {"none": "here"}}, "policyTypes": ["Ingress"], "ingress": [rule]}
    return Change(f"NetworkPolicy/{namespace}/p{number}", None, message(namespace, f"p{number}", spec))


async def test_namespaces_with_many_policies_do_not_delay_the_pods_of_others() -> None:
    """Their rules are programmed after the portion that is under way, and before the rest."""
    node = Node()
    async with node.running():
        node.kernel.gate.clear()
        node.enforcer.assigned(heavy(f"large{number % 2}", number) for number in range(18))
        await node.clock.advance(INTERVAL)
        node.enforcer.assigned([DENY])
        isolated = asyncio.ensure_future(node.enforcer.isolate("u1", POD))
        await node.clock.advance(INTERVAL)
        node.kernel.history.clear()
        node.kernel.gate.set()
        await node.clock.advance(INTERVAL)
        await isolated
        assert [Tables(elements).passes(OTHER, WEB, TCP) for elements in node.kernel.history] == [True, False, False, False]


async def test_a_namespace_beyond_its_share_is_reported_once() -> None:
    """Its newest policies allow nothing, and the event names the namespace and the limit."""
    node, events = Node(), list[tuple[str, str, bool]]()
    node.enforcer.event = lambda *event: events.append(event)
    async with node.running():
        node.enforcer.assigned([ALLOW, members(OTHER), *(heavy("default", number, ports=20_000) for number in range(5))])
        await node.enforcer.isolate("u1", POD)
        node.enforcer.assigned([DENY])
        await node.clock.advance(INTERVAL)
    [(reason, text, warning)] = events
    assert (reason, warning) == ("NetworkPoliciesLeftOut", True)
    assert text.startswith("1 NetworkPolicies of namespace default allow nothing on this node: ")
    assert "100,000 pairs of a peer and a port" in text


def from_blocks(namespace: str, *cidrs: str) -> Change:
    peers = [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": peers}]}
    return Change(f"NetworkPolicy/{namespace}/blocks", None, message(namespace, "blocks", spec))


async def test_blocks_that_the_node_cannot_afford_are_reported_once_and_allow_nothing() -> None:
    """The event names the namespace that has most, and verdicts are the kernel's, also after a failure."""
    node, events = Node(max_named=3), list[tuple[str, str, bool]]()
    node.enforcer.event = lambda *event: events.append(event)
    async with node.running():
        node.enforcer.assigned([from_blocks("default", "0.0.0.0/0"), from_blocks("other", "10.1.0.0/24", "10.2.0.0/24")])
        node.enforcer.update("u1", POD)
        node.enforcer.update("u2", Pod("other", {}, (OTHER,)))
        await node.clock.advance(INTERVAL)
        node.kernel.fault = "no memory"
        node.enforcer.update("u3", Pod("other", {}, ("10.244.1.5",)))
        await node.clock.advance(INTERVAL)
        node.kernel.fault = ""
        await node.clock.advance(RETRY)
        for uid, pod, source in (("u1", WEB, "10.2.0.1"), ("u2", OTHER, "10.1.0.1"), ("u2", OTHER, "10.2.0.1")):
            verdict = node.enforcer.verdict(uid, source, direction=IN, traffic=TCP)
            assert verdict is not None
            assert verdict.allowed == node.kernel.allows(source, pod) == (pod == WEB)
    [(reason, text, warning)] = events
    assert (reason, warning) == ("NetworkPoliciesLeftOut", True)
    assert text.startswith("2 ipBlocks of namespace other allow nothing on this node: ")


async def test_what_failed_is_programmed_again() -> None:
    """A pod whose rules are not there is not attached."""
    node = Node()
    async with node.running():
        node.kernel.fault = "no memory"
        node.enforcer.assigned([DENY])
        with pytest.raises(NetworkError, match="no memory"):
            await node.enforcer.isolate("u1", POD)
        node.kernel.fault = ""
        await node.clock.advance(RETRY)
        assert not node.kernel.allows(OTHER)
        with_nothing_new = node.kernel.transactions
        await node.enforcer.isolate("u1", POD)
        assert node.kernel.transactions == with_nothing_new


async def test_an_agent_that_starts_declares_everything_at_once() -> None:
    """So what the kernel has of its predecessor stays, where it is right."""
    first, second = Node(), Node()
    async with first.running():
        first.enforcer.assigned([ALLOW, members(OTHER)])
        await first.enforcer.isolate("u1", POD)
    second.enforcer.assigned([ALLOW, members(OTHER)])
    second.enforcer.update("u1", POD)
    async with second.running():
        assert (second.kernel.declared, second.kernel.transactions) == (1, 1)
        assert second.kernel.elements == first.kernel.elements


async def test_verdicts_name_the_policies() -> None:
    node = Node()
    node.enforcer.assigned([ALLOW, DENY, members(OTHER)])
    node.enforcer.update("u1", POD)

    def verdict(other: str, uid: str = "u1", **rest: Any) -> Verdict | None:
        return node.enforcer.verdict(uid, other, **{"direction": IN, "traffic": TCP, **rest})

    assert verdict(OTHER) == Verdict(True, ("default/allow",))
    assert verdict("10.244.2.10") == Verdict(False, ("default/allow", "default/deny"))
    assert verdict(WEB) == Verdict(True, ("default/allow", "default/deny"))
    assert verdict(OTHER, direction="out") == Verdict(True)
    assert verdict(OTHER, "another") is None

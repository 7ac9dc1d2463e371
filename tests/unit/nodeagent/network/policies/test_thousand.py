"""A thousand policies of a node by way of the enforcer, in its portions, into a real kernel and out of it again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nodeagent.control.changes import Change
from nodeagent.network.elements import Element
from nodeagent.network.nftables import Nftables
from nodeagent.network.policies import skeleton
from nodeagent.network.policies.compiler import Compiler
from nodeagent.network.policies.enforcer import Enforcer
from nodeagent.network.policies.evaluator import Traffic
from nodeagent.network.policies.model import Pod
from nodeagent.network.ruleset import Ruleset
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import SystemClock
from tests.support.networks import alone
from tests.support.policyreference import Packet, Reference
from tests.support.policysets import Tables
from tests.support.policyworlds import World, stored

pytestmark = pytest.mark.root
POLICIES, SPACES, APPS, PODS, LOCAL = 1000, 20, 3, 240, 60
# Ports of one policy, and elements of a transaction.
PORTS, PORTION = 2, 5000


def spec_of(number: int) -> dict[str, Any]:
    """Lets some pods and a namespace in at ports of its own, and its pods out to a range of addresses."""
    app, other = f"a{number * 7 % APPS}", f"ns{number * 3 % SPACES}"
    peers = [
        {"podSelector": {"matchLabels": {"app": app}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": other}}},
        {"ipBlock": {"cidr": "10.244.0.0/16", "except": [f"10.244.{number % 4}.0/24"]}},
    ]
    return {
        "podSelector": {"matchLabels": {"app": f"a{number // SPACES % APPS}"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": peers, "ports": [{"port": port} for port in ports_of(number)]}],
        "egress": [{"to": [{"ipBlock": {"cidr": f"20.{number % 250}.0.0/16"}}]}, {"to": [{"podSelector": {}}]}],
    }


def ports_of(number: int) -> range:
    return range(1 + number * PORTS, 1 + (number + 1) * PORTS)


def thousand() -> World:
    pods = {
        str(i): Pod(f"ns{i % SPACES}", {"app": f"a{i // SPACES % APPS}"}, (f"10.244.{i // 60}.{i % 60 + 2}",))
        for i in range(PODS)
    }
    policies = {(f"ns{number % SPACES}", f"p{number}"): spec_of(number) for number in range(POLICIES)}
    spaces = {f"ns{number}": {"kubernetes.io/metadata.name": f"ns{number}"} for number in range(SPACES)}
    return World(spaces, pods, policies, frozenset(str(i) for i in range(LOCAL)))


def packets(world: World) -> Iterator[tuple[str, str, int]]:
    """Of each policy one to a pod of its namespace, at one of its ports, from any pod; of some also one to their range."""
    chosen = random.Random(1)
    sources = [pod.addresses[0] for pod in world.pods.values()]
    for number in range(POLICIES):
        local = [world.pods[uid] for uid in sorted(world.local) if world.pods[uid].namespace == f"ns{number % SPACES}"]
        address = chosen.choice(local).addresses[0]
        yield chosen.choice(sources), address, chosen.choice(ports_of(number))
        if number % 10 == 0:
            yield address, f"20.{number % 250}.0.1", 443


class Network:
    """The enforcer's, in the calling thread's namespace."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset, self.portions = ruleset, 0

    async def program(self, work: Callable[[Ruleset], None]) -> None:
        work(self.ruleset)
        self.portions += 1

    def kernel(self) -> set[Element]:
        return {item for found in self.ruleset.listing().elements.values() for item in found}


async def enforced(network: Network, world: World) -> tuple[set[Element], int]:
    """What the kernel has of the policies, and in how many portions it came. Returns once nothing is left of them."""
    enforcer = Enforcer(network, SystemClock(), lambda namespace: True, portion=PORTION)
    running = asyncio.ensure_future(enforcer.run())
    try:
        # What is known at the start is one transaction, whatever its size.
        while not network.portions:
            await asyncio.sleep(0)
        for uid in sorted(world.local):
            await enforcer.isolate(uid, world.pods[uid])
        groups = {
            f"PolicyGroup//{name}": nodes_pb2.PolicyGroup(members=[nodes_pb2.PolicyGroupMember(podIPs=[ip]) for ip in members])
            for name, members in world.slices().items()
        }
        policies = {f"NetworkPolicy/{'/'.join(key)}": stored(*key, spec) for key, spec in world.policies.items()}
        before = network.portions
        enforcer.assigned(Change(key, None, new) for key, new in {**groups, **policies}.items())
        for uid in sorted(world.local):
            await enforcer.isolate(uid, world.pods[uid])
        found, portions = network.kernel(), network.portions - before
        enforcer.assigned(Change(key, old, None) for key, old in {**policies, **groups}.items())
        for uid in world.local:
            enforcer.update(uid, None)
        while network.kernel():
            await asyncio.sleep(0.2)
        return found, portions
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_thousand_policies_are_in_the_kernel() -> None:
    """In some portions, with the elements of one at a time and the verdicts of the reference; and nothing of them once they are
    deleted."""
    world, compiler = thousand(), Compiler()
    compiler.change(world.changes())

    def work() -> tuple[set[Element], int]:
        library = Nftables()
        try:
            network = Network(Ruleset(library))
            network.ruleset.ensure([skeleton.fragment()])
            return asyncio.run(enforced(network, world))
        finally:
            library.close()

    found, portions = alone(work)
    assert portions > 3
    assert found == compiler.elements()
    ports = {int(item.key[-1]) for item in found if item.container == "policy_in_1_4"}
    assert ports == {port for number in range(POLICIES) for port in ports_of(number)}
    tables, reference, verdicts = Tables(found), Reference(world), list[bool]()
    for source, destination, port in packets(world):
        verdicts.append(reference.allows(Packet(source, destination, "TCP", port)))
        assert tables.passes(source, destination, Traffic("tcp", port)) == verdicts[-1], (source, destination, port)
    assert min(verdicts.count(True), verdicts.count(False)) > POLICIES / 10

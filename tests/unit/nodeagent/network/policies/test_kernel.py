"""The rules of policies in the kernel, with real packets between pods made by hand: truth tables, and connections that end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from nodeagent.network.elements import Difference
from nodeagent.network.policies.compiler import Compiler
from nodeagent.network.policies.model import Pod
from tests.support import sctp
from tests.support.frames import within
from tests.support.policynets import Router, routing
from tests.support.policyreference import Packet, Reference
from tests.support.policyworlds import World, histories, worlds
from tests.support.prober import TCP, UDP, Probe, Prober
from tests.support.transfers import DOWN, UP, transfer
from tests.support.transfers import PORT as TRANSFER_PORT

pytestmark = pytest.mark.root
PORTS = 79, 80, 81
PODS = {str(number): (f"10.0.0.{number}", f"fd00::{number}") for number in range(1, 9)} | {
    "out": ("198.51.100.7", "2001:db8::9")
}


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with routing(PODS) as found:
        yield found


@pytest.fixture(scope="module")
def prober(router: Router) -> Iterator[Prober]:
    found = Prober(router.pods, PORTS, families=(4, 6))
    yield found
    found.close()


def table(world: World, prober: Prober) -> dict[Probe, str]:
    """Every pair of addresses that the world has, with who should answer, and the prober's answer where it differs."""
    reference, probes = Reference(world), {}
    owners = {address: uid for uid, pod in world.pods.items() for address in pod.addresses}
    owners |= dict.fromkeys(PODS["out"], "out")
    for (a, b), port, protocol in itertools.product(itertools.product(owners, owners), PORTS, (TCP, UDP)):
        # From a pod to itself no packet leaves it.
        if (":" in a) == (":" in b) and owners[a] != owners[b]:
            allowed = reference.allows(Packet(a, b, protocol.upper(), port))
            probes[Probe(owners[a], b, port, protocol)] = owners[b] if allowed else ""
    found = prober.probe(probes, timeout=0.5)
    wrong = {probe for probe in probes if found[probe] != probes[probe]}
    # Once more, with patience: the machine may have been busy.
    again = prober.probe(wrong, timeout=5) if wrong else {}
    return {probe: again[probe] for probe in wrong if again[probe] != probes[probe]}


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=histories())
def test_random_policies(router: Router, prober: Prober, history: list[World]) -> None:
    """Whole truth tables of all pods, after each of some changes, have the verdicts of the reference."""
    compiler = Compiler()
    try:
        for old, new in itertools.pairwise([World({}, {}), *history]):
            router.apply(compiler.change(new.changes_from(old)))
            assert table(new, prober) == {}
    finally:
        router.apply(Difference(remove=tuple(compiler.elements())))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds())
def test_elements_are_listed_as_they_were_written(router: Router, world: World) -> None:
    """An agent that starts again compares them, and changes nothing."""
    compiler = Compiler()
    router.apply(compiler.change(world.changes()))
    try:
        assert router.listed() == compiler.elements()
    finally:
        router.apply(Difference(remove=tuple(compiler.elements())))


CLIENT, SERVER = "1", "2"
RUNNING = World(
    {"x": {}, "y": {}},
    {CLIENT: Pod("x", {"app": "client"}, PODS[CLIENT]), SERVER: Pod("y", {"app": "server"}, PODS[SERVER])},
    local=frozenset((CLIENT, SERVER)),
)
DENY_IN, DENY_OUT = (
    ("y", {"podSelector": {}, "policyTypes": ["Ingress"]}),
    ("x", {"podSelector": {}, "policyTypes": ["Egress"]}),
)


@pytest.mark.parametrize("denial", [DENY_IN, DENY_OUT], ids=["ingress", "egress"])
@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_ends_when_a_policy_no_longer_allows_it(
    router: Router, family: int, protocol: str, direction: str, denial: tuple[str, object]
) -> None:
    """Whichever end sends, though the server, which sends too, may open connections to the client."""
    namespace, spec = denial
    denied = replace(RUNNING, policies={(namespace, "deny"): spec})
    compiler, address = Compiler(), PODS[SERVER][0 if family == 4 else 1]
    with transfer(router.pods[CLIENT], router.pods[SERVER], address, protocol=protocol, direction=direction) as running:
        try:
            router.apply(compiler.change(RUNNING.changes()))
            running.await_progress()
            router.apply(compiler.change(denied.changes_from(RUNNING)))
            running.await_end()
            if protocol == TCP:
                assert isinstance(running.failure, ConnectionError)
        finally:
            router.apply(Difference(remove=tuple(compiler.elements())))


def test_sctp_is_allowed_by_its_own_ports(router: Router) -> None:
    """Packets that begin an association, made by hand: kernels without SCTP sockets forward them all the same."""
    spec = {"podSelector": {}, "ingress": [{"ports": [{"port": 80, "protocol": "SCTP"}]}], "policyTypes": ["Ingress"]}
    world = replace(RUNNING, policies={("y", "sctp"): spec})
    compiler, address = Compiler(), PODS[SERVER][0]
    router.apply(compiler.change(world.changes()))
    try:
        with within(router.pods[SERVER], lambda: sctp.listening()) as listener:
            for port in (81, 80):
                within(router.pods[CLIENT], lambda port=port: sctp.send_init(address, port))  # type: ignore[misc]
            assert sctp.received_port(listener) == 80
        with Prober({name: router.pods[name] for name in (CLIENT, SERVER)}, (82,)) as both:
            assert both.probe([Probe(CLIENT, address, 82)], timeout=0.5) == {Probe(CLIENT, address, 82): ""}
    finally:
        router.apply(Difference(remove=tuple(compiler.elements())))


def test_a_connection_that_stays_allowed_is_not_disturbed(router: Router) -> None:
    """By another policy, and by new identities of its ends."""
    allow = {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": TRANSFER_PORT}]}]}
    more = {
        "podSelector": {},
        "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "client"}}}]}],
    }
    history = [
        RUNNING,
        first := replace(RUNNING, policies={("y", "allow"): {**allow, "policyTypes": ["Ingress"]}}),
        replace(first, policies={**first.policies, ("y", "more"): {**more, "policyTypes": ["Ingress"]}}),
        first,
    ]
    compiler = Compiler()
    with transfer(router.pods[CLIENT], router.pods[SERVER], PODS[SERVER][0], protocol=TCP, direction=DOWN) as running:
        try:
            for old, new in itertools.pairwise([World({}, {}), *history]):
                router.apply(compiler.change(new.changes_from(old)))
                running.await_progress()
            assert running.failure is None
        finally:
            router.apply(Difference(remove=tuple(compiler.elements())))

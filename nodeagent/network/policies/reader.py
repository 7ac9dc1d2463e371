"""From the API's messages to the values of `model`. Pure.

A part that cannot be read, which an API server of another version may send, allows nothing: a policy restricts the more.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from nodeagent.network.policies import blocks, budget
from nodeagent.network.policies.model import (
    IN,
    LAST_PORT,
    OUT,
    Block,
    Group,
    NamedPort,
    Pod,
    PodPort,
    Policy,
    Ports,
    Rule,
    Selection,
)
from pinnace import labelselectors, podspec, policypeers
from pinnace.api.v1 import nodes_pb2
from pinnace.core.v1 import pod_pb2
from pinnace.networking.v1.networkpolicy_pb2 import IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort

# Of one policy: pairs of a peer and a block of ports; sources (see `budget`); and the cost of its ranges of addresses
# (`blocks.affordable`).
MAX_GRANTS, MAX_SOURCES, MAX_RANGES = 20_000, 2_000, 8_000
_DIRECTIONS = {policypeers.INGRESS: IN, policypeers.EGRESS: OUT}
_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


def policy(item: NetworkPolicy, problems: list[str] | None = None) -> Policy:
    """`problems`: gets what is left out of a policy that is too large."""
    namespace, found = item.metadata.namespace, problems if problems is not None else []
    return Policy(
        namespace,
        item.metadata.name,
        tuple(labelselectors.requirements(item.spec.podSelector)),
        frozenset(_DIRECTIONS[name] for name in item.spec.policyTypes if name in _DIRECTIONS),
        _bounded([_rule(namespace, rule) for rule in policypeers.active_rules(item)], found),
        item.metadata.creationTimestamp.seconds + item.metadata.creationTimestamp.nanos / 1e9,
    )


def _bounded(rules: Sequence[Rule], problems: list[str]) -> tuple[Rule, ...]:
    """What is beyond allows nothing."""
    kept, room, sources = list[Rule](), MAX_GRANTS, MAX_SOURCES
    for rule in rules:
        ports = budget.ports(rule)
        fits = ports <= room and sources > 0
        peers = _first(rule.peers[: room // ports], sources) if rule.peers is not None else None if fits else ()
        kept.append(replace(rule, peers=peers))
        room -= ports * (1 if peers is None else len(peers))
        sources -= budget.sources(kept[-1])
    every = {peer for rule in kept for peer in rule.peers or () if isinstance(peer, Block)}
    left_out = every - blocks.affordable(every, MAX_RANGES)
    if left_out:
        kept = [_without(rule, left_out) for rule in kept]
    before, after = (sum(1 if rule.peers is None else len(rule.peers) for rule in some) for some in (rules, kept))
    if before != after:
        problems.append(f"{before - after} of {before} peers are left out: there are too many, with too many ports")
    return tuple(kept)


def _first(peers: tuple[Selection | Block, ...], sources: int) -> tuple[Selection | Block, ...]:
    """Fewer groups than so many, and all blocks, which are one source."""
    groups = (peer for peer in peers if isinstance(peer, Selection))
    kept = set(itertools.islice(groups, max(sources - 1, 0)))
    return tuple(peer for peer in peers if peer in kept or (isinstance(peer, Block) and sources > 0))


def _without(rule: Rule, left_out: frozenset[Block] | set[Block]) -> Rule:
    return replace(rule, peers=tuple(peer for peer in rule.peers if peer not in left_out)) if rule.peers is not None else rule


def _rule(namespace: str, rule: policypeers.Rule) -> Rule:
    peers = tuple(found for peer in rule.peers for found in _peer(namespace, peer)) if rule.peers else None
    ports = tuple(found for port in rule.ports for found in _port(port)) if rule.ports else None
    return Rule(_DIRECTIONS[rule.direction], peers, ports)


def _peer(namespace: str, peer: NetworkPolicyPeer) -> Iterator[Selection | Block]:
    if peer.HasField("ipBlock"):
        yield from _block(peer.ipBlock)
    elif (selector := policypeers.selector_of(namespace, peer)) is not None:
        yield Selection(selector.id(), not selector.pods)


def _block(item: IPBlock) -> Iterator[Block]:
    try:
        excepts = {str(ipaddress.ip_network(text, strict=False)) for text in getattr(item, "except")}
        yield Block(str(ipaddress.ip_network(item.cidr, strict=False)), tuple(sorted(excepts)))
    except ValueError:
        return


def _port(port: NetworkPolicyPort) -> Iterator[Ports | NamedPort]:
    protocol = _PROTOCOLS.get(port.protocol or "TCP")
    if protocol is None:
        return
    if not port.HasField("port"):
        yield Ports(protocol, 0, LAST_PORT)
    elif port.port.type != 0:
        yield NamedPort(protocol, port.port.strVal)
    else:
        first, last = port.port.intVal, port.endPort if port.HasField("endPort") else port.port.intVal
        if 0 < first <= last <= LAST_PORT:
            yield Ports(protocol, first, last)


def group(item: nodes_pb2.PolicyGroup) -> Group:
    """An address of two pods, which one of them is about to lose, has the ports of both."""
    found: dict[str, tuple[PodPort, ...]] = {}
    for member in item.members:
        ports = (
            PodPort(_PROTOCOLS[port.protocol], port.name, port.port)
            for port in member.ports
            if port.protocol in _PROTOCOLS and 0 < port.port <= LAST_PORT
        )
        named = tuple(sorted(ports))
        for address in _addresses(member.podIPs):
            found[address] = tuple(sorted({*found.get(address, ()), *named}))
    return found


def _addresses(texts: Iterable[str]) -> Iterator[str]:
    """Without those of a zone (fe80::1%eth0), which nftables does not know."""
    for text in texts:
        try:
            address = str(ipaddress.ip_address(text))
        except ValueError:
            continue
        if "%" not in address:
            yield address


def pod(item: pod_pb2.Pod, addresses: Iterable[str]) -> Pod:
    """A pod of this node with these addresses of its own."""
    sidecars = (container for container in item.spec.initContainers if podspec.is_sidecar(container))
    ports = (port for container in (*item.spec.containers, *sidecars) for port in container.ports if port.name)
    named = {PodPort(_PROTOCOLS[port.protocol or "TCP"], port.name, port.containerPort) for port in ports}
    return Pod(item.metadata.namespace, dict(item.metadata.labels), tuple(_addresses(addresses)), tuple(sorted(named)))

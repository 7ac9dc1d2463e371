"""The meaning of NetworkPolicies, written as plainly as possible: may this packet pass, and by which policy? Pure.

The answer of `kctl net trace`. It looks at every rule of every policy, so nothing that is done for each packet or each pod uses
it.
Source: networking/v1, NetworkPolicySpec; where Kubernetes leaves a choice, docs/network-policy.md has ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from nodeagent.network.policies import blocks
from nodeagent.network.policies.model import (
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
    group_of,
)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end: a pod, which is in `groups` and has named `ports`, or any other address."""

    address: str
    groups: frozenset[str] = frozenset()
    ports: tuple[PodPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """`port` is that of the destination; 0 for a protocol that has none."""

    protocol: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`policies` are, as namespace/name, those that allow the traffic; if it is denied, those that restrict the pod; none if no
    policy restricts it."""

    allowed: bool
    policies: tuple[str, ...] = ()


def peer_at(address: str, slices: Mapping[str, Group]) -> Peer:
    """The end with this address, by the slices of groups that have it."""
    containing = [name for name, members in slices.items() if address in members]
    ports = {port for name in containing for port in slices[name][address]}
    # A pod may be in a group of which a policy needs ports, and in others of which none does.
    return Peer(address, frozenset(map(group_of, containing)), tuple(sorted(ports)))


def evaluate(
    policies: Iterable[Policy],
    pod: Pod,
    peer: Peer,
    *,
    direction: str,
    traffic: Traffic,
    left_out: Set[Block] = frozenset(),
) -> Verdict:
    """Traffic of `pod` to `peer` (OUT), or from it (IN); the other end may have policies of its own. `left_out`: blocks of the
    pod's namespace that the node cannot afford (see `shares`)."""
    restricting = [item for item in policies if direction in item.directions and item.selects(pod.namespace, pod.labels)]
    if not restricting:
        return Verdict(True)
    allowing = [
        item
        for item in restricting
        if any(_allows(rule, pod, peer, traffic, left_out) for rule in item.rules if rule.direction == direction)
    ]
    if allowing:
        return Verdict(True, _names(allowing))
    # A pod always reaches itself, through a Service too.
    return Verdict(peer.address in pod.addresses, _names(restricting))


def _names(policies: Iterable[Policy]) -> tuple[str, ...]:
    return tuple(sorted(f"{item.namespace}/{item.name}" for item in policies))


def _allows(rule: Rule, pod: Pod, peer: Peer, traffic: Traffic, left_out: Set[Block]) -> bool:
    receiver = peer.ports if rule.direction == OUT else pod.ports
    for port in rule.ports if rule.ports is not None else (None,):
        # The peers of a named port of theirs are pods, which need no range.
        missing = frozenset[Block]() if rule.direction == OUT and isinstance(port, NamedPort) else left_out
        if _includes(rule, peer, missing) and (port is None or _has(port, traffic, receiver)):
            return True
    return False


def _includes(rule: Rule, peer: Peer, left_out: Set[Block]) -> bool:
    return rule.peers is None or any(item not in left_out and _is(item, peer) for item in rule.peers)


def _is(item: Selection | Block, peer: Peer) -> bool:
    return blocks.contains(item, peer.address) if isinstance(item, Block) else item.group in peer.groups


def _has(item: Ports | NamedPort, traffic: Traffic, receiver: tuple[PodPort, ...]) -> bool:
    if isinstance(item, Ports):
        return item.protocol == traffic.protocol and item.first <= traffic.port <= item.last
    return item.protocol == traffic.protocol and PodPort(item.protocol, item.name, traffic.port) in receiver

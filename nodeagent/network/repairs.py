"""The wanted state of the node's network, kept in the kernel: the difference is found as facts, and repaired by kind.

nftables first, which guards the rest, and whatever the state of the rest; then devices, ports and entries, each of which needs
the one before. On the thread that owns netlink; all methods raise NetworkError.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.network import facts, plan, sysctls
from nodeagent.network.guard import BRIDGE, Binding
from nodeagent.network.interface import Comparison, Deviation, Errors, NetworkError, Node
from nodeagent.network.links import Link
from nodeagent.network.netlink import Netlink
from nodeagent.network.podaddress import gateway_of
from nodeagent.network.ports import bridge_mac
from nodeagent.network.tunnel import KIND as TUNNEL
from nodeagent.network.wireguard import TunnelPeer
from pinnace.ipfamilies import families_of

log = logging.getLogger("pinnace.network")
_DEVICES = ("link", "address", "sysctl")


@dataclass(slots=True)
class State:
    """What the agent has programmed. `node` is as the overlay has it, `underlay` as the underlay does: their addresses differ
    in an encrypted cluster, whose key is in the directory `keys`. `tunnels` and `table` are of the peers; None: they are not
    known yet, and what an earlier agent has programmed is kept. `bindings` and the rest by the name of the port. `attach`
    makes a pod's pair of devices again, with the MAC address that it had, and `netns` is the pod's; a port without them is
    repaired as far as it is there."""

    keys: Path
    node: Node | None = None
    underlay: Node | None = None
    tunnels: frozenset[TunnelPeer] | None = None
    table: plan.Table | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    attach: dict[str, Callable[[Netlink, str], None]] = field(default_factory=dict)
    netns: dict[str, Path] = field(default_factory=dict)
    # The cluster DNS addresses that the node has; None: this agent has not assigned them yet.
    dns: tuple[str, ...] | None = None

    def bridge_mac(self) -> str:
        """Once there is a node."""
        return bridge_mac(gateway_of(self.node.pod_cidr).address) if self.node is not None else ""

    def unbound(self) -> set[str]:
        """Ports of pods that a setup did not find: they were damaged while no agent ran."""
        return {*self.attach} - {*self.bindings}

    def all_bindings(self) -> list[Binding]:
        return [item for items in self.bindings.values() for item in items]


@dataclass(frozen=True, slots=True)
class Part:
    """Of the node's network, which is compared and repaired by itself. Both raise NetworkError."""

    verify: Callable[[], Comparison]
    repair: Callable[[list[Deviation]], None]


def compare(parts: Iterable[Part], *, fix: bool) -> Comparison:
    """One part after the other, also after one that fails; `fix`: each is repaired before the next is compared."""
    whole = Comparison()

    def one(part: Part) -> None:
        of_part = part.verify()
        whole.found.extend(of_part.found)
        whole.errors.extend(of_part.errors)
        if not fix or not of_part.found:
            return
        try:
            part.repair(of_part.found)
        except NetworkError:
            whole.left.extend(_left(part, of_part.found))
            raise

    for part in parts:
        whole.errors.attempt(functools.partial(one, part))
    return whole


def _left(part: Part, found: list[Deviation]) -> list[Deviation]:
    """What is still so after a repair that has failed, and may have done a part; all where that is not known."""
    try:
        still = {(item.kind, item.item) for item in part.verify().found}
    except NetworkError:
        return found
    return [item for item in found if (item.kind, item.item) in still]


def verify(netlink: Netlink, state: State) -> Comparison:
    """Without the node's address on the underlay, all that does not follow from the device that has it."""
    node = state.node
    if node is None:
        return Comparison()
    underlay = state.underlay or node
    errors, lower, of_tunnel = Errors(), list[Link](), list[Deviation]()
    errors.attempt(lambda: lower.append(netlink.lower(underlay)))
    if underlay.encrypt and lower:
        errors.attempt(lambda: of_tunnel.extend(netlink.verify_tunnel(lower[0], state.tunnels)))
    table = state.table if state.table is not None else netlink.read()
    want = netlink.wanted(node, state.all_bindings(), table, lower=next(iter(lower), None), dns=state.dns or ())
    unbound = [Deviation("port", device, "attached", "") for device in sorted(state.unbound())]
    return Comparison(of_tunnel + unbound + facts.differences(want, netlink.inspect(sysctls.all_of(node), state.dns)), errors)


def repair(netlink: Netlink, state: State, found: Iterable[Deviation]) -> None:
    """What one repair cannot do does not hold back the others; raises the first error."""
    found, errors = list(found), Errors()
    attempt, node = errors.attempt, state.node
    if node is None:
        return
    kinds = {item.kind for item in found}
    of_bridge = any(item.kind == "route" and item.item.endswith(f"dev {BRIDGE}") for item in found)
    if of_bridge or kinds & {*_DEVICES, TUNNEL}:
        attempt(lambda: _setup(netlink, state, node))
    if (dns := state.dns) is not None and "address" in kinds:
        attempt(lambda: netlink.serve_names(dns))
    if TUNNEL in kinds and (tunnels := state.tunnels) is not None:
        attempt(lambda: _sync_tunnel(netlink, tunnels))
    # A bridge that was made again has no ports.
    every = any(item.kind == "link" and item.item.startswith(BRIDGE) for item in found)
    touched = {word for item in found for word in item.item.split()} if not every else set()
    for device in sorted(state.unbound()):
        # A pod that ends has none any more.
        if (attach := state.attach.get(device)) is not None:
            attempt(functools.partial(attach, netlink, ""))
    for device, bindings in list(state.bindings.items()):
        if every or device in touched or touched & {item.address for item in bindings}:
            attempt(functools.partial(_port, netlink, state, device))
    if kinds & {"neighbour", "fdb"}:
        # After the ports, some of which were bound just now.
        attempt(lambda: netlink.keep_bindings(state.all_bindings()))
    if (table := state.table) is not None:
        attempt(lambda: netlink.apply(plan.difference(table, netlink.read())))
    errors.check()


def _setup(netlink: Netlink, state: State, node: Node) -> None:
    if state.underlay is not None and state.underlay.encrypt:
        netlink.encrypt(state.underlay, state.keys)
    netlink.setup(node)
    for family in families_of(node.pod_cidrs):
        netlink.enable_forwarding(family)


def _sync_tunnel(netlink: Netlink, tunnels: frozenset[TunnelPeer]) -> None:
    netlink.sync_tunnel(tunnels)


def _port(netlink: Netlink, state: State, device: str) -> None:
    bindings = state.bindings[device]
    if netlink.index(device) is None:
        if (attach := state.attach.get(device)) is None:
            raise NetworkError(f"device {device} of the pod at {bindings[0].address} is gone")
        attach(netlink, bindings[0].mac)
    netlink.repair_port(device, state.bindings[device], state.netns.get(device))

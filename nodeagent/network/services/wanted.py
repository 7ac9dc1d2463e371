"""The elements that one Service needs. Pure.

A Service's addresses and ports are its frontends. What leads from them to endpoints is described in `skeleton`.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nodeagent.network.elements import Element, Key, ip
from nodeagent.network.services import names, slots
from nodeagent.network.services.model import MAX_ELEMENTS, MAX_ENDPOINTS, Backends, Endpoint, Facts, Port, ServiceInfo, Target
from nodeagent.network.services.names import CONCERN, Draw, Family, Names
from nodeagent.network.services.selection import Selection, select
from nodeagent.network.services.slots import Slots

# By address family, name and protocol of a port, and traffic policy.
Assigned = dict[tuple[int, str, str, str], Slots]
_REJECT, _DROP = (f"goto {CONCERN}_reject",), ("drop",)
CLUSTER, LOCAL = "cluster", "local"
SCOPES = (CLUSTER, LOCAL)


@dataclass(frozen=True, slots=True, order=True)
class Frontend:
    """What clients connect to. `address` is "" for a port of the node."""

    family: int
    address: str
    protocol: str
    port: int

    @property
    def key(self) -> Key:
        return (*((self.address,) if self.address else ()), self.protocol, str(self.port))


def port_key(port: Port, scope: str) -> tuple[int, str, str, str]:
    return port.family, port.name, port.protocol, scope


def frontends(service: ServiceInfo) -> Iterator[Frontend]:
    for port in service.ports:
        for address in (*port.internal, *port.external):
            yield Frontend(port.family, address, port.protocol, port.port)
        if port.node_port:
            yield Frontend(port.family, "", port.protocol, port.node_port)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of one Service, for the frontends `owned`. `shared`: elements that several Services may want. `live`: of the
    frontends of UDP and SCTP, the endpoints that tracked connections may have. `endpoints`: the most that a port has for new
    connections, also those beyond the limit."""

    elements: frozenset[Element]
    shared: frozenset[Element]
    assigned: Assigned
    live: dict[Frontend, frozenset[Target]]
    owned: frozenset[Frontend] = frozenset()
    endpoints: int = 0


def most_endpoints(service: ServiceInfo) -> int:
    """Of a port: there is an element for each endpoint of each frontend."""
    return min(MAX_ENDPOINTS, max(MAX_ELEMENTS // max(sum(1 for _ in frontends(service)), 1), 1))


def wanted(service: ServiceInfo, backends: Backends, facts: Facts, *, before: Assigned, owned: Iterable[Frontend]) -> Wanted:
    """`before`: the slots that endpoints have now; `owned`: the frontends that no other Service has. The endpoints of each
    policy are selected before they are bounded: those of other nodes take the place of none of this node's."""
    own, most, largest = frozenset(owned), most_endpoints(service), 0
    assigned = Assigned()
    found, hairpins = set[Element](), set[Element]()
    live: dict[Frontend, frozenset[Target]] = {}
    for port in service.ports:
        endpoints = backends.of(port)
        choice = select(endpoints, service, facts)
        plan = _Plan(service, port, choice, facts)
        here = {item.target for item in endpoints if item.node == facts.name}
        for scope, targets in ((CLUSTER, choice.cluster), (LOCAL, choice.local)):
            largest = max(largest, len(targets))
            slots_before = before.get(key := port_key(port, scope), ())
            used = slots.bounded(slots_before, targets, here, most)
            assigned[key] = slots.assign(slots_before, used, sticky=bool(service.timeout))
            hairpins |= _hairpins(port, here.intersection(used))
        tracked = _live(endpoints) if port.protocol != "tcp" else None
        for frontend in plan.frontends():
            if frontend in own:
                found.update(plan.elements(frontend, {scope: assigned[port_key(port, scope)] for scope in SCOPES}))
                if tracked is not None:
                    live[frontend] = tracked
    return Wanted(frozenset(found), frozenset(hairpins), assigned, live, own, largest)


def _live(endpoints: Iterable[Endpoint]) -> frozenset[Target]:
    """Those that serve. If none does, all: a new connection would be rejected, so nothing is won if one ends whose endpoint is
    there and may become ready again. Source: kubernetes/kubernetes, pkg/proxy/conntrack/cleanup.go."""
    found = frozenset(item.target for item in endpoints if item.ready or item.serving)
    return found or frozenset(item.target for item in endpoints)


def _hairpins(port: Port, here: Iterable[Target]) -> set[Element]:
    """Of endpoints of this node."""
    return {Element(Family(port.family).name("hairpin"), (item.address, item.address)) for item in here}


@dataclass(frozen=True, slots=True)
class _Plan:
    """One port of a Service."""

    service: ServiceInfo
    port: Port
    choice: Selection
    facts: Facts

    def frontends(self) -> Iterator[Frontend]:
        return frontends(ServiceInfo("", ports=(self.port,)))

    def elements(self, frontend: Frontend, assigned: dict[str, Slots]) -> Iterator[Element]:
        family = Family(self.port.family)
        internal = frontend.address in self.port.internal
        local = self.service.internal_local if internal else self.service.external_local
        usable = self.choice.local if local else self.choice.cluster
        if frontend.address in self.port.ranged:
            yield from self._ranges(family, frontend)
        if not usable:
            yield from self._unusable(family, frontend)
        if not usable and (internal or not self.choice.cluster):
            return
        yield from self._entrance(family, frontend, assigned, internal=internal, local=local)

    def _unusable(self, family: Family, frontend: Frontend) -> Iterator[Element]:
        """Rejected if there is no endpoint in the cluster; dropped if there is none for this node, as a load balancer that
        sends here all the same has another one."""
        if frontend.address not in self.facts.dns or self.choice.exist:
            word = "none" if frontend.address else "nodeport_none"
            yield Element(family.name(word), frontend.key, _DROP if self.choice.exist else _REJECT)

    def _entrance(
        self, family: Family, frontend: Frontend, assigned: dict[str, Slots], *, internal: bool, local: bool
    ) -> Iterator[Element]:
        nodeport = not frontend.address
        own = Names(family, LOCAL if local else CLUSTER, nodeport)
        every = Names(family, CLUSTER, nodeport)
        draws = {scope: self._draw(assigned[scope]) for scope in SCOPES}
        target = own.enter(draws[own.scope])
        if local and not internal:
            target = names.outside(family, draws[CLUSTER], draws[LOCAL], nodeport=nodeport)
            yield from self._slots(every, frontend, assigned[CLUSTER])
        yield from self._slots(own, frontend, assigned[own.scope])
        yield Element(family.name("nodeport" if nodeport else ""), frontend.key, (f"goto {target}",))

    def _draw(self, found: Slots) -> Draw:
        count = sum(1 for item in found if item is not None)
        if not self.service.timeout:
            return Draw(count)
        return Draw(count, len(found), self.service.timeout, names.group_of(self.service.key))

    def _slots(self, own: Names, frontend: Frontend, assigned: Slots) -> Iterator[Element]:
        used = [(number, item) for number, item in enumerate(assigned) if item is not None]
        for number, item in used:
            yield Element(own.slot(number), frontend.key, (item.address, str(item.port)))
        if self.service.timeout:
            group = names.group_of(self.service.key)
            for drawn, (number, _) in enumerate(used):
                yield Element(own.choice(drawn), frontend.key, (f"goto {own.stick(number, self.service.timeout, group)}",))

    def _ranges(self, family: Family, frontend: Frontend) -> Iterator[Element]:
        yield Element(family.name("ranged"), frontend.key)
        for cidr in self.port.ranges:
            yield Element(family.name("source"), (*frontend.key, cidr))
        own = next((item for item in self.facts.addresses if ip(item) == family.header), "")
        if _is_in(own, self.port.ranges) and not _is_in(frontend.address, self.port.ranges):
            # The node that answers for the address sends from it, too. Source: kube-proxy's nftables proxier.
            yield Element(family.name("source"), (*frontend.key, frontend.address))


def _is_in(address: str, cidrs: tuple[str, ...]) -> bool:
    return bool(address) and any(ipaddress.ip_address(address) in network for network in _networks(cidrs))


@functools.lru_cache(maxsize=8)
def _networks(cidrs: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Cached: called with those of a port of a Service for each of its frontends."""
    return tuple(map(ipaddress.ip_network, cidrs))

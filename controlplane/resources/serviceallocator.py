"""Addresses and node ports of Services, given out in the transaction that writes the Service.

Each that is in use has a claim, an object named after it, which is created and removed with its Service in one transaction.
Two requests for one address write the same key, so that the store commits one of them, whichever control plane they came
through. What is free is found without a look at other Services: a random place of the range is tried first, and only in a
range that is nearly full are the claims listed.

Source: registry/core/service/storage/alloc.go; the order is its own too: families, then addresses, then ports, before
validation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping

from controlplane.resources.plugin import CREATE, DELETE, Attributes, BasePlugin
from controlplane.resources.servicefamilies import settle_families
from controlplane.serviceranges import ServiceRanges, first_free, places
from controlplane.store import Tx
from pinnace import codec, fielderrors, kinds, services
from pinnace.admission.services import EXTERNAL, INTERNAL, needs_health_check
from pinnace.core.v1.service_pb2 import Service
from pinnace.errors import Cause, Internal, Invalid

FULL = "range is full"
_ALLOCATED = "provided port is already allocated"
# The name of a claim, of a place in a range.
_Name = Callable[[int], str]


def claims_of(item: Service) -> frozenset[str]:
    """Names of the claims of a Service: its addresses, and its ports of nodes as `port-N`. An alias may state ports of nodes,
    as in Kubernetes, and has none."""
    ports = {port.nodePort for port in item.spec.ports} | {item.spec.healthCheckNodePort} if item.spec.type in EXTERNAL else ()
    addresses = (str(ipaddress.ip_address(address)) for address in services.cluster_ips(item))
    return frozenset((*addresses, *(f"port-{port}" for port in ports if port)))


def release(tx: Tx, item: Service) -> None:
    """The Service is removed."""
    _drop(tx, item, claims_of(item))


def _drop(tx: Tx, item: Service, names: frozenset[str]) -> None:
    for name in sorted(names):
        claim = tx.get(kinds.SERVICE_CLAIM, "", name)
        if claim is not None and claim.spec.holderIdentity == holder_of(item):
            tx.delete(kinds.SERVICE_CLAIM, "", name)


def holder_of(item: Service) -> str:
    """As claims have it."""
    return f"{item.metadata.namespace}/{item.metadata.name}"


def claim(tx: Tx, item: Service, name: str, *, now: float) -> None:
    """Record that the Service has what the claim is named after."""
    made = kinds.SERVICE_CLAIM.cls()
    made.metadata.name = name
    made.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
    made.spec.holderIdentity = holder_of(item)
    tx.put(kinds.SERVICE_CLAIM, made)


def is_taken(tx: Tx, item: Service, name: str) -> bool:
    """Whether another Service has it. A claim that its Service does not have any more holds nothing."""
    found = tx.get(kinds.SERVICE_CLAIM, "", name)
    if found is None or found.spec.holderIdentity == holder_of(item):
        return False
    namespace, _, holder = found.spec.holderIdentity.partition("/")
    other = tx.get(kinds.SERVICE, namespace, holder)
    return other is not None and name in claims_of(other)


class ServiceAllocator(BasePlugin):
    """Gives Services what they do not state, and refuses what another one has."""

    name = "ServiceAllocator"

    def __init__(self, ranges: ServiceRanges) -> None:
        self.ranges = ranges

    def admit(self, tx: Tx, request: Attributes) -> None:
        """Raises Invalid, Internal for a range that is full."""
        if request.resource.kind is not kinds.SERVICE or request.operation == DELETE or request.subresource:
            return
        new, old = request.message, request.old
        # An alias has no address. Validation, which comes later, refuses other types: their fields are not parsed before it.
        if new.spec.type not in INTERNAL:
            return
        settle_families(new, old, self.ranges)
        _Allocation(tx, self.ranges, new, old).run()

    def validate(self, tx: Tx, request: Attributes) -> None:
        """Write the claims of the object as it will be stored."""
        if request.resource.kind is not kinds.SERVICE or request.operation == DELETE or request.subresource:
            return
        new, old = request.message, request.old
        before = frozenset() if old is None else claims_of(old)
        after = claims_of(new)
        for name in sorted(after - before):
            claim(tx, new, name, now=request.now)
        if request.operation != CREATE:
            _drop(tx, new, before - after)


class _Allocation:
    """One Service that is written."""

    def __init__(self, tx: Tx, ranges: ServiceRanges, item: Service, old: Service | None) -> None:
        self._tx = tx
        self._ranges = ranges
        self._item = item
        # What it has already, and need not be free.
        self._own = set() if old is None else set(claims_of(old))
        # Ports of nodes and, another one, of health checks: a number is of one kind, as each has a listener of its own.
        before = Service() if old is None or old.spec.type not in EXTERNAL else old
        self._node_ports = {port.nodePort for port in before.spec.ports if port.nodePort}
        self._health_port = before.spec.healthCheckNodePort
        # Addresses that do not change: validation refuses others.
        self._fixed = 0 if old is None or old.spec.type == services.EXTERNAL_NAME else len(old.spec.clusterIPs)
        # Random, and another one each time that a creation is tried.
        self._seed = item.metadata.uid

    def run(self) -> None:
        spec = self._item.spec
        if not services.is_headless(self._item):
            self._addresses()
        if spec.type in EXTERNAL:
            # All that are stated first: a port that is chosen is none of them.
            self._stated_ports()
            if needs_health_check(self._item) and spec.healthCheckNodePort:
                self._check_health_port(spec.healthCheckNodePort)
            if spec.type == services.NODE_PORT or spec.allocateLoadBalancerNodePorts:
                self._further_ports()
        if needs_health_check(self._item) and not spec.healthCheckNodePort:
            spec.healthCheckNodePort = self._next_port()

    def _addresses(self) -> None:
        spec = self._item.spec
        for index, family in enumerate(spec.ipFamilies):
            if index < min(self._fixed, len(spec.clusterIPs)):
                continue
            if index < len(spec.clusterIPs):
                self._check_address(spec.clusterIPs[index], family)
            elif self._ranges.of(family) is not None:
                spec.clusterIPs.append(self._next_address(family))
        if spec.clusterIPs:
            spec.clusterIP = spec.clusterIPs[0]

    def _check_address(self, address: str, family: str) -> None:
        found = self._ranges.of(family)
        if found is None:
            return
        if not found.holds(address):
            text = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {found.cidr}"
        elif is_taken(self._tx, self._item, str(ipaddress.ip_address(address))):
            text = "provided IP is already allocated"
        else:
            return
        given = list(self._item.spec.clusterIPs)
        raise self._invalid(fielderrors.invalid("spec.clusterIPs", given, f"failed to allocate IP {address}: {text}"))

    def _next_address(self, family: str) -> str:
        found = self._ranges.of(family)
        assert found is not None
        for part, tries in places(f"{self._seed}/{family}", found.candidates):
            place = self._free(part, tries, lambda place: found.at(place), f"{self._seed}/{family}")
            if place is not None:
                return found.at(place)
        raise Internal(f"failed to allocate a serviceIP: {FULL}")

    def _free(self, part: range, tries: Iterator[int], name: _Name, seed: str) -> int | None:
        """A place without a claim, random while there are many of them."""
        for place in tries:
            if self._is_free(name(place)):
                return place
        begin = len(kinds.SERVICE_CLAIM.prefix)
        claims = {row.key[begin:]: row.message.spec.holderIdentity for row in self._tx.list_untracked(kinds.SERVICE_CLAIM)}
        # A claim that its Service does not have any more holds nothing. This is examined only in a full range: it reads the
        # Service of each claim.
        for read in (claims.keys, lambda: self._valid(claims)):
            claimed = read()
            used = {place for place in part if name(place) in claimed or name(place) in self._own}
            found = first_free(part, used, seed)
            if found is not None:
                return found if not is_taken(self._tx, self._item, name(found)) else None
        return None

    def _valid(self, claims: Mapping[str, str]) -> set[str]:
        """The claims, by name with their holders, that Services have. Without adding to the read set."""
        found: set[str] = set()
        for holder in set(claims.values()):
            namespace, _, name = holder.partition("/")
            row = self._tx.get_untracked(kinds.SERVICE, namespace, name)
            found |= {item for item in claims_of(row.message) if claims.get(item) == holder} if row is not None else set()
        return found

    def _is_free(self, name: str) -> bool:
        """Read last as a part of the transaction, so that it is still free when that is committed."""
        if name in self._own or self._tx.get_untracked(kinds.SERVICE_CLAIM, "", name) is not None:
            return False
        return self._tx.get(kinds.SERVICE_CLAIM, "", name) is None

    def _stated_ports(self) -> None:
        for index, port in enumerate(self._item.spec.ports):
            if port.nodePort:
                self._check_port(port.nodePort, f"spec.ports[{index}].nodePort")
                self._own.add(f"port-{port.nodePort}")
                self._node_ports.add(port.nodePort)

    def _further_ports(self) -> None:
        """Ports with one number and different protocols share a port of nodes, unless they state others."""
        ports = self._item.spec.ports
        stated = {port.port: port.nodePort for port in reversed(ports) if port.nodePort}
        for port in ports:
            if not port.nodePort:
                port.nodePort = stated.get(port.port) or self._next_port()
                stated[port.port] = port.nodePort
                self._own.add(f"port-{port.nodePort}")

    def _check_port(self, port: int, path: str) -> None:
        if text := self._wrong_port(port, taken=port == self._health_port and port not in self._node_ports):
            raise self._invalid(fielderrors.invalid(path, port, text))

    def _check_health_port(self, port: int) -> None:
        if text := self._wrong_port(port, taken=port in self._node_ports and port != self._health_port):
            raise Internal(f"failed to allocate requested HealthCheck NodePort {port}: {text}")
        self._own.add(f"port-{port}")

    def _wrong_port(self, port: int, *, taken: bool) -> str:
        """`taken`: the Service itself has it, for something else."""
        if taken:
            return _ALLOCATED
        if f"port-{port}" in self._own:
            return ""
        if not self._ranges.ports.holds(port):
            return f"provided port is not in the valid range. The range of valid ports is {self._ranges.ports}"
        return _ALLOCATED if is_taken(self._tx, self._item, f"port-{port}") else ""

    def _next_port(self) -> int:
        for part, tries in places(f"{self._seed}/{len(self._own)}", self._ranges.ports.candidates):
            port = self._free(part, tries, lambda place: f"port-{place}", self._seed)
            if port is not None:
                return port
        raise Internal(f"failed to allocate a nodePort: {FULL}")

    def _invalid(self, *causes: Cause) -> Invalid:
        return Invalid.of(kinds.SERVICE.group_kind, self._item.metadata.name[:253], causes)

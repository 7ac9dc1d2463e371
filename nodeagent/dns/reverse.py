"""Names of addresses: PTR records of cluster IPs, and of the ready endpoints of headless Services. Pure.

The reverse names of the cluster's networks are its own; others are passed on. The apex of such a zone is the network's own
where it ends with a label, else the next longer name: of 10.96.0.0/12, each of 96.10.in-addr.arpa to 111.10.in-addr.arpa.
Source: RFC 1035, 3.5, RFC 3596, 2.5, and the specification, 2.3.3 and 2.4.3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from nodeagent.dns.found import MAX_RECORDS, NXDOMAIN, PTR, Found, Labels, Record
from nodeagent.dns.index import Index, Reverse, Use

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Labels of an address, and bits of a label.
_FORMS = {"in-addr": (4, 8), "ip6": (32, 4)}


class Networks:
    """The cluster's own, by CIDR."""

    def __init__(self, cidrs: Sequence[str]) -> None:
        self._all = [ipaddress.ip_network(text, strict=False) for text in cidrs]

    def around(self, inner: Network) -> Network | None:
        return next((outer for outer in self._all if _within(inner, outer)), None)


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


def lookup(index: Index, networks: Networks, domain: Labels, name: Labels, type_: int) -> Found | None:
    """None for a name that is not the cluster's."""
    if len(name) < 2 or name[-2] not in _FORMS:
        return None
    most, bits = _FORMS[name[-2]]
    network, rest = _network(name[:-2], most, bits)
    outer = networks.around(network)
    found = Found(name if outer is None else name[-2 - -(-outer.prefixlen // bits) :])
    if rest:
        # Below an address, or no number.
        found.rcode = NXDOMAIN
    elif network.prefixlen == network.max_prefixlen:
        _point(found, index, domain, name, network.network_address.packed)
    # Names above an address are there for the sake of those below.
    if outer is None and not found.answers:
        return None
    found.answers = found.answers if type_ == PTR else []
    return found


def _network(labels: Labels, most: int, bits: int) -> tuple[Network, int]:
    """The network of the labels from the right that are numbers, and how many labels are left over."""
    numbers: list[int] = []
    for label in reversed(labels[-most:]):
        number = _number(label, bits)
        if number is None:
            break
        numbers.append(number)
    value = 0
    for position in range(most):
        value = value << bits | (numbers[position] if position < len(numbers) else 0)
    kind = ipaddress.IPv4Network if bits == 8 else ipaddress.IPv6Network
    return kind((value, len(numbers) * bits)), len(labels) - len(numbers)


def _number(label: str, bits: int) -> int | None:
    """A decimal byte without leading zeros, or a hexadecimal digit."""
    if bits == 4:
        return int(label, 16) if len(label) == 1 and label in "0123456789abcdef" else None
    if not label.isascii() or not label.isdigit() or len(label) > 3 or (len(label) > 1 and label[0] == "0"):
        return None
    return int(label) if int(label) < 256 else None


def _point(found: Found, index: Index, domain: Labels, name: Labels, address: bytes) -> None:
    """Of a cluster IP its Service, before what endpoints of others claim it."""
    sources = index.reverse.get(address)
    found.uses.append(Use(index.reverse, address, sources))
    if sources is not None:
        bases = [(service, namespace, "svc", *domain) for namespace, service in sorted(islice(sources.own, MAX_RECORDS))]
        own = (Record(name, PTR, ".".join(base)) for base in bases)
        hosts = sorted(islice(_hosts(sources), MAX_RECORDS))
        ends = (Record(name, PTR, ".".join((host, service, namespace, "svc", *domain))) for namespace, service, host in hosts)
        found.answers = [*islice(chain(own, ends), MAX_RECORDS)]
    found.rcode = 0 if found.answers else NXDOMAIN


def _hosts(sources: Reverse) -> Iterator[tuple[str, str, str]]:
    """Namespace, Service and host name of the endpoints of headless Services."""
    return ((*key, host) for key, hosts in sources.hosts.items() for host in hosts)

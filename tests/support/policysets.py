"""The kernel's side of NetworkPolicies in Python: what the rules of `policies.skeleton` do with a packet, given the elements.

It follows the docstring of `skeleton`, one direction of a connection; that the rules themselves do so is shown with real
packets.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator

from nodeagent.network.elements import Element, Key
from nodeagent.network.policies.evaluator import Traffic
from nodeagent.network.policies.model import IN, OUT, family_of
from nodeagent.network.policies.portblocks import SIZES
from nodeagent.network.policies.skeleton import container

_EVERYONE = "0:1"


class Tables:
    def __init__(self, elements: Iterable[Element]) -> None:
        """Raises AssertionError for elements that the kernel would reject: two values of a key, overlapping ranges."""
        self._by_container: dict[str, dict[Key, Key]] = {}
        for item in elements:
            there = self._by_container.setdefault(item.container, {})
            assert item.key not in there, item
            there[item.key] = item.value
        for family in (4, 6):
            _check_disjoint(_bounds(key[0]) for key in self._of("blocks", family))

    def _of(self, name: str, family: int) -> dict[Key, Key]:
        return self._by_container.get(container(name, family), {})

    def passes(self, source: str, destination: str, traffic: Traffic) -> bool:
        return self._end(OUT, source, destination, traffic) and self._end(IN, destination, source, traffic)

    def _end(self, direction: str, pod: str, peer: str, traffic: Traffic) -> bool:
        family = family_of(pod)
        if (pod,) not in self._of(f"{direction}_pods", family) or (pod, peer) in self._of("self", family):
            return True
        return any(self._matches(direction, pod, identity, traffic) for identity in self._identities(peer))

    def _identities(self, peer: str) -> Iterator[str]:
        yield _EVERYONE
        family = family_of(peer)
        for layer in ("spaces", "peers"):
            yield from self._of(layer, family).get((peer,), ())
        number = int(ipaddress.ip_address(peer))
        for (text,), value in self._of("blocks", family).items():
            first, last = _bounds(text)
            if first <= number <= last:
                yield from value

    def _matches(self, direction: str, pod: str, identity: str, traffic: Traffic) -> bool:
        family = family_of(pod)
        if (pod, identity) in self._of(f"{direction}_any", family):
            return True
        cell = self._of(f"{direction}_cells", family).get((pod, identity))
        if cell is None:
            return False
        sizes = SIZES if (pod,) in self._of(f"{direction}_ranged", family) else (1,)
        keys = {size: (*cell, traffic.protocol, str(traffic.port // size * size)) for size in sizes}
        return any(key in self._of(f"{direction}_{size}", family) for size, key in keys.items())


def _bounds(text: str) -> tuple[int, int]:
    """Of an address, a network or a range."""
    if "-" in text:
        first, _, last = text.partition("-")
        return int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
    network = ipaddress.ip_network(text)
    return int(network.network_address), int(network.broadcast_address)


def _check_disjoint(ranges: Iterable[tuple[int, int]]) -> None:
    found = sorted(ranges)
    for (_, last), (first, _) in itertools.pairwise(found):
        assert last < first, found

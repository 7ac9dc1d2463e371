"""Addresses that Services of type LoadBalancer are given. Pure, but for what `AddressPool` remembers."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator

from pinnace import services
from pinnace.ipfamilies import Address

# What a holder begins with that is no Service.
NODE = "node "


class Unavailable(Exception):
    """No address can be given; the message says why."""


class AddressPool:
    """Ranges of addresses, each from its first to its last, and who was given one that the store does not show yet."""

    def __init__(self, ranges: Iterable[tuple[Address, Address]]) -> None:
        self._ranges = tuple(ranges)
        self._given: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._ranges)

    @property
    def families(self) -> frozenset[str]:
        return frozenset(services.family_of(str(first)) for first, _ in self._ranges)

    def holds(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        return any(first.version == address.version and int(first) <= int(address) <= int(last) for first, last in self._ranges)

    def take(self, owner: str, family: str, wanted: str, holder: Callable[[str], str]) -> str:
        """An address for a Service: `wanted`, or any of the family if that is empty. `holder`: the Service that has an address,
        or `node NAME`; empty for none. Costs O(addresses in use). Raises Unavailable."""
        if wanted:
            if not self.holds(wanted):
                raise Unavailable(f"requested address {wanted} is not in the pool")
            other = self._holder(wanted, holder)
            if other not in ("", owner):
                text = other if other.startswith(NODE) else f"Service {other}"
                raise Unavailable(f"requested address {wanted} is in use by {text}")
            found: str | None = wanted
        else:
            found = next((text for text in self._of(family) if self._holder(text, holder) in ("", owner)), None)
        if found is None:
            raise Unavailable(f"the pool has no free {family} address")
        self._given[found] = owner
        return found

    def release(self, owner: str, *, kept: Iterable[str] = ()) -> None:
        """The Service has no addresses any more but `kept`."""
        held = set(kept)
        self._given = {text: name for text, name in self._given.items() if name != owner or text in held}

    def _holder(self, text: str, holder: Callable[[str], str]) -> str:
        return self._given.get(text) or holder(text)

    def _of(self, family: str) -> Iterator[str]:
        for first, last in self._ranges:
            if services.family_of(str(first)) == family:
                for number in range(int(first), int(last) + 1):
                    yield str(type(first)(number))

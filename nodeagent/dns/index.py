"""Names of Services to their records, changed by one object at a time: a change costs what its object holds.

Every value in the index is immutable and replaced when it changes, so that an answer that was made from it is current as long
as the index still has the same value (see `Use`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nodeagent.dns.records import Endpoint, Port, Service, Slice

Key = tuple[str, str]
# Sources of a reverse name: a Service by its key, with whether its own address or that of an endpoint.
Reverse = frozenset[tuple[str, str, bool]]


@dataclass(frozen=True, slots=True)
class Use:
    """One look into the index: it would find the same again while `table` has `value` at `key` (None: nothing)."""

    table: Mapping[Any, Any]
    key: Any
    value: Any

    def current(self) -> bool:
        return self.table.get(self.key) is self.value


class Entry:
    """One name of a Service: the object and its slices, each of which may be missing. Immutable."""

    def __init__(self, service: Service | None, slices: Mapping[str, Slice]) -> None:
        self.service = service
        self.slices = slices

    @cached_property
    def endpoints(self) -> tuple[tuple[Endpoint, tuple[Port, ...]], ...]:
        """Each ready endpoint with its ports, an address of a host name once for the same ports."""
        found: dict[tuple[Endpoint, int], tuple[Endpoint, tuple[Port, ...]]] = {}
        # Ports are hashed once for each slice, not for each endpoint.
        known: dict[tuple[Port, ...], tuple[Port, ...]] = {}
        for item in self.slices.values():
            ports = known.setdefault(item.ports, item.ports)
            found.update({(endpoint, id(ports)): (endpoint, ports) for endpoint in item.endpoints})
        return tuple(found.values())

    @cached_property
    def hosts(self) -> Mapping[str, tuple[str, ...]]:
        """Addresses by host name, in lower case."""
        found: dict[str, dict[str, None]] = {}
        for endpoint, _ in self.endpoints:
            found.setdefault(hostname_of(endpoint), {})[endpoint.address] = None
        return {name: tuple(addresses) for name, addresses in found.items()}

    @cached_property
    def addresses(self) -> tuple[str, ...]:
        """What the name of a headless Service leads to."""
        return tuple(dict.fromkeys(endpoint.address for endpoint, _ in self.endpoints))


def hostname_of(endpoint: Endpoint) -> str:
    """Source: CoreDNS' kubernetes plugin, endpointHostname."""
    return endpoint.hostname.lower() or endpoint.address.replace(".", "-").replace(":", "-")


class Index:
    """`entries` by namespace and name, `reverse` by address, `namespaces` (the Service's and those announced) by name."""

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}
        self.reverse: dict[bytes, Reverse] = {}
        self.namespaces: dict[str, object] = {}
        # How many objects are in a namespace.
        self._counts: dict[str, int] = {}
        # To find the Service that a slice was of.
        self._slices: dict[Key, str] = {}
        self._announced: set[str] = set()

    def set_service(self, item: Service) -> None:
        self._replace_service((item.namespace, item.name), item)

    def delete_service(self, namespace: str, name: str) -> None:
        self._replace_service((namespace, name), None)

    def set_slice(self, item: Slice) -> None:
        before = self._slices.get((item.namespace, item.name))
        if before is not None and before != item.service:
            self.delete_slice(item.namespace, item.name)
        self._slices[item.namespace, item.name] = item.service
        self._replace_slice((item.namespace, item.service), item.name, item)

    def delete_slice(self, namespace: str, name: str) -> None:
        service = self._slices.pop((namespace, name), None)
        if service is not None:
            self._replace_slice((namespace, service), name, None)

    def set_namespace(self, name: str) -> None:
        """A namespace exists, whatever is in it."""
        if name not in self._announced:
            self._announced.add(name)
            self._count(name, 1)

    def delete_namespace(self, name: str) -> None:
        if name in self._announced:
            self._announced.discard(name)
            self._count(name, -1)

    def objects(self) -> set[tuple[str, str, str]]:
        """Kind, namespace and name of every object."""
        services = {("Service", *key) for key, entry in self.entries.items() if entry.service is not None}
        return (
            services | {("EndpointSlice", *key) for key in self._slices} | {("Namespace", "", name) for name in self._announced}
        )

    def _replace_service(self, key: Key, item: Service | None) -> None:
        old = self.entries.get(key)
        before = old.service if old is not None else None
        if before == item:
            return
        self._put(key, item, old.slices if old is not None else {})
        mine = (*key, True)
        self._move(_packed(before.addresses if before else ()), _packed(item.addresses if item else ()), mine)
        self._count(key[0], (item is not None) - (before is not None))

    def _replace_slice(self, key: Key, name: str, item: Slice | None) -> None:
        old = self.entries.get(key)
        slices = dict(old.slices) if old is not None else {}
        before = slices.pop(name, None)
        if before == item:
            return
        others = {address for one in slices.values() for address in _of(one)}
        if item is not None:
            slices[name] = item
        self._put(key, old.service if old is not None else None, slices)
        # An address that another slice of the Service has too stays.
        self._move(_of(before) - others, _of(item) - others, (*key, False))
        self._count(key[0], (item is not None) - (before is not None))

    def _put(self, key: Key, service: Service | None, slices: Mapping[str, Slice]) -> None:
        if service is None and not slices:
            self.entries.pop(key, None)
        else:
            self.entries[key] = Entry(service, slices)

    def _move(self, before: set[bytes], after: set[bytes], source: tuple[str, str, bool]) -> None:
        for address in before - after:
            left = self.reverse[address] - {source}
            if left:
                self.reverse[address] = left
            else:
                del self.reverse[address]
        for address in after - before:
            self.reverse[address] = self.reverse.get(address, frozenset()) | {source}

    def _count(self, namespace: str, change: int) -> None:
        count = self._counts.get(namespace, 0) + change
        if count:
            self._counts[namespace] = count
            self.namespaces.setdefault(namespace, object())
        else:
            self._counts.pop(namespace, None)
            self.namespaces.pop(namespace, None)


def packed(address: str) -> bytes | None:
    """4 or 16 bytes; None for what is no address."""
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return None


def _packed(addresses: Iterable[str]) -> set[bytes]:
    return {found for address in addresses if (found := packed(address)) is not None}


def _of(item: Slice | None) -> set[bytes]:
    return _packed(endpoint.address for endpoint in item.endpoints) if item is not None else set()


def address_in(label: str) -> str:
    """The address that a label has with dashes; empty for none."""
    dotted = label.count("-") == 3 and "--" not in label
    text = label.replace("-", "." if dotted else ":")
    return text if packed(text) is not None and "%" not in text else ""

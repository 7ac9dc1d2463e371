"""Names of Services to their records, changed by one object at a time: a change costs what its object holds.

Every value in the index is immutable and replaced when it changes, so that an answer that was made from it is current as long
as the index still has the same value (see `Use`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nodeagent.dns.records import Endpoint, Port, Service, Slice

Key = tuple[str, str]
Hosts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """One look into the index: it would find the same again while `table` has `value` at `key` (None: nothing)."""

    table: Mapping[Any, Any]
    key: Any
    value: Any

    def current(self) -> bool:
        return self.table.get(self.key) is self.value


@dataclass(frozen=True, slots=True)
class Reverse:
    """The names of an address: Services whose own it is, and host names of endpoints by headless Service. Replaced with each
    change; the dictionaries are the same ones, so that a change costs what it changes."""

    own: dict[Key, None]
    hosts: dict[Key, Hosts]


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
    def reverse(self) -> Mapping[bytes, Hosts]:
        """Host names by address, of a headless Service."""
        found: dict[bytes, dict[str, None]] = {}
        if self.service is not None and self.service.headless:
            for endpoint, _ in self.endpoints:
                if (address := packed(endpoint.address)) is not None:
                    found.setdefault(address, {})[hostname_of(endpoint)] = None
        return {address: tuple(sorted(names)) for address, names in found.items()}

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
        addresses, later = _packed(before.addresses if before else ()), _packed(item.addresses if item else ())
        for address in addresses - later:
            with self._renewed(address) as found:
                del found.own[key]
        for address in later - addresses:
            with self._renewed(address) as found:
                found.own[key] = None
        self._count(key[0], (item is not None) - (before is not None))

    def _replace_slice(self, key: Key, name: str, item: Slice | None) -> None:
        old = self.entries.get(key)
        slices = dict(old.slices) if old is not None else {}
        before = slices.pop(name, None)
        if before == item:
            return
        if item is not None:
            slices[name] = item
        self._put(key, old.service if old is not None else None, slices)
        self._count(key[0], (item is not None) - (before is not None))

    def _put(self, key: Key, service: Service | None, slices: Mapping[str, Slice]) -> None:
        old = self.entries.get(key)
        new = Entry(service, slices)
        if service is None and not slices:
            self.entries.pop(key, None)
        else:
            self.entries[key] = new
        before: Mapping[bytes, Hosts] = old.reverse if old is not None else {}
        for address in before:
            if address not in new.reverse:
                with self._renewed(address) as found:
                    del found.hosts[key]
        for address, hosts in new.reverse.items():
            if before.get(address) != hosts:
                with self._renewed(address) as found:
                    found.hosts[key] = hosts

    @contextmanager
    def _renewed(self, address: bytes) -> Iterator[Reverse]:
        """The names of an address, to change."""
        old = self.reverse.get(address)
        new = Reverse(old.own, old.hosts) if old is not None else Reverse({}, {})
        yield new
        if new.own or new.hosts:
            self.reverse[address] = new
        else:
            self.reverse.pop(address, None)

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
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        return None


def _packed(addresses: Iterable[str]) -> set[bytes]:
    return {found for address in addresses if (found := packed(address)) is not None}


def address_in(label: str) -> str:
    """The address that a label has with dashes; empty for none."""
    dotted = label.count("-") == 3 and "--" not in label
    text = label.replace("-", "." if dotted else ":")
    return text if packed(text) is not None and "%" not in text else ""

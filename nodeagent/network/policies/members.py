"""The peers that are pods: the identities of each of their addresses, by the groups that they are in. Pure.

An address has an identity in each of two layers: by the groups of whole namespaces that it is in, and by all others. One alone
would multiply: each pod that lets a whole namespace in would need an element for each identity that labels make of the
namespace's pods.

Groups come in slices, ID.0, ID.1 and so on. A change of a slice is computed for the addresses that enter or leave it, a facet
that a policy begins to use for the members of its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from nodeagent.network.policies.blocks import BlockSet
from nodeagent.network.policies.grants import Facet
from nodeagent.network.policies.identities import Identities, Identity, Trait
from nodeagent.network.policies.model import Group, PodPort, Selection, family_of, group_of


class Place(NamedTuple):
    """An address in a layer; see `skeleton.LAYERS`."""

    layer: str
    address: str


class Members:
    """`all_pods` is the ID of the group of all pods: those with a named port, for rules that name no group."""

    def __init__(self, identities: Identities, all_pods: str) -> None:
        self._identities = identities
        self._all_pods = all_pods
        self._slices: dict[str, Group] = {}
        self._by_group: dict[str, set[str]] = {}
        # Slices by the address of a member.
        self._containing: dict[str, set[str]] = {}
        self._facets: dict[str, set[Facet]] = {}
        self._by_place: dict[Place, Identity] = {}

    def change(self, slices: Mapping[str, Group | None], facets: Mapping[Facet, bool]) -> dict[Place, Identity | None]:
        """New members of slices, and facets that are in use (True) or not. Returns the places whose identity is another one,
        with it; None: there is none any more."""
        addresses = set[str]()
        for name, members in slices.items():
            addresses |= self._change_slice(name, members or {})
        for facet, used in facets.items():
            if (group := self._group_of(facet)) is not None:
                self._use(group, facet, used=used)
                for name in self._by_group.get(group, ()):
                    addresses |= self._slices[name].keys()
        found = {place: self._identify(place) for address in addresses for place in _places(address)}
        for address in addresses:
            if not self._containing.get(address):
                self._containing.pop(address, None)
        return {place: new for place, (old, new) in found.items() if new is not old}

    def _change_slice(self, name: str, members: Group) -> set[str]:
        """Returns the addresses that enter it, leave it, or have other ports."""
        old = self._slices.pop(name, {})
        there = self._by_group.setdefault(group_of(name), set())
        if members:
            self._slices[name] = members
            there.add(name)
        else:
            there.discard(name)
        if not there:
            del self._by_group[group_of(name)]
        for address in old.keys() - members.keys():
            self._containing[address].discard(name)
        for address in members.keys() - old.keys():
            self._containing.setdefault(address, set()).add(name)
        return {address for address in old.keys() | members.keys() if old.get(address) != members.get(address)}

    def _group_of(self, facet: Facet) -> str | None:
        """The group whose members may have the facet."""
        if isinstance(facet.source, Selection):
            return facet.source.group
        return self._all_pods if facet.port is not None else None

    def _use(self, group: str, facet: Facet, *, used: bool) -> None:
        facets = self._facets.setdefault(group, set())
        (facets.add if used else facets.discard)(facet)
        if not facets:
            del self._facets[group]

    def _identify(self, place: Place) -> tuple[Identity | None, Identity | None]:
        """The old and the new identity. The new one first: an identity that stays is not given up in between."""
        old = self._by_place.pop(place, None)
        traits = frozenset(self._traits(place))
        new = self._identities.acquire(family_of(place.address), traits) if traits else None
        if new is not None:
            self._by_place[place] = new
        if old is not None:
            self._identities.release(old)
        return old, new

    def _traits(self, place: Place) -> Iterator[Trait]:
        for name in self._containing.get(place.address, ()):
            ports = self._slices[name][place.address]
            for facet in self._facets.get(group_of(name), ()):
                if _layer(facet) == place.layer:
                    yield from _traits(facet, place.address, ports)


def _places(address: str) -> tuple[Place, Place]:
    return Place("spaces", address), Place("peers", address)


def _layer(facet: Facet) -> str:
    return "spaces" if isinstance(facet.source, Selection) and facet.source.wide and facet.port is None else "peers"


def _traits(facet: Facet, address: str, ports: Iterable[PodPort]) -> Iterator[Trait]:
    if facet.port is None:
        yield Trait(facet)
    elif not isinstance(facet.source, BlockSet) or facet.source.contains(address):
        for port in ports:
            if (port.protocol, port.name) == facet.port:
                yield Trait(facet, port.number)

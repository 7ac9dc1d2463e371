"""What the pods of a profile grant to the peers of an identity, as elements (see `skeleton`). Pure, and incremental.

Each such pair is a *cell*. It has a number, and its ports are elements with this number: their count does not depend on the
number of pods. Each pod has one element for each cell of its profile, which leads to the number, or stands for all traffic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nodeagent.network.elements import Difference, Element
from nodeagent.network.policies.grants import End, Granted, Grants, Touched
from nodeagent.network.policies.identities import RESERVED, Identities, Identity, Trait, text_of
from nodeagent.network.policies.model import DIRECTIONS, family_of
from nodeagent.network.policies.portblocks import PortBlock
from nodeagent.network.policies.profiles import Profile
from nodeagent.network.policies.skeleton import container

_NOTHING = frozenset[PortBlock]()
# All traffic.
_ANY = frozenset({PortBlock("", 0, 0)})


@dataclass(slots=True)
class Written:
    """Elements to add and to remove. One in both stays as it is: of an identity that is released and made again, say."""

    add: set[Element] = field(default_factory=set)
    remove: set[Element] = field(default_factory=set)

    def difference(self) -> Difference:
        return Difference(tuple(self.add - self.remove), tuple(self.remove - self.add))


@dataclass(eq=False, slots=True)
class _Cell:
    """`number` 0: none is needed."""

    identity: Identity
    direction: str
    ports: frozenset[PortBlock]
    number: int

    def links(self, addresses: Iterable[str]) -> Iterator[Element]:
        """Those of a pod with these addresses."""
        family, identity = self.identity.family, self.identity.text
        name = container(f"{self.direction}_{'cells' if self.number else 'any'}", family)
        value = (text_of(self.number),) if self.number else ()
        for address in addresses:
            if family_of(address) == family:
                yield Element(name, (address, identity), value)

    def granted(self, ports: Iterable[PortBlock]) -> Iterator[Element]:
        """Those of some of the ports."""
        number = text_of(self.number)
        for protocol, size, first in ports if self.number else ():
            yield Element(container(f"{self.direction}_{size}", self.identity.family), (number, protocol, str(first)))


class Cells:
    def __init__(self, grants: Grants, identities: Identities) -> None:
        self._grants, self._identities = grants, identities
        self._by_identity: dict[Identity, dict[End, _Cell]] = {}
        self._by_end: dict[End, set[_Cell]] = {}
        self._numbers: set[int] = set()
        # Pods that have the elements of their profile: addresses by UID.
        self._placed: dict[Profile, dict[str, tuple[str, ...]]] = {}
        self._profiles: dict[str, Profile] = {}

    def elements(self) -> Iterator[Element]:
        """All that there should be."""
        for by_end in self._by_identity.values():
            for cell in by_end.values():
                yield from cell.granted(cell.ports)
        for profile, pods in self._placed.items():
            for addresses in pods.values():
                yield from self._links(profile, addresses)

    def change(self, touched: Touched, written: Written) -> None:
        for uid in touched.pods:
            self._remove_pod(uid, written)
        self._change_cells(touched, written)
        for uid in touched.pods:
            self._add_pod(uid, written)

    def _links(self, profile: Profile, addresses: tuple[str, ...]) -> Iterator[Element]:
        for direction in DIRECTIONS:
            for cell in self._by_end.get((profile, direction), ()):
                yield from cell.links(addresses)

    def _remove_pod(self, uid: str, written: Written) -> None:
        if (profile := self._profiles.pop(uid, None)) is None:
            return
        pods = self._placed[profile]
        written.remove.update(self._links(profile, pods.pop(uid)))
        if not pods:
            del self._placed[profile]

    def _add_pod(self, uid: str, written: Written) -> None:
        if (profile := self._grants.profiles.of(uid)) is None:
            return
        addresses = self._grants.profiles.pods[uid].addresses
        self._profiles[uid] = profile
        self._placed.setdefault(profile, {})[uid] = addresses
        written.add.update(self._links(profile, addresses))

    def _change_cells(self, touched: Touched, written: Written) -> None:
        journal = self._identities.journal()
        pairs = {(identity, end) for facet, end in touched.grants for identity in self._identities.having(facet)}
        for identity in journal.made:
            pairs |= {(identity, end) for trait in identity.traits for end in self._grants.ends(trait.facet)}
        for identity in journal.gone:
            for end in list(self._by_identity.get(identity, ())):
                self._change_cell(identity, end, _NOTHING, written)
        for identity, end in pairs:
            self._change_cell(identity, end, self._ports(identity, end), written)

    def _ports(self, identity: Identity, end: End) -> frozenset[PortBlock]:
        """Those that the pods grant to the identity."""
        if identity.family not in end[0].traits.families:
            return _NOTHING
        found = list[frozenset[PortBlock]]()
        for trait in identity.traits:
            for granted in self._granted(trait, end):
                if granted is None:
                    return _ANY
                found.append(granted)
        return _NOTHING.union(*found)

    def _granted(self, trait: Trait, end: End) -> Iterator[Granted]:
        port = trait.facet.port
        for found in self._grants.of(trait.facet, end):
            yield found if port is None else frozenset({PortBlock(port.protocol, 1, trait.number)})

    def _change_cell(self, identity: Identity, end: End, ports: frozenset[PortBlock], written: Written) -> None:
        old = self._by_identity.get(identity, {}).get(end)
        if old is not None and ports and bool(old.number) == (ports != _ANY):
            written.add.update(old.granted(ports - old.ports))
            written.remove.update(old.granted(old.ports - ports))
            old.ports = ports
            return
        pods = self._placed.get(end[0], {}).values()
        if old is not None:
            self._drop(old, end)
            written.remove.update(old.granted(old.ports))
            written.remove.update(item for addresses in pods for item in old.links(addresses))
        if ports:
            new = self._make(identity, end, ports)
            written.add.update(new.granted(new.ports))
            written.add.update(item for addresses in pods for item in new.links(addresses))

    def _make(self, identity: Identity, end: End, ports: frozenset[PortBlock]) -> _Cell:
        number = self._free(identity, end) if ports != _ANY else 0
        found = _Cell(identity, end[1], ports, number)
        self._by_identity.setdefault(identity, {})[end] = found
        self._by_end.setdefault(end, set()).add(found)
        return found

    def _drop(self, cell: _Cell, end: End) -> None:
        self._numbers.discard(cell.number)
        by_end = self._by_identity[cell.identity]
        del by_end[end]
        if not by_end:
            del self._by_identity[cell.identity]
        self._by_end[end].discard(cell)
        if not self._by_end[end]:
            del self._by_end[end]

    def _free(self, identity: Identity, end: End) -> int:
        """Follows from what the cell is of, so that an agent which starts again computes the one that the kernel has."""
        number = _hash(f"{end[0].digest}/{end[1]}/{identity.family}/{identity.number}")
        # There are more numbers than cells.
        while number in RESERVED or number in self._numbers:
            number = (number + 1) & 0xFFFFFFFF
        self._numbers.add(number)
        return number


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

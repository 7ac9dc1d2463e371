"""Identities: peers with the same facets have one number. Pure.

A number follows from the facets, so that an agent which starts again computes those that the kernel has. Two classes never
share a number, by chance or by a user's design: the later one gets the next free number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from nodeagent.network.policies.grants import EVERYONE, Facet


class Trait(NamedTuple):
    """A facet that a peer has. `number` is that of the facet's named port at this peer, else 0."""

    facet: Facet
    number: int = 0


@dataclass(eq=False, slots=True)
class Identity:
    """Peers of one address family with exactly these traits."""

    number: int
    family: int
    traits: frozenset[Trait]
    users: int = 0

    @property
    def text(self) -> str:
        return text_of(self.number)


# The number of everyone, in both families; and those that nftables lists by a name, none and root.
EVERYONES = 1
RESERVED = 0, 0xFFFFFFFF
_Key = tuple[int, frozenset[Trait]]


@dataclass(slots=True)
class Journal:
    """Identities that were made and given up since the last look."""

    made: set[Identity] = field(default_factory=set)
    gone: set[Identity] = field(default_factory=set)


class Identities:
    """All that are in use, and the one of each family that everyone has."""

    def __init__(self) -> None:
        self._by_key: dict[_Key, Identity] = {}
        self._by_number: dict[int, Identity] = {}
        self._by_facet: dict[Facet, set[Identity]] = {}
        self._journal = Journal()
        for family in (4, 6):
            self._make(family, frozenset({Trait(EVERYONE)}), EVERYONES).users = 1

    def acquire(self, family: int, traits: Iterable[Trait]) -> Identity:
        """For one more peer, or range of peers; `release` when it has it no longer."""
        key = family, frozenset(traits)
        found = self._by_key.get(key) or self._make(*key, self._free(key))
        found.users += 1
        return found

    def release(self, identity: Identity) -> None:
        identity.users -= 1
        if identity.users:
            return
        del self._by_key[identity.family, identity.traits]
        del self._by_number[identity.number]
        for facet in {trait.facet for trait in identity.traits}:
            self._by_facet[facet].discard(identity)
            if not self._by_facet[facet]:
                del self._by_facet[facet]
        if identity in self._journal.made:
            self._journal.made.remove(identity)
        else:
            self._journal.gone.add(identity)

    def having(self, facet: Facet) -> Iterable[Identity]:
        return self._by_facet.get(facet, ())

    def journal(self) -> Journal:
        """What has happened since the last call."""
        found, self._journal = self._journal, Journal()
        return found

    def _make(self, family: int, traits: frozenset[Trait], number: int) -> Identity:
        found = self._by_key[family, traits] = Identity(number, family, traits)
        self._by_number[number] = found
        for trait in traits:
            self._by_facet.setdefault(trait.facet, set()).add(found)
        self._journal.made.add(found)
        return found

    def _free(self, key: _Key) -> int:
        number = _hash(key)
        # There are more numbers than peers.
        while number in RESERVED or number in self._by_number:
            number = (number + 1) & 0xFFFFFFFF
        return number


def text_of(number: int) -> str:
    """As nftables writes it: of the type classid."""
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


def _hash(key: _Key) -> int:
    family, traits = key
    text = repr((family, sorted(repr(tuple(trait)) for trait in traits)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

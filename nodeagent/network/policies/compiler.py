"""From policies, groups and the node's pods to elements of nftables' sets and maps (see `skeleton`). Pure, and incremental.

Each peer has identities, which stand for all that policies of this node know of it, and each pod of the node has a profile,
which stands for all that policies can see of it. What the pods of a profile grant to an identity is a *cell* (see `cells`). So

- a pod that enters or leaves a group costs one element: its identity;
- a pod of this node costs one element for each cell of its profile, and up to three for each direction in which it is isolated;
- a policy costs the ports that it grants to the identities that its rules name, for each profile that it selects, however many
  pods have it; and, for the members of a group that no policy of this node has named before, a new identity;
- a block of addresses costs the ranges that it divides or touches, and a look at each block of the node, some 10 to 20 µs.

`tests/unit` compares every state that is reached by changes with one that is computed anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nodeagent.network.elements import Difference, Element
from nodeagent.network.policies import blocks, shares
from nodeagent.network.policies.blocks import BlockSet, Interval, Span
from nodeagent.network.policies.cells import Cells, Written
from nodeagent.network.policies.grants import End, Facet, Granted, Grants
from nodeagent.network.policies.identities import Identities, Identity, Trait
from nodeagent.network.policies.members import Members
from nodeagent.network.policies.model import DIRECTIONS, Block, Group, Pod, Policy, family_of
from nodeagent.network.policies.profiles import Key
from nodeagent.network.policies.skeleton import container
from pinnace import policypeers


@dataclass(frozen=True, slots=True)
class Changes:
    """New policies, slices of groups as ID.N, and pods by UID; None: there is none any more."""

    policies: Mapping[Key, Policy | None] = field(default_factory=dict)
    slices: Mapping[str, Group | None] = field(default_factory=dict)
    pods: Mapping[str, Pod | None] = field(default_factory=dict)


class Compiler:
    def __init__(self, max_named: int = shares.MAX_NAMED) -> None:
        """`max_named`: see `shares`."""
        self._max_named = max_named
        self._grants = Grants()
        self._identities = Identities()
        self._members = Members(self._identities, policypeers.ALL_PODS.id())
        self._used: set[Facet] = set()
        # Elements by what they are for: the place of a peer, a range of peers, or a pod.
        self._made: dict[object, frozenset[Element]] = {}
        # By family; by first and last address.
        self._ranges: dict[int, dict[Span, Identity]] = {4: {}, 6: {}}
        self._cells = Cells(self._grants, self._identities)
        # Of peers, by namespace; those that the node keeps; and those that cost too much, and are allowed nothing.
        self._blocks: dict[str, frozenset[Block]] = {}
        self._kept = frozenset[Block]()
        self._owned: dict[Block, frozenset[Trait]] = {}
        self.left_out: Mapping[str, frozenset[Block]] = {}

    def elements(self) -> set[Element]:
        """All that there should be."""
        return {*(item for made in self._made.values() for item in made), *self._cells.elements()}

    def change(self, changes: Changes) -> Difference:
        """What is to be added and removed."""
        written = Written()
        touched = self._grants.change(changes.policies, changes.pods)
        facets = self._use(touched.facets)
        for place, identity in self._members.change(changes.slices, facets).items():
            self._make(place, _mapped(place.layer, place.address, identity), written)
        if any(_is_range(facet) for facet in touched.facets):
            self._change_ranges(written)
        for uid in touched.pods.union(*(profile.members for profile, _ in touched.ends)):
            self._make(("pod", uid), frozenset(self._isolation(uid)), written)
        self._cells.change(touched, written)
        return written.difference()

    def _use(self, facets: Iterable[Facet]) -> dict[Facet, bool]:
        """Those that are in use now and were not, and the other way round."""
        found = {facet: self._grants.used(facet) for facet in facets}
        changed = {facet: used for facet, used in found.items() if used != (facet in self._used)}
        for facet, used in changed.items():
            (self._used.add if used else self._used.discard)(facet)
        return changed

    def _make(self, key: object, made: frozenset[Element], written: Written) -> None:
        old = self._made.pop(key, frozenset[Element]())
        if made:
            self._made[key] = made
        written.add |= made - old
        written.remove |= old - made

    def _change_ranges(self, written: Written) -> None:
        sources = {facet.source: facet for facet in self._used if isinstance(facet.source, BlockSet) and facet.port is None}
        self._choose_blocks(sources)
        old, self._owned = self._owned, self._owners(sources)
        changed = {block for block, traits in self._owned.items() if old.get(block) != traits} | (
            old.keys() - self._owned.keys()
        )
        for family in (4, 6):
            spans = blocks.joined(blocks.bounds(block.cidr) for block in changed if blocks.family_of(block) == family)
            if spans:
                self._change_spans(family, spans, written)

    def _change_spans(self, family: int, spans: list[Span], written: Written) -> None:
        """Compute the ranges anew where blocks have changed. Ranges that touch these addresses may become one with others."""
        ranges = self._ranges[family]
        near = {place for place in ranges if blocks.overlaps(spans, place[0] - 1, place[1] + 1)}
        old = {place: ranges.pop(place) for place in near}
        found = blocks.intervals_in(self._owned, family, blocks.joined([*spans, *near]))
        new = {(first, last): self._identities.acquire(family, traits) for first, last, traits in _merged(found, self._owned)}
        ranges |= new
        for first, last in {*old, *new}:
            if old.get((first, last)) == new.get((first, last)):
                continue
            made = _mapped("blocks", blocks.text(first, last, family), new.get((first, last)))
            self._make(("range", family, first, last), made, written)
        for identity in old.values():
            self._identities.release(identity)

    def _choose_blocks(self, sources: Mapping[BlockSet, Facet]) -> None:
        """Those that the node can afford."""
        found = dict[str, set[Block]]()
        for source, facet in sources.items():
            for namespace in {profile.traits.namespace for profile, _ in self._grants.ends(facet)}:
                found.setdefault(namespace, set()).update(source.blocks)
        if found == self._blocks:
            return
        self._blocks = {namespace: frozenset(there) for namespace, there in found.items()}
        self._kept = shares.kept(self._blocks, self._max_named)
        beyond = {namespace: there - self._kept for namespace, there in self._blocks.items()}
        self.left_out = {namespace: there for namespace, there in beyond.items() if there}

    def _owners(self, sources: Mapping[BlockSet, Facet]) -> dict[Block, frozenset[Trait]]:
        """The traits of addresses in a block. Of facets to which the same is granted, one stands for all: a thousand policies
        with a block each have one identity, which is one element for each pod."""
        alike = dict[frozenset[tuple[End, frozenset[Granted]]], Trait]()
        found = dict[Block, set[Trait]]()
        for source in sorted(sources, key=lambda item: item.digest):
            facet = sources[source]
            trait = alike.setdefault(self._grants.rights(facet), Trait(facet))
            for block in source.blocks:
                if block in self._kept:
                    found.setdefault(block, set()).add(trait)
        return {block: frozenset(traits) for block, traits in found.items()}

    def _isolation(self, uid: str) -> Iterator[Element]:
        profile = self._grants.profiles.of(uid)
        if profile is None:
            return
        for address in self._grants.profiles.pods[uid].addresses:
            family = family_of(address)
            for direction in DIRECTIONS:
                if self._grants.isolated((profile, direction)):
                    yield Element(container(f"{direction}_pods", family), (address,))
                    yield Element(container("self", family), (address, address))
                if self._grants.ranged((profile, direction)):
                    yield Element(container(f"{direction}_ranged", family), (address,))


def _is_range(facet: Facet) -> bool:
    return isinstance(facet.source, BlockSet) and facet.port is None


def _merged(
    found: Iterable[Interval], owners: Mapping[Block, Collection[Trait]]
) -> Iterator[tuple[int, int, frozenset[Trait]]]:
    """First and last address, and their traits; adjacent ones with the same traits are one."""
    before: tuple[int, int, frozenset[Trait]] | None = None
    for item in found:
        traits = frozenset(trait for block in item.blocks for trait in owners[block])
        if before is not None and (before[1] + 1, before[2]) == (item.first, traits):
            before = before[0], item.last, traits
            continue
        if before is not None:
            yield before
        before = item.first, item.last, traits
    if before is not None:
        yield before


def _mapped(layer: str, peers: str, identity: Identity | None) -> frozenset[Element]:
    """`peers` is an address, or a range of them."""
    return frozenset({Element(container(layer, identity.family), (peers,), (identity.text,))}) if identity else frozenset()

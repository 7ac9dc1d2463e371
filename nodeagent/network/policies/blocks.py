"""Ranges of addresses that overlap, cut into ranges that do not: an interval map has one value for each address. Pure."""

from __future__ import annotations

import bisect
import functools
import hashlib
import ipaddress
import operator
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from nodeagent.network.policies.model import Block

_BITS = {4: 32, 6: 128}
# The first and the last of some addresses.
Span = tuple[int, int]


class Interval(NamedTuple):
    """The addresses `first` to `last`, which are in exactly these blocks."""

    first: int
    last: int
    blocks: frozenset[Block]


@dataclass(frozen=True, slots=True)
class BlockSet:
    """The blocks of one rule: peers in any of them have the same rights by it. Compared by `digest`."""

    digest: str
    blocks: tuple[Block, ...] = field(compare=False, repr=False)

    def contains(self, address: str) -> bool:
        return any(contains(block, address) for block in self.blocks)


def set_of(blocks: Iterable[Block]) -> BlockSet:
    found = tuple(sorted(set(blocks)))
    return BlockSet(hashlib.sha256(repr([tuple(block) for block in found]).encode()).hexdigest(), found)


def family_of(block: Block) -> int:
    return 6 if ":" in block.cidr else 4


def contains(block: Block, address: str) -> bool:
    """Whether the address, of either family, is in the block."""
    found = ipaddress.ip_address(address)
    return found in ipaddress.ip_network(block.cidr) and not any(found in ipaddress.ip_network(part) for part in block.excepts)


def intervals(blocks: Iterable[Block], family: int) -> list[Interval]:
    """Those of one family, in order; addresses in no block are left out."""
    # Where a block, or a part that it leaves out, begins or ends.
    changes = [change for block in set(blocks) if family_of(block) == family for change in _changes(block)]
    changes.sort(key=operator.itemgetter(0))
    excluded, within, active = Counter[Block](), set[Block](), set[Block]()
    found, place = list[Interval](), 0
    for following, block, level, exclusion in changes:
        if following > place and active:
            _append(found, Interval(place, following - 1, frozenset(active)))
        place = following
        if exclusion:
            excluded[block] += exclusion
        else:
            (within.add if level > 0 else within.discard)(block)
        (active.add if block in within and not excluded[block] else active.discard)(block)
    return found


def intervals_in(blocks: Iterable[Block], family: int, spans: Sequence[Span]) -> Iterator[Interval]:
    """Their intervals, or the parts of them, that are in the spans: computed of blocks that have a part there."""
    for item in intervals(
        (block for block in blocks if family_of(block) == family and overlaps(spans, *bounds(block.cidr))), family
    ):
        index = bisect.bisect_left(spans, item.first, key=operator.itemgetter(1))
        while index < len(spans) and spans[index][0] <= item.last:
            yield Interval(max(item.first, spans[index][0]), min(item.last, spans[index][1]), item.blocks)
            index += 1


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same addresses, in order; spans that overlap or touch are one."""
    found = list[Span]()
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def overlaps(spans: Sequence[Span], first: int, last: int) -> bool:
    """Whether any of the spans, which are joined, has an address from `first` to `last`."""
    index = bisect.bisect_left(spans, first, key=operator.itemgetter(1))
    return index < len(spans) and spans[index][0] <= last


def _changes(block: Block) -> Iterator[tuple[int, Block, int, int]]:
    """Addresses at which the block begins or ends (+1, -1 in the third place), or a part that it leaves out (in the fourth)."""
    for text, level, exclusion in ((block.cidr, 1, 0), *((part, 0, 1) for part in block.excepts)):
        first, last = bounds(text)
        yield first, block, level, exclusion
        yield last + 1, block, -level, -exclusion


def affordable(blocks: Iterable[Block], most: int) -> frozenset[Block]:
    """Those of the blocks whose intervals, of both families, name at most so many blocks in all. Those that others divide most
    are left out: intervals grow with the square of blocks that overlap."""
    found = frozenset(blocks)
    if all_affordable(found, most):
        return found
    kept, room = set[Block](), most
    for block, size in by_size(found):
        if (room := room - size) < 0:
            break
        kept.add(block)
    return frozenset(kept)


def all_affordable(blocks: Set[Block], most: int) -> bool:
    """Whether the intervals of the blocks name at most so many of them in all."""
    return len(blocks) * 2 * sum(1 + len(block.excepts) for block in blocks) <= most or Cost(blocks).total <= most


def by_size(blocks: Set[Block]) -> list[tuple[Block, int]]:
    """Those that others divide least first."""
    return sorted(sizes(blocks).items(), key=lambda item: (item[1], item[0]))


def sizes(blocks: Set[Block]) -> dict[Block, int]:
    """For each block how many intervals it is divided into, at most: the places in it at which any of the blocks, or an
    exception, begins or ends."""
    places = {
        family: sorted({place for block in blocks if family_of(block) == family for place in places_of(block)})
        for family in _BITS
    }
    return {block: _places_in(block, places[family_of(block)]) for block in blocks}


class Cost:
    """Of blocks: how many of them their intervals name in all, at most (the sum of `sizes`). One more takes up to 0.1 ms."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._by_family = {family: _Ends() for family in _BITS}
        for block in blocks:
            self._by_family[family_of(block)].append(block)
        self.total = sum(ends.sort() for ends in self._by_family.values())

    def add(self, block: Block) -> None:
        """One that has not been added."""
        ends, (first, last) = self._by_family[family_of(block)], bounds(block.cidr)
        for place in places_of(block):
            index = bisect.bisect_left(ends.places, place)
            if ends.places[index : index + 1] != [place]:
                ends.places.insert(index, place)
                self.total += ends.having(place)
        bisect.insort(ends.firsts, first)
        bisect.insort(ends.lasts, last)
        self.total += _places_in(block, ends.places)


@dataclass(slots=True)
class _Ends:
    """Of blocks of a family, each in order: where a block or an exception begins or ends; first addresses; last addresses."""

    places: list[int] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)

    def append(self, block: Block) -> None:
        """Out of order, until `sort`."""
        first, last = bounds(block.cidr)
        self.firsts.append(first)
        self.lasts.append(last)
        self.places += first, last + 1
        for part in block.excepts:
            self.places += _places(part)

    def sort(self) -> int:
        """Returns how many places the blocks have in all."""
        self.places = sorted(set(self.places))
        self.firsts.sort()
        self.lasts.sort()
        return sum(map(self.having, self.places))

    def having(self, place: int) -> int:
        """How many blocks have the place."""
        return bisect.bisect_right(self.firsts, place) - bisect.bisect_left(self.lasts, place)


def _places_in(block: Block, places: Sequence[int]) -> int:
    first, last = bounds(block.cidr)
    return bisect.bisect_right(places, last) - bisect.bisect_left(places, first)


def places_of(block: Block) -> set[int]:
    """Where the block, or a part that it leaves out, begins, and where the addresses after it begin."""
    return {place for text in (block.cidr, *block.excepts) for place in _places(text)}


def _places(network: str) -> tuple[int, int]:
    first, last = bounds(network)
    return first, last + 1


@functools.lru_cache(maxsize=100_000)
def bounds(network: str) -> tuple[int, int]:
    """The first and the last address. Kept, as each change of a block looks at all of them. Not by `ipaddress`, which
    takes six times as long."""
    address, _, length = network.partition("/")
    family, bits = (socket.AF_INET6, _BITS[6]) if ":" in address else (socket.AF_INET, _BITS[4])
    first = int.from_bytes(socket.inet_pton(family, address))
    return first, first | ((1 << bits - int(length or bits)) - 1)


def _append(found: list[Interval], item: Interval) -> None:
    if found and found[-1].blocks == item.blocks and found[-1].last + 1 == item.first:
        found[-1] = found[-1]._replace(last=item.last)
    else:
        found.append(item)


def text(first: int, last: int, family: int) -> str:
    """A range of addresses as `elements.listing` has it: an address, a network, or the first and the last address."""
    size = last - first + 1
    if size == 1:
        return _address(first, family)
    if size & (size - 1) == 0 and first % size == 0:
        return f"{_address(first, family)}/{_BITS[family] - size.bit_length() + 1}"
    return f"{_address(first, family)}-{_address(last, family)}"


def _address(number: int, family: int) -> str:
    return str(ipaddress.IPv4Address(number) if family == 4 else ipaddress.IPv6Address(number))

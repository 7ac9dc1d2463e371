"""Ranges of addresses that overlap, cut into ranges that do not: an interval map has one value for each address. Pure."""

from __future__ import annotations

import bisect
import functools
import hashlib
import ipaddress
import operator
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nodeagent.network.policies.model import Block

_BITS = {4: 32, 6: 128}


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


def _changes(block: Block) -> Iterator[tuple[int, Block, int, int]]:
    """Addresses at which the block begins or ends (+1, -1 in the third place), or a part that it leaves out (in the fourth)."""
    for text, level, exclusion in ((block.cidr, 1, 0), *((part, 0, 1) for part in block.excepts)):
        first, last = _bounds(text)
        yield first, block, level, exclusion
        yield last + 1, block, -level, -exclusion


def affordable(blocks: Iterable[Block], most: int) -> frozenset[Block]:
    """Those of the blocks whose intervals, of both families, name at most so many blocks in all. Those that others divide most
    are left out: intervals grow with the square of blocks that overlap."""
    found = frozenset(blocks)
    if len(found) * 2 * sum(1 + len(block.excepts) for block in found) <= most:
        return found
    places = {
        family: sorted({change[0] for block in found if family_of(block) == family for change in _changes(block)})
        for family in _BITS
    }
    sizes = {block: _places_in(block, places[family_of(block)]) for block in found}
    if sum(sizes.values()) <= most:
        return found
    kept, room = set[Block](), most
    for block in sorted(found, key=lambda block: (sizes[block], block)):
        if (room := room - sizes[block]) < 0:
            break
        kept.add(block)
    return frozenset(kept)


def _places_in(block: Block, places: Sequence[int]) -> int:
    """Intervals of the block, at most."""
    first, last = _bounds(block.cidr)
    return bisect.bisect_right(places, last) - bisect.bisect_left(places, first)


@functools.lru_cache(maxsize=50_000)
def _bounds(network: str) -> tuple[int, int]:
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

"""Ranges of ports as aligned blocks, so that each can be looked up by the first bits of a port in a hash table.

Linux has sets of ranges too, but a change of one costs time that grows with the set: with some ten thousand elements, half a
minute for the ports of one pod. Pure.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from nodeagent.network.policies.model import LAST_PORT, Ports

# From large to small. Sixteen times each: four lookups, and rarely more than some dozen blocks for a range.
SIZES = 1 << 16, 1 << 12, 1 << 8, 1 << 4, 1


class PortBlock(NamedTuple):
    """`size` ports of a protocol from `first` on."""

    protocol: str
    size: int
    first: int


@functools.lru_cache(4096)
def split(ports: Ports) -> frozenset[PortBlock]:
    found = []
    first = ports.first
    while first <= min(ports.last, LAST_PORT):
        size = next(size for size in SIZES if first % size == 0 and first + size - 1 <= ports.last)
        found.append(PortBlock(ports.protocol, size, first))
        first += size
    return frozenset(found)

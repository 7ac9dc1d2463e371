"""The maps of sparse files in tars, in GNU tar's four formats: from bytes to checked extents. Pure.

Source: the GNU tar manual, "Storing Sparse Files". A map that could not be of a file is refused; so is a long one, for a map
is kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable

from pinnace.oci import BadImage
from pinnace.oci.tarheader import Extent, number

MAX_EXTENTS = 50_000
_BLOCK = 512
_LONGEST_NUMBER = 20


def total(extents: tuple[Extent, ...]) -> int:
    """Bytes of data."""
    return sum(length for _, length in extents)


def from_header(block: bytes, more: Callable[[], bytes], size: int) -> tuple[Extent, ...]:
    """The old format: four extents in the header, 21 in each block that `more` reads. Raises BadImage."""
    found: list[Extent] = []

    def take(raw: bytes) -> None:
        for at in range(0, len(raw), 24):
            offset, length = raw[at : at + 12], raw[at + 12 : at + 24]
            if not offset.strip(b"\0"):
                return
            found.append((number(offset, "offset in a sparse map", size), number(length, "length in a sparse map", size)))
            if len(found) > MAX_EXTENTS:
                raise BadImage(f"a sparse map of more than {MAX_EXTENTS} extents")

    take(block[386:482])
    extended = block[482]
    while extended:
        block = more()
        take(block[:504])
        extended = block[504]
        if extended and not block[:24].strip(b"\0"):
            raise BadImage("a sparse map has an empty block")
    return _checked(found, size)


def from_records(text: bytes, size: int) -> tuple[Extent, ...]:
    """Versions 0.0 and 0.1: numbers with commas in between. Raises BadImage."""
    return _paired(text.split(b",") if text else [], size)


def from_lines(read: Callable[[], bytes], size: int, most: int) -> tuple[Extent, ...]:
    """Version 1.0: lines of numbers before the data, padded to blocks; `most` bytes at most. Raises BadImage."""
    data, taken = bytearray(), 0
    wanted = -1
    lines: list[bytes] = []
    while wanted < 0 or len(lines) < wanted:
        taken += _BLOCK
        if taken > most:
            raise BadImage("a sparse map is longer than its file's data")
        data += read()
        *whole, rest = bytes(data).split(b"\n")
        if wanted < 0 and whole:
            wanted = 2 * _number(whole.pop(0), MAX_EXTENTS)
        lines += whole
        if len(rest) > _LONGEST_NUMBER and len(lines) < max(wanted, 0):
            raise BadImage(f"{rest[:40]!r} in a sparse map is no number")
        data = bytearray(rest)
        if wanted < 0 and len(rest) > _LONGEST_NUMBER:
            raise BadImage(f"{rest[:40]!r} in a sparse map is no number")
    return _paired(lines[:wanted], size)


def _paired(numbers: list[bytes], size: int) -> tuple[Extent, ...]:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_EXTENTS:
        raise BadImage(f"a sparse map of {len(numbers)} numbers: not pairs, or more than {MAX_EXTENTS}")
    values = [_number(text, size) for text in numbers]
    return _checked(list(zip(values[::2], values[1::2], strict=True)), size)


def _number(text: bytes, most: int) -> int:
    if not text.isdigit() or len(text) > _LONGEST_NUMBER or (value := int(text)) > most:
        raise BadImage(f"{text[:40]!r} in a sparse map is no number up to {most}")
    return value


def _checked(extents: list[Extent], size: int) -> tuple[Extent, ...]:
    """In order, apart from each other, and inside of the file."""
    end = 0
    for offset, length in extents:
        if offset < end or offset + length > size:
            raise BadImage(f"a sparse map has an extent of {length} bytes at {offset}, which is not between {end} and {size}")
        end = offset + length
    return tuple(extents)

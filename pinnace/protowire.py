"""Protobuf fields put together by hand, for content that is encoded already: building a message would copy it."""

from __future__ import annotations


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field: bytes, text or a message. `number` is below 16."""
    return opened(number, len(data)) + data


def opened(number: int, size: int) -> bytes:
    """What comes before the `size` bytes of a field."""
    return bytes([number << 3 | 2]) + varint(size)


def varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first; all but the last have the eighth. Source: protobuf's encoding."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)

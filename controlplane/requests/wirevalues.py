"""How many messages an encoded object holds, before it is decoded: a message of two bytes becomes hundreds in memory.

Three megabytes of empty messages take half a second and hundreds of megabytes to decode, and nothing runs meanwhile. So the
fields of a large body are walked first, along the descriptor and without decoding them, and no further than an object that is
accepted may reach.

Source: "Encoding" of the Protocol Buffers documentation.
"""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor

# Fields that are walked for each value that an object may have, and at least. Go writes fields of structs also when they are
# zero, some six for each that counts as a value. 160,000 fields take some 100 ms.
FIELDS_EACH, FIELDS = 8, 160_000
_VARINT, _FIXED64, _BYTES, _START, _END, _FIXED32 = range(6)
_FIXED = {_FIXED64: 8, _FIXED32: 4}
# Bytes of the longest varint.
_LONGEST = 10


class Unreadable(Exception):
    """The bytes are no fields."""


def exceeds(descriptor: Descriptor, data: bytes, most: int) -> bool:
    """Whether a message holds more than `most` others, or more fields than that allows. Raises Unreadable."""
    left, fields = most, max(FIELDS, FIELDS_EACH * most)
    at, end, below = 0, len(data), _messages(descriptor)
    # Where the enclosing messages end, and their fields that are messages.
    outer: list[tuple[int, dict[int, Descriptor]]] = []
    while True:
        while at == end:
            if not outer:
                return False
            end, below = outer.pop()
        key = data[at]
        # Numbers of one byte, as most are, cost no call.
        key, at = (key, at + 1) if key < 0x80 else _varint(data, at, end)
        fields -= 1
        wire = key & 7
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _BYTES:
            size = data[at] if at < end else 0x80
            size, at = (size, at + 1) if size < 0x80 else _varint(data, at, end)
            if size > end - at:
                raise Unreadable
            inner = below.get(key >> 3)
            if inner is None:
                at += size
            else:
                left -= 1
                outer.append((end, below))
                end, below = at + size, _messages(inner)
        elif wire in _FIXED:
            at += _FIXED[wire]
            if at > end:
                raise Unreadable
        elif wire not in (_START, _END):
            # Groups are unknown fields here: what they hold is walked as if it stood around them.
            raise Unreadable
        if left < 0 or fields < 0:
            return True


@cache
def _messages(descriptor: Descriptor) -> dict[int, Descriptor]:
    """The types of the fields that are messages, by number."""
    return {item.number: item.message_type for item in descriptor.fields if item.message_type is not None}


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for index in range(min(_LONGEST, end - at)):
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise Unreadable

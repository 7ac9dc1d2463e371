"""Protobuf read without a description: the fields of a message by number. For tests of what is encoded by hand."""

from __future__ import annotations

Fields = dict[int, list[bytes]]


def parse(data: bytes) -> Fields:
    """Each value as its bytes; of a number, its varint."""
    found, at = Fields(), 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 2:
            size, at = _varint(data, at)
            end = at + size
        elif key & 7 == 1:
            end = at + 8
        else:
            assert key & 7 == 0, f"wire type {key & 7}"
            _, end = _varint(data, at)
        assert end <= len(data)
        found.setdefault(key >> 3, []).append(data[at:end])
        at = end
    return found


def texts(message: Fields, number: int) -> list[str]:
    return [item.decode() for item in message[number]]


def entries(message: Fields, *path: int) -> dict[str, Fields]:
    """The repeated messages of a name and a value at the end of `path`, by their name."""
    for number in path[:-1]:
        message = parse(message[number][0])
    pairs = [parse(item) for item in message[path[-1]]]
    return {texts(pair, 1)[0]: parse(pair[2][0]) for pair in pairs}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at

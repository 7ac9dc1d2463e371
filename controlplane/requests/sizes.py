"""How many values an object may have: the work of a request depends on them more than on bytes, and nothing runs meanwhile.

A value is a field, an item of a list or an entry of a map. Bytes are bounded by the store; a pod of 1.3 MB may have 30,000 host
ports, which are decoded, defaulted, checked, compared and owned one by one. Kubernetes has no such limit, as its requests share
no thread. managedFields do not count: the server writes them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from controlplane.requests import managers, wirevalues
from pinnace.errors import TooLarge
from pinnace.kinds import Kind


def check_json(kind: Kind, value: Any) -> None:
    """Of JSON data, before anything else is done with it. Looks at no more values than are allowed. Raises TooLarge."""
    own = value.get("metadata") if isinstance(value, dict) else None
    if isinstance(own, dict) and "managedFields" in own:
        value = {**value, "metadata": {key: item for key, item in own.items() if key != "managedFields"}}
    left, pending = kind.most_values, [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            below: Any = item.values()
        elif isinstance(item, list):
            below = item
        else:
            continue
        left -= len(item)
        if left < 0:
            raise too_many(kind)
        pending.extend(below)


def check_message(kind: Kind, message: Message, *, size: int | None = None) -> None:
    """Of a message: what protobuf brought, in so many bytes if that is known, or what an apply made of two objects.

    Raises TooLarge."""
    if exceeds(message, kind.most_values, size=size):
        raise too_many(kind)


def check_encoded(kind: Kind, data: bytes) -> None:
    """Of an object in protobuf, before it is decoded. Raises TooLarge, wirevalues.Unreadable."""
    # Entries of managedFields do not count as values; each holds two messages.
    most = kind.most_values + 3 * managers.MAX_ENTRIES
    if len(data) > 2 * kind.most_values and wirevalues.exceeds(kind.cls.DESCRIPTOR, data, most):
        raise too_many(kind)


def exceeds(message: Message, most: int, *, size: int | None = None) -> bool:
    """Whether a message has more than `most` values; looks at no more of them."""
    # None has so many values in fewer bytes.
    return (message.ByteSize() if size is None else size) > 2 * most and _left(message, most) < 0


def _left(message: Message, left: int) -> int:
    """`left` less the values of the message; some negative number when it has more."""
    for descriptor, value in message.ListFields():
        below: Any = descriptor.message_type
        items = value if descriptor.is_repeated else (value,)
        left -= 1 + (len(value) if descriptor.is_repeated else 0)
        if below is not None and below.GetOptions().map_entry:
            below, items = below.fields_by_name["value"].message_type, value.values()
        for item in items if below is not None else ():
            if left < 0:
                return left
            left = _left(item, left)
        if left < 0:
            return left
    return left


def too_many(kind: Kind) -> TooLarge:
    """The refusal of such an object."""
    return TooLarge(f"the {kind.kind} has more than {kind.most_values} values (fields, list items and map entries)")

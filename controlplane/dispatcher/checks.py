"""What an agent says, checked like any client's input: numbers, times and sizes have ranges.

A status goes into the store beside a user's spec, and everything that reads it (scheduler, clients, the JSON codec) relies on
these ranges. One object that breaks them is refused; the others of the same report are taken.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Any

from google.protobuf.message import Message

from controlplane import events
from controlplane.requests import sizes
from pinnace import formats, quantity, schema
from pinnace.admission import podstatus
from pinnace.core.v1.node_pb2 import Node, NodeStatus
from pinnace.core.v1.pod_pb2 import PodStatus
from pinnace.errors import Invalid
from pinnace.kinds import MAX_VALUES
from pinnace.schema import Field

# Bytes. A node's status lists its images.
MAX_PATH = 1024
MAX_POD_STATUS, MAX_NODE_STATUS, MAX_EVENT = 256 << 10, 1 << 20, 64 << 10
# The seconds that RFC 3339 can write: years 1 to 9999.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
_NANOS = 1_000_000_000
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z", re.ASCII)


def check(message: Message, path: str, *, most: int) -> None:
    """Raises Invalid, naming the first field whose value is out of range, and for a message of more than `most` bytes or
    MAX_VALUES values."""
    if message.ByteSize() > most:
        raise Invalid(f"{path}: must have at most {most} bytes")
    if sizes.exceeds(message, MAX_VALUES):
        raise Invalid(f"{path}: must have at most {MAX_VALUES} fields, list items and map entries")
    _walk(message, path)


def check_pod_status(status: PodStatus) -> None:
    """`check`, of the status of a pod, whose addresses go to every node: what one of these cannot read would hold it up."""
    check(status, "status", most=MAX_POD_STATUS)
    for cause in podstatus.addresses(status):
        raise Invalid(f"{cause}"[: events.MAX_MESSAGE])


def check_node(message: Node | NodeStatus, path: str) -> None:
    """`check`, of a Node or its status, whose amounts are those of a machine: quantities that saturate are refused."""
    check(message, path, most=MAX_NODE_STATUS)
    status = message.status if isinstance(message, Node) else message
    path = f"{path}.status" if isinstance(message, Node) else path
    for name, amounts in (("capacity", status.capacity), ("allocatable", status.allocatable)):
        for resource, amount in amounts.items():
            units = quantity.milli(amount.string) if resource == "cpu" else quantity.units(amount.string)
            if units >= quantity.MAX:
                raise Invalid(f'{path}.{name}[{resource[:63]}]: no machine has "{amount.string}"')


def check_hello(hello: Any) -> None:
    """Raises Invalid."""
    check_node(hello.node, "node")
    if hello.vtepMac and _MAC.match(hello.vtepMac) is None:
        raise Invalid("vtepMac: must be a MAC address in lower case")
    if hello.wireguardKey and not _is_key(hello.wireguardKey):
        raise Invalid("wireguardKey: must be 32 bytes, not all zero, in base64")
    path = hello.localPath
    if path and (len(path) > MAX_PATH or os.path.normpath(path) != path or not path.startswith("/") or not path.isprintable()):
        raise Invalid("localPath: must be an absolute path without '..', of at most 1024 characters")


def _is_key(text: str) -> bool:
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(found) == 32 and any(found) and base64.b64encode(found).decode() == text


def is_label(value: str) -> bool:
    return not formats.label_value(value)


def _walk(message: Message, path: str) -> None:
    fields = schema.of(message).fields
    for descriptor, value in message.ListFields():
        item, where = fields[descriptor.name], f"{path}.{descriptor.name}"
        if item.type not in _CHECKED:
            continue
        if item.map:
            for key in value:
                _check(item, value[key], f"{where}[{key[:63]}]")
        elif item.repeated:
            for index, element in enumerate(value):
                _check(item, element, f"{where}[{index}]")
        else:
            _check(item, value, where)


def _check(item: Field, value: Any, path: str) -> None:
    if item.type == "message":
        _walk(value, path)
    elif item.type == "quantity":
        _check_amount(value.string, path)
    elif not (_FIRST <= value.seconds <= _LAST and 0 <= value.nanos < _NANOS):
        raise Invalid(f"{path}: must be a time from year 1 to 9999")


def _check_amount(text: str, path: str) -> None:
    try:
        if quantity.parse(text) >= 0:
            return
    except ValueError as error:
        raise Invalid(f"{path}: {error}") from None
    raise Invalid(f'{path}: must not be negative, which "{text}" is')


_CHECKED = ("message", "quantity", "time", "microtime")

"""The downward API: what a pod may learn of itself, as text, for variables and for files. Pure.

Source: the behaviour of kubelet, also in the words of its errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinnace import podspec, quantity

_SUBSCRIPTED = ("metadata.labels['", "metadata.annotations['")
# Go's strconv.Quote, which is what kubelet writes with.
_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def field_of(pod: Any, path: str, facts: Mapping[str, str]) -> str:
    """A field of the pod. `facts` answers what only the node knows: `status.podIP` and the like."""
    if path in facts:
        return facts[path]
    if path in ("metadata.labels", "metadata.annotations"):
        return lines_of(getattr(pod.metadata, path.partition(".")[2]))
    if path.startswith(_SUBSCRIPTED):
        name, _, key = path[:-2].partition("['")
        return str(getattr(pod.metadata, name.partition(".")[2]).get(key, ""))
    value: Any = pod
    for part in path.split("."):
        value = getattr(value, part)
    return str(value)


def lines_of(items: Mapping[str, str]) -> str:
    """A line of key="value" for each item, in order of key, without a newline at the end."""
    return "\n".join(f"{key}={quote(items[key])}" for key in sorted(items))


def quote(text: str) -> str:
    """As a Go string literal: one line, whatever is in it."""
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    # As Go's IsPrint, Python's leaves out separators besides the space.
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def resource_of(pod: Any, container: Any | None, ref: Any, facts: Mapping[str, str]) -> str:
    """A request or limit of a container, divided and rounded up. `container` is meant when the reference names none.

    An absent request is nothing, an absent limit what the node can give. Raises LookupError.
    """
    target = podspec.find(pod, ref.containerName) if ref.containerName else container
    if target is None:
        raise LookupError(f"container {ref.containerName} not found")
    kind, _, name = ref.resource.partition(".")
    amounts = getattr(target.resources, kind)
    text = amounts[name].string if name in amounts else "0"
    if kind == "limits" and not quantity.parse(text):
        text = facts[f"allocatable.{name}"]
    value = quantity.parse(text) / (quantity.parse(ref.divisor.string or "1") or 1)
    return str(-(-value.numerator // value.denominator))

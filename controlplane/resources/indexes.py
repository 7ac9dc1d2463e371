"""Indexes that every resource has, over the metadata of its objects. Those of one kind stand in its file.

An index is a name and a pure function: the values that an object is found under.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Values = Callable[[Any], Sequence[str]]
# UIDs of owners; `key=value` of each label; the name.
OWNER, LABEL, NAME = "owner", "label", "metadata.name"
# Of pods: the node that they are bound to.
NODE = "spec.nodeName"


def _owners(message: Any) -> Sequence[str]:
    return [reference.uid for reference in message.metadata.ownerReferences]


def _labels(message: Any) -> Sequence[str]:
    return [f"{key}={value}" for key, value in message.metadata.labels.items()]


def of_field(text: Callable[[Any], str]) -> Values:
    """The index of a selectable field."""
    return lambda message: (text(message),)


COMMON: Mapping[str, Values] = {OWNER: _owners, LABEL: _labels, NAME: lambda message: (message.metadata.name,)}

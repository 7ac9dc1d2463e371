"""The fields that are set in a pod, read once for all rules: reading an absent field of a message costs as much as a rule.

A rule about a field begins where the field is set. Rules are functions of these parts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

# The fields of a message that are set, by name: scalars, messages, lists and maps as protobuf has them.
Fields = dict[str, Any]


class ContainerParts(NamedTuple):
    """One container of any sort, with its path in the pod."""

    path: str
    message: Any
    fields: Fields


class PodParts(NamedTuple):
    """A pod's spec, the fields of it, and its containers in the order of `podspec.containers`."""

    spec: Any
    fields: Fields
    containers: list[ContainerParts]

    def having(self, *names: str) -> Iterator[ContainerParts]:
        """The containers in which one of the fields is set."""
        return (item for item in self.containers if not item.fields.keys().isdisjoint(names))

    def of(self, field: str) -> Iterator[ContainerParts]:
        """The containers of one list of the spec."""
        return (item for item in self.containers if item.path.startswith(f"spec.{field}["))


def read(spec: Any) -> PodParts:
    fields = fields_of(spec)
    containers = [
        ContainerParts(f"spec.{field}[{index}]", message, fields_of(message))
        for field in ("initContainers", "containers")
        for index, message in enumerate(fields.get(field, ()))
    ]
    for index, item in enumerate(fields.get("ephemeralContainers", ())):
        common = item.ephemeralContainerCommon
        containers.append(ContainerParts(f"spec.ephemeralContainers[{index}]", common, fields_of(common)))
    return PodParts(spec, fields, containers)


def fields_of(message: Any) -> Fields:
    names = _NAMES
    return {names[descriptor]: value for descriptor, value in message.ListFields()}


class _Names(dict[FieldDescriptor, str]):
    """Names of fields: reading one from its descriptor makes a new text each time."""

    def __missing__(self, descriptor: FieldDescriptor) -> str:
        name = self[descriptor] = sys.intern(descriptor.name)
        return name


_NAMES = _Names()

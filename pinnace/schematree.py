"""The schema as a tree over JSON values, in OpenAPI's vocabulary: what apply, patches and field ownership walk.

A tree is built from a message's descriptor here; one from a CustomResourceDefinition's openAPIV3Schema has the same nodes. A
node builds its children when they are first asked for, so recursive types work. It holds nothing of validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from pinnace import schema
from pinnace.fieldpaths import join, segment
from pinnace.kinds import Kind
from pinnace.manifest.scalars import resolve
from pinnace.schema import Field, Schema

STRUCT, MAP, LIST, SCALAR = "struct", "map", "list", "scalar"
# Of a field whose absence differs from every value.
NO_ZERO = object()


@dataclass(slots=True, eq=False)
class Node:
    """The type of one value.

    `form` is STRUCT (named fields), MAP (any key), LIST or SCALAR. `element` is the type of a map's values or a list's items.
    """

    form: str
    # Of a STRUCT: its type's, as documentation has it.
    name: str = ""
    # A scalar's name as in `schema.Field.type`; what is not in codec.CANONICAL is compared as it is.
    scalar: str = ""
    # Apply owns the value as a whole (`x-kubernetes-map-type: atomic`, or a list that is neither a map nor a set).
    atomic: bool = False
    # x-kubernetes-list-map-keys and x-kubernetes-list-type: set.
    map_keys: tuple[str, ...] = ()
    set: bool = False
    # x-kubernetes-patch-strategy and x-kubernetes-patch-merge-key.
    strategy: tuple[str, ...] = ()
    merge_key: str = ""
    # The value that an absent field takes, or None.
    default: Any = None
    # The value that JSON may leave out without a difference: 0 of a field without presence, an empty list.
    zero: Any = NO_ZERO
    element: Node | None = None
    # Values under keys that are no field: x-kubernetes-preserve-unknown-fields. None: there are none.
    unknown: Node | None = None
    build: Callable[[], Mapping[str, Node]] | None = None
    # Whether nothing below it is owned apart: a scalar, or an atomic value.
    leaf: bool = field(init=False)
    # The map_keys in the order of a path element.
    sorted_keys: tuple[str, ...] = field(init=False)
    _children: Mapping[str, Node] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.leaf = self.form == SCALAR or self.atomic
        self.sorted_keys = tuple(sorted(self.map_keys))

    @property
    def children(self) -> Mapping[str, Node]:
        """The fields of a STRUCT by their JSON name."""
        if self._children is None:
            self._children = self.build() if self.build is not None else {}
        return self._children

    def child(self, key: str) -> Node | None:
        """The type of the value at a key of a STRUCT or a MAP. None: there is no such field."""
        return self.element if self.form == MAP else self.children.get(key, self.unknown)


def of(message: Message | type[Message]) -> Node:
    """The tree of a message or a message class."""
    return _root(message.DESCRIPTOR)


def of_kind(kind: Kind) -> Node:
    """The tree of a kind, which is its message's unless the kind has a schema of its own."""
    return of(kind.cls) if kind.schema is None else kind.schema.tree


@cache
def _root(descriptor: Descriptor) -> Node:
    return _struct(schema.described_by(descriptor))


def _struct(spec: Schema) -> Node:
    return Node(STRUCT, name=spec.name, atomic=spec.atomic, build=lambda: _children(spec.cls.DESCRIPTOR))


@cache
def _children(descriptor: Descriptor) -> Mapping[str, Node]:
    """Of all values of one type, wherever they are."""
    return {name: _node(item) for name, item, _ in schema.flatten(schema.described_by(descriptor))}


def _node(item: Field) -> Node:
    rules = item.rules
    default = resolve(rules.default) if rules.default else None
    if item.map:
        return Node(MAP, atomic=rules.atomic, element=_value(item), zero={})
    if item.repeated:
        keys = tuple(rules.listMapKeys)
        return Node(
            LIST, atomic=not keys and not rules.set, map_keys=keys, set=rules.set, element=_value(item), zero=[],
            strategy=tuple(rules.patchStrategy), merge_key=rules.patchMergeKey,
        )  # fmt: skip
    node = _value(item)
    if rules.atomic:
        node.atomic = node.leaf = True
    node.default = default
    node.zero = NO_ZERO if item.presence else _ZEROS[item.type]
    node.strategy = tuple(rules.patchStrategy)
    return node


_ZEROS = {"string": "", "bytes": "", "bool": False, "int32": 0, "int64": 0}


def _value(item: Field) -> Node:
    if item.message is not None:
        return _struct(item.message)
    return Node(SCALAR, scalar=item.type)


class Misfit(NamedTuple):
    """A part of a value that a tree does not describe."""

    path: str
    text: str


def fitting(node: Node, value: Any, path: str = "", misfits: list[Misfit] | None = None) -> Any:
    """A value without the parts that have another form than the tree says, which are added to `misfits`.

    A field that the tree does not have stays, and is a misfit too.

    Messages cannot hold such a part. JSON of a custom kind can: before it is validated, and after its schema changed."""
    if node.form == SCALAR or value is None or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return _fitting_items(node, value, path, misfits)
    out = {}
    for key, item in value.items():
        child, here = node.child(key), join(path, segment(key))
        if child is None:
            out[key] = item
            if misfits is not None:
                misfits.append(Misfit(here, "unknown field"))
        elif _fits(child, item, here, misfits):
            out[key] = fitting(child, item, here, misfits)
    return out


def _fitting_items(node: Node, value: list[Any], path: str, misfits: list[Misfit] | None) -> list[Any]:
    element = node.element
    if element is None:
        return value
    places = ((item, f"{path}[{at}]") for at, item in enumerate(value))
    return [fitting(element, item, here, misfits) for item, here in places if _fits(element, item, here, misfits)]


def _fits(node: Node | None, value: Any, path: str, misfits: list[Misfit] | None) -> bool:
    wanted = None if node is None else list if node.form == LIST else dict if node.form in (STRUCT, MAP) else None
    keyless = node is not None and node.form == STRUCT and value is None and path.endswith("]")
    if (value is None and not keyless) or wanted is None or isinstance(value, wanted):
        return True
    if misfits is not None:
        misfits.append(Misfit(path, f"expected {'a list' if wanted is list else 'an object'}"))
    return False

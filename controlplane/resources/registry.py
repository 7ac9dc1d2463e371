"""The resources that a cluster serves: one object, made when the process starts and handed to the store.

Code that has a transaction has the registry too (`Registry.of`), so that resources may come and go while requests run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import TypeVar, cast

from controlplane.resources.indexes import Values
from controlplane.resources.plugin import Plugin
from controlplane.resources.resource import Resource
from controlplane.store import Store, Tx
from pinnace.errors import Conflict
from pinnace.kinds import Kind, Kinds

T = TypeVar("T")


class Registry(Kinds):
    """Resources by kind, and the admission plugins in the order in which they run."""

    def __init__(
        self, resources: Iterable[Resource] = (), plugins: Sequence[Plugin] = (), virtual: Iterable[Resource] = ()
    ) -> None:
        super().__init__()
        self._resources: dict[Kind, Resource] = {}
        # Kinds by the name of the definition that added them, the stored version first.
        self.custom: dict[str, tuple[Kind, ...]] = {}
        self._observers: dict[str, Callable[[Registry, str, bytes | None], None]] = {}
        self.plugins = tuple(plugins)
        # Answered and not stored: every control plane has them, and no definition can change them.
        self.virtual = tuple(virtual)
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Serve a resource, or only store its objects. Raises ValueError when its names are taken."""
        self.add_kind(resource.kind, served=resource.served)
        self._resources[resource.kind] = resource
        if resource.observe is not None:
            self._observers[resource.kind.prefix] = resource.observe

    def serve_custom(self, name: str, wanted: Sequence[Resource]) -> None:
        """Serve the resources of a definition, the stored version first, instead of those that it had before.

        A version that stays keeps its Kind, which watchers and stored objects hold. Names that another kind has are refused by
        the controller before this; should one get here, the kind is not served."""
        before = {kind.api_version: kind for kind in self.custom.pop(name, ())}
        for kind in before.values():
            self.remove(kind)
        kept: list[Kind] = []
        # Objects are stored without their version, so the store may know them by any: by the one that it has them by.
        first = next(iter(before), "")
        for resource in sorted(wanted, key=lambda item: item.kind.api_version != first):
            old = before.get(resource.kind.api_version)
            if old is not None and _same(old, resource.kind):
                assert old.schema is not None
                assert resource.kind.schema is not None
                old.schema.become(resource.kind.schema)
                resource = replace(resource, kind=old)
            if not kept:
                if self.at(resource.kind.prefix) is not None or (resource.served and self._is_taken(resource.kind)):
                    return
                self.add(resource)
            elif not resource.served or self._is_taken(resource.kind):
                continue
            else:
                self.add_version(resource.kind)
                self._resources[resource.kind] = resource
            kept.append(resource.kind)
        if kept:
            self.custom[name] = tuple(kept)

    def _is_taken(self, kind: Kind) -> bool:
        return (kind.api_version, kind.kind) in self._by_gvk

    def observe(self, key: str, value: bytes | None) -> None:
        """Resources that define others follow their objects, so that a kind is served before its first object is read."""
        for prefix, observer in self._observers.items():
            if key.startswith(prefix):
                observer(self, key, value)

    def remove(self, kind: Kind) -> None:
        """Serve it no longer; its stored objects stay."""
        self.remove_kind(kind)
        self._resources.pop(kind, None)

    def resource(self, kind: Kind[T]) -> Resource[T]:
        """The definition of a kind, which may just have been removed: then one without behaviour of its own."""
        return cast("Resource[T]", self._resources.get(kind) or Resource(kind))

    def served(self) -> Iterator[Resource]:
        """The resources that requests may name: each kind in each of its served versions."""
        for kind in tuple(self._by_gvk.values()):
            yield self.resource(kind)

    def writable(self, kind: Kind[T]) -> Resource[T]:
        """The definition of a kind, for a write of its objects.

        Raises NotFound for a custom kind that was removed after the request found it: nothing would check the object."""
        if kind.schema is not None and kind not in self._resources:
            self.find(kind.api_version, kind.kind)
            raise Conflict(f"the definition of {kind.kind} has changed: try again")
        return self.resource(kind)

    def index(self, kind: Kind, name: str) -> Values:
        """Raises KeyError for an index that the resource does not have."""
        return self.resource(kind).indexes[name]

    @staticmethod
    def of(source: Tx | Store) -> Registry:
        """The registry of a store, or of the one that a transaction belongs to."""
        found = source.kinds
        if not isinstance(found, Registry):
            raise TypeError("the store was opened without a registry: it can be read, but no verb can run")
        return found


def _same(one: Kind, other: Kind) -> bool:
    return all(getattr(one, item.name) == getattr(other, item.name) for item in fields(one) if item.name != "schema")

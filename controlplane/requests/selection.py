"""Which objects of a resource a request means: one, those of a namespace, or those that selectors match."""

from __future__ import annotations

from controlplane.resources.indexes import LABEL
from controlplane.resources.resource import Resource
from controlplane.store import Narrow, Query, StoredObject
from pinnace import selectors

# Bytes of objects in one page of a list: a continue token tells that there are more. Serializing one takes milliseconds.
LIST_SIZE = 4 << 20


class Selection:
    """The objects of one kind that a name, a namespace, and label and field selectors have in common; empty: any."""

    def __init__(self, resource: Resource, *, namespace: str = "", name: str = "", labels: str = "", fields: str = "") -> None:
        """Raises BadRequest for a selector that is none."""
        kind = resource.kind
        required = {r.path: r.value for r in selectors.split_fields(fields) if r.wanted}
        if kind.namespaced:
            namespace = namespace or required.get("metadata.namespace", "")
        self.kind = kind
        self.namespace = namespace
        self._name = kind.key(namespace, name) if name else ""
        self._prefix = kind.key(namespace, "") if namespace and kind.namespaced else kind.prefix
        self._labels = selectors.parse_labels(labels)
        self._fields = selectors.parse_fields(kind.kind, fields, resource.fields)
        self._selects = bool(labels or fields)
        self._narrow = self._narrowed(resource, required)

    def _narrowed(self, resource: Resource, required: dict[str, str]) -> Narrow:
        """How the objects are found, whose fields have the `required` values."""
        name = required.get("metadata.name", "")
        if name and (self.namespace or not self.kind.namespaced):
            return Narrow(self._name or self.kind.key(self.namespace, name))
        labels = [(LABEL, f"{r.key}={r.values[0]}") for r in self._labels if r.operator == "In" and len(r.values) == 1]
        fields = [(path, value) for path, value in required.items() if path in resource.indexes]
        return Narrow(self._name, (*labels, *fields))

    def matches(self, row: StoredObject | None) -> bool:
        if row is None or not (row.key == self._name if self._name else row.key.startswith(self._prefix)):
            return False
        if not self._selects:
            return True
        message = row.message
        return selectors.matches_labels(self._labels, message.metadata.labels) and self._fields(message)

    def query(self, limit: int, *, size: int = LIST_SIZE) -> Query:
        """`limit` 0 or less: no limit but that of `size`, in bytes."""
        every = not self._name and not self._selects
        matches = None if every else self.matches
        return Query(self.kind, self.namespace, matches, narrow=self._narrow, limit=max(limit, 0), size=size)

"""The JSON of stored objects, and that of their metadata, which is kept for a while.

Lists, tables and watches of many clients send the same bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from controlplane.requests import tables
from controlplane.resources.resource import Resource
from controlplane.rest.bodies import dumps
from controlplane.store import StoredObject
from pinnace.kinds import Reader

# Bytes of JSON that are kept.
MAX_KEPT = 8 << 20


class Kept:
    """The JSON of stored objects and of their metadata, the least recently used of which is dropped first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        # By form, key, revision, content (an object that leaves a selection is sent as it was before, with the revision of
        # the change), and of a custom kind the schema that the object is read along.
        self._texts: OrderedDict[tuple[str, str, int, int, Reader | None], bytes] = OrderedDict()

    def whole(self, resource: Resource, row: StoredObject) -> bytes:
        return self._text(resource, row, resource.kind.api_version, lambda item: tables.whole(resource.kind, item))

    def partial(self, resource: Resource, row: StoredObject, api_version: str = tables.API_VERSION) -> bytes:
        """Its PartialObjectMetadata."""
        form = f"{tables.PARTIAL} {api_version}"
        return self._text(resource, row, form, lambda item: {**tables.partial(item), "apiVersion": api_version})

    def _text(self, resource: Resource, row: StoredObject, form: str, document: Callable[[Any], dict[str, Any]]) -> bytes:
        schema = resource.kind.schema
        reader = schema.reader if schema is not None else None
        key = (form, row.key, row.revision, hash(row.value), reader)
        found = self._texts.get(key)
        if found is not None:
            self._texts.move_to_end(key)
            return found
        made = dumps(document(tables.item_of(resource, row)))
        self._texts[key] = made
        self._size += len(made)
        while self._size > self._most:
            self._size -= len(self._texts.popitem(last=False)[1])
        return made


KEPT = Kept(MAX_KEPT)

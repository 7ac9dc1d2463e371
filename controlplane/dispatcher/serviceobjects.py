"""Services, EndpointSlices and the names of namespaces, which every agent has all of: one table for all sessions.

Of an object nodes get what they act on: no managedFields, of the annotations only that of the node which answers for the
addresses of a load balancer, and of a namespace its name, which the nodes' DNS needs to tell a namespace without Services from
one that does not exist. A change of anything that is left out reaches no node.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from controlplane.dispatcher.sharedtable import SharedTable
from controlplane.store import StoredObject
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2, objects_pb2
from pinnace.core.v1 import namespace_pb2
from pinnace.kinds import Kind
from pinnace.wellknown import ANNOTATION_ANNOUNCED_BY, ANNOTATION_SOURCE_RANGES

# Kinds of which every agent has all objects.
KINDS: tuple[Kind, ...] = (kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.NAMESPACE)
_UNUSED = ("managedFields", "annotations", "ownerReferences", "finalizers", "generateName", "generation", "resourceVersion")
# Annotations that nodes read.
_USED = ANNOTATION_ANNOUNCED_BY, ANNOTATION_SOURCE_RANGES


class ServiceObjects(SharedTable):
    def take(self, row: StoredObject, *, present: bool) -> bool:
        """An object is there, or is gone; returns whether that changes anything for nodes."""
        key = short_key(row.kind, row.key)
        if not present:
            return self._remove(key)
        body = _stripped(row.parse())
        return self.set(key, sha256(body).digest(), lambda: _change(key, row, body))

    def keep_only(self, rows: list[StoredObject]) -> bool:
        """Remove what is not among all objects there are; returns whether anything was."""
        gone = set(self.present()) - {short_key(row.kind, row.key) for row in rows}
        for key in gone:
            self._remove(key)
        return bool(gone)

    def _remove(self, key: str) -> bool:
        return self.set(key, None, lambda: nodes_pb2.Change(key=key))


def short_key(kind: Kind, key: str) -> str:
    """A store key as agents know it: KIND/NAMESPACE/NAME."""
    return f"{kind.kind}/{'' if kind.namespaced else '/'}{key.removeprefix(kind.prefix)}"


def _stripped(message: Any) -> bytes:
    if isinstance(message, namespace_pb2.Namespace):
        message = namespace_pb2.Namespace(metadata={"name": message.metadata.name})
    annotations = {name: message.metadata.annotations[name] for name in _USED if name in message.metadata.annotations}
    for name in _UNUSED:
        message.metadata.ClearField(name)
    message.metadata.annotations.update(annotations)
    value: bytes = message.SerializeToString(deterministic=True)
    return value


def _change(key: str, row: StoredObject, body: bytes) -> nodes_pb2.Change:
    # As StoredObject.encoded does.
    content = StoredObject(row.kind, row.key, body, row.revision).encoded()
    sealed = objects_pb2.Object(apiVersion=row.kind.api_version, kind=row.kind.kind, protobuf=content)
    return nodes_pb2.Change(key=key, object=sealed)

"""The kinds that Pinnace serves: names as people and manifests write them, and the message behind each."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from pinnace.coordination.v1 import lease_pb2
from pinnace.core.v1 import config_pb2, event_pb2, namespace_pb2, node_pb2, pod_pb2
from pinnace.errors import NotFound
from pinnace.node.v1 import runtimeclass_pb2


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `prefix` begins the store keys of its objects and ends with a slash."""

    api_version: str
    kind: str
    plural: str
    cls: type[Message]
    short_names: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """`pods`, or `leases.coordination.k8s.io`: the plural with its group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        return f"/registry/{self.group + '/' if self.group else ''}{self.plural}/"

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else f"{self.prefix}{name}"


POD = Kind("v1", "Pod", "pods", pod_pb2.Pod, ("po",))
NODE = Kind("v1", "Node", "nodes", node_pb2.Node, ("no",), namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespace_pb2.Namespace, ("ns",), namespaced=False)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", config_pb2.ConfigMap, ("cm",))
SECRET = Kind("v1", "Secret", "secrets", config_pb2.Secret)
EVENT = Kind("v1", "Event", "events", event_pb2.Event, ("ev",))
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases", lease_pb2.Lease)
RUNTIME_CLASS = Kind("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", runtimeclass_pb2.RuntimeClass, namespaced=False)

ALL: tuple[Kind, ...] = (CONFIG_MAP, EVENT, LEASE, NAMESPACE, NODE, POD, RUNTIME_CLASS, SECRET)
_BY_GVK = {(kind.api_version, kind.kind): kind for kind in ALL}


def find(api_version: str, kind: str) -> Kind:
    """Raises NotFound, naming the kinds there are, for one that nothing serves."""
    found = _BY_GVK.get((api_version, kind))
    if found is None:
        served = ", ".join(f"{k.api_version}/{k.kind}" for k in ALL)
        raise NotFound(f'no kind "{kind[:80]}" in apiVersion "{api_version[:80]}" (served: {served})', kind=kind[:80])
    return found


def by_word(word: str) -> Kind:
    """The kind that a person means by `po`, `pod`, `pods`, `Pod` or `leases.coordination.k8s.io`."""
    lowered = word.lower()
    for kind in ALL:
        if lowered in (kind.plural, kind.singular, kind.resource, *kind.short_names):
            return kind
    raise NotFound(f'the server doesn\'t have a resource type "{word[:80]}" (kctl api-resources lists those it has)')

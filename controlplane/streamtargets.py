"""Where a stream of a pod leads: the pod's node, and the container that is meant. Shared by gRPC and REST."""

from __future__ import annotations

from controlplane.store import Store
from pinnace import kinds, podspec
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest, NotFound

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def locate(store: Store, opening: streams_pb2.OpenStream, *, running: bool) -> str:
    """The pod's node; fills in the namespace and the container. `running`: refuse a pod that has ended.

    Raises NotFound and BadRequest."""
    pod = store.get(kinds.POD, opening.namespace or "default", opening.pod)
    opening.namespace = pod.metadata.namespace
    names = podspec.names(pod)
    if not opening.container:
        default = pod.metadata.annotations.get(DEFAULT_CONTAINER, "")
        opening.container = default if default in names else names[0]
    if opening.container not in names:
        raise NotFound(f"container {opening.container} is not valid for pod {opening.pod} (it has: {', '.join(names)})")
    if not pod.spec.nodeName:
        raise BadRequest(f"pod {opening.pod} does not have a host assigned")
    if running and pod.status.phase in ("Succeeded", "Failed"):
        raise BadRequest(f"cannot reach into a stopped pod: its phase is {pod.status.phase}")
    node: str = pod.spec.nodeName
    return node

"""The Streams service: finds the node that a stream concerns and hands the frames to the switchboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from controlplane import streamtargets
from controlplane.rpc.permissions import Permissions
from controlplane.store import Store
from pinnace import kinds
from pinnace.api.v1 import streams_pb2, streams_pb2_grpc
from pinnace.errors import BadRequest

# What a stream into a container is called as a subresource of its pod; a copy runs in the container as a command does.
_SUBRESOURCES = {"exec": "exec", "attach": "attach", "copy": "exec", "portForward": "portforward"}
# What a stream about a node's images does with them. Images are no objects of Kubernetes: nodes/images is ours.
_IMAGE_VERBS = {
    "listImages": "get", "pullImage": "create", "removeImage": "delete", "pruneImages": "delete", "tagImage": "update",
    "pushImage": "get", "exportImage": "get",
}  # fmt: skip


class Streams(streams_pb2_grpc.StreamsServicer):
    def __init__(self, store: Store, switchboard: Any, permissions: Permissions | None = None) -> None:
        self._may = permissions or Permissions()
        self._store = store
        self._switchboard = switchboard

    async def Exec(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        opening = await _opening(source, "exec")
        if not opening.exec.command:
            raise BadRequest("exec needs a command")
        async for frame in self._in_container(opening, source):
            yield frame

    async def Attach(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        async for frame in self._in_container(await _opening(source, "attach"), source):
            yield frame

    async def Copy(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        opening = await _opening(source, "copy")
        if not opening.copy.path or "\0" in opening.copy.path:
            raise BadRequest("copy needs a path in the container")
        async for frame in self._in_container(opening, source):
            yield frame

    async def PortForward(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        opening = await _opening(source, "portForward")
        if not 0 < opening.portForward.port < 1 << 16:
            raise BadRequest(f"{opening.portForward.port} is not a port")
        async for frame in self._in_container(opening, source):
            yield frame

    async def _in_container(self, opening: streams_pb2.OpenStream, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        self._may_reach(opening, "create", _SUBRESOURCES[opening.WhichOneof("kind")])
        node = streamtargets.locate(self._store, opening, running=True)
        async for frame in self._switchboard.client(node, opening, source):
            yield frame

    async def Logs(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        if request.WhichOneof("kind") != "logs":
            raise BadRequest("Logs needs log options")
        self._may_reach(request, "get", "log")
        node = streamtargets.locate(self._store, request, running=False)
        async for frame in self._switchboard.client(node, request, None):
            yield frame

    async def Stats(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        if request.WhichOneof("kind") != "stats":
            raise BadRequest("Stats needs options of statistics")
        self._may.on("get", kinds.NODE, name=request.node, subresource="stats")
        self._store.get(kinds.NODE, "", request.node)
        async for frame in self._switchboard.client(request.node, request, None):
            yield frame

    async def LoadImage(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        opening = await _opening(source, "loadImage")
        self._may.on("create", kinds.NODE, name=opening.node, subresource="images")
        self._store.get(kinds.NODE, "", opening.node)
        async for frame in self._switchboard.client(opening.node, opening, source):
            yield frame

    async def ListImages(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "listImages"):
            yield frame

    async def PullImage(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "pullImage"):
            yield frame

    async def RemoveImage(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "removeImage"):
            yield frame

    async def PruneImages(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "pruneImages"):
            yield frame

    async def TagImage(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "tagImage"):
            yield frame

    async def PushImage(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "pushImage"):
            yield frame

    async def _of_node(self, request: streams_pb2.OpenStream, kind: str) -> AsyncIterator[Any]:
        """A stream that asks a node and sends it nothing more."""
        if request.WhichOneof("kind") != kind:
            raise BadRequest(f"the request must open a stream of kind {kind}")
        self._may.on(_IMAGE_VERBS[kind], kinds.NODE, name=request.node, subresource="images")
        self._store.get(kinds.NODE, "", request.node)
        async for frame in self._switchboard.client(request.node, request, None):
            yield frame

    async def BuildImage(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        opening = await _opening(source, "buildImage")
        self._may.on("create", kinds.NODE, name=opening.node, subresource="build")
        self._store.get(kinds.NODE, "", opening.node)
        async for frame in self._switchboard.client(opening.node, opening, source):
            yield frame

    async def ExportImage(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "exportImage"):
            yield frame

    async def VerifyNetwork(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_network(request, "verifyNetwork", "update" if request.verifyNetwork.fix else "get"):
            yield frame

    async def TraceNetwork(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        # Probes are sent in a pod's name.
        async for frame in self._of_network(request, "traceNetwork", "create"):
            yield frame

    async def _of_network(self, request: streams_pb2.OpenStream, kind: str, verb: str) -> AsyncIterator[Any]:
        if request.WhichOneof("kind") != kind:
            raise BadRequest(f"the request must open a stream of kind {kind}")
        self._may.on(verb, kinds.NODE, name=request.node, subresource="network")
        self._store.get(kinds.NODE, "", request.node)
        async for frame in self._switchboard.client(request.node, request, None):
            yield frame

    async def Capture(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        """Users that may run commands in a pod may read its packets."""
        if request.WhichOneof("kind") != "capture":
            raise BadRequest("the request must open a stream of kind capture")
        self._may_reach(request, "create", "exec")
        node = streamtargets.locate(self._store, request, running=True)
        async for frame in self._switchboard.client(node, request, None):
            yield frame

    def _may_reach(self, opening: streams_pb2.OpenStream, verb: str, subresource: str) -> None:
        """Raises Forbidden unless the caller may do this to the pod."""
        namespace = opening.namespace or "default"
        self._may.on(verb, kinds.POD, namespace=namespace, name=opening.pod, subresource=subresource)


async def _opening(frames: AsyncIterator[Any], kind: str) -> streams_pb2.OpenStream:
    first = await anext(frames, None)
    if first is None or first.WhichOneof("frame") != "open" or first.open.WhichOneof("kind") != kind:
        raise BadRequest(f"the first frame must open a stream of kind {kind}")
    opening: streams_pb2.OpenStream = first.open
    return opening

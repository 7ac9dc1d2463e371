"""The Streams service: finds the node that a stream concerns and hands the frames to the switchboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from controlplane.store import Store
from pinnace import kinds, podspec
from pinnace.api.v1 import streams_pb2, streams_pb2_grpc
from pinnace.errors import BadRequest, NotFound


class Streams(streams_pb2_grpc.StreamsServicer):
    def __init__(self, store: Store, switchboard: Any) -> None:
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
        node = self._locate(opening, running=True)
        async for frame in self._switchboard.client(node, opening, source):
            yield frame

    async def Logs(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        if request.WhichOneof("kind") != "logs":
            raise BadRequest("Logs needs log options")
        node = self._locate(request, running=False)
        async for frame in self._switchboard.client(node, request, None):
            yield frame

    async def Stats(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        if request.WhichOneof("kind") != "stats":
            raise BadRequest("Stats needs options of statistics")
        self._store.get(kinds.NODE, "", request.node)
        async for frame in self._switchboard.client(request.node, request, None):
            yield frame

    async def LoadImage(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        opening = await _opening(source, "loadImage")
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

    async def _of_node(self, request: streams_pb2.OpenStream, kind: str) -> AsyncIterator[Any]:
        """A stream that asks a node and sends it nothing more."""
        if request.WhichOneof("kind") != kind:
            raise BadRequest(f"the request must open a stream of kind {kind}")
        self._store.get(kinds.NODE, "", request.node)
        async for frame in self._switchboard.client(request.node, request, None):
            yield frame

    async def BuildImage(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        source = aiter(frames)
        opening = await _opening(source, "buildImage")
        self._store.get(kinds.NODE, "", opening.node)
        async for frame in self._switchboard.client(opening.node, opening, source):
            yield frame

    async def ExportImage(self, request: streams_pb2.OpenStream, context: Any) -> AsyncIterator[Any]:
        async for frame in self._of_node(request, "exportImage"):
            yield frame

    def _locate(self, opening: streams_pb2.OpenStream, *, running: bool) -> str:
        """The pod's node, and the container filled in. Raises NotFound and BadRequest."""
        pod = self._store.get(kinds.POD, opening.namespace or "default", opening.pod)
        opening.namespace = pod.metadata.namespace
        names = podspec.names(pod)
        if not opening.container:
            default = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container", "")
            opening.container = default if default in names else names[0]
        if opening.container not in names:
            raise NotFound(f"container {opening.container} is not valid for pod {opening.pod} (it has: {', '.join(names)})")
        if not pod.spec.nodeName:
            raise BadRequest(f"pod {opening.pod} does not have a host assigned")
        if running and pod.status.phase in ("Succeeded", "Failed"):
            raise BadRequest(f"cannot reach into a stopped pod: its phase is {pod.status.phase}")
        node: str = pod.spec.nodeName
        return node


async def _opening(frames: AsyncIterator[Any], kind: str) -> streams_pb2.OpenStream:
    first = await anext(frames, None)
    if first is None or first.WhichOneof("frame") != "open" or first.open.WhichOneof("kind") != kind:
        raise BadRequest(f"the first frame must open a stream of kind {kind}")
    opening: streams_pb2.OpenStream = first.open
    return opening

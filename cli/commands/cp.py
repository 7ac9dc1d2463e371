"""`kctl cp`: copies files and directories to and from a container, whose image needs no tar."""

from __future__ import annotations

import queue
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cli import carry, flags, pods, trees
from cli.complaints import report
from pinnace.errors import ApiError, BadRequest

MAX_QUEUED = 16


@dataclass(frozen=True, slots=True)
class Place:
    """One side: a path here (`pod` is empty; `-` is our standard input or output), or in a container."""

    path: str
    pod: str = ""
    namespace: str = ""


def run(arguments: list[str]) -> int:
    parser = flags.Parser("cp", "Copy files: kctl cp ./site web:/www, kctl cp NAMESPACE/web:/etc/hosts -")
    parser.add_argument("source", help="PATH or [NAMESPACE/]POD:PATH; - for standard input")
    parser.add_argument("destination", help="PATH or [NAMESPACE/]POD:PATH; - for standard output")
    parser.add_argument(
        "-c", "--container", default="", help="container name (default: the pod's annotated or first container)"
    )
    args = parser.parse_args(arguments)
    source, destination = parse(args.source), parse(args.destination)
    if bool(source.pod) == bool(destination.pod):
        raise BadRequest("exactly one of source and destination must be in a pod (POD:PATH)")
    client = flags.client(args)
    place = destination if destination.pod else source
    container = pods.choose(client, place.namespace or client.context.namespace, place.pod, args.container)
    if destination.pod:
        return _upload(client, source.path, destination, container=container)
    return _download(client, source, destination.path, container=container)


def parse(word: str) -> Place:
    """Raises BadRequest. A local name with a colon needs a directory: ./a:b."""
    name, colon, path = word.partition(":")
    if not colon or name.startswith((".", "/")):
        return Place(word)
    namespace, _, pod = name.rpartition("/")
    if not pod or not path or "/" in namespace:
        raise BadRequest(f'"{word}" is not [NAMESPACE/]POD:PATH')
    return Place(path, pod, namespace)


def _opening(client: Any, place: Place, container: str, *, unpack: bool) -> Any:
    from pinnace.api.v1 import streams_pb2

    options = streams_pb2.CopyOptions(path=place.path, unpack=unpack)
    namespace = place.namespace or client.context.namespace
    return streams_pb2.OpenStream(namespace=namespace, pod=place.pod, container=container, copy=options)


def _warn(text: str) -> None:
    report(f"warning: {text}")


class _Sender:
    """What is packed, as frames; a thread packs while the frames go out."""

    def __init__(self, opening: Any) -> None:
        self._frames: queue.Queue[Any] = queue.Queue(MAX_QUEUED)
        self._opening = opening
        self.failure: Exception | None = None

    def write(self, data: bytes) -> int:
        from pinnace.api.v1 import streams_pb2

        for start in range(0, len(data), carry.CHUNK):
            self._frames.put(streams_pb2.Frame(stdin=data[start : start + carry.CHUNK]))
        return len(data)

    def frames(self, source: str, name: str) -> Iterator[Any]:
        from pinnace.api.v1 import streams_pb2

        threading.Thread(target=self._pack, args=(source, name), daemon=True).start()
        yield streams_pb2.Frame(open=self._opening)
        while (frame := self._frames.get()) is not None:
            yield frame
        yield streams_pb2.Frame(stdinClosed=True)

    def _pack(self, source: str, name: str) -> None:
        out: Any = self
        try:
            if source == "-":
                with tempfile.TemporaryFile() as spool:
                    shutil.copyfileobj(sys.stdin.buffer, spool)
                    trees.pack_content(spool, out, name=name)
            else:
                trees.pack(Path(source), out, name=name, warn=_warn)
        except (OSError, ApiError) as error:
            self.failure = error
        self._frames.put(None)


def _upload(client: Any, source: str, place: Place, *, container: str) -> int:
    from pinnace.api.v1 import streams_pb2_grpc

    if source != "-" and not Path(source).exists():
        raise BadRequest(f"{source}: no such file or directory")
    name = Path(source).resolve().name if source != "-" else place.path.rstrip("/").rpartition("/")[2]
    sender = _Sender(_opening(client, place, container, unpack=True))
    said = b""
    for frame in client.stream(streams_pb2_grpc.StreamsStub(client.channel).Copy, sender.frames(source, name or "root")):
        said += frame.stderr[: 64 << 10]
        if frame.WhichOneof("frame") == "exit":
            if sender.failure is not None:
                raise BadRequest(f"{source} could not be read completely: {sender.failure}")
            return _verdict(frame.exit, said)
    raise BadRequest("the connection ended before the copy was complete")


def _verdict(exit_: Any, said: bytes) -> int:
    carry.raise_exit(exit_)
    if exit_.code:
        raise BadRequest(said.decode(errors="replace").strip() or f"the copy ended with code {exit_.code}")
    return 0


class _Receiver:
    """The stream of a container as a file to read; its other output is kept."""

    def __init__(self, frames: Iterator[Any]) -> None:
        self._frames = frames
        self._buffer = b""
        self.said = b""
        self.exit: Any = None

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size and self._next():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _next(self) -> bool:
        frame = next(self._frames, None) if self.exit is None else None
        if frame is None:
            return False
        if frame.WhichOneof("frame") == "exit":
            self.exit = frame.exit
            carry.raise_exit(frame.exit)
        self._buffer += frame.stdout
        self.said = (self.said + frame.stderr)[: 64 << 10]
        return True

    def finish(self) -> int:
        """To the end. Raises ApiError."""
        while self._next():
            self._buffer = b""
        if self.exit is None:
            raise BadRequest("the connection ended before the copy was complete")
        return int(self.exit.code)


def _download(client: Any, place: Place, destination: str, *, container: str) -> int:
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    opening = streams_pb2.Frame(open=_opening(client, place, container, unpack=False))
    frames = client.stream(streams_pb2_grpc.StreamsStub(client.channel).Copy, iter([opening]))
    receiver = _Receiver(frames)
    count = _print(receiver) if destination == "-" else trees.unpack(receiver, Path(destination), warn=_warn)
    code = receiver.finish()
    said = receiver.said.decode(errors="replace").strip()
    if code and not count:
        raise BadRequest(said or f"{place.path} could not be copied")
    for line in said.splitlines():
        _warn(line)
    return code


def _print(receiver: Any) -> int:
    """One file's content on standard output."""
    try:
        with tarfile.open(fileobj=receiver, mode="r|") as tar:
            member = tar.next()
            content: IO[bytes] | None = tar.extractfile(member) if member is not None else None
            if content is None:
                raise BadRequest("only a single file can be copied to standard output")
            shutil.copyfileobj(content, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return 1
    except tarfile.ReadError:
        return 0

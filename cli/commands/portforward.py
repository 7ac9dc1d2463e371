"""`kctl port-forward`: local ports that lead to ports of a pod, one stream for each connection."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, TextIO

from cli import carry, flags, forwardedports, podchoice
from cli.complaints import shown
from cli.forwardedports import Pair
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, NotFound

CHUNK = 32 << 10
# Connections at once; more wait.
MAX_CONNECTIONS = 150


def run(arguments: list[str]) -> int:
    parser = flags.Parser("port-forward", "Forward local ports to a pod: kctl port-forward web 8080:80 :443")
    parser.add_argument("pod", help="pod: NAME, or TYPE/NAME of a pod, a workload or a Service")
    parser.add_argument(
        "ports",
        nargs="+",
        metavar="[LOCAL:]REMOTE",
        help="number or name of a port of the pod or Service; LOCAL 0: any free port",
    )
    parser.add_argument("--address", default="localhost", help="comma-separated addresses to listen on (default: %(default)s)")
    args = parser.parse_args(arguments)
    forwardedports.check(args.ports)
    client = flags.client(args)
    namespace = client.context.namespace
    pod = client.get(kinds.POD, namespace, podchoice.name_of(client, args.pod))
    pairs = forwardedports.pairs(args.ports, pod, _service(client, namespace, args.pod))
    if pod.status.phase != "Running":
        raise BadRequest(f"unable to forward port because pod is not running. Current status={pod.status.phase or 'Pending'}")
    addresses = ["127.0.0.1" if item == "localhost" else item for item in args.address.split(",")]
    try:
        asyncio.run(Forwarder(client, pod).serve(addresses, pairs))
    except KeyboardInterrupt:
        return 130
    return 0


def _service(client: Any, namespace: str, word: str) -> Any | None:
    """The Service that was named; None for another object."""
    kind, slash, name = word.partition("/")
    return client.get(kinds.SERVICE, namespace, name) if slash and kind.lower() in kinds.SERVICE.words else None


class Forwarder:
    def __init__(self, client: Any, pod: Any) -> None:
        self._client = client
        self._pod = pod
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        # Set when no further connection can be served; `failure` is why, when that is not the pod's end.
        self._lost = asyncio.Event()
        self._failure: OSError | None = None

    async def serve(self, addresses: list[str], pairs: list[Pair]) -> None:
        """Listen until cancelled. Raises BadRequest when no address can be listened on."""
        channels = self._client.aio_channels()
        servers = [await self._listen(channels, address, local, remote) for address in addresses for local, remote in pairs]
        try:
            await self._lost.wait()
            if self._failure is not None:
                raise self._failure
            raise NotFound(f"lost connection to pod {self._pod.metadata.name}: the pod was deleted")
        finally:
            for server in servers:
                server.close()
            await channels.close()

    async def _listen(self, channels: Any, address: str, local: int, remote: int) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._report(f"Handling connection for {port}")
            try:
                async with self._slots, channels.use() as channel:
                    await self._carry(channel, remote, reader, writer)
            except ApiError as error:
                self._report(f"error forwarding port {remote} to pod {self._pod.metadata.name}: {error.message}", sys.stderr)
                if isinstance(error, NotFound):
                    self._lost.set()
            except OSError:
                # The local side hung up.
                pass
            finally:
                writer.close()

        try:
            server = await asyncio.start_server(connected, address, local, limit=CHUNK)
        except OSError as error:
            raise BadRequest(f"unable to listen on port {local} of {address}: {error.strerror or error}") from None
        port = server.sockets[0].getsockname()[1]
        host = f"[{address}]" if ":" in address else address
        print(f"Forwarding from {host}:{port} -> {remote}", flush=True)
        return server

    def _report(self, text: str, out: TextIO | None = None) -> None:
        """Output that cannot be written ends the command, not only this connection."""
        try:
            print(shown(text), file=out, flush=True)
        except OSError as error:
            self._failure = error
            self._lost.set()

    async def _carry(self, channel: Any, remote: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end in both directions. Raises ApiError, OSError."""
        import grpc

        from pinnace import wire
        from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

        meta = self._pod.metadata
        opening = streams_pb2.OpenStream(namespace=meta.namespace, pod=meta.name)
        opening.portForward.port = remote
        call = streams_pb2_grpc.StreamsStub(channel).PortForward()
        sender = None
        try:
            await call.write(streams_pb2.Frame(open=opening))
            sender = asyncio.ensure_future(_send(reader, call))
            while (frame := await call.read()) is not grpc.aio.EOF:
                match frame.WhichOneof("frame"):
                    case "stdout":
                        writer.write(frame.stdout)
                        await writer.drain()
                    case "stdoutClosed":
                        writer.write_eof()
                    case "exit":
                        carry.raise_exit(frame.exit)
                        return
        except grpc.aio.AioRpcError as error:
            raise wire.from_rpc_error(error) from None
        except asyncio.CancelledError:
            # By our sender when the local side was reset, and then it is no end of ours.
            if sender is None or not sender.done():
                raise
        finally:
            if sender is not None:
                sender.cancel()
            call.cancel()


async def _send(reader: asyncio.StreamReader, call: Any) -> None:
    from pinnace.api.v1 import streams_pb2

    try:
        while data := await reader.read(CHUNK):
            await call.write(streams_pb2.Frame(stdin=data))
        await call.write(streams_pb2.Frame(stdinClosed=True))
    except OSError:
        # Reset by the local side: that is the end of the whole connection.
        call.cancel()

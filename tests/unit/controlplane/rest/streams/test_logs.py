"""Logs as the body of a response: bytes as the node sends them, refusals before the first, and cuts."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from controlplane.rest.streams.interface import StreamRequest
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest, Invalid, NotFound
from tests.support.streamrouter import FakeProcess
from tests.support.streamserver import StreamServer

Frame = streams_pb2.Frame


def request(**query: str) -> StreamRequest:
    return StreamRequest("GET", "default", "web", "log", {name: [value] for name, value in query.items()})


async def test_a_log_is_what_the_node_sends(server: StreamServer) -> None:
    """Chunk by chunk, of the container that is meant; time counts back from the server's clock."""
    server.router.logs = [Frame(stdout=b"one\n"), Frame(stdout=b"two\n")]
    assert [chunk async for chunk in server.endpoint.logs(request(container="side", sinceSeconds="5"))] == [
        b"",
        b"one\n",
        b"two\n",
    ]
    node, opening = server.router.openings[0]
    assert (node, opening.pod, opening.container) == ("node-1", "web", "side")
    assert opening.logs.sinceNanos == int((server.clock.now() - 5) * 1e9)
    assert (server.router.open, server.router.withdrawn) == (0, 0)


async def test_a_refusal_of_the_node_comes_before_any_bytes(server: StreamServer) -> None:
    """So that the response can be an error."""
    server.router.logs = [
        Frame(exit=streams_pb2.Exit(code=1, message='container "main" is waiting to start', reason="BadRequest")),
        None,
    ]
    with pytest.raises(BadRequest, match="is waiting to start"):
        await anext(server.endpoint.logs(request()))


async def test_refusals_before_the_node_is_asked(server: StreamServer) -> None:
    """Options, containers and pods."""
    with pytest.raises(Invalid):
        await anext(server.endpoint.logs(request(tailLines="-1")))
    with pytest.raises(NotFound):
        await anext(server.endpoint.logs(request(container="nope")))
    server.store.pod.spec.nodeName = ""
    with pytest.raises(BadRequest, match="does not have a host assigned"):
        await anext(server.endpoint.logs(request()))
    assert server.router.openings == []


async def test_a_log_without_bytes_begins_after_a_moment(server: StreamServer) -> None:
    """A client that follows gets the head of its response, not a timeout; and what comes later, until it goes."""
    begun, more = time.monotonic(), asyncio.Event()

    async def follow(process: FakeProcess) -> int:
        await more.wait()
        await process.stdout(b"late\n")
        await asyncio.Event().wait()
        return 0

    server.router.follow = follow
    async with aclosing(server.endpoint.logs(request(follow="true"))) as chunks:
        assert await anext(chunks) == b""
        assert time.monotonic() - begun < 5
        more.set()
        assert await anext(chunks) == b"late\n"
        assert server.router.open == 1
    assert (server.router.open, server.router.withdrawn) == (0, 1)


async def test_a_reader_that_leaves_before_the_first_byte_leaves_nothing(server: StreamServer) -> None:
    """The response is cancelled while the log waits."""

    async def follow(process: FakeProcess) -> int:
        await asyncio.Event().wait()
        return 0

    server.router.follow = follow

    async def read() -> list[bytes]:
        async with aclosing(server.endpoint.logs(request(follow="1"))) as chunks:
            return [chunk async for chunk in chunks]

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert server.router.open == 0


async def test_a_log_that_is_cut_says_so(server: StreamServer) -> None:
    """The agent was killed: the reader must not take the rest for the end."""
    server.router.logs = [Frame(stdout=b"one\n"), None]
    found = []
    with pytest.raises(ConnectionAbortedError, match="lost connection"):
        async for chunk in server.endpoint.logs(request()):
            found.append(chunk)
    assert found == [b"", b"one\n"]

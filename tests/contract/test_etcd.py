"""What only etcd can do to us: other clusters beside ours, limits, silence and broken connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from controlplane.store.backend import Backend, Txn, Write
from controlplane.store.etcd import EtcdBackend
from pinnace.errors import Unavailable
from tests.contract.conftest import free_port
from tests.contract.steps import DEADLINE, PODS, ROOT, WEB, put, read_until, values, wrote

CHUNK = 1 << 14


@pytest.fixture
def root(etcd: str, request: pytest.FixtureRequest) -> str:
    return f"/{request.node.name}"


@asynccontextmanager
async def opened(endpoint: str, root: str, *, timeout: float = DEADLINE) -> AsyncIterator[Backend]:
    backend = EtcdBackend([endpoint], root=root, timeout=timeout)
    try:
        yield backend
    finally:
        await backend.close()


class Link:
    """Forwards connections to `target`; the first is cut when `limit` bytes have come back over it."""

    def __init__(self, target: str, limit: int) -> None:
        self._host, _, self._port = target.partition(":")
        self._limit = limit
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        limit = self._limit if self.connections == 1 else None
        answers, requests = await asyncio.open_connection(self._host, int(self._port))
        try:
            there = asyncio.ensure_future(self._forward(reader, requests, None))
            await self._forward(answers, writer, limit)
        finally:
            writer.transport.abort()
            requests.transport.abort()
            await there

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        passed = 0
        try:
            while (limit is None or passed < limit) and (data := await reader.read(CHUNK)):
                passed += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass


async def test_a_watch_has_no_gap_when_its_connection_breaks_in_the_middle_of_history(etcd: str, root: str) -> None:
    """It resumes after the last batch that it told, not after the last that the server had."""
    async with opened(etcd, root) as direct:
        start = (await direct.load(ROOT)).revision
        revisions = [await wrote(direct, put(f"{PODS}{n}", b"x" * 50_000)) for n in range(40)]
        link = Link(etcd, limit=500_000)
        server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await wrote(direct, put(PODS + "last"))
        async with (
            server,
            opened(f"127.0.0.1:{port}", root) as linked,
            aclosing(linked.watch(ROOT, after=start)) as batches,
        ):
            told = await read_until(batches, PODS + "last")
        assert link.connections > 1
        assert [batch.revision for batch in told] == revisions


async def test_clusters_under_two_roots_share_nothing(etcd: str, root: str) -> None:
    """Also when one root begins like the other."""
    async with opened(etcd, root) as one, opened(etcd, root + "2") as two:
        listed = (await one.load(PODS)).revision
        await wrote(two, put(WEB, b"theirs"))
        assert await wrote(one, put(WEB, b"ours", reads={WEB: 0}, ranges={PODS: listed}))
        assert values(await one.load(ROOT)) == {WEB: b"ours"}


async def test_more_writes_than_etcd_takes_are_refused_whole(etcd: str, root: str) -> None:
    """Unavailable says that nothing was written."""
    async with opened(etcd, root) as backend:
        with pytest.raises(Unavailable):
            await backend.commit([Txn(tuple(Write(f"{PODS}{n}", b"v") for n in range(200)))])
        assert (await backend.load(ROOT)).items == ()


async def test_no_server_is_unavailable(etcd: str, root: str) -> None:
    """Whatever is asked of it."""
    async with opened(f"127.0.0.1:{free_port()}", root) as backend:
        with pytest.raises(Unavailable):
            await backend.load(ROOT)
        with pytest.raises(Unavailable):
            await backend.commit([put(WEB)])
        with pytest.raises(Unavailable):
            await backend.compact(1)


async def test_a_server_that_never_answers_is_unavailable(root: str) -> None:
    """A connection that is taken and then ignored, as by a frozen machine."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with opened(f"127.0.0.1:{silent.getsockname()[1]}", root, timeout=0.1) as backend:
            with pytest.raises(Unavailable):
                await backend.commit([put(WEB)])
            with pytest.raises(Unavailable):
                await backend.load(ROOT)

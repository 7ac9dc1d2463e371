"""What only etcd can do to us: other clusters beside ours, limits, silence and broken connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest

from controlplane.store import Store
from controlplane.store import etcd_messages_pb2 as pb
from controlplane.store.backend import Backend
from controlplane.store.etcd import EtcdBackend
from controlplane.store.etcdclient import EtcdClient
from pinnace.clock import SystemClock
from pinnace.errors import Unavailable
from pinnace.kinds import CONFIG_MAP
from tests.contract.steps import DEADLINE, PODS, ROOT, WEB, last, put, read_until, revisions_of, values, wrote
from tests.support.etcdserver import free_port

CHUNK = 1 << 14


@asynccontextmanager
async def raw(endpoint: str) -> AsyncIterator[EtcdClient]:
    """etcd without the backend."""
    client = EtcdClient([endpoint], timeout=DEADLINE, credentials=None)
    try:
        yield client
    finally:
        await client.close()


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
        assert revisions_of(told) == revisions


async def test_clusters_under_two_roots_share_nothing(etcd: str, root: str) -> None:
    """Also when one root begins like the other."""
    async with opened(etcd, root) as one, opened(etcd, root + "2") as two:
        listed = (await one.load(PODS)).revision
        await wrote(two, put(WEB, b"theirs"))
        assert await wrote(one, put(WEB, b"ours", reads={WEB: 0}, ranges={PODS: listed}))
        assert values(await one.load(ROOT)) == {WEB: b"ours"}


async def test_no_server_is_unavailable(etcd: str, root: str) -> None:
    """Whatever is asked of it."""
    async with opened(f"127.0.0.1:{free_port()}", root, timeout=0.5) as backend:
        with pytest.raises(Unavailable):
            await backend.load(ROOT)
        with pytest.raises(Unavailable):
            await wrote(backend, put(WEB))
        with pytest.raises(Unavailable):
            await backend.compact(1000)


async def test_a_server_that_never_answers_is_unavailable(root: str) -> None:
    """A connection that is taken and then ignored, as by a frozen machine."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with opened(f"127.0.0.1:{silent.getsockname()[1]}", root, timeout=0.1) as backend:
            with pytest.raises(Unavailable):
                await wrote(backend, put(WEB))
            with pytest.raises(Unavailable):
                await backend.load(ROOT)


async def test_values_of_an_earlier_version_are_read(etcd: str, root: str) -> None:
    """They stood in etcd without an envelope, and may be compared and replaced."""
    async with raw(etcd) as client:
        for name, value in (("a", b"\x0a\x01a"), ("b", b"\x0a\x01b")):
            request = pb.PutRequest(key=f"{root}{PODS}{name}".encode(), value=value)
            await client.call("KV/Put", request, pb.PutResponse, reads=False)
    async with opened(etcd, root) as backend:
        a, b = (await backend.load(PODS)).items
        assert (a.value, b.value) == (b"\x0a\x01a", b"\x0a\x01b")
        assert await wrote(backend, put(PODS + "a", b"new", reads={PODS + "a": a.revision})) > b.revision


async def test_a_damaged_value_is_no_object_and_can_be_replaced(etcd: str, root: str) -> None:
    """At a start and while the control plane watches; the others are served."""
    key, bad = CONFIG_MAP.key("default", "bad"), b"\0\x01\0aaaa spoilt"
    for while_watching in (False, True):
        async with opened(etcd, f"{root}{while_watching}") as backend, raw(etcd) as client:
            spoil = pb.PutRequest(key=f"{root}{while_watching}{key}".encode(), value=bad)
            if not while_watching:
                await client.call("KV/Put", spoil, pb.PutResponse, reads=False)
            store = await Store.open(backend, SystemClock())
            serving = asyncio.ensure_future(store.serve())
            await store.update(lambda tx: tx.create(CONFIG_MAP, config("good")))
            if while_watching:
                await store.update(lambda tx: tx.create(CONFIG_MAP, config("bad")))
                await client.call("KV/Put", spoil, pb.PutResponse, reads=False)
                await store.update(lambda tx: tx.create(CONFIG_MAP, config("later")))
                await store.update(lambda tx: tx.delete(CONFIG_MAP, "default", "later"))
            assert [row.message.metadata.name for row in store.rows(CONFIG_MAP)] == ["good"]
            assert store.unreadable == (key,)
            await store.update(lambda tx: tx.create(CONFIG_MAP, config("bad")))
            assert [row.message.metadata.name for row in store.rows(CONFIG_MAP)] == ["bad", "good"]
            assert store.unreadable == ()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def config(name: str) -> Any:
    message = CONFIG_MAP.cls()
    message.metadata.name, message.metadata.namespace = name, "default"
    return message


class Leaderless:
    """A member that is cut off from its peers: it answers, knows no leader, and keeps writes for ever."""

    def __init__(self) -> None:
        self.writes = 0
        self._server = grpc.aio.server()
        handlers = {"Status": self._status, "Txn": self._txn}
        for service, method, request in (("Maintenance", "Status", pb.StatusRequest), ("KV", "Txn", pb.TxnRequest)):
            handler = grpc.unary_unary_rpc_method_handler(
                handlers[method], request.FromString, lambda message: message.SerializeToString()
            )
            generic = grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", {method: handler})
            self._server.add_generic_rpc_handlers((generic,))

    async def start(self) -> str:
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        await self._server.stop(0)

    async def _status(self, request: Any, context: Any) -> pb.StatusResponse:
        return pb.StatusResponse(leader=0)

    async def _txn(self, request: Any, context: Any) -> pb.TxnResponse:
        self.writes += 1
        await asyncio.sleep(DEADLINE * 10)
        return pb.TxnResponse()


async def test_a_member_that_is_cut_off_from_its_peers_is_left(etcd: str, root: str) -> None:
    """It answers pings; a write in progress there ends with the cause, and the next one goes to another member."""
    member = Leaderless()
    endpoint = await member.start()
    backend = EtcdBackend([endpoint, etcd], root=root, timeout=DEADLINE)
    try:
        async with asyncio.timeout(DEADLINE / 2):
            with pytest.raises(Unavailable, match=f"{endpoint}: no leader"):
                await wrote(backend, put(WEB, b"1"))
            assert member.writes == 1
            await wrote(backend, put(WEB, b"2"))
        assert values(await backend.load(ROOT)) == {WEB: b"2"}
    finally:
        await backend.close()
        await member.stop()


async def test_a_read_outlives_the_member_that_it_was_sent_to(etcd: str, root: str) -> None:
    """It is repeated on another."""
    async with opened(etcd, root) as direct:
        await wrote(direct, put(WEB))
    backend = EtcdBackend([f"127.0.0.1:{free_port()}", etcd], root=root, timeout=DEADLINE)
    try:
        assert values(await backend.load(ROOT)) == {WEB: b"v"}
    finally:
        await backend.close()


async def test_an_error_says_which_member_and_why(root: str) -> None:
    """Not only that there is one."""
    endpoint = f"127.0.0.1:{free_port()}"
    async with opened(endpoint, root, timeout=0.5) as backend:
        with pytest.raises(Unavailable, match=rf"{endpoint}.*[Cc]onnect"):
            await wrote(backend, put(WEB))


async def test_transactions_of_different_objects_are_in_progress_together(etcd: str, root: str) -> None:
    """Sixty commits do not take sixty times as long as one; each is whole."""
    async with opened(etcd, root) as backend:
        results = await asyncio.gather(*(backend.commit([put(f"{PODS}{n}")]) for n in range(60)))
        assert len({last(result) for [result] in results}) == 60

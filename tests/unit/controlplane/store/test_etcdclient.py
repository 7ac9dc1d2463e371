"""The client certificate that members of etcd are shown follows its files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.store import etcd_messages_pb2 as pb
from controlplane.store import etcdclient
from controlplane.store.etcdclient import EtcdClient
from controlplane.store.etcdtls import Credentials, Files
from pinnace import pki
from pinnace.errors import Unavailable

CA, OTHER = pki.new_ca(time.time()), pki.new_ca(time.time())


class Member(grpc.GenericRpcHandler):
    """Answers calls for the status, and holds watches open. `callers` are the common names of those who called."""

    def __init__(self) -> None:
        self.callers: list[str] = []

    def service(self, details: Any) -> Any:
        coders = {"request_deserializer": bytes, "response_serializer": bytes}
        if details.method.endswith("/Watch"):
            return grpc.stream_stream_rpc_method_handler(self._watch, **coders)
        return grpc.unary_unary_rpc_method_handler(self._status, **coders)

    async def _status(self, request: bytes, context: Any) -> bytes:
        self.callers += [name.decode() for name in context.auth_context()["x509_common_name"]]
        return pb.StatusResponse(leader=1).SerializeToString()

    async def _watch(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        yield pb.WatchResponse(created=True).SerializeToString()
        await asyncio.sleep(3600)


@asynccontextmanager
async def serving(member: Member) -> AsyncIterator[str]:
    pair = pki.issue(CA, "etcd", (), now=time.time(), hosts=("127.0.0.1",))
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], CA.certificate, require_client_auth=True)
    server = grpc.aio.server(handlers=[member])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "ca.crt").write_bytes(CA.certificate)
    found = Files(*(str(tmp_path / name) for name in ("ca.crt", "client.crt", "client.key")))
    replace(found, pki.issue(CA, "first", (), now=time.time()))
    return found


def replace(files: Files, pair: pki.Pair) -> None:
    Path(files.key).write_bytes(pair.key)
    Path(files.certificate).write_bytes(pair.certificate)


async def status(client: EtcdClient) -> int:
    found = await client.call("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse, reads=True)
    return int(found.leader)


async def test_a_renewed_certificate_is_shown_from_then_on(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a watch that began before ends in its own time. One that the member does not accept changes nothing."""
    monkeypatch.setattr(etcdclient, "RENEW_EVERY", 0.02)
    member = Member()
    async with asyncio.timeout(60), serving(member) as endpoint:
        client = EtcdClient([endpoint], timeout=0.5, credentials=Credentials(files))
        try:
            assert await status(client) == 1
            watch = client.stream(pb.WatchRequest())
            assert (await anext(watch)).created
            replace(files, pki.issue(OTHER, "stranger", (), now=time.time()))
            await asyncio.sleep(0.2)
            for _ in range(5):
                assert await status(client) == 1
            assert set(member.callers) == {"first"}
            replace(files, pki.issue(CA, "second", (), now=time.time()))
            while member.callers[-1] != "second":
                await asyncio.sleep(0.01)
            for _ in range(5):
                assert await status(client) == 1
            with pytest.raises(Unavailable, match="its client certificate was renewed"):
                await anext(watch)
            assert "stranger" not in member.callers
        finally:
            await client.close()


async def test_a_watch_ends_when_its_member_is_left_while_it_connects() -> None:
    """The member accepts the connection and says nothing, as one that was restarted just now; it is left for another."""
    accepted, left, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await left.wait()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with asyncio.timeout(60), await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        client = EtcdClient([f"{host}:{port}"], timeout=0.5, credentials=None)
        try:
            watch = asyncio.ensure_future(anext(client.stream(pb.WatchRequest())))
            await accepted.wait()
            await client.member().leave("no leader")
            with pytest.raises(Unavailable, match="no leader"):
                await watch
        finally:
            await client.close()
            left.set()
        await closed.wait()


def test_files_that_do_not_fit_each_other_are_tried_again(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """As between the replacement of one and of the other, or while one is missing."""
    credentials = Credentials(files)
    first = credentials.current
    assert not credentials.renew()
    pair = pki.issue(CA, "second", (), now=time.time())
    Path(files.key).write_bytes(pair.key)
    assert not credentials.renew()
    assert "etcd_credentials_unusable" in caplog.text
    Path(files.certificate).unlink()
    assert not credentials.renew()
    assert credentials.current is first
    Path(files.certificate).write_bytes(pair.certificate)
    assert credentials.renew()
    assert credentials.current is not first
    assert not credentials.renew()


class Failing(Credentials):
    """Of which the first `errors` renewals raise."""

    def __init__(self, files: Files, *errors: BaseException) -> None:
        super().__init__(files)
        self.errors = list(errors)

    def renew(self) -> bool:
        if self.errors:
            raise self.errors.pop(0)
        return super().renew()


async def test_a_renewal_that_fails_is_tried_again(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when it fails as a call that gRPC cancels. The reasons are in the log."""
    monkeypatch.setattr(etcdclient, "RENEW_EVERY", 0.02)
    member = Member()
    async with asyncio.timeout(60), serving(member) as endpoint:
        errors = (OSError("the disk is full"), asyncio.CancelledError("of a call"))
        client = EtcdClient([endpoint], timeout=5, credentials=Failing(files, *errors))
        try:
            assert await status(client) == 1
            replace(files, pki.issue(CA, "second", (), now=time.time()))
            while member.callers[-1] != "second":
                await asyncio.sleep(0.02)
                await status(client)
        finally:
            await client.close()
    assert caplog.text.count("etcd_renewal_failed") == 2
    assert "the disk is full" in caplog.text


async def test_a_call_that_is_cancelled_for_another_reason_is_unavailable(files: Files) -> None:
    """Only a task that is cancelled itself gets CancelledError: one that was not would end in silence."""
    member = Member()
    async with asyncio.timeout(60), serving(member) as endpoint:
        client = EtcdClient([endpoint], timeout=5, credentials=Credentials(files))
        try:
            watch = client.stream(pb.WatchRequest())
            assert (await anext(watch)).created
            following = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await client.member().channel.close()
            with pytest.raises(Unavailable, match="the call was cancelled"):
                await following
        finally:
            await client.close()

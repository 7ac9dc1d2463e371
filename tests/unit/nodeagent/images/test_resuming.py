"""Transfers that break off, stand still or are not wanted any more: a server on loopback that does as each test says."""

from __future__ import annotations

import asyncio
from http.server import BaseHTTPRequestHandler

import pytest

from nodeagent.images.puller import Puller, PullError
from nodeagent.images.store import ImageStore
from tests.support.archives import digest, layer
from tests.support.registry import packed, rogue, serving
from tests.unit.nodeagent.images.pulling import Answer, pull

pytestmark = pytest.mark.root
BASE = layer(("etc/motd", "hello"))


async def test_a_transfer_that_breaks_off_is_resumed(store: ImageStore, puller: Puller) -> None:
    """After a third of it the connection goes; the next request asks for the rest only."""
    data = layer(("big", "".join(chr(33 + i * i % 90) for i in range(300_000))))
    image = packed(data, compress=bytes, kind="")
    victim, whole = digest(data)[7:], serving(image)
    cuts: list[int] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        status, headers, body = whole(request)
        if victim in request.path and len(cuts) < 3:
            cuts.append(len(body) // 3)
            # A Content-Length that promises more than comes.
            request.close_connection = True
            return status, {**headers, "Content-Length": str(len(body))}, body[: cuts[-1]]
        return status, headers, body

    with rogue(answer) as server:
        await pull(puller, f"{server.address}/app:1")
        ranges = [headers.get("Range") for _, _, headers in server.asked(victim)]
    starts = [sum(cuts[:count]) for count in range(4)]
    assert ranges == [None, *(f"bytes={start}-" for start in starts[1:])]
    assert len(store.read_file(store.find(f"{server.address}/app:1"), "big")) == 300_000


async def test_a_pull_goes_on_where_an_earlier_one_ended(store: ImageStore, puller: Puller) -> None:
    """As after a restart of the agent: the part is on disk, and only the rest is asked for."""
    data = layer(("big", "x" * 50_000))
    victim = digest(data)[7:]
    (store.partial / victim).write_bytes(data[:20_000])
    with rogue(serving(packed(data, compress=bytes, kind=""))) as server:
        await pull(puller, f"{server.address}/app:1")
        assert [headers.get("Range") for _, _, headers in server.asked(victim)] == ["bytes=20000-"]


@pytest.mark.parametrize("start", [b"garbage" * 1000, b"longer than the layer" * 10_000])
async def test_a_part_that_is_wrong_does_not_stay(store: ImageStore, puller: Puller, start: bytes) -> None:
    """A damaged part fails once, and the next pull begins anew."""
    data = layer(("big", "x" * 50_000))
    (store.partial / digest(data)[7:]).write_bytes(start)
    with rogue(serving(packed(data, compress=bytes, kind=""))) as server:
        with pytest.raises(PullError, match="does not match its digest"):
            await pull(puller, f"{server.address}/app:1")
        await pull(puller, f"{server.address}/app:1")


async def test_a_registry_without_ranges_sends_all_again(store: ImageStore, puller: Puller) -> None:
    """200 instead of 206: from the beginning."""
    data = layer(("big", "x" * 50_000))
    image = packed(data, compress=bytes, kind="")
    (store.partial / digest(data)[7:]).write_bytes(data[:20_000])

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if digest(data) in request.path:
            return 200, {}, data
        return serving(image)(request)

    with rogue(answer) as server:
        await pull(puller, f"{server.address}/app:1")


@pytest.mark.timeout(20)
async def test_a_pull_that_nobody_wants_any_more_ends(store: ImageStore, puller: Puller) -> None:
    """Cancelled while a layer does not come: the transfer ends then, not at its deadline, and a later pull takes it up."""
    data = layer(("big", "x" * 100_000))
    image = packed(data, compress=bytes, kind="")
    part = store.partial / digest(data)[7:]
    stalled: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        status, headers, body = serving(image)(request)
        if digest(data) in request.path and not stalled:
            stalled.append(request.path)
            # More is promised and never comes.
            return status, {**headers, "Content-Length": str(len(body))}, body[:40_000]
        return status, headers, body

    with rogue(answer) as server:
        task = asyncio.ensure_future(pull(puller, f"{server.address}/app:1"))
        while not server.asked(digest(data)):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*puller.blobs._running.values(), return_exceptions=True)
        assert not part.exists() or part.stat().st_size < len(data)
        await pull(puller, f"{server.address}/app:1")

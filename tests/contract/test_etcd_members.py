"""A cluster of three members, of which one freezes: writes resume, nothing acknowledged is lost, watches have no gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from controlplane.store import Store
from controlplane.store.etcd import EtcdBackend
from pinnace.clock import SystemClock
from pinnace.errors import ApiError, Unavailable
from pinnace.kinds import CONFIG_MAP
from tests.contract.steps import PODS, ROOT, put, wrote
from tests.support.etcdcluster import Members, three
from tests.support.etcdserver import free_port

# Seconds: how long a member is frozen, and how long writes may pause.
FROZEN, PAUSE = 12.0, 10.0


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[Members]:
    async with three(tmp_path / "etcd", sorted({free_port() for _ in range(20)})[:6]) as started:
        yield started


async def writing(backend: EtcdBackend, seconds: float) -> tuple[dict[str, int], float]:
    """What was acknowledged, key to revision, and the longest time without an acknowledgement."""
    loop, acknowledged, longest = asyncio.get_running_loop(), dict[str, int](), 0.0
    start = last = loop.time()
    number = 0
    while loop.time() - start < seconds:
        number += 1
        key = f"{PODS}{number}"
        try:
            acknowledged[key] = await wrote(backend, put(key))
        except Unavailable:
            await asyncio.sleep(0.05)
            continue
        longest, last = max(longest, loop.time() - last), loop.time()
        await asyncio.sleep(0.02)
    return acknowledged, max(longest, loop.time() - last)


async def test_writes_resume_when_a_member_freezes(members: Members) -> None:
    """Each in turn, the leader and the one in use among them: within ten seconds, and a watch misses nothing."""
    backend = EtcdBackend(members.endpoints, root="/frozen")
    try:
        for index in range(3):
            start = (await backend.load(ROOT)).revision
            members.freeze(index)
            acknowledged, longest = await writing(backend, FROZEN)
            members.thaw(index)
            assert longest < PAUSE, f"member {index}"
            found = {item.key: item.revision for item in (await backend.load(PODS)).items}
            assert {key: found.get(key) for key in acknowledged} == acknowledged
            told = await told_after(backend, start, max(acknowledged.values()))
            assert set(acknowledged.values()) <= set(told)
            await members.healthy()
    finally:
        await backend.close()


async def told_after(backend: EtcdBackend, after: int, last: int) -> list[int]:
    told: list[int] = []
    async with asyncio.timeout(20), aclosing(backend.watch(ROOT, after=after)) as batches:
        async for batch in batches:
            told += [change.revision for change in batch.changes]
            if told and told[-1] >= last:
                return told
    raise AssertionError("the watch ended")


async def test_reads_and_the_watch_cache_go_on_when_the_member_in_use_freezes(members: Members) -> None:
    """A store that serves: its next update is seen, through another member."""
    store = await Store.open(EtcdBackend(members.endpoints, root="/cache"), SystemClock())
    serving = asyncio.ensure_future(store.serve())
    try:
        await store.update(lambda tx: tx.put(CONFIG_MAP, named("before")))
        members.freeze(0)
        async with asyncio.timeout(PAUSE):
            await eventually(store)
        assert [row.message.metadata.name for row in store.rows(CONFIG_MAP)] == ["after", "before"]
    finally:
        members.thaw(0)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await store.close()


def named(name: str) -> Any:
    message = CONFIG_MAP.cls()
    message.metadata.name, message.metadata.namespace = name, "default"
    return message


async def eventually(store: Store) -> None:
    while True:
        try:
            await store.update(lambda tx: tx.put(CONFIG_MAP, named("after")))
            await store.sync()
            return
        except ApiError:
            await asyncio.sleep(0.05)


async def test_without_a_majority_the_error_says_so(members: Members) -> None:
    """And writes resume when it is back."""
    backend = EtcdBackend(members.endpoints, root="/majority", timeout=8.0)
    try:
        await wrote(backend, put(PODS + "a"))
        leader = await members.leader()
        frozen = [leader, (leader + 1) % 3]
        for index in frozen:
            members.freeze(index)
        await asyncio.sleep(4)
        with pytest.raises(Unavailable, match=r"leader|answer|Deadline|timed out"):
            await wrote(backend, put(PODS + "b"))
        for index in frozen:
            members.thaw(index)
        async with asyncio.timeout(PAUSE):
            while True:
                try:
                    await wrote(backend, put(PODS + "c"))
                    break
                except Unavailable:
                    await asyncio.sleep(0.1)
    finally:
        await backend.close()

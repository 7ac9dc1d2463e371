"""Threads by kind of work: one kind that hangs delays no other, and nobody waits past a deadline."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from nodeagent.node import pools
from nodeagent.node.pools import Pool, PoolBusy
from pinnace.clock import settle
from tests.support.awaiting import eventually


async def test_results_and_errors_come_back() -> None:
    pool = Pool("work", 2)
    assert await pool.run(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await pool.run(int, "x")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await pool.run(next, iter(()))


async def test_no_more_calls_than_threads_run_at_a_time() -> None:
    pool, gate, running, most = Pool("work", 3), threading.Event(), 0, 0

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        gate.wait(5)
        running -= 1

    calls = [asyncio.ensure_future(pool.run(work)) for _ in range(8)]
    await eventually(lambda: running == 3)
    await settle()
    assert most == 3
    gate.set()
    await asyncio.gather(*calls)
    assert most == 3


async def test_what_hangs_costs_its_own_kind_alone() -> None:
    hung, other, gate = Pool("hung", 2), Pool("other", 1), threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"hung: not done within 0.05 s"):
            await hung.run_within(0.05, gate.wait, 10)
    with pytest.raises(TimeoutError, match="hung"):
        await hung.run_within(0.05, int, "1")
    assert await other.run_within(5, int, "1") == 1
    gate.set()
    assert await hung.run_within(5, int, "1") == 1, "the threads are free once the kernel answers"


async def test_what_hangs_of_one_owner_leaves_threads_to_others() -> None:
    """However many of its calls there are; once it answers, its own go on."""
    pool, gate = Pool("work", 4, each=1), threading.Event()
    hung = [asyncio.ensure_future(pool.of("dead").run(gate.wait, 10)) for _ in range(20)]
    await settle()
    with pytest.raises(TimeoutError, match=r"work: not done within 0.05 s"):
        await pool.of("dead").run_within(0.05, int, "1")
    assert await pool.of("healthy").run_within(5, int, "1") == 1
    assert await pool.run_within(5, int, "1") == 1
    gate.set()
    assert await asyncio.gather(*hung) == [True] * 20


async def test_only_so_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_WAITING", 2)
    pool, gate = Pool("work", 1), threading.Event()
    calls = [asyncio.ensure_future(pool.run(gate.wait, 5)) for _ in range(3)]
    await settle()
    with pytest.raises(PoolBusy, match="2 callers are waiting"):
        await pool.run(int, "1")
    gate.set()
    assert await asyncio.gather(*calls) == [True] * 3


def test_a_thread_that_hangs_keeps_no_process_from_ending() -> None:
    program = (
        "import asyncio, time; from nodeagent.node.pools import Pool\n"
        "async def main():\n"
        "    try: await Pool('p', 1).run_within(0.05, time.sleep, 600)\n"
        "    except TimeoutError: print('gave up')\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=True, cwd=os.getcwd())
    assert ran.stdout == b"gave up\n"

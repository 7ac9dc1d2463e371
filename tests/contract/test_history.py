"""A history checker: random writers, and watchers that disconnect and resume anywhere, on every backend.

Each watcher must see what the backend's log holds: no event missed, repeated or reordered. On etcd two control planes write
and are watched, and a watcher resumes at either.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.store import Event, Store, Tx
from pinnace.clock import SystemClock
from pinnace.errors import Conflict, Expired
from pinnace.kinds import CONFIG_MAP, LEASE, Kind
from tests.contract.conftest import Opener
from tests.contract.steps import DEADLINE

KINDS = (CONFIG_MAP, LEASE)
NAMES = [f"n{number}" for number in range(8)]
WRITERS, WRITES, WATCHERS = 4, 40, 6
# Kind of change, key and revision.
Seen = tuple[str, str, int]


def named(kind: Kind, name: str) -> Any:
    message = kind.cls()
    message.metadata.name, message.metadata.namespace = name, "default"
    return message


def change(kind: Kind, names: list[str], how: str) -> Callable[[Tx], None]:
    """Put, delete, or delete and create each of them, in one transaction."""

    def fn(tx: Tx) -> None:
        for name in names:
            if how != "put":
                tx.delete(kind, "default", name)
            if how != "delete":
                tx.put(kind, named(kind, name))

    return fn


def seen(event: Event) -> Seen:
    what = "created" if event.old is None else "deleted" if event.new is None else "modified"
    return (what, event.row.key, event.revision)


@dataclass
class Run:
    stores: list[Store]
    dice: random.Random
    acknowledged: set[int] = field(default_factory=set)

    async def write(self) -> None:
        for _ in range(WRITES):
            kind, names = self.dice.choice(KINDS), self.dice.sample(NAMES, self.dice.randint(1, 4))
            how = self.dice.choice(["put", "put", "delete", "replace"])
            written: list[Any] = []
            try:
                await self.dice.choice(self.stores).update(recording(change(kind, names, how), written))
            except Conflict:
                continue
            self.acknowledged |= {int(message.metadata.resourceVersion) for message in written[-1]}

    async def watch(self, kind: Kind, start: int, last: str) -> list[Seen]:
        """Events after `start` up to the creation of `last`, over many connections."""
        told: list[Seen] = []
        while True:
            watcher = await self.dice.choice(self.stores).watch_from(kind, told[-1][2] if told else start)
            try:
                # A client may have taken in any part of what it was sent.
                events = await watcher.next()
                told += [seen(event) for event in events[: self.dice.randint(1, len(events))]]
                if any(key.endswith("/" + last) for _, key, _ in told):
                    return told
            finally:
                watcher.close()
            await asyncio.sleep(0)


def recording(fn: Callable[[Tx], None], written: list[Any]) -> Callable[[Tx], None]:
    """Keeps the messages that each run of `fn` puts: the last run is the one that was committed."""

    def run(tx: Tx) -> None:
        put, messages = tx.put, list[Any]()
        tx.put = lambda kind, message: (messages.append(message), put(kind, message))[1]  # type: ignore[method-assign]
        fn(tx)
        written.append(messages)

    return run


@pytest.mark.parametrize("seed", range(3))
async def test_no_event_is_missed_repeated_or_reordered(fresh: Callable[[], Opener], seed: int) -> None:
    """Whatever a watcher had seen when it disconnected."""
    opener = fresh()
    backend = opener()
    backends = [backend] if backend.exclusive else [backend, opener()]
    stores = [await Store.open(each, SystemClock()) for each in backends]
    serving = [asyncio.ensure_future(store.serve()) for store in stores]
    run = Run(stores, random.Random(seed))
    try:
        async with asyncio.timeout(DEADLINE * 3):
            start = stores[0].revision
            _, reference = stores[0].view_and_watch(*KINDS)
            async with asyncio.TaskGroup() as tasks:
                watches = [
                    (kind, tasks.create_task(run.watch(kind, start, "zz-last"))) for kind in KINDS for _ in range(WATCHERS)
                ]
                writers = [asyncio.ensure_future(run.write()) for _ in range(WRITERS)]
                await asyncio.gather(*writers)
                await stores[0].update(lambda tx: [tx.put(kind, named(kind, "zz-last")) for kind in KINDS])
            everything: list[Seen] = []
            while len([key for _, key, _ in everything if key.endswith("/zz-last")]) < len(KINDS):
                everything += [seen(event) for event in await reference.next()]
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for store in stores:
            await store.close()
    revisions = [revision for _, _, revision in everything]
    assert revisions == sorted(set(revisions))
    assert run.acknowledged <= set(revisions)
    for kind, task in watches:
        expected = [item for item in everything if item[1].startswith(kind.prefix)]
        assert task.result() == expected[: len(task.result())]
        assert task.result()[-1][1].endswith("/zz-last")


async def test_a_watcher_that_was_away_too_long_is_told_so(
    fresh: Callable[[], Opener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of missing something."""
    from controlplane.store import history

    monkeypatch.setattr(history, "MAX_EVENTS", 10)
    store = await Store.open(fresh()(), SystemClock())
    serving = asyncio.ensure_future(store.serve())
    try:
        start = store.revision
        for number in range(12):
            await store.update(lambda tx, number=number: tx.put(CONFIG_MAP, named(CONFIG_MAP, f"n{number}")))
        with pytest.raises(Expired):
            await store.watch_from(CONFIG_MAP, start)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await store.close()

"""The watch cache: transactions, watches, and what it does when its backend fails it. Over the backend in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.store import Batch, Event, Snapshot, Store, StoredObject, Tx, Txn, Write, committer, history
from controlplane.store.backend import Committed, Compacted, Result
from controlplane.store.history import MAX_EVENTS
from controlplane.store.memory import MemoryBackend
from controlplane.store.store import MAX_ATTEMPTS
from controlplane.store.watcher import BATCH_SIZE
from pinnace import kinds
from pinnace.clock import VirtualClock
from pinnace.errors import AlreadyExists, Conflict, Expired, Internal, NotFound, TooLarge, Unavailable
from pinnace.kinds import CONFIG_MAP, LEASE, NODE, POD, Kind

# A test that waits longer than this has failed, in seconds.
DEADLINE = 20.0


# Builders


def named(kind: Kind, name: str, namespace: str = "default") -> Any:
    message: Any = kind.cls()
    message.metadata.name = name
    message.metadata.namespace = namespace if kind.namespaced else ""
    return message


def counter(count: int) -> Any:
    message = named(CONFIG_MAP, "counter")
    message.data["count"] = str(count)
    return message


def count_of(store: Store) -> int:
    return int(store.get(CONFIG_MAP, "default", "counter").data["count"])


def increment(tx: Tx) -> int:
    count = int(tx.require(CONFIG_MAP, "default", "counter").data["count"]) + 1
    tx.put(CONFIG_MAP, counter(count))
    return count


def creating(kind: Kind, *names: str) -> Callable[[Tx], None]:
    def fn(tx: Tx) -> None:
        for name in names:
            tx.create(kind, named(kind, name))

    return fn


def deleting(kind: Kind, name: str) -> Callable[[Tx], None]:
    return lambda tx: tx.delete(kind, "default", name)


def blind(kind: Kind, name: str) -> Txn:
    """As written by another control plane."""
    message = named(kind, name)
    return Txn((Write(kind.key(message.metadata.namespace, name), message.SerializeToString()),))


def names(rows: Sequence[StoredObject]) -> list[str]:
    return sorted(row.parse().metadata.name for row in rows)


def told(events: Sequence[Event]) -> list[tuple[str | None, str | None]]:
    name = lambda row: row.parse().metadata.name if row else None  # noqa: E731
    return [(name(event.old), name(event.new)) for event in events]


def replay(rows: Sequence[StoredObject], events: Sequence[Event]) -> dict[str, StoredObject]:
    """The rows after the events, each of which must follow from the ones before it."""
    state = {row.key: row for row in rows}
    for event in events:
        assert state.pop(event.row.key, None) == event.old
        if event.new is not None:
            state[event.row.key] = event.new
    return state


@asynccontextmanager
async def opened(backend: MemoryBackend | None = None, clock: VirtualClock | None = None) -> AsyncIterator[Store]:
    """A store that serves; the test fails when it stops by itself."""
    store = await Store.open(backend or MemoryBackend(), clock or VirtualClock())
    serving = asyncio.ensure_future(store.serve())
    try:
        async with asyncio.timeout(DEADLINE):
            yield store
        assert not serving.done(), serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await store.close()


async def caught_up(store: Store) -> None:
    revision = (await store.backend.load("/")).revision
    while store.revision < revision:
        await asyncio.sleep(0)


class Rival(MemoryBackend):
    """Before each of the first `times` commits somebody else writes `txn`."""

    def __init__(self, txn: Txn, times: int) -> None:
        super().__init__()
        self._txn = txn
        self.times = times
        self.groups: list[int] = []

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        self.groups.append(len(txns))
        if self.times > 0:
            self.times -= 1
            await super().commit([self._txn])
        return await super().commit(txns)


class Shared(MemoryBackend):
    """One state under several control planes."""

    exclusive = False


class Failing(MemoryBackend):
    """Each of the named calls raises these, one after the other, before it works."""

    def __init__(self, **failures: list[Exception]) -> None:
        super().__init__()
        self.failures = failures

    def _fail(self, call: str) -> None:
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    async def load(self, prefix: str) -> Snapshot:
        self._fail("load")
        return await super().load(prefix)

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        self._fail("commit")
        return await super().commit(txns)

    async def compact(self, before: int) -> None:
        self._fail("compact")
        await super().compact(before)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        async for batch in super().watch(prefix, after=after):
            self._fail("watch")
            yield batch


# Transactions


async def test_an_update_is_seen_when_it_returns() -> None:
    """The watch cache has it, under the revision that the message was stamped with."""
    async with opened() as store:
        pod = named(POD, "web")
        await store.update(lambda tx: tx.create(POD, pod))
        assert store.get(POD, "default", "web") == pod
        assert pod.metadata.resourceVersion == str(store.revision)


async def test_an_update_returns_what_its_function_returned() -> None:
    """Of the run that was committed."""
    async with opened() as store:
        await store.update(lambda tx: tx.create(CONFIG_MAP, counter(0)))
        assert sorted(await asyncio.gather(*(store.update(increment) for _ in range(3)))) == [1, 2, 3]


async def test_an_update_runs_again_when_what_it_read_changed() -> None:
    """On what is there then."""
    backend = Rival(Txn((Write(CONFIG_MAP.key("default", "counter"), counter(40).SerializeToString()),)), 0)
    async with opened(backend) as store:
        await store.update(lambda tx: tx.create(CONFIG_MAP, counter(0)))
        backend.times = 1
        assert await store.update(increment) == 41
        assert count_of(store) == 41


async def test_an_unreadable_object_can_be_deleted() -> None:
    """Alone, and by a transaction that deletes others with it."""
    backend = MemoryBackend()
    bad = POD.key("default", "bad")
    await backend.commit([Txn((Write(bad, b"\xff\xff"),))])
    async with opened(backend) as store:
        await store.update(creating(POD, "good"))
        assert list(store.cache.unreadable) == [bad]

        def both(tx: Tx) -> None:
            tx.delete(POD, "default", "good")
            tx.delete(POD, "default", "bad")

        await store.update(both)
        assert (store.rows(POD), list(store.cache.unreadable)) == ([], [])
        assert (await backend.load(bad)).items == ()


async def test_an_update_that_never_gets_through_is_a_conflict() -> None:
    """After so many attempts; nothing of it is written."""
    backend = Rival(Txn((Write(CONFIG_MAP.key("default", "counter"), counter(7).SerializeToString()),)), 0)
    async with opened(backend) as store:
        await store.update(lambda tx: tx.create(CONFIG_MAP, counter(0)))
        backend.times = MAX_ATTEMPTS
        with pytest.raises(Conflict):
            await store.update(increment)
        assert count_of(store) == 7


async def test_concurrent_increments_of_one_counter_are_all_counted() -> None:
    """They conflict with each other in every group."""
    async with opened() as store:
        await store.update(lambda tx: tx.create(CONFIG_MAP, counter(0)))
        await asyncio.gather(*(store.update(increment) for _ in range(30)))
        assert count_of(store) == 30


async def test_two_control_planes_lose_no_increment() -> None:
    """Each watch cache learns of the other's writes from the backend."""
    backend = Shared()
    async with opened(backend) as one, opened(backend) as two:
        await one.update(lambda tx: tx.create(CONFIG_MAP, counter(0)))
        await two.sync()
        await asyncio.gather(*(store.update(increment) for store in (one, two) for _ in range(10)))
        await caught_up(one)
        await caught_up(two)
        assert (count_of(one), count_of(two)) == (20, 20)


async def test_updates_that_wait_together_share_a_commit() -> None:
    """Twenty of different objects need no twenty commits."""
    backend = Rival(blind(POD, "rival"), 0)
    async with opened(backend) as store:
        await asyncio.gather(*(store.update(creating(POD, f"p{n}")) for n in range(20)))
        assert sum(backend.groups) == 20
        assert len(backend.groups) < 20
        assert len(store.rows(POD)) == 20


async def test_what_the_function_raises_is_raised_and_nothing_is_written() -> None:
    """Also after it has put something."""

    def fn(tx: Tx) -> None:
        tx.put(POD, named(POD, "a"))
        tx.create(POD, named(POD, "web"))

    async with opened() as store:
        await store.update(creating(POD, "web"))
        with pytest.raises(AlreadyExists):
            await store.update(fn)
        assert names(store.rows(POD)) == ["web"]


async def test_a_cancelled_update_does_not_hold_up_the_next() -> None:
    """Whether it was written is open; the store goes on."""
    async with opened() as store:
        waiting = asyncio.ensure_future(store.update(creating(POD, "a")))
        await asyncio.sleep(0)
        waiting.cancel()
        await store.update(creating(POD, "b"))
        assert "b" in names(store.rows(POD))


async def test_a_transaction_reads_its_own_writes() -> None:
    """One by one and in lists."""

    def fn(tx: Tx) -> None:
        tx.put(POD, named(POD, "new"))
        tx.delete(POD, "default", "old")
        assert tx.get(POD, "default", "new") == named(POD, "new")
        assert tx.get(POD, "default", "old") is None
        assert [pod.metadata.name for pod in tx.list(POD)] == ["kept", "new"]
        assert [pod.metadata.name for pod in tx.list(POD, "elsewhere")] == []
        with pytest.raises(NotFound):
            tx.require(POD, "default", "old")
        with pytest.raises(AlreadyExists):
            tx.create(POD, named(POD, "new"))

    async with opened() as store:
        await store.update(creating(POD, "old", "kept"))
        await store.update(fn)
        assert names(store.rows(POD)) == ["kept", "new"]


async def test_what_is_deleted_and_created_in_one_transaction_is_another_object() -> None:
    """A deletion and a creation to those who watch, each with its own revision."""

    def fn(tx: Tx) -> None:
        tx.delete(POD, "default", "web")
        tx.create(POD, named(POD, "web"))

    async with opened() as store:
        await store.update(creating(POD, "web"))
        _, subscription = store.view_and_watch(POD)
        await store.update(fn)
        events = await subscription.next()
        assert told(events) == [("web", None), (None, "web")]
        assert events[0].revision < events[1].revision
        assert store.get(POD, "default", "web").metadata.resourceVersion == str(events[1].revision)


async def test_a_watch_resumes_in_the_middle_of_a_transaction() -> None:
    """After any of its events it tells those that follow, no more and no fewer."""
    async with opened() as store:
        _, subscription = store.view_and_watch(POD)
        await store.update(creating(POD, "c", "a", "b"))
        events = await subscription.next()
        assert len({event.revision for event in events}) == 3
        for number, event in enumerate(events):
            resumed = await store.watch_from(POD, event.revision)
            await store.update(creating(POD, f"later{number}"))
            rest = [name for _, name in told(await resumed.next()) if name and "later" not in name]
            assert rest == ["c", "a", "b"][number + 1 :]


async def test_each_object_of_a_transaction_is_stamped_with_its_own_revision() -> None:
    """As the cache has it."""
    pods = [named(POD, name) for name in "abc"]
    async with opened() as store:
        await store.update(lambda tx: [tx.create(POD, pod) for pod in pods])
        assert len({pod.metadata.resourceVersion for pod in pods}) == 3
        assert [store.get(POD, "default", pod.metadata.name) for pod in pods] == pods


async def test_a_transaction_that_is_too_large_fails_alone() -> None:
    """Those that wait at the same time are committed, and its caller is told not to try again."""
    async with opened() as store:
        many = [f"p{n}" for n in range(store.backend.limits.operations + 1)]
        results = await asyncio.gather(
            store.update(creating(POD, "a")), store.update(creating(POD, *many)), store.update(creating(POD, "b")),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(result) for result in results] == [type(None), TooLarge, type(None)]
        assert names(store.rows(POD)) == ["a", "b"]


async def test_what_may_be_split_is_split() -> None:
    """A transaction for each item: any number of them is committed, and one that fails fails alone."""
    async with opened() as store:
        await store.update(creating(POD, "p7"))
        items = [f"p{n}" for n in range(store.backend.limits.operations + 5)]
        results = await store.update_each(items, lambda tx, name: tx.create(POD, named(POD, name)))
        assert [type(result) for result in results if result is not None] == [AlreadyExists]
        assert len(store.rows(POD)) == len(items)


async def test_a_transaction_says_when_it_is_full() -> None:
    """Before the limits, so that the object in hand still fits."""
    filled: list[bool] = []

    def fn(tx: Tx) -> None:
        while not tx.full:
            tx.put(POD, named(POD, f"p{len(filled)}"))
            filled.append(tx.full)

    async with opened() as store:
        await store.update(fn)
        assert len(store.rows(POD)) == store.backend.limits.operations // 2


async def test_an_error_that_the_backend_does_not_foresee_fails_its_group_only() -> None:
    """The store goes on serving."""
    async with opened(Failing(commit=[ValueError("odd")])) as store:
        with pytest.raises(Internal):
            await store.update(creating(POD, "a"))
        await store.update(creating(POD, "b"))
        assert names(store.rows(POD)) == ["b"]


async def test_what_is_put_and_deleted_in_one_transaction_never_was() -> None:
    """It writes nothing."""

    def fn(tx: Tx) -> None:
        tx.put(POD, named(POD, "web"))
        tx.delete(POD, "default", "web")
        assert tx.list(POD) == []

    async with opened() as store:
        before = store.revision
        await store.update(fn)
        assert (store.rows(POD), store.revision) == ([], before)


async def test_deleting_what_is_absent_reaches_no_backend() -> None:
    """etcd would make a revision of it that no watch cache ever sees."""
    backend = Rival(blind(POD, "rival"), 0)
    async with opened(backend) as store:
        await store.update(deleting(POD, "web"))
        assert backend.groups == []


async def test_what_a_transaction_hands_out_is_the_callers_own() -> None:
    """Changing it changes nothing until it is put."""

    def fn(tx: Tx) -> None:
        tx.require(POD, "default", "web").spec.nodeName = "n1"
        tx.list(POD)[0].spec.nodeName = "n1"
        assert tx.require(POD, "default", "web").spec.nodeName == ""

    async with opened() as store:
        await store.update(creating(POD, "web"))
        await store.update(fn)
        assert store.get(POD, "default", "web").spec.nodeName == ""


async def test_who_lists_a_table_conflicts_with_what_appears_in_it() -> None:
    """Many who each create one pod if there is none make one pod."""

    def sole(name: str) -> Callable[[Tx], None]:
        return lambda tx: None if tx.list(POD) else tx.create(POD, named(POD, name))

    async with opened() as store:
        await asyncio.gather(*(store.update(sole(f"p{n}")) for n in range(10)))
        assert len(store.rows(POD)) == 1


async def test_who_lists_a_table_conflicts_with_what_vanishes_from_it() -> None:
    """A count taken beside a deletion is taken again."""

    def count(tx: Tx) -> None:
        tx.put(CONFIG_MAP, counter(len(tx.list(POD))))

    async with opened() as store:
        await store.update(creating(POD, "a", "b"))
        await asyncio.gather(store.update(deleting(POD, "a")), store.update(count))
        assert count_of(store) == 1


async def test_a_list_of_one_namespace_holds_that_namespace_only() -> None:
    """Namespaces whose names begin alike are apart."""
    async with opened() as store:
        for namespace in ("default", "default2"):
            await store.update(lambda tx, namespace=namespace: tx.create(POD, named(POD, "web", namespace)))
        assert [pod.metadata.namespace for pod in store.view(lambda tx: tx.list(POD, "default"))] == ["default"]
        assert len(store.rows(POD, "default2")) == 1


async def test_sync_shows_what_another_control_plane_wrote() -> None:
    """However far this watch cache was behind."""
    backend = Shared()
    async with opened(backend) as store:
        await backend.commit([blind(POD, "web")])
        await store.sync()
        assert names(store.rows(POD)) == ["web"]


# Rows


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.plural)
async def test_sealed_bytes_parse_to_what_parse_gives(kind: Kind) -> None:
    """With the resourceVersion, in every kind, with and without other metadata."""
    full = named(kind, "web")
    full.metadata.labels["a"] = "b"
    for message in (kind.cls(), full):
        for revision in (1, 123_456_789_012):
            row = StoredObject(kind, "key", message.SerializeToString(), revision)
            assert kind.cls.FromString(row.encoded()) == row.parse()
            assert row.parse().metadata.resourceVersion == str(revision)


async def test_the_resource_version_is_not_stored() -> None:
    """It comes from the row."""
    async with opened() as store:
        pod = named(POD, "web")
        pod.metadata.resourceVersion = "12345"
        await store.update(lambda tx: tx.put(POD, pod))
        [row] = store.rows(POD)
        assert POD.cls.FromString(row.value).metadata.resourceVersion == ""


# Watches


async def test_a_watch_tells_what_was_created_changed_and_deleted() -> None:
    """Of its kind, with what was there before."""
    async with opened() as store:
        _, subscription = store.view_and_watch(POD)
        await store.update(creating(POD, "web"))
        await store.update(creating(NODE, "n1"))
        await store.update(lambda tx: tx.put(POD, named(POD, "web")))
        await store.update(deleting(POD, "web"))
        assert told(await subscription.next()) == [(None, "web"), ("web", "web"), ("web", None)]


async def test_rows_and_the_events_after_them_make_the_whole() -> None:
    """For watchers that start at every moment of a run of writes."""
    async with opened() as store:
        watches = []
        for n in range(40):
            name = f"p{n % 5}"
            watches.append(store.view_and_watch(POD))
            exists = store.row(POD, POD.key("default", name)) is not None
            await store.update(deleting(POD, name) if exists and n % 3 else lambda tx, name=name: tx.put(POD, named(POD, name)))
        now = {row.key: row for row in store.rows(POD)}
        for rows, subscription in watches:
            assert replay(rows, await subscription.next()) == now


async def test_a_watch_of_every_kind_tells_each() -> None:
    """In the order of their revisions."""
    async with opened() as store:
        await store.update(creating(CONFIG_MAP, "c"))
        rows, subscription = store.view_and_watch()
        await store.update(creating(POD, "web"))
        await store.update(creating(NODE, "n1"))
        events = await subscription.next()
        assert names(rows) == ["c"]
        assert [event.row.kind for event in events] == [POD, NODE]
        assert [event.revision for event in events] == sorted({event.revision for event in events})


async def test_a_watch_from_a_revision_tells_what_came_after_it() -> None:
    """History first, then what is new."""
    async with opened() as store:
        await store.update(creating(POD, "a"))
        after = store.revision
        await store.update(creating(POD, "b"))
        subscription = await store.watch_from(POD, after)
        await store.update(creating(POD, "c"))
        assert told(await subscription.next()) == [(None, "b"), (None, "c")]


async def test_a_watch_from_a_revision_that_only_another_control_plane_has_seen_repeats_nothing() -> None:
    """A client that listed there has those objects already."""
    backend = Shared()
    async with opened(backend) as store:
        await store.update(creating(POD, "a"))
        [result] = await backend.commit([blind(POD, "b")])
        assert isinstance(result, Committed)
        subscription = await store.watch_from(POD, result.revision)
        await store.update(creating(POD, "c"))
        assert told(await subscription.next()) == [(None, "c")]


async def test_a_watch_from_before_the_watch_cache_was_loaded_is_expired() -> None:
    """It has no history from then; from its own revision on it does."""
    backend = MemoryBackend()
    [result] = await backend.commit([blind(POD, "a")])
    assert isinstance(result, Committed)
    revision = result.revision
    async with opened(backend) as store:
        with pytest.raises(Expired):
            await store.watch_from(POD, revision - 1)
        subscription = await store.watch_from(POD, revision)
        await store.update(creating(POD, "b"))
        assert told(await subscription.next()) == [(None, "b")]


async def test_a_reader_that_falls_behind_is_expired() -> None:
    """By more events than the history holds; it is told nothing from after the gap, and others are not affected."""
    async with opened() as store:
        _, slow = store.view_and_watch(POD)
        _, quick = store.view_and_watch(POD)
        for start in range(0, MAX_EVENTS + 500, 500):
            await store.update(creating(POD, *(f"p{n:05}" for n in range(start, start + 500))))
            assert len(await quick.next()) == 500
        with pytest.raises(Expired):
            await slow.next()
        await store.update(creating(POD, "later"))
        with pytest.raises(Expired):
            await slow.next()
        assert told(await quick.next()) == [(None, "later")]


async def test_events_of_several_kinds_come_in_order_however_large_they_are() -> None:
    """A batch has few bytes, or one event; where one kind's events are cut, another's later ones wait."""
    async with opened() as store:
        _, watcher = store.view_and_watch(CONFIG_MAP, POD)
        for n in range(12):
            large = named(CONFIG_MAP, f"c{n:02}")
            large.data["x"] = "x" * (BATCH_SIZE // 3 if n < 9 else 2 * BATCH_SIZE)
            await store.update(lambda tx, large=large: tx.create(CONFIG_MAP, large))
            await store.update(creating(POD, f"p{n:02}"))
        batches = list[list[Event]]()
        while sum(map(len, batches)) < 24:
            batches.append(await watcher.next())
        names = [event.row.key.rpartition("/")[2] for batch in batches for event in batch]
        assert names == [name for n in range(12) for name in (f"c{n:02}", f"p{n:02}")]
        for batch in batches:
            sizes = [len(event.row.value) for event in batch if event.row.kind is CONFIG_MAP]
            assert len(sizes) <= 1 or sum(sizes) <= BATCH_SIZE


async def test_a_reader_that_falls_behind_by_bytes_is_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few large objects count as much as many small ones, and history holds no more than its bound."""
    monkeypatch.setattr(history, "MAX_SIZE", 100_000)
    async with opened() as store:
        _, slow = store.view_and_watch(CONFIG_MAP)
        for n in range(12):
            large = named(CONFIG_MAP, f"c{n}")
            large.data["x"] = "x" * 10_000
            await store.update(lambda tx, large=large: tx.create(CONFIG_MAP, large))
            assert store.cache.of(CONFIG_MAP).history.size <= 100_000
        with pytest.raises(Expired):
            await slow.next()


async def test_a_busy_resource_evicts_no_history_of_another() -> None:
    """A pod's event is still there after any number of leases and events."""
    async with opened() as store:
        before = store.revision
        await store.update(creating(POD, "web"))
        for n in range(MAX_EVENTS // 500 + 1):
            await store.update(lambda tx, n=n: [tx.put(LEASE, named(LEASE, f"l{n}.{m}")) for m in range(500)])
        with pytest.raises(Expired):
            await store.watch_from(LEASE, before)
        assert told(await (await store.watch_from(POD, before)).next()) == [(None, "web")]


async def test_one_watcher_of_several_kinds_sees_one_order() -> None:
    """Also when one kind has more events than are returned at once."""
    async with opened() as store:
        _, both = store.view_and_watch(POD, NODE)
        await store.update(creating(CONFIG_MAP, "other"))
        for n in range(6):
            await store.update(creating(POD, *(f"p{n}.{m:03}" for m in range(300))))
            await store.update(creating(NODE, f"n{n}"))
        events: list[Event] = []
        while len(events) < 6 * 301:
            events += await both.next()
        assert [event.revision for event in events] == sorted(event.revision for event in events)
        assert [event.row.key.rpartition("/")[2] for event in events if event.row.kind is NODE] == [f"n{n}" for n in range(6)]
        assert [event.row.kind is NODE for event in events].index(True) == 300


async def test_watchers_share_events() -> None:
    """The same objects, not a copy each."""
    async with opened() as store:
        watchers = [store.view_and_watch(POD)[1] for _ in range(3)]
        await store.update(creating(POD, "web"))
        first, second, third = [(await watcher.next())[0] for watcher in watchers]
        assert first is second is third
        assert first.row.message is store.rows(POD)[0].message


async def test_a_watch_from_the_future_is_expired() -> None:
    """No control plane has reached that revision: the state is another one, such as a backup."""
    async with opened() as store:
        await store.update(creating(POD, "a"))
        with pytest.raises(Expired, match="future"):
            await store.watch_from(POD, store.revision + 1)


async def test_a_closed_watch_is_told_nothing_more() -> None:
    """And the others still are."""
    async with opened() as store:
        _, closed = store.view_and_watch()
        _, subscription = store.view_and_watch()
        closed.close()
        await store.update(creating(POD, "a"))
        assert told(await subscription.next()) == [(None, "a")]
        waiting = asyncio.ensure_future(closed.next())
        await store.update(creating(POD, "b"))
        assert not waiting.done()
        waiting.cancel()


# History


async def filled(store: Store, backend: MemoryBackend) -> None:
    """Write more than the history holds, as others would."""
    for _ in range((history.MAX_EVENTS + committer.HISTORY) // 1000 + 2):
        await backend.commit([blind(CONFIG_MAP, "busy")] * 1000)
        await caught_up(store)


async def test_history_is_bounded_and_what_fell_out_is_expired() -> None:
    """In the watch cache and in the backend."""
    backend = MemoryBackend()
    async with opened(backend) as store:
        await filled(store, backend)
        with pytest.raises(Expired):
            await store.watch_from(CONFIG_MAP, 1)
        await store.update(creating(POD, "web"))
        with pytest.raises(Compacted):
            await anext(backend.watch("/", after=1))
        subscription = await store.watch_from(POD, store.revision - 1)
        assert told(await subscription.next()) == [(None, "web")]


async def test_the_history_of_the_backend_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large objects are not kept a thousand times on disk."""
    monkeypatch.setattr(committer, "HISTORY_SIZE", 100_000)
    monkeypatch.setattr(committer, "COMPACT_SIZE", 50_000)
    backend, large = MemoryBackend(), named(CONFIG_MAP, "large")
    large.data["x"] = "x" * 10_000
    async with opened(backend) as store:
        for _ in range(60):
            await store.update(lambda tx: tx.put(CONFIG_MAP, large))
        assert sum(len(change.value or b"") for batch in backend._log for change in batch.changes) < 200_000


# Failures of the backend


async def test_a_commit_that_fails_is_unavailable_and_the_next_works() -> None:
    """The store goes on serving."""
    async with opened(Failing(commit=[Unavailable("down")])) as store:
        with pytest.raises(Unavailable):
            await store.update(creating(POD, "a"))
        await store.update(creating(POD, "b"))
        assert names(store.rows(POD)) == ["b"]


async def test_a_compaction_that_fails_stops_no_write_and_is_tried_again() -> None:
    """History may be long for a while."""
    backend = Failing(compact=[Unavailable("down")])
    async with opened(backend) as store:
        await filled(store, backend)
        for name in ("a", "b"):
            await store.update(creating(POD, name))
        await store.update(creating(POD, "c"))
        with pytest.raises(Compacted):
            await anext(MemoryBackend.watch(backend, "/", after=1))


async def recovered(store: Store, clock: VirtualClock, write: Awaitable[Any]) -> None:
    """Finish a write that needs the watch cache to come back first."""
    writing = asyncio.ensure_future(write)
    while not writing.done():
        await clock.advance(1.0)
    await writing


@pytest.mark.parametrize("error", [Unavailable("down"), Compacted("gone")], ids=["unavailable", "compacted"])
async def test_the_watch_cache_comes_back_after_its_watch_broke(error: Exception) -> None:
    """With everything that was written meanwhile."""
    backend, clock = Failing(watch=[error]), VirtualClock()
    async with opened(backend, clock) as store:
        await recovered(store, clock, store.update(creating(POD, "a")))
        await store.update(creating(POD, "b"))
        assert names(store.rows(POD)) == ["a", "b"]


async def test_the_watch_cache_comes_back_when_loading_again_fails_too() -> None:
    """As when etcd restarts while the watch cache is behind; the control plane must live through it."""
    backend, clock = Failing(watch=[Compacted("gone")]), VirtualClock()
    async with opened(backend, clock) as store:
        backend.failures["load"] = [Unavailable("down"), Unavailable("down")]
        await recovered(store, clock, store.update(creating(POD, "a")))
        assert names(store.rows(POD)) == ["a"]
        assert backend.failures == {"watch": [], "load": []}


async def test_watchers_are_expired_when_the_watch_cache_was_loaded_again() -> None:
    """What happened in between is unknown; so is it to those who ask for history."""
    backend, clock = Failing(watch=[Compacted("gone")]), VirtualClock()
    async with opened(backend, clock) as store:
        before = store.revision
        _, subscription = store.view_and_watch(POD)
        await recovered(store, clock, store.update(creating(POD, "a")))
        with pytest.raises(Expired):
            await subscription.next()
        with pytest.raises(Expired):
            await store.watch_from(POD, before)

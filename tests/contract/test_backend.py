"""The contract of controlplane/store/backend.py, run against every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from controlplane.store.backend import Backend, Change, Committed, Compacted, Item, Txn, Write
from controlplane.store.origin import Origin
from pinnace.errors import TooLarge
from tests.contract.conftest import Opener
from tests.contract.steps import (
    DEADLINE,
    NODES,
    PODS,
    ROOT,
    WEB,
    as_map,
    change,
    changes_of,
    delete,
    group,
    one,
    put,
    read_until,
    replay,
    revisions_of,
    values,
    watched,
    wrote,
)

LEASES = "/registry/coordination.k8s.io/leases/"
BIG = b"x" * 100_000


# Loading


async def test_a_new_state_is_empty(backend: Backend) -> None:
    """Nothing under the prefix is an answer, not an error."""
    assert (await backend.load(ROOT)).items == ()


async def test_items_come_in_order_of_key_with_the_revision_of_their_last_write(backend: Backend) -> None:
    """Also when they were written in another order."""
    await wrote(backend, put(PODS + "a"))
    second = await wrote(backend, put(PODS + "b"))
    third = await wrote(backend, put(PODS + "a", b"again"))
    snapshot = await backend.load(ROOT)
    assert snapshot.items == (Item(PODS + "a", b"again", third), Item(PODS + "b", b"v", second))


async def test_load_takes_only_what_starts_with_the_prefix(backend: Backend) -> None:
    """A name that goes on where the prefix ends does not belong to it."""
    keys = [PODS + "default/web", "/registry/podsecurity/x", NODES + "n1", PODS + "default/é"]
    for key in keys:
        await wrote(backend, put(key))
    assert list(values(await backend.load(PODS))) == [keys[0], keys[3]]


async def test_an_empty_value_is_a_value(backend: Backend) -> None:
    """Only None deletes."""
    before = await backend.load(ROOT)
    revision = await wrote(backend, put(WEB, b""))
    assert (await backend.load(ROOT)).items == (Item(WEB, b"", revision),)
    assert changes_of(await watched(backend, ROOT, after=before.revision)) == [change(WEB, b"", revision)]


async def fill(backend: Backend, keys: list[str]) -> None:
    for start in range(0, len(keys), 100):
        await wrote(backend, Txn(tuple(Write(key, b"v") for key in keys[start : start + 100])))


async def test_a_snapshot_holds_more_than_one_page(backend: Backend) -> None:
    """More items than any backend fetches at once."""
    keys = [f"{PODS}{n:04}" for n in range(2050)]
    await fill(backend, keys)
    assert list(values(await backend.load(PODS))) == keys


async def test_a_snapshot_and_a_history_of_many_megabytes_are_read(backend: Backend) -> None:
    """Both exceed gRPC's customary four."""
    start = (await backend.load(ROOT)).revision
    revisions = [await wrote(backend, put(f"{PODS}{n}", BIG)) for n in range(60)]
    assert len((await backend.load(PODS)).items) == 60
    assert revisions_of(await watched(backend, PODS, after=start)) == revisions


async def test_a_snapshot_shows_all_of_a_transaction_or_nothing(backend: Backend) -> None:
    """Loads beside a writer of the first and the last key never see a mixture, however many pages lie between."""
    ends = (PODS + "0", PODS + "9")
    await fill(backend, [f"{PODS}5{n:04}" for n in range(1100)])

    async def write() -> None:
        for n in range(100):
            await wrote(backend, Txn(tuple(Write(key, b"%d" % n) for key in ends)))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(write())
        while not writer.done():
            await asyncio.sleep(0)
            snapshot = await backend.load(PODS)
            seen = [(item.value, item.revision) for item in snapshot.items if item.key in ends]
            assert len(seen) in (0, 2)
            assert len({value for value, _ in seen}) <= 1
            assert all(item.revision <= snapshot.revision for item in snapshot.items)


# Compares


async def test_create_succeeds_once(backend: Backend) -> None:
    """Revision 0 means absent."""
    assert await one(backend, put(WEB, b"first", reads={WEB: 0}))
    assert await one(backend, put(WEB, b"second", reads={WEB: 0})) is None
    assert values(await backend.load(ROOT)) == {WEB: b"first"}


async def test_update_needs_the_revision_of_the_last_write(backend: Backend) -> None:
    """A stale reader conflicts."""
    first = await wrote(backend, put(WEB, b"1"))
    assert await one(backend, put(WEB, b"2", reads={WEB: first}))
    assert await one(backend, put(WEB, b"3", reads={WEB: first})) is None
    assert values(await backend.load(ROOT)) == {WEB: b"2"}


async def test_a_revision_above_that_of_the_last_write_is_a_conflict(backend: Backend) -> None:
    """An item is compared for equality, not for age."""
    await wrote(backend, put(WEB))
    later = await wrote(backend, put(NODES + "n1"))
    assert await one(backend, put(WEB, b"2", reads={WEB: later})) is None


async def test_update_of_what_was_deleted_conflicts(backend: Backend) -> None:
    """It does not come back."""
    first = await wrote(backend, put(WEB))
    await wrote(backend, delete(WEB))
    assert await one(backend, put(WEB, b"2", reads={WEB: first})) is None
    assert (await backend.load(ROOT)).items == ()


async def test_delete_needs_the_revision_of_the_last_write(backend: Backend) -> None:
    """A stale deletion conflicts and leaves the item."""
    first = await wrote(backend, put(WEB, b"1"))
    second = await wrote(backend, put(WEB, b"2"))
    assert await one(backend, delete(WEB, reads={WEB: first})) is None
    assert values(await backend.load(ROOT)) == {WEB: b"2"}
    assert await one(backend, delete(WEB, reads={WEB: second}))
    assert (await backend.load(ROOT)).items == ()


async def test_what_was_deleted_can_be_created_again(backend: Backend) -> None:
    """And its old revision stays dead."""
    first = await wrote(backend, put(WEB))
    await wrote(backend, delete(WEB, reads={WEB: first}))
    assert await one(backend, put(WEB, b"2", reads={WEB: 0}))
    assert await one(backend, put(WEB, b"3", reads={WEB: first})) is None


async def test_a_blind_write_always_commits(backend: Backend) -> None:
    """No reads, no conflict."""
    assert await wrote(backend, put(WEB, b"1")) < await wrote(backend, put(WEB, b"2"))


async def test_a_read_of_another_key_guards_the_write(backend: Backend) -> None:
    """What decided the write counts, not only what it overwrites."""
    node = await wrote(backend, put(NODES + "n1"))
    assert await one(backend, put(WEB, b"1", reads={WEB: 0, NODES + "n1": node}))
    await wrote(backend, delete(NODES + "n1"))
    assert await one(backend, put(WEB, b"2", reads={NODES + "n1": node})) is None


async def test_a_conflict_writes_nothing(backend: Backend) -> None:
    """Nor does a watcher see anything of it."""
    await wrote(backend, put(WEB))
    before = await backend.load(ROOT)
    writes = (Write(NODES + "n1", b"v"), Write(WEB, None))
    assert await one(backend, Txn(writes, reads={WEB: 0})) is None
    assert (await backend.load(ROOT)).items == before.items
    assert await watched(backend, ROOT, after=before.revision) == []


async def test_a_transaction_without_writes_tells_whether_its_reads_hold(backend: Backend) -> None:
    """It can be used to check."""
    revision = await wrote(backend, put(WEB))
    assert await one(backend, Txn((), reads={WEB: revision})) is not None
    assert await one(backend, Txn((), reads={WEB: 0})) is None


async def test_each_write_of_a_transaction_has_its_own_revision(backend: Backend) -> None:
    """Deletions first, by key, then puts as given; the next transaction's are higher, and all fit into a JSON number."""
    await group(backend, put(PODS + "y"), put(PODS + "x"))
    start = (await backend.load(ROOT)).revision
    writes = (Write(PODS + "b", b"1"), Write(PODS + "y", None), Write(PODS + "a", b"2"), Write(PODS + "x", None))
    [committed] = await backend.commit([Txn(writes)])
    assert isinstance(committed, Committed)
    b, y, a, x = committed.revisions
    assert start < x < y < b < a <= committed.revision < 2**53
    snapshot = await backend.load(ROOT)
    assert snapshot.items == (Item(PODS + "a", b"2", a), Item(PODS + "b", b"1", b))
    assert snapshot.revision >= a
    [batch] = await watched(backend, ROOT, after=start)
    assert batch.changes == (
        Change(PODS + "x", None, x), Change(PODS + "y", None, y), Change(PODS + "b", b"1", b), Change(PODS + "a", b"2", a),
    )  # fmt: skip
    assert await wrote(backend, put(WEB)) > committed.revision


async def test_the_deletion_of_an_absent_key_has_no_revision(backend: Backend) -> None:
    """The writes beside it have theirs."""
    [committed] = await backend.commit([Txn((Write(PODS + "none", None), Write(WEB, b"v")))])
    assert isinstance(committed, Committed)
    assert committed.revisions[0] == 0
    assert (await backend.load(ROOT)).items == (Item(WEB, b"v", committed.revisions[1]),)


@pytest.mark.parametrize("existed", [True, False], ids=["existed", "absent"])
async def test_deleting_and_creating_in_one_transaction_are_two_changes(backend: Backend, existed: bool) -> None:
    """Each with its revision; an absent key is only created."""
    if existed:
        await wrote(backend, put(WEB, b"old"))
    start = (await backend.load(ROOT)).revision
    [committed] = await backend.commit([Txn((Write(WEB, None), Write(WEB, b"new"), Write(NODES + "n", b"n")))])
    assert isinstance(committed, Committed)
    deleted, created, node = committed.revisions
    assert bool(deleted) == existed
    [batch] = await watched(backend, ROOT, after=start)
    puts = [Change(WEB, b"new", created), Change(NODES + "n", b"n", node)]
    assert list(batch.changes) == ([Change(WEB, None, deleted)] if existed else []) + puts
    assert await one(backend, put(WEB, b"2", reads={WEB: created}))


@pytest.mark.parametrize("live", [False, True], ids=["history", "live"])
async def test_a_watch_resumes_in_the_middle_of_a_transaction(backend: Backend, live: bool) -> None:
    """After any change it tells exactly those that follow."""
    await group(backend, put(PODS + "x"), put(PODS + "y"))
    start, last = (await backend.load(ROOT)).revision, PODS + "last"
    txn = Txn((Write(PODS + "x", None), Write(PODS + "b", b"1"), Write(PODS + "a", b"2"), Write(PODS + "y", None)))
    if live:
        await wrote(backend, txn)
        await wrote(backend, put(last))
        async with aclosing(backend.watch(ROOT, after=start)) as batches:
            [whole] = await read_until(batches, last)
    else:
        await wrote(backend, txn)
        [whole] = await watched(backend, ROOT, after=start)
    for number, told in enumerate(whole.changes):
        rest = await watched(backend, ROOT, after=told.revision)
        changes = [item for batch in rest for item in batch.changes if item.key not in (last,) and "~mark" not in item.key]
        assert changes == list(whole.changes[number + 1 :])


async def test_the_current_revision_is_not_below_any_committed_write(backend: Backend) -> None:
    """And a watcher reaches it."""
    start = (await backend.load(ROOT)).revision
    assert await backend.current() <= start
    revision = await wrote(backend, put(WEB))
    current = await backend.current()
    assert start < current <= (await backend.load(ROOT)).revision
    [batch] = await watched(backend, ROOT, after=start)
    assert batch.revision >= current
    assert batch.changes[-1].revision == revision


async def test_reading_writes_nothing(backend: Backend) -> None:
    """Neither a load nor the current revision moves the state on."""
    await wrote(backend, put(WEB))
    before = await backend.load(ROOT)
    await backend.current()
    assert await backend.load(ROOT) == before


@pytest.mark.parametrize("reads", [{}, {WEB: 0}], ids=["blind", "read"])
async def test_deleting_what_is_absent_is_no_error_and_no_change(backend: Backend, reads: dict[str, int]) -> None:
    """Whether or not the transaction knew."""
    start = (await backend.load(ROOT)).revision
    assert await one(backend, delete(WEB, reads=reads)) is not None
    assert await watched(backend, ROOT, after=start) == []


async def test_deleting_what_was_read_as_absent_disturbs_no_listing(backend: Backend) -> None:
    """A listing since which nothing was written still holds."""
    listed = (await backend.load(PODS)).revision
    await one(backend, delete(WEB, reads={WEB: 0}))
    assert await one(backend, put(PODS + "a", ranges={PODS: listed}))


async def test_what_is_absent_is_left_out_of_the_batch(backend: Backend) -> None:
    """The other writes of the transaction happen."""
    start = (await backend.load(ROOT)).revision
    revision = await wrote(backend, Txn((Write(PODS + "none", None), Write(WEB, b"v"))))
    assert changes_of(await watched(backend, ROOT, after=start)) == [change(WEB, b"v", revision)]


# Ranges


@pytest.mark.parametrize("table", [PODS, NODES, LEASES, PODS + "default/", ROOT])
@pytest.mark.parametrize("change", ["create", "update", "delete", "recreate", "come and go"])
async def test_any_write_under_a_listed_prefix_is_a_conflict(backend: Backend, table: str, change: str) -> None:
    """Phantoms included: what appeared, what vanished, and what did both."""
    under = table if table != ROOT else NODES
    old, new = under + "old", under + "new"
    await wrote(backend, put(old))
    listed = (await backend.load(table)).revision
    txns = {
        "create": [put(new)],
        "update": [put(old, b"2")],
        "delete": [delete(old)],
        "recreate": [delete(old), put(old)],
        "come and go": [put(new), delete(new)],
    }[change]
    for txn in txns:
        await wrote(backend, txn)
    assert await one(backend, put("/registry/secrets/x", ranges={table: listed})) is None
    assert (await backend.load("/registry/secrets/")).items == ()


async def test_a_listing_holds_while_other_tables_change(backend: Backend) -> None:
    """Also tables whose names begin alike."""
    await wrote(backend, put(WEB))
    listed = (await backend.load(PODS)).revision
    for key in (NODES + "n1", "/registry/podsecurity/x", LEASES + "default/a", "/registry/sync"):
        await wrote(backend, put(key))
    await wrote(backend, delete(NODES + "n1"))
    assert await one(backend, put(WEB, b"2", ranges={PODS: listed}))


async def test_a_listing_holds_from_the_revision_of_the_last_write_on(backend: Backend) -> None:
    """The write that was listed is no conflict with its own listing; one revision earlier it is."""
    revision = await wrote(backend, put(WEB))
    assert await one(backend, put(NODES + "a", ranges={PODS: revision - 1})) is None
    assert await one(backend, put(NODES + "a", ranges={PODS: revision}))


async def test_a_transaction_conflicts_with_its_own_listing_only_the_second_time(backend: Backend) -> None:
    """List a table and write into it: fine once, stale afterwards."""
    listed = (await backend.load(PODS)).revision
    assert await one(backend, put(PODS + "a", ranges={PODS: listed}))
    assert await one(backend, put(PODS + "b", ranges={PODS: listed})) is None


async def test_a_write_before_the_compacted_history_still_spoils_a_listing(backend: Backend) -> None:
    """Forgetting history never turns a conflict into a commit."""
    await wrote(backend, put(WEB))
    listed = (await backend.load(PODS)).revision
    await wrote(backend, delete(WEB))
    last = [await wrote(backend, put(NODES + "n1", b"%d" % n)) for n in range(5)][-1]
    await backend.compact(last)
    assert await one(backend, put(PODS + "a", ranges={PODS: listed})) is None


# Groups


async def test_transactions_of_a_group_see_the_ones_before_them(backend: Backend) -> None:
    """Each commits or conflicts by itself, in order."""
    listed = (await backend.load(PODS)).revision
    first, second, third, fourth = await group(
        backend,
        put(WEB, b"1", reads={WEB: 0}),
        put(WEB, b"2", reads={WEB: 0}),
        put(NODES + "n1", ranges={PODS: listed}),
        put(NODES + "n2", ranges={NODES: listed}),
    )
    assert first is not None
    assert fourth is not None
    assert first < fourth
    assert (second, third) == (None, None)
    assert values(await backend.load(ROOT)) == {WEB: b"1", NODES + "n2": b"v"}


async def test_each_transaction_of_a_group_is_a_batch_of_its_own(backend: Backend) -> None:
    """Sharing a durable write does not merge them."""
    start = (await backend.load(ROOT)).revision
    revisions = await group(backend, *(put(WEB, b"%d" % n) for n in range(5)))
    batches = await watched(backend, ROOT, after=start)
    assert [(batch.changes[-1].revision, as_map(batch)) for batch in batches] == [
        (revision, {WEB: b"%d" % n}) for n, revision in enumerate(revisions)
    ]


async def test_a_transaction_beyond_the_limits_fails_for_good_and_alone(backend: Backend) -> None:
    """Its neighbours in the group are committed; trying again would not help, so the error does not ask for it."""
    limits = backend.limits
    many = Txn(tuple(Write(f"{PODS}{n}", b"v") for n in range(limits.operations + 1)))
    large = put(PODS + "large", b"x" * (limits.size + 1))
    first, second, third, fourth = await backend.commit([put(WEB, b"1"), many, large, put(NODES + "n1")])
    assert isinstance(second, TooLarge)
    assert isinstance(third, TooLarge)
    assert isinstance(first, Committed)
    assert isinstance(fourth, Committed)
    assert values(await backend.load(ROOT)) == {WEB: b"1", NODES + "n1": b"v"}


async def test_a_transaction_at_the_limits_is_committed(backend: Backend) -> None:
    """What a backend declares it takes, in operations and, as far as this machine's memory is spared, in bytes."""
    operations = backend.limits.operations
    tables = [PODS, NODES, LEASES, "/registry/secrets/", "/registry/configmaps/", "/registry/events/"]
    keys = [f"{tables[n % len(tables)]}{n}" for n in range(operations)]
    assert await one(backend, Txn(tuple(Write(key, b"v") for key in keys), reads=dict.fromkeys(keys, 0)))
    assert await one(backend, put(WEB, b"x" * (min(backend.limits.size, 2 << 20) - len(WEB))))


async def test_a_transaction_may_list_any_number_of_tables(backend: Backend) -> None:
    """More than a backend compares one by one: it still conflicts with what is written into any of them, and only then."""
    ranges = dict.fromkeys((f"/registry/g{n}.example.com/things/" for n in range(300)), (await backend.load(ROOT)).revision)
    assert await one(backend, put(WEB, ranges=ranges))
    await wrote(backend, put("/registry/g7.example.com/things/default/a"))
    assert await one(backend, put(WEB, ranges=ranges)) is None


async def test_an_empty_group_has_no_results(backend: Backend) -> None:
    """And changes nothing."""
    assert await backend.commit([]) == []


async def test_concurrent_compare_and_swap_loses_no_increment(backend: Backend) -> None:
    """Ten writers of one counter, each retrying until it gets through."""

    async def increment() -> None:
        while True:
            items = (await backend.load(WEB)).items
            count, revision = (int(items[0].value), items[0].revision) if items else (0, 0)
            if await one(backend, put(WEB, b"%d" % (count + 1), reads={WEB: revision})):
                return

    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(increment() for _ in range(10)))
    assert values(await backend.load(WEB)) == {WEB: b"10"}


# Watching


async def test_a_watch_tells_history_after_its_start_and_nothing_before(backend: Backend) -> None:
    """`after` is exclusive."""
    revisions = [await wrote(backend, put(WEB, b"%d" % n)) for n in range(6)]
    batches = await watched(backend, ROOT, after=revisions[2])
    assert revisions_of(batches) == revisions[3:]


async def test_a_watch_goes_from_history_to_live_without_gap_or_duplicate(backend: Backend) -> None:
    """Watchers that start at every moment of a run of writes all see the same revisions, in order."""
    start, last = (await backend.load(ROOT)).revision, PODS + "last"

    async def watch() -> list[int]:
        async with aclosing(backend.watch(ROOT, after=start)) as batches:
            return revisions_of(await read_until(batches, last))

    async with asyncio.TaskGroup() as tasks:
        watchers, revisions = [], []
        for n in range(60):
            watchers.append(tasks.create_task(watch()))
            await asyncio.sleep(0)
            revisions += await group(backend, put(WEB, b"%d" % n), put(NODES + "n1"))
        await wrote(backend, put(last))
    for watcher in watchers:
        assert watcher.result() == sorted(filter(None, revisions))


async def test_a_snapshot_and_the_watch_after_it_make_the_whole(backend: Backend) -> None:
    """A mirror that starts in the middle of writes and deletions ends where the backend is."""

    async def write() -> None:
        for n in range(80):
            key = f"{PODS}{n % 7}"
            await wrote(backend, delete(key) if n % 3 == 0 else put(key, b"%d" % n))

    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(write())
        await wrote(backend, put(PODS + "started"))
        snapshot = await backend.load(PODS)
        await writer
    batches = await watched(backend, PODS, after=snapshot.revision)
    now = {key: value for key, value in values(await backend.load(PODS)).items() if "~mark" not in key}
    assert replay(values(snapshot), batches) == now


async def test_a_transaction_comes_whole_in_one_batch(backend: Backend) -> None:
    """Puts and deletions together."""
    await wrote(backend, put(PODS + "gone"))
    start = (await backend.load(ROOT)).revision
    writes = (Write(PODS + "gone", None), Write(WEB, b"v"), Write(NODES + "n1", b"n"))
    revision = await wrote(backend, Txn(writes))
    [batch] = await watched(backend, ROOT, after=start)
    assert batch.changes[-1].revision == revision
    assert as_map(batch) == {PODS + "gone": None, WEB: b"v", NODES + "n1": b"n"}


@pytest.mark.parametrize("live", [False, True], ids=["history", "live"])
async def test_a_batch_is_narrowed_to_the_prefix(backend: Backend, live: bool) -> None:
    """Transactions that touch nothing under it are not told at all."""
    start, last = (await backend.load(ROOT)).revision, PODS + "last"
    mixed = Txn((Write(WEB, b"v"), Write(NODES + "n1", b"v"), Write("/registry/podsecurity/x", b"v")))
    async with aclosing(backend.watch(PODS, after=start)) as batches, asyncio.TaskGroup() as tasks:
        if live:
            first = await wrote(backend, put(PODS + "first"))
            assert revisions_of([await anext(batches)]) == [first]
        reader = tasks.create_task(read_until(batches, last))
        await wrote(backend, put(NODES + "n1"))
        [committed] = await backend.commit([mixed])
        await wrote(backend, delete(NODES + "n1"))
        await wrote(backend, put(last))
    assert isinstance(committed, Committed)
    assert changes_of(reader.result()) == [change(WEB, b"v", committed.revisions[0])]


async def test_a_watch_waits_for_what_is_to_come(backend: Backend) -> None:
    """An idle watch neither ends nor invents."""
    start = (await backend.load(ROOT)).revision
    async with aclosing(backend.watch(ROOT, after=start)) as batches:
        waiting = asyncio.ensure_future(anext(batches))
        await backend.load(ROOT)
        assert not waiting.done()
        revision = await wrote(backend, put(WEB))
        async with asyncio.timeout(DEADLINE):
            assert (await waiting).changes == change(WEB, b"v", revision)


async def test_a_watcher_that_leaves_disturbs_no_other(backend: Backend) -> None:
    """The one that stays sees everything."""
    start = (await backend.load(ROOT)).revision
    async with aclosing(backend.watch(ROOT, after=start)) as stays:
        async with aclosing(backend.watch(ROOT, after=start)) as leaves:
            revision = await wrote(backend, put(WEB))
            async with asyncio.timeout(DEADLINE):
                assert revisions_of([await anext(leaves), await anext(stays)]) == [revision, revision]
        second = await wrote(backend, put(WEB))
        async with asyncio.timeout(DEADLINE):
            assert revisions_of([await anext(stays)]) == [second]


async def test_watches_end_when_the_backend_closes(fresh: Callable[[], Opener]) -> None:
    """Quietly: the reader's loop is over."""
    backend = fresh()()
    start = (await backend.load(ROOT)).revision
    first = await wrote(backend, put(WEB))

    async def read(told: asyncio.Event) -> list[int]:
        got = []
        async for batch in backend.watch(ROOT, after=start):
            got += revisions_of([batch])
            told.set()
        return got

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        told = asyncio.Event()
        reader = tasks.create_task(read(told))
        await told.wait()
        await backend.close()
    assert reader.result() == [first]


# Compaction


async def written(backend: Backend) -> list[int]:
    """Revisions of puts and deletions in turn, each key written once and deleted once."""
    txns = [delete(f"{PODS}{n - 1}") if n % 2 else put(f"{PODS}{n}") for n in range(10)]
    return [await wrote(backend, txn) for txn in txns]


async def test_history_from_the_compacted_revision_on_is_kept(backend: Backend) -> None:
    """`before` itself is not below `before`, be it a put or a deletion."""
    revisions = await written(backend)
    for floor, before in enumerate(revisions):
        await backend.compact(before)
        batches = await watched(backend, ROOT, after=before - 1)
        assert revisions_of(batches) == revisions[floor:]


@pytest.mark.parametrize("floor", [4, 5, 6])
async def test_a_watch_from_before_the_compacted_revision_raises_compacted(backend: Backend, floor: int) -> None:
    """Whether a put or a deletion was the last that is forgotten, it is never left out in silence."""
    revisions = await written(backend)
    await backend.compact(revisions[floor])
    for after in (revisions[floor] - 2, revisions[0]):
        with pytest.raises(Compacted):
            await watched(backend, ROOT, after=after)


async def test_items_stay_when_history_goes(backend: Backend) -> None:
    """With their revisions, so that compares still hold."""
    first = await wrote(backend, put(NODES + "n1"))
    revisions = await written(backend)
    await backend.compact(revisions[-1])
    assert (await backend.load(ROOT)).items == (Item(NODES + "n1", b"v", first),)
    assert await one(backend, put(NODES + "n1", b"2", reads={NODES + "n1": first}))


async def test_compacting_again_or_less_far_changes_nothing(backend: Backend) -> None:
    """Two control planes may do it at the same time."""
    revisions = await written(backend)
    for before in (revisions[6], revisions[6], revisions[3]):
        await backend.compact(before)
    batches = await watched(backend, ROOT, after=revisions[6] - 1)
    assert revisions_of(batches) == revisions[6:]
    with pytest.raises(Compacted):
        await watched(backend, ROOT, after=revisions[3] - 1)


async def test_a_watch_in_progress_goes_on_over_a_compaction(backend: Backend) -> None:
    """It has read past what is forgotten."""
    start, last = (await backend.load(ROOT)).revision, PODS + "last"
    async with aclosing(backend.watch(ROOT, after=start)) as batches:
        first = await wrote(backend, put(WEB))
        async with asyncio.timeout(DEADLINE):
            assert revisions_of([await anext(batches)]) == [first]
        revisions = [await wrote(backend, put(WEB, b"%d" % n)) for n in range(5)]
        await backend.compact(first)
        await wrote(backend, put(last))
        assert revisions_of(await read_until(batches, last)) == revisions


# Durability


async def test_state_survives_a_reopen(durable: Opener) -> None:
    """Items, revisions, history and what was compacted."""
    backend = durable()
    revisions = await written(backend)
    kept = await wrote(backend, put(NODES + "n1", b"kept"))
    await backend.compact(revisions[5])
    await backend.close()

    backend = durable()
    try:
        snapshot = await backend.load(ROOT)
        assert snapshot.items == (Item(NODES + "n1", b"kept", kept),)
        assert snapshot.revision >= kept
        assert await wrote(backend, put(WEB)) > kept
        batches = await watched(backend, ROOT, after=revisions[5] - 1)
        assert revisions_of(batches)[:6] == [*revisions[5:], kept]
        with pytest.raises(Compacted):
            await watched(backend, ROOT, after=revisions[5] - 2)
    finally:
        await backend.close()


# Origins


async def test_a_watch_tells_who_wrote(backend: Backend) -> None:
    """Of each transaction, also one of several tables; nothing of one without an origin."""
    jane, other = Origin("jane", "apply", "status", "kctl", 5.25), Origin("söhne \U0001f600", time=6.0)
    start = await wrote(backend, put(PODS + "a"))
    await wrote(backend, put(PODS + "b"))
    async with aclosing(backend.watch(ROOT, after=start)) as watching:
        batches = (batch async for batch in watching if batch.changes)
        # A batch of before the watch, whose origin a backend may have forgotten.
        await anext(batches)
        await wrote(backend, replace(put(WEB), origin=jane))
        await wrote(backend, Txn((Write(NODES + "n1", b"v"), Write(WEB, None)), origin=other))
        await wrote(backend, put(WEB))
        async with asyncio.timeout(DEADLINE):
            found = [await anext(batches) for _ in range(3)]
    assert [batch.origin for batch in found] == [jane, other, None]

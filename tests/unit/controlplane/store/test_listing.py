"""Lists in pages at one revision: against a model that remembers every state, and what tokens promise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane import resources
from controlplane.resources.indexes import LABEL, NODE, OWNER
from controlplane.store import Narrow, Page, Query, StoredObject, history
from controlplane.store.backend import Batch, Change, Item, Snapshot
from controlplane.store.listing import first_page, next_page
from controlplane.store.watchcache import WatchCache
from pinnace.errors import BadRequest, Expired
from pinnace.kinds import ALL, CONFIG_MAP, POD, Kind, Kinds

NAMESPACES = ("a", "b")
NAMES = tuple(f"p{n}" for n in range(6))


def pod(name: str, namespace: str = "a", *, app: str = "", node: str = "", owner: str = "") -> Any:
    message = POD.cls()
    message.metadata.name, message.metadata.namespace = name, namespace
    if app:
        message.metadata.labels["app"] = app
    if owner:
        message.metadata.ownerReferences.add(uid=owner)
    message.spec.nodeName = node
    return message


class Recorded:
    """A cache, and every state that it had: revision to key to value."""

    def __init__(self) -> None:
        self.cache = WatchCache(resources.built_in())
        self.cache.replace(Snapshot((), 1))
        self.states: dict[int, dict[str, bytes]] = {1: {}}

    def write(self, *messages: Any, gone: tuple[str, ...] = ()) -> int:
        revision, changes, state = self.cache.revision, [], dict(self.states[self.cache.revision])
        for key in gone:
            revision += 1
            changes.append(Change(key, None, revision))
            state.pop(key, None)
        for message in messages:
            revision += 1
            key, value = POD.key(message.metadata.namespace, message.metadata.name), message.SerializeToString()
            changes.append(Change(key, value, revision))
            state[key] = value
        self.cache.take(Batch(revision, tuple(changes)))
        self.states[revision] = state
        return revision


def names(page: Page) -> list[str]:
    return [row.key.rpartition("/")[2] for row in page.rows]


writes = st.lists(
    st.tuples(
        st.sampled_from(NAMESPACES), st.sampled_from(NAMES), st.sampled_from(["", "web", "db"]), st.booleans()
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(before=writes, between=st.lists(writes, max_size=6), limit=st.integers(1, 4), where=st.sampled_from(["", *NAMESPACES]))
async def test_pages_are_of_one_revision_whatever_is_written_between_them(
    before: list[Any], between: list[list[Any]], limit: int, where: str
) -> None:
    """Each object once, in order of key, with and without a selector and its index."""
    recorded = Recorded()
    apply(recorded, before)
    for app in ("", "web"):
        query = Query(
            POD,
            where,
            matcher(app) if app else None,
            narrow=Narrow(indexed=((LABEL, f"app={app}"),) if app else ()),
            limit=limit,
        )
        page = await first_page(recorded.cache, query)
        revision, rows, rounds = page.revision, list(page.rows), iter(between)
        while page.token:
            apply(recorded, next(rounds, []))
            page = await next_page(recorded.cache, query, page.token)
            assert page.revision == revision
            assert len(page.rows) <= limit
            rows += page.rows
        state = recorded.states[revision]
        expected = {k: v for k, v in sorted(state.items()) if k.startswith(f"{POD.prefix}{where and where + '/'}")}
        selected = [k for k, v in expected.items() if not app or POD.cls.FromString(v).metadata.labels["app"] == app]
        assert [(row.key, row.value) for row in rows] == [(key, state[key]) for key in selected]


def apply(recorded: Recorded, changes: list[Any]) -> None:
    for namespace, name, app, deleted in changes:
        key = POD.key(namespace, name)
        if deleted and key in recorded.states[recorded.cache.revision]:
            recorded.write(gone=(key,))
        elif not deleted:
            recorded.write(pod(name, namespace, app=app))


def matcher(app: str) -> Any:
    return lambda row: row.message.metadata.labels["app"] == app


async def test_a_list_at_an_older_revision_is_as_things_were() -> None:
    """Each that history reaches back to; one ahead is Expired."""
    recorded = Recorded()
    revisions = [recorded.write(pod("p0")), recorded.write(pod("p1")), recorded.write(gone=(POD.key("a", "p0"),))]
    pages = [names(await first_page(recorded.cache, Query(POD), revision)) for revision in revisions]
    assert pages == [["p0"], ["p0", "p1"], ["p1"]]
    with pytest.raises(Expired):
        await first_page(recorded.cache, Query(POD), revisions[-1] + 1)


async def test_a_token_may_be_used_any_number_of_times_and_in_any_process() -> None:
    """It says all by itself."""
    one, two = Recorded(), Recorded()
    for recorded in (one, two):
        recorded.write(*(pod(name) for name in NAMES))
    query = Query(POD, limit=4)
    first = await first_page(one.cache, query)
    assert (names(first), first.remaining) == (list(NAMES[:4]), 2)
    for _ in range(200):
        await first_page(one.cache, query)
    for recorded in (one, one, two):
        assert names(await next_page(recorded.cache, query, first.token)) == list(NAMES[4:])


async def test_a_token_whose_history_is_gone_is_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of a revision that this state never had."""
    monkeypatch.setattr(history, "MAX_EVENTS", 3)
    recorded, query = Recorded(), Query(POD, limit=1)
    recorded.write(pod("p0"), pod("p1"))
    token = (await first_page(recorded.cache, query)).token
    fresh = Recorded()
    with pytest.raises(Expired):
        await next_page(fresh.cache, query, token)
    for _ in range(4):
        recorded.write(pod("p0"))
    with pytest.raises(Expired):
        await next_page(recorded.cache, query, token)


@pytest.mark.parametrize(
    "token", ["x", "e30=", "bnVsbA==", "W10=", "é", "=" * 10, "A" * 5000, "eyJydiI6IHRydWUsICJrZXkiOiAiIn0="]
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    """As a bad request, whatever it holds."""
    with pytest.raises(BadRequest):
        await next_page(Recorded().cache, Query(POD), token)


async def test_a_token_belongs_to_its_kind_and_namespace() -> None:
    """Another list cannot be continued with it."""
    recorded = Recorded()
    recorded.write(pod("p0"), pod("p1"))
    token = (await first_page(recorded.cache, Query(POD, "a", limit=1))).token
    for query in (Query(CONFIG_MAP), Query(POD, "b")):
        with pytest.raises(BadRequest):
            await next_page(recorded.cache, query, token)


async def test_a_page_is_bounded_by_bytes() -> None:
    """But holds at least one object."""
    recorded = Recorded()
    recorded.write(*(pod(name, app="x" * 1000) for name in NAMES))
    query, sizes = Query(POD, size=2500), []
    page = await first_page(recorded.cache, query)
    while True:
        sizes.append(len(page.rows))
        if not page.token:
            break
        page = await next_page(recorded.cache, query, page.token)
    assert sizes == [2, 2, 2]
    assert len((await first_page(recorded.cache, Query(POD, size=1))).rows) == 1


# Indexes


def found(cache: WatchCache, index: str, value: str, kind: Kind = POD) -> list[str]:
    return [row.key.rpartition("/")[2] for row in cache.rows_by(kind, index, value)]


def test_an_index_follows_what_is_written() -> None:
    """Built from what there is, then kept."""
    recorded = Recorded()
    recorded.write(pod("p0", node="n1", app="web", owner="u1"), pod("p1", node="n1"))
    cache = recorded.cache
    assert found(cache, NODE, "n1") == ["p0", "p1"]
    assert (found(cache, LABEL, "app=web"), found(cache, OWNER, "u1")) == (["p0"], ["p0"])
    recorded.write(pod("p0", node="n2", app="db"), gone=(POD.key("a", "p1"),))
    assert (found(cache, NODE, "n1"), found(cache, NODE, "n2")) == ([], ["p0"])
    assert (found(cache, LABEL, "app=web"), found(cache, LABEL, "app=db"), found(cache, OWNER, "u1")) == ([], ["p0"], [])


def test_a_kind_has_the_indexes_of_its_resource_alone() -> None:
    """A ConfigMap is on no node."""
    recorded = Recorded()
    recorded.cache.take(Batch(9, (Change(CONFIG_MAP.key("a", "c"), b"", 9),)))
    with pytest.raises(KeyError):
        found(recorded.cache, NODE, "", CONFIG_MAP)
    assert found(recorded.cache, OWNER, "u1", CONFIG_MAP) == []


async def test_of_several_indexes_the_one_with_the_fewest_objects_is_read() -> None:
    """The objects that have both values, and one look at each of the few."""
    recorded, looked = Recorded(), list[str]()
    recorded.write(*(pod(f"p{n}", app="web", node=f"n{n}") for n in range(6)))

    def matches(row: StoredObject) -> bool:
        looked.append(row.key)
        return True

    page = await first_page(recorded.cache, Query(POD, "", matches, Narrow(indexed=((LABEL, "app=web"), (NODE, "n3")))))
    assert (names(page), len(looked)) == (["p3"], 1)


async def test_a_key_is_found_as_it_was_at_a_revision() -> None:
    """And not the others, which is told without a look at them."""
    recorded = Recorded()
    before = recorded.write(pod("p0", app="web"), pod("p1"))
    after = recorded.write(pod("p2"), gone=(POD.key("a", "p0"),))
    query = Query(POD, "a", lambda row: row.key == POD.key("a", "p0"), Narrow(POD.key("a", "p0")))
    assert [names(await first_page(recorded.cache, query, revision)) for revision in (before, after)] == [["p0"], []]


# Objects


def test_an_unreadable_object_is_left_out_of_a_start() -> None:
    """The others are there."""
    cache, good = WatchCache(Kinds(ALL)), pod("good").SerializeToString()
    cache.replace(Snapshot((Item(POD.key("a", "bad"), b"\xff\xff", 3), Item(POD.key("a", "good"), good, 4)), 4))
    assert [row.key for row in cache.rows(POD)] == [POD.key("a", "good")]
    assert list(cache.unreadable.items()) == [(POD.key("a", "bad"), 3)]


class ObservedKinds(Kinds):
    """Kinds that are told of every key, as a registry is that serves the kinds of definitions."""

    def __init__(self) -> None:
        super().__init__(ALL)
        self.seen: dict[str, bytes | None] = {}

    def observe(self, key: str, value: bytes | None) -> None:
        self.seen[key] = value


def test_objects_that_vanished_in_a_gap_are_observed_as_deleted() -> None:
    """Readable or not: a definition's kinds would be served until the process ends."""
    observed, good = ObservedKinds(), pod("good").SerializeToString()
    cache = WatchCache(observed)
    keys = [POD.key("a", name) for name in ("bad", "gone", "stays")]
    cache.replace(Snapshot(tuple(Item(key, b"\xff" if "bad" in key else good, 3) for key in keys), 4))
    cache.replace(Snapshot((Item(keys[2], good, 3),), 9))
    assert observed.seen == {keys[0]: None, keys[1]: None, keys[2]: good}


def test_objects_of_a_kind_that_is_added_later_are_there_then() -> None:
    """And the watchers of every kind see its events."""
    cache = WatchCache(Kinds([CONFIG_MAP]))
    value = pod("p").SerializeToString()
    cache.replace(Snapshot((Item(POD.key("a", "p"), value, 3),), 3))
    cache.kinds.add_kind(POD)
    assert [row.revision for row in cache.rows(POD)] == [3]


def test_a_kind_that_is_added_again_has_its_objects() -> None:
    """As objects of the new definition, such as a custom kind's after a change."""
    recorded = Recorded()
    recorded.write(pod("p0"))
    cache, again = recorded.cache, Kind("v1", "Pod", "pods", POD.cls, ("pod-again",))
    cache.kinds.remove_kind(POD)
    cache.kinds.add_kind(again)
    assert [row.kind for row in cache.rows(again)] == [again]
    recorded.write(pod("p1"))
    assert [row.kind for row in cache.rows(POD)] == [again, again]


def test_readers_share_one_parse_and_writers_get_their_own() -> None:
    """As long as it is kept."""
    row = StoredObject(POD, POD.key("a", "p"), pod("p").SerializeToString(), 7)
    assert row.message is row.message
    assert row.parse() is not row.message
    assert row.parse() == row.message
    assert row.message.metadata.resourceVersion == "7"


def test_parsed_messages_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of everything does not keep everything parsed."""
    from controlplane.store import objects

    monkeypatch.setattr(objects, "MAX_PARSED", 2000)
    rows = [StoredObject(POD, POD.key("a", f"p{n}"), pod(f"p{n}", app="x" * 500).SerializeToString(), 7) for n in range(20)]
    for row in rows:
        assert row.message.metadata.name
    assert sum(1 for row in rows if row._message is not None) <= 3

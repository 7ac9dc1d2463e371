"""Random histories: afterwards the scheduler's table, queue and bindings are those that the store implies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane.scheduler import podinfo
from controlplane.scheduler.placement import feasible
from controlplane.scheduler.plugins import default_profile
from controlplane.scheduler.service import Scheduler
from controlplane.scheduler.table import NodeTable, build
from controlplane.store import Store, Txn
from controlplane.store.backend import Result
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import VirtualClock, settle
from pinnace.errors import Unavailable
from tests.support.objects import container, node, pod
from tests.unit.controlplane.scheduler.test_table import content

PROFILE = default_profile()
NODES, PODS = ("n1", "n2"), tuple(f"p{i}" for i in range(4))
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
TERM = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}}
SPREAD = {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", **TERM}
# What a pod asks of others.
COMPANY: dict[str, dict[str, Any]] = {
    "": {},
    "near": {"affinity": {"podAffinity": {REQUIRED: [TERM]}}},
    "apart": {"affinity": {"podAntiAffinity": {REQUIRED: [TERM]}}},
    "spread": {"topologySpreadConstraints": [SPREAD]},
}
AMOUNTS = st.sampled_from(("1", "2", "3", "16Ei", "lots"))
# A history is steps of any order; each says which object, and what becomes of it.
steps = st.one_of(
    st.tuples(
        st.just("node"),
        st.sampled_from(NODES),
        st.sampled_from(("8", "3", "16Ei", "lots")),
        st.sampled_from((False, False, True)),
        st.sampled_from("xy"),
    ),
    st.tuples(st.just("no node"), st.sampled_from(NODES)),
    st.tuples(
        st.just("pod"),
        st.sampled_from(PODS),
        AMOUNTS,
        st.sampled_from(("", "", "n1", "nowhere")),
        st.sampled_from(tuple(COMPANY)),
        st.sampled_from("ab"),
    ),
    st.tuples(st.just("no pod"), st.sampled_from(PODS)),
    st.tuples(st.just("phase"), st.sampled_from(PODS), st.sampled_from(("Running", "Succeeded"))),
    st.tuples(st.just("label"), st.sampled_from(PODS), st.sampled_from("ab")),
    st.tuples(st.just("terminating"), st.sampled_from(PODS)),
    st.tuples(st.just("broken"), st.booleans()),
    st.tuples(st.just("turns"), st.integers(1, 5)),
)


class Breaking(MemoryBackend):
    """Refuses everything that binds a pod while it is broken."""

    broken = False

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        def binds(txn: Txn) -> bool:
            written = [write.value or b"" for write in txn.writes if write.key.startswith(kinds.POD.prefix)]
            return any(kinds.POD.cls.FromString(value).spec.nodeName in NODES for value in written)

        results: list[Result] = []
        for txn in txns:
            refused = self.broken and binds(txn)
            results += [Unavailable("the disk is away")] if refused else await super().commit([txn])
        return results


def act(tx: Any, step: tuple[Any, ...], uid: str) -> None:
    """One step, past validation."""
    what, name = step[0], step[1]
    if what == "node":
        found = node(name, cpu="4", unschedulable=step[3], meta={"labels": {"zone": step[4]}})
        found.status.allocatable["cpu"].string = step[2]
        tx.put(kinds.NODE, found)
    elif what == "no node":
        tx.delete(kinds.NODE, "", name)
    elif what == "pod" and tx.get(kinds.POD, "default", name) is None:
        made = pod(name, container(), meta={"uid": uid, "labels": {"app": step[5]}}, **COMPANY[step[4]])
        made.metadata.generation = 1
        made.spec.nodeName = step[3]
        made.spec.containers[0].resources.requests["cpu"].string = step[2]
        tx.put(kinds.POD, made)
    elif what == "no pod":
        tx.delete(kinds.POD, "default", name)
    elif what in ("phase", "label", "terminating") and (found := tx.get(kinds.POD, "default", name)) is not None:
        if what == "phase":
            found.status.phase = step[2]
        elif what == "label":
            found.metadata.labels["app"] = step[2]
        else:
            found.metadata.deletionTimestamp.seconds = 1
        tx.put(kinds.POD, found)


def agree(store: Store, scheduler: Scheduler) -> tuple[NodeTable, set[str]]:
    """Compare what the scheduler holds with the store; returns a table built from it, and the keys of pods that wait."""
    cache = scheduler._cache
    pods = [row.message for row in store.rows(kinds.POD)]
    live = [found for found in pods if found.status.phase != "Succeeded"]
    nodes = [row.message for row in store.rows(kinds.NODE)]
    built = build(nodes, [podinfo.read(found) for found in live])
    assert content(cache.table) == content(built)
    assert cache.assumed == {}
    waiting = {
        f"default/{found.metadata.name}"
        for found in live
        if not found.spec.nodeName and not found.metadata.deletionTimestamp.seconds
    }
    assert set(cache.queue._pods) == waiting
    assert sum(cache.queue.counts.values()) == len(waiting)
    return built, waiting


def nothing_fits(scheduler: Scheduler, table: NodeTable, waiting: set[str]) -> None:
    """No node could take any of these pods."""
    rows = table.rows
    for key in waiting:
        info = scheduler._cache.queue._pods[key].info
        room = table.alive[rows] & ~table.unschedulable[rows] & (table.free[0][rows] >= info.requests[0])
        fits = feasible(info, table, PROFILE, rows)
        assert info.invalid or not fits.any()
        assert info.terms or info.spread or table.anti_affinity or info.invalid or not room.any()


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, min_size=8, max_size=25))
@example([("node", "n1", "3", False, "x"), ("broken", True), ("pod", "p0", "1", "", "", "a")])
@example(
    [
        ("pod", "p0", "1", "", "", "a"),
        ("turns", 5),
        ("node", "n1", "3", True, "x"),
        ("turns", 5),
        ("node", "n1", "3", False, "x"),
    ]
)
@example(
    [
        ("node", "n1", "3", False, "x"),
        ("broken", True),
        ("pod", "p0", "3", "", "", "a"),
        ("turns", 5),
        ("pod", "p1", "3", "", "", "a"),
    ]
)
@example(
    [
        ("node", "n1", "8", False, "x"),
        ("node", "n2", "8", False, "x"),
        ("pod", "p0", "1", "n1", "apart", "a"),
        ("turns", 5),
        ("pod", "p1", "1", "", "", "a"),
        ("turns", 5),
        ("no pod", "p0"),
    ]
)
@example(
    [
        ("node", "n1", "8", False, "x"),
        ("pod", "p0", "1", "", "near", "b"),
        ("turns", 5),
        ("broken", True),
        ("pod", "p1", "1", "", "", "a"),
        ("turns", 5),
        ("broken", False),
    ]
)
def test_after_any_history_the_scheduler_agrees_with_the_store(history: list[tuple[Any, ...]]) -> None:
    """Objects come, go, change and come back while pods are being placed and while commits fail."""

    async def run() -> None:
        backend, clock = Breaking(), VirtualClock()
        store = await Store.open(backend, clock)
        scheduler = Scheduler(store, clock)
        parts = [asyncio.ensure_future(part) for part in (store.serve(), scheduler.run())]
        try:
            await settle(20)
            for number, step in enumerate(history):
                if step[0] == "broken":
                    backend.broken = step[1]
                elif step[0] == "turns":
                    await settle(step[1])
                else:
                    # A user's write may fail too; that step is left out.
                    with contextlib.suppress(Unavailable):
                        await store.update(lambda tx, step=step, uid=f"u{number}": act(tx, step, uid))
            await settle(200)
            table, _ = agree(store, scheduler)
            # Without waiting: an event has retried each pod that it could help.
            nothing_fits(scheduler, table, set(scheduler._cache.queue._unschedulable))
            backend.broken = False
            for _ in range(3):
                await clock.advance(40)
                await settle(200)
            assert not any(part.done() for part in parts)
            nothing_fits(scheduler, *agree(store, scheduler))
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    asyncio.run(run())

"""Contained failures of the scheduler: one pod, node or transaction affects no other, and shows what is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane import metrics
from controlplane.scheduler import binding
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.placement import Decision
from controlplane.scheduler.plugins import Profile, default_profile
from controlplane.scheduler.podinfo import PodInfo, read
from controlplane.scheduler.service import Scheduler
from controlplane.scheduler.table import Mask, NodeTable
from controlplane.store import Txn
from controlplane.store.backend import Limits, Result
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.errors import TooLarge
from tests.cluster.test_scheduling import scheduled
from tests.support import cluster as support
from tests.support.cluster import Cluster, running
from tests.support.objects import container, make, pod


async def put(cluster: Cluster, kind: Any, message: Any) -> None:
    """Store an object past all validation, as an older version or a disk error may have."""
    message.metadata.uid = message.metadata.uid or f"uid-{message.metadata.name}"
    await cluster._done(lambda tx: tx.put(kind, message))


def garbage(name: str, *, on: str = "") -> Any:
    message = pod(name, container())
    message.spec.nodeName = on
    message.spec.containers[0].resources.requests["memory"].string = "lots"
    return message


async def test_a_pod_that_cannot_be_read_shows_it_and_affects_no_other(cluster: Cluster) -> None:
    """Also one that runs, and also at the next start, with the same objects in the store."""
    await cluster.join("n1")
    await put(cluster, kinds.POD, garbage("bad"))
    await put(cluster, kinds.POD, garbage("bound", on="n1"))
    where, condition = scheduled(cluster, "bad")
    assert (where, condition.status, condition.reason) == ("", "False", "SchedulerError")
    assert "lots" in condition.message
    assert "lots" in cluster.events("FailedScheduling")[0].message
    await cluster.create(pod())
    assert scheduled(cluster)[0] == "n1"
    async with running(backend=cluster.store.backend) as later:
        await later.create(pod("later"))
        assert scheduled(later, "later")[0] == "n1"


@pytest.mark.parametrize("amount", ["1e300", "16Ei", "garbage", "", "-5", "NaN"])
async def test_a_node_with_absurd_amounts_keeps_no_pod_from_being_placed(cluster: Cluster, amount: str) -> None:
    """It is used as far as it can be read, and an event on it shows what cannot."""
    await cluster.join("n1")
    message = cluster.get(kinds.NODE, "n1")
    message.status.allocatable["memory"].string = amount
    message.status.allocatable["cpu"].string = amount
    await put(cluster, kinds.NODE, message)
    await cluster.join("n2")
    await cluster.create(pod("web", container(requests={"memory": "1Gi"})))
    assert scheduled(cluster)[0]
    shown = {event.involvedObject.name for event in cluster.events("InvalidNodeStatus")}
    assert shown == ({"n1"} if amount in ("garbage", "", "NaN") else set())


class Raises:
    """A filter with a bug that one pod meets."""

    name = "Raises"
    events = ClusterEvent.NONE

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        if pod.key == "default/bad":
            raise ZeroDivisionError("a bug")
        return None

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        return {}


@asynccontextmanager
async def with_filter(item: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    profile = Profile((item, *default_profile().filters), default_profile().scores)
    monkeypatch.setattr(support, "Scheduler", lambda store, clock, **more: Scheduler(store, clock, profile, **more))
    async with running() as cluster:
        yield cluster


async def test_an_exception_in_one_placement_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod shows it and is tried again after a back-off; the others of its batch are bound."""
    async with with_filter(Raises(), monkeypatch) as cluster:
        await cluster.join("n1")
        for name in ("a", "bad", "z"):
            await cluster.create(pod(name))
        assert [scheduled(cluster, name)[0] for name in ("a", "bad", "z")] == ["n1", "", "n1"]
        condition = scheduled(cluster, "bad")[1]
        assert (condition.reason, condition.message) == ("SchedulerError", "ZeroDivisionError: a bug")
        uid = cluster.get(kinds.POD, "bad").metadata.uid
        await cluster.advance(5)
        found = cluster.scheduler.explain("default", "bad", uid)
        assert found is not None
        assert 3 <= found.attempts <= 6
        assert (found.decision.failed, found.verdicts) == (True, ())


class Bounded(MemoryBackend):
    """Has etcd's limits, and refuses every binding of a pod called `poison`."""

    limits = Limits(operations=100, size=1400 << 10, group=1, commits=1)

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        results: list[Result] = []
        for txn in txns:
            refusal: Result = self.limits.refusal(txn)
            poisoned = [write for write in txn.writes if write.key == kinds.POD.key("default", "poison")]
            if any(kinds.POD.cls.FromString(write.value or b"").spec.nodeName for write in poisoned):
                refusal = TooLarge("request is too large")
            self.refused += refusal is not None
            results += [refusal] if refusal else await super().commit([txn])
        return results


async def test_many_large_pods_are_bound() -> None:
    """200 KiB of annotations each: together they exceed what a backend takes of one transaction."""
    backend = Bounded()
    async with running(backend=backend) as cluster:
        for number in range(30):
            await cluster.create(pod(f"p{number}", meta={"annotations": {"a": "x" * (200 << 10)}}))
        await cluster.join("n1")
        await cluster.advance(1)
        assert all(scheduled(cluster, f"p{number}")[0] == "n1" for number in range(30))
        assert backend.refused == 0


async def test_pods_of_many_namespaces_are_bound() -> None:
    """Each decision reads its namespace; together they exceed the operations of one transaction."""
    backend = Bounded()
    async with running(backend=backend) as cluster:
        for number in range(50):
            await cluster.create(make(kinds.NAMESPACE, f"ns{number}"))
            await cluster.create(pod("web", namespace=f"ns{number}"))
        await cluster.join("n1")
        await cluster.advance(1)
        bound = [row.message.spec.nodeName for row in cluster.store.rows(kinds.POD)]
        assert bound == ["n1"] * 50
        assert backend.refused == 0


async def test_a_decision_that_cannot_be_committed_affects_its_pod_only() -> None:
    """Those that shared its transaction are committed by themselves; the pod keeps its event, and no room of the node."""
    backend = Bounded()
    async with running(backend=backend) as cluster:
        for name in ("a", "poison", "z"):
            await cluster.create(pod(name, container(requests={"cpu": "1"})))
        await cluster.join("n1", cpu="3")
        await cluster.advance(5)
        assert [scheduled(cluster, name)[0] for name in ("a", "poison", "z")] == ["n1", "", "n1"]
        assert "request is too large" in "".join(event.message for event in cluster.events("FailedScheduling"))
        found = cluster.scheduler.explain("default", "poison", cluster.get(kinds.POD, "poison").metadata.uid)
        assert found is not None
        assert (found.decision.node, found.decision.message) == ("", "cannot commit the decision: request is too large")
        tried = backend.refused
        await cluster.advance(60, beating=("n1",))
        assert 4 <= backend.refused - tried <= 12
        await cluster.create(pod("last", container(requests={"cpu": "1"})))
        await cluster.advance(12, beating=("n1",))
        assert scheduled(cluster, "last")[0] == "n1"


async def test_a_terminating_pod_is_not_bound(cluster: Cluster) -> None:
    """Even if it was placed before its deletion was seen."""
    await cluster.create(pod("web", meta={"finalizers": ["example.com/hold"]}, schedulerName="mine"))
    await cluster.delete(kinds.POD, "web")

    def fn(tx: Any) -> Any:
        found = tx.get(kinds.POD, "default", "web")
        found.spec.schedulerName = ""
        tx.put(kinds.POD, found)
        return binding.commit(tx, [Decision(read(found), "n1")], 0.0)

    assert await cluster.store.update(fn) == {}
    assert scheduled(cluster)[0] == ""


def attempts(cluster: Cluster, name: str = "web") -> int:
    found = cluster.scheduler.explain("default", name, cluster.get(kinds.POD, name).metadata.uid)
    assert found is not None
    return found.attempts


async def test_only_a_change_that_may_help_retries_a_pod(cluster: Cluster) -> None:
    """Neither heartbeats, nor labels, nor too little more room, nor the scheduler's own writes."""
    await cluster.join("n1", cpu="1")
    await cluster.create(pod("web", container(requests={"cpu": "4"})))
    await cluster.beat("n1")
    await cluster.change(kinds.NODE, "n1", lambda found: found.metadata.labels.update(disk="ssd"))
    await cluster.change(kinds.NODE, "n1", lambda found: setattr(found.status.allocatable["cpu"], "string", "3"))
    await cluster.change(kinds.POD, "web", lambda found: found.metadata.annotations.update(a="b"))
    assert attempts(cluster) == 1

    def grow(found: Any) -> None:
        found.status.allocatable["cpu"].string = "4"

    message = cluster.get(kinds.NODE, "n1")
    grow(message)
    await put(cluster, kinds.NODE, message)
    assert (attempts(cluster), scheduled(cluster)[0]) == (2, "n1")


class Counts:
    """A filter that counts how often it is asked."""

    name = "Counts"
    events = ClusterEvent.NONE
    wide = False
    resolvable = False
    asked = 0

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        self.asked += 1
        return None

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        return {}


async def test_equal_pods_that_fit_nowhere_cost_one_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one of a hundred waiting pods is not a reason to compare each of the others with every node."""
    counts = Counts()
    async with with_filter(counts, monkeypatch) as cluster:
        await cluster.join("n1", cpu="1")
        for number in range(100):
            await cluster.create(pod(f"p{number}", container(requests={"cpu": "1"})))
        assert counts.asked < 110
        counts.asked = 0
        await cluster.delete(kinds.POD, "p0", grace=0)
        bound = [row.message for row in cluster.store.rows(kinds.POD) if row.message.spec.nodeName]
        assert len(bound) == 1
        assert counts.asked < 10


async def test_the_pods_that_wait_are_counted(cluster: Cluster) -> None:
    """By the part of the queue that they are in; a deleted pod no longer waits."""

    def unschedulable() -> float | None:
        return metrics.REGISTRY.get_sample_value("pinnace_pending_pods", {"queue": "unschedulable"})

    await cluster.create(pod())
    assert unschedulable() == 1
    await cluster.delete(kinds.POD, "web", grace=0)
    assert unschedulable() == 0


async def test_the_latency_metric_measures_one_attempt(cluster: Cluster) -> None:
    """Not the time since the process, or the machine, started."""

    def measured() -> tuple[float, float]:
        name, labels = "pinnace_scheduling_attempt_seconds", {"result": "scheduled"}
        found = [metrics.REGISTRY.get_sample_value(f"{name}_{part}", labels) or 0.0 for part in ("sum", "count")]
        return found[0], found[1]

    before = measured()
    await cluster.join("n1")
    for number in range(3):
        await cluster.create(pod(f"p{number}"))
    seconds, count = (now - then for now, then in zip(measured(), before, strict=True))
    assert count == 3
    assert 0 < seconds < 5


async def test_labels_of_a_bound_pod_are_followed(cluster: Cluster) -> None:
    """They name the pods that are spread from each other; a status alone changes nothing that is counted."""
    await cluster.join("n1")
    created = await cluster.create(pod("web", meta={"labels": {"app": "a"}}))
    await cluster.report("n1", created)
    await cluster.change(kinds.POD, "web", lambda found: found.metadata.labels.update(app="b"))
    table = cluster.scheduler._cache.table
    assert table.groups.snapshot() == {"default/app=b": {0: 1}}
    assert [column[0] for column in table.free] == [4000, 8 << 30, 100 << 30, 109]

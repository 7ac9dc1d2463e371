"""What an autoscaler's controller remembers when its transaction is tried again, or fails; and the round of measurements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from controlplane import bootstrap, resources
from controlplane.controllers.horizontalpodautoscaler import FIRST_MEASUREMENT, HorizontalPodAutoscalers
from controlplane.controllers.runner import Moment, Requeue
from controlplane.podusage import PodUsage, PodUse
from controlplane.requests import verbs
from controlplane.store import Store, Tx
from controlplane.store.memory import MemoryBackend
from controlplane.usagecollector import SHORTEST, UsageCollector
from pinnace import codec, kinds
from pinnace.clock import RandomIds, VirtualClock, settle
from pinnace.usage import Sample, Use
from tests.support import objects
from tests.support.load import Load

KEY = "default/web"
POLICY = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}
SPEC: dict[str, Any] = {
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"},
    "maxReplicas": 100,
    "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1"}}}],
    "behavior": {"scaleUp": POLICY},
}


class Setting:
    """A ReplicaSet with one pod, whose autoscaler wants many."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.usage = PodUsage({"pod": PodUse(clock.now(), 1, {"main": Use(0, 50)})})
        self.controller = HorizontalPodAutoscalers(self.usage, ids=RandomIds(seed=1))

    def moment(self) -> Moment:
        return Moment(self.clock.now(), self.clock.monotonic())

    async def reconcile(self, now: Moment, *, tries: int = 1, fails: bool = False) -> Requeue | None:
        def fn(tx: Tx) -> Requeue | None:
            again = None
            for _ in range(tries):
                inner = Tx(self.store.cache, self.store.backend.limits)
                again = self.controller.reconcile(inner, KEY, now)
            again = self.controller.reconcile(tx, KEY, now)
            if fails:
                raise OSError
            return again

        return await self.store.update(fn)

    def replicas(self) -> int:
        return int(self.store.get(kinds.REPLICA_SET, "default", "web").spec.replicas)


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    clock = VirtualClock()
    store = await Store.open(MemoryBackend(), clock, resources.built_in())
    serving = asyncio.ensure_future(store.serve())
    call = verbs.Call(clock.now(), RandomIds(seed=2), "test")

    def make(tx: Tx) -> None:
        bootstrap.objects(tx, call)
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "web"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        for kind, body in ((kinds.REPLICA_SET, spec), (kinds.HORIZONTAL_POD_AUTOSCALER, SPEC)):
            value = {"metadata": {"name": "web", "namespace": "default"}, "spec": body}
            verbs.create(tx, kind, codec.decode(kind.cls, value), call)
        pod = objects.pod(meta={"labels": {"app": "web"}, "uid": "pod"}, nodeName="n1")
        pod.status.phase = "Running"
        tx.put(kinds.POD, pod)

    await store.update(make)
    await settle()
    made = Setting(store, clock)
    made.usage.covered = frozenset((store.get(kinds.HORIZONTAL_POD_AUTOSCALER, "default", "web").metadata.uid,))
    yield made
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await store.close()


async def test_a_transaction_that_is_tried_again_counts_once(setting: Setting) -> None:
    """Two pods a minute: a second count of the same change would stop the rise for another minute."""
    await setting.reconcile(setting.moment(), tries=3)
    assert setting.replicas() == 3
    await setting.clock.advance(61)
    await setting.reconcile(setting.moment())
    assert setting.replicas() == 5
    await setting.clock.advance(30)
    await setting.reconcile(setting.moment())
    assert setting.replicas() == 5


async def test_a_change_that_was_not_committed_does_not_count(setting: Setting) -> None:
    """The store failed after the decision."""
    with pytest.raises(OSError):
        await setting.reconcile(setting.moment(), fails=True)
    assert setting.replicas() == 1
    await setting.clock.advance(5)
    await setting.reconcile(setting.moment())
    assert setting.replicas() == 3


async def test_the_first_decision_waits_for_a_measurement(setting: Setting) -> None:
    """For a while: then its absence is shown."""
    setting.usage.covered = frozenset()
    setting.usage.pods = {}
    first = setting.moment()
    assert await setting.reconcile(first) == Requeue(1.0)
    assert not setting.store.get(kinds.HORIZONTAL_POD_AUTOSCALER, "default", "web").status.conditions
    await setting.clock.advance(FIRST_MEASUREMENT)
    assert await setting.reconcile(setting.moment()) == Requeue(15.0)
    conditions = setting.store.get(kinds.HORIZONTAL_POD_AUTOSCALER, "default", "web").status.conditions
    assert [(item.type, item.reason) for item in conditions] == [
        ("AbleToScale", "SucceededGetScale"), ("ScalingActive", "FailedGetResourceMetric"),
    ]  # fmt: skip


async def test_a_new_object_of_the_same_name_remembers_nothing(setting: Setting) -> None:
    """Its history is that of its UID."""
    await setting.reconcile(setting.moment())
    assert setting.replicas() == 3

    def replace(tx: Tx) -> None:
        item = tx.require(kinds.HORIZONTAL_POD_AUTOSCALER, "default", "web")
        item.metadata.uid = "another"
        tx.put(kinds.HORIZONTAL_POD_AUTOSCALER, item)

    await setting.store.update(replace)
    setting.usage.covered = frozenset(("another",))
    await setting.clock.advance(5)
    await setting.reconcile(setting.moment())
    assert setting.replicas() == 5


class Failing(Load):
    """A sampler that fails when it is told to."""

    broken = False

    async def of(self, nodes: Iterable[str]) -> dict[str, Sample]:
        found = await super().of(nodes)
        if self.broken:
            raise OSError("the router is gone")
        return found


async def test_a_round_that_fails_forgets_what_was_measured(setting: Setting) -> None:
    """Old numbers would be taken for present ones. The next round measures again, and the end of the last autoscaler ends
    them."""
    load, found = Failing(setting.store, setting.clock), PodUsage()
    load.use = lambda pod: (5, 7)
    collector = asyncio.ensure_future(UsageCollector(setting.store, load, found, setting.clock, period=15).run())
    await settle()
    assert {uid: use.containers for uid, use in found.pods.items()} == {"pod": {"main": Use(5_000_000, 7)}}
    assert (found.pods["pod"].time, found.pods["pod"].window) == (setting.clock.now(), 5.0)
    assert found.covered == setting.usage.covered
    load.broken = True
    await setting.clock.advance(15)
    assert (found.pods, found.covered) == ({}, frozenset())
    load.broken = False
    await setting.clock.advance(15)
    assert list(found.pods) == ["pod"]
    rounds = len(load.asked)
    await setting.store.update(lambda tx: tx.delete(kinds.HORIZONTAL_POD_AUTOSCALER, "default", "web"))
    await setting.clock.advance(60)
    assert (len(load.asked), found.pods, found.covered) == (rounds, {}, frozenset())
    collector.cancel()
    await asyncio.gather(collector, return_exceptions=True)


async def test_new_autoscalers_are_measured_once_a_second(setting: Setting) -> None:
    """However many come, and not before the period for none."""
    load, found = Load(setting.store, setting.clock), PodUsage()
    collector = asyncio.ensure_future(UsageCollector(setting.store, load, found, setting.clock, period=15).run())
    await settle()
    assert len(load.asked) == 1

    def another(index: int) -> Any:
        item = objects.make(kinds.HORIZONTAL_POD_AUTOSCALER, f"w{index}", meta={"uid": f"u{index}"}, spec=SPEC)
        return lambda tx: tx.put(kinds.HORIZONTAL_POD_AUTOSCALER, item)

    for index in range(20):
        await setting.store.update(another(index))
        await setting.clock.advance(SHORTEST / 10)
    assert len(load.asked) <= 4
    await setting.clock.advance(SHORTEST)
    assert "u19" in found.covered
    collector.cancel()
    await asyncio.gather(collector, return_exceptions=True)

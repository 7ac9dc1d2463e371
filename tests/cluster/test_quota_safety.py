"""Properties of ResourceQuotas under several controllers and users at once, and of a ReplicaSet that is scaled to zero."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers import podcontrol
from pinnace import kinds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import AlreadyExists, Forbidden
from tests.support.api import pod_manifest
from tests.support.jobs import job
from tests.support.safety import DISTURBANCES, Change, World, run
from tests.support.workloads import deployment, replica_set, stateful_set

SIZES = st.integers(0, 4)
REQUESTS = {"requests": {"cpu": "1"}}
ACTIONS = st.one_of(
    *DISTURBANCES,
    st.tuples(st.just("scale"), st.tuples(SIZES, SIZES, SIZES)),
    st.tuples(st.just("users"), st.lists(st.integers(0, 3), max_size=4)),
    st.tuples(st.just("quota"), st.tuples(st.integers(1, 6), st.integers(1, 6))),
)


def spec(**more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "web:1", "resources": REQUESTS}], **more}


def labelled(name: str, **more: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec()}, **more}


class Limited(World):
    # Minutes between two tries of a controller whose pods are refused.
    patience = 6
    watched = (kinds.RESOURCE_QUOTA, kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.JOB)

    async def create(self, hard: tuple[int, int], sizes: tuple[int, int, int]) -> None:
        """All at once."""
        made = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": _hard(hard)}}
        await self.api.create(kinds.RESOURCE_QUOTA, made)
        first, second, third = sizes
        work = job(template={"spec": spec(restartPolicy="Never")}, parallelism=third, completions=50, backoffLimit=1000)
        await asyncio.gather(
            self.api.create(kinds.DEPLOYMENT, deployment("d", first, **labelled("d"))),
            self.api.create(kinds.STATEFUL_SET, stateful_set("s", second, podManagementPolicy="Parallel", **labelled("s"))),
            self.api.create(kinds.JOB, work),
        )
        await self.settle()

    async def scale(self, sizes: tuple[int, int, int]) -> None:
        first, second, third = sizes
        await asyncio.gather(
            self.api.patch(kinds.DEPLOYMENT, "d", "MERGE", {"spec": {"replicas": first}}),
            self.api.patch(kinds.STATEFUL_SET, "s", "MERGE", {"spec": {"replicas": second}}),
            self.api.patch(kinds.JOB, "work", "MERGE", {"spec": {"parallelism": third}}),
        )

    async def users(self, numbers: list[int]) -> None:
        """They make pods at the same time, some of one name."""
        made = [pod_manifest(f"own-{number}", resources={}) for number in numbers]
        for item in made:
            item["spec"] = spec()
        outcomes = await asyncio.gather(*(self.api.create(kinds.POD, item) for item in made), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, AlreadyExists | Forbidden):
                raise AssertionError("a pod was refused for another reason") from outcome

    async def quota(self, hard: tuple[int, int]) -> None:
        await self.api.patch(kinds.RESOURCE_QUOTA, "q", "MERGE", {"spec": {"hard": _hard(hard)}})

    # Checks

    def used(self) -> tuple[int, int]:
        """Pods that count, and their processors: not those that have ended, or should be gone (on a node that is away)."""
        pods = [pod for pod in self.every(kinds.POD) if pod.status.phase not in podcontrol.ENDED and not self._is_overdue(pod)]
        return len(pods), sum(map(_cpu, pods))

    def _is_overdue(self, pod: Pod) -> bool:
        return 0 < pod.metadata.deletionTimestamp.seconds < self.clock.now()

    def changed(self, change: Change) -> None:
        if change.kind is kinds.POD and change.old is None:
            hard = self.find(kinds.RESOURCE_QUOTA, "q").spec.hard
            pods, cpu = self.used()
            assert pods <= int(hard["pods"].string), f"{pods} pods of {hard['pods']}"
            assert cpu <= int(hard["requests.cpu"].string), f"{cpu} processors of {hard['requests.cpu']}"

    async def end(self) -> None:
        """With room for all, all are there, and the status counts them."""
        await self.quota((60, 60))
        self.check()
        await self.calm()
        for kind, name in ((kinds.DEPLOYMENT, "d"), (kinds.STATEFUL_SET, "s")):
            item = self.find(kind, name)
            assert item.status.readyReplicas == item.spec.replicas, item
        work = self.find(kinds.JOB, "work")
        assert work.status.active == work.spec.parallelism
        used = self.find(kinds.RESOURCE_QUOTA, "q").status.used
        assert (int(used["pods"].string), int(used["requests.cpu"].string)) == self.used()


def _hard(amounts: tuple[int, int]) -> dict[str, str]:
    return {"pods": str(amounts[0]), "requests.cpu": str(amounts[1])}


def _cpu(pod: Pod) -> int:
    return sum(int(item.resources.requests["cpu"].string) for item in pod.spec.containers)


@settings(max_examples=20)
@given(
    hard=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    sizes=st.tuples(SIZES, SIZES, SIZES),
    actions=st.lists(ACTIONS, min_size=6, max_size=12),
)
def test_a_quota_is_never_exceeded(
    hard: tuple[int, int], sizes: tuple[int, int, int], actions: list[tuple[str, Any]]
) -> None:  # fmt: skip
    """By three controllers and some users who create pods at the same time; and with room for all, all are there."""
    world = Limited()

    async def body() -> None:
        await world.create(hard, sizes)
        for action in actions:
            await world.act(action)
        await world.end()

    run(world, body)


class Replicas(World):
    watched = (kinds.REPLICA_SET,)

    async def create(self, replicas: int) -> None:
        await self.api.create(kinds.REPLICA_SET, replica_set(replicas=replicas))
        await self.settle()

    async def scale(self, replicas: int) -> None:
        await self.api.patch(kinds.REPLICA_SET, "web", "MERGE", {"spec": {"replicas": replicas}})

    def changed(self, change: Change) -> None:
        if change.kind is not kinds.POD:
            return
        wanted = self.find(kinds.REPLICA_SET, "web").spec.replicas
        if change.old is None:
            active = sum(map(podcontrol.is_active, self.every(kinds.POD)))
            assert active <= wanted, f"{active} pods of {wanted}"
        elif change.new is not None and change.new.spec.nodeName != change.old.spec.nodeName:
            assert not change.old.metadata.deletionTimestamp.seconds, "a pod that is being deleted was placed"

    def rested(self) -> None:
        item = self.find(kinds.REPLICA_SET, "web")
        active = [pod for pod in self.every(kinds.POD) if podcontrol.is_active(pod)]
        assert len(active) == item.spec.replicas == item.status.replicas

    async def end(self) -> None:
        await self.calm()
        await self.act(("scale", 0))
        await self.calm()
        # Pods that have ended stay for their logs, as in Kubernetes.
        assert not [pod for pod in self.every(kinds.POD) if pod.status.phase not in podcontrol.ENDED]


@settings(max_examples=20)
@given(replicas=SIZES, actions=st.lists(st.one_of(*DISTURBANCES, st.tuples(st.just("scale"), SIZES)), min_size=6, max_size=15))
def test_nothing_is_placed_after_a_scale_to_zero(replicas: int, actions: list[tuple[str, Any]]) -> None:
    """Never more pods than replicas; at rest exactly as many; and none once there are to be none."""
    world = Replicas()

    async def body() -> None:
        await world.create(replicas)
        for action in actions:
            await world.act(action)
        await world.end()

    run(world, body)

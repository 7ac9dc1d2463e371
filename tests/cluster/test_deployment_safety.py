"""Properties of Deployments under random users and pods: bounds that no moment breaks, and the end that every order reaches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers import podcontrol, rollout
from pinnace import kinds
from pinnace.clock import settle
from tests.support.cluster import TURNS, Cluster, running
from tests.support.workloads import Agents, SettledApi, deployment, template

REPLICAS = st.integers(0, 6)
BOUNDS = st.sampled_from([0, 1, 2, "25%", "50%", "100%"])
ACTIONS = st.one_of(
    st.tuples(st.just("scale"), REPLICAS),
    st.tuples(st.just("image"), st.integers(1, 3)),
    st.tuples(st.just("pause"), st.booleans()),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("fail"), st.integers(0, 9)),
)


class World:
    """A Deployment, agents, and what must hold after each action."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.api = SettledApi(cluster)
        self.agents = Agents(cluster, "n1", "n2")
        self.before = 0

    def available(self) -> int:
        return sum(podcontrol.is_active(pod) and podcontrol.ready_since(pod) is not None for pod in self.agents.pods())

    async def act(self, action: tuple[str, Any]) -> None:
        name, value = action
        lost = await getattr(self, name)(value)
        await settle(TURNS)
        self.check(lost)

    async def scale(self, replicas: int) -> int:
        await self.api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": replicas}})
        return 0

    async def image(self, number: int) -> int:
        await self.api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"template": template(f"web:{number}")}})
        return 0

    async def pause(self, value: bool) -> int:
        await self.api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"paused": value}})
        return 0

    async def start(self, ready: bool) -> int:
        await self.agents.step(fails=lambda _: not ready)
        return 0

    async def delete(self, number: int) -> int:
        """By a user; what was available is lost to that, not to the controllers."""
        pods = [pod for pod in self.agents.pods() if podcontrol.is_active(pod)]
        if pods:
            await self.cluster.delete(kinds.POD, pods[number % len(pods)].metadata.name)
        return len(pods[:1])

    async def fail(self, number: int) -> int:
        pods = [pod for pod in self.agents.pods() if pod.status.phase == "Running" and podcontrol.is_active(pod)]
        if pods:
            pod = pods[number % len(pods)]
            await self.cluster.report(pod.spec.nodeName, pod, phase="Failed")
        return len(pods[:1])

    def check(self, lost: int) -> None:
        item = self.cluster.get(kinds.DEPLOYMENT, "web")
        sets = [row.parse() for row in self.cluster.store.rows(kinds.REPLICA_SET, "default")]
        assert rollout.wanted(sets) <= item.spec.replicas + rollout.max_surge(item)
        least = min(self.before - lost, item.spec.replicas - rollout.max_unavailable(item))
        assert self.available() >= least, (self.available(), self.before, lost)
        self.before = self.available()

    async def end(self) -> None:
        """Left alone, everything becomes as it is wanted."""
        await self.pause(False)
        for pod in self.agents.pods():
            if pod.status.phase == "Running" and podcontrol.ready_since(pod) is None and podcontrol.is_active(pod):
                await self.agents.start(pod)
        self.before = 0
        await self.agents.settle(watch=lambda: self.check(0))
        item = self.cluster.get(kinds.DEPLOYMENT, "web")
        running_pods = [pod for pod in self.agents.pods() if podcontrol.is_active(pod)]
        wanted = item.spec.template.spec.containers[0].image
        assert [pod.spec.containers[0].image for pod in running_pods] == [wanted] * item.spec.replicas
        assert item.status.availableReplicas == item.status.updatedReplicas == item.spec.replicas


@settings(max_examples=25)
@given(REPLICAS, BOUNDS, BOUNDS, st.lists(ACTIONS, max_size=15))
def test_no_order_of_events_breaks_the_bounds(
    replicas: int, surge: int | str, unavailable: int | str, actions: list[tuple[str, Any]]
) -> None:
    """Never more than replicas + maxSurge wanted, never fewer available by the controllers' doing; and all end well."""
    if not surge and not unavailable:
        unavailable = 1
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}

    async def run() -> None:
        async with running() as cluster:
            world = World(cluster)
            await world.agents.join()
            await world.api.create(kinds.DEPLOYMENT, deployment(replicas=replicas, strategy=strategy))
            await world.agents.settle()
            world.before = world.available()
            for action in actions:
                await world.act(action)
            await world.end()

    asyncio.run(run())


@pytest.mark.parametrize("seconds", [0, 1])
def test_the_property_sees_a_pod_too_many(seconds: int) -> None:
    """A ReplicaSet that another client enlarges breaks it, until the controller corrects that."""

    async def run() -> None:
        async with running() as cluster:
            world = World(cluster)
            await world.agents.join()
            await world.api.create(kinds.DEPLOYMENT, deployment(replicas=1))
            [found] = [row.parse() for row in cluster.store.rows(kinds.REPLICA_SET, "default")]
            found.spec.replicas = 9
            await cluster.store.update(lambda tx: tx.put(kinds.REPLICA_SET, found))
            if not seconds:
                with pytest.raises(AssertionError):
                    world.check(0)
            else:
                await settle(TURNS)
                world.check(0)

    asyncio.run(run())

"""Properties of PodDisruptionBudgets under concurrent evictions, random users, pods and restarts: never fewer than there must be."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.requests import actions as verbs
from controlplane.resources.pod import POD
from controlplane.store import origin
from pinnace import kinds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import NotFound, TooManyRequests
from pinnace.policy.v1.policy_pb2 import Eviction
from tests.support.safety import DISTURBANCES, PICK, Change, World, run
from tests.support.workloads import LABELS, deployment

EVICTOR = "evictor"
ACTIONS = st.one_of(
    *DISTURBANCES,
    st.tuples(st.just("evict"), st.lists(PICK, min_size=1, max_size=5)),
    st.tuples(st.just("evict"), st.lists(PICK, min_size=1, max_size=5)),
    st.tuples(st.just("scale"), st.integers(0, 5)),
)
BUDGETS = st.one_of(
    st.fixed_dictionaries({"minAvailable": st.sampled_from([0, 1, 2, "50%", "100%"])}),
    st.fixed_dictionaries({"maxUnavailable": st.sampled_from([0, 1, 2, "50%"])}),
)


class Budgeted(World):
    nodes = ("n1", "n2")
    watched = (kinds.POD_DISRUPTION_BUDGET, kinds.DEPLOYMENT)

    async def create(self, replicas: int, budget: dict[str, Any], policy: str) -> None:
        await self.api.create(kinds.DEPLOYMENT, deployment(replicas=replicas))
        spec = {"selector": {"matchLabels": LABELS}, "unhealthyPodEvictionPolicy": policy, **budget}
        await self.api.create(kinds.POD_DISRUPTION_BUDGET, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
        await self.settle()

    async def scale(self, replicas: int) -> None:
        await self.api.patch(kinds.DEPLOYMENT, "web", "MERGE", {"spec": {"replicas": replicas}})

    async def evict(self, numbers: list[int]) -> None:
        """Several clients at once, some of whom mean the same pod."""
        pods = sorted((pod for pod in self.every(kinds.POD)), key=lambda pod: str(pod.metadata.name))
        if not pods:
            return
        names = [pods[number % len(pods)].metadata.name for number in numbers]
        outcomes = await asyncio.gather(*map(self._evict, names), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None and not isinstance(outcome, TooManyRequests | NotFound):
                raise AssertionError("an eviction failed") from outcome

    async def _evict(self, name: str) -> None:
        request = Eviction()
        request.metadata.name, request.metadata.namespace = name, "default"
        store, call = self.cluster.store, self.cluster.call()
        with origin.acting(EVICTOR):
            await store.update(lambda tx: verbs.perform(tx, POD, POD.actions["eviction"], "default", name, request, call))

    # Checks

    def healthy(self) -> int:
        return sum(has_condition(pod) and not pod.metadata.deletionTimestamp.seconds for pod in self.every(kinds.POD))

    def least(self) -> int:
        """What must be healthy, by the documentation."""
        spec = self.find(kinds.POD_DISRUPTION_BUDGET, "web").spec
        size = self.find(kinds.DEPLOYMENT, "web").spec.replicas
        if spec.HasField("maxUnavailable"):
            return max(size - amount(spec.maxUnavailable, size), 0)
        return amount(spec.minAvailable, size)

    def changed(self, change: Change) -> None:
        if change.kind is kinds.POD and change.deletes and change.actor == EVICTOR:
            pod = change.old
            if pod.status.phase in ("Pending", "Failed", "Succeeded"):
                return
            if has_condition(pod):
                assert self.healthy() >= self.least(), f"{self.healthy()} healthy pods, {self.least()} needed"
            elif self.find(kinds.POD_DISRUPTION_BUDGET, "web").spec.unhealthyPodEvictionPolicy != "AlwaysAllow":
                # Of a pod that is not ready the number of healthy ones does not change.
                assert self.healthy() >= self.least() > 0, "an unhealthy pod of an unhealthy workload"

    async def end(self) -> None:
        """Left alone, the workload is complete, and evictions are allowed as the budget has it."""
        await self.calm()
        size = self.find(kinds.DEPLOYMENT, "web").spec.replicas
        assert self.healthy() == size
        status = self.find(kinds.POD_DISRUPTION_BUDGET, "web").status
        assert status.disruptionsAllowed == (max(size - self.least(), 0) if size else 0)
        assert not status.disruptedPods


def has_condition(pod: Pod) -> bool:
    return pod.status.phase not in ("Failed", "Succeeded") and any(
        item.type == "Ready" and item.status == "True" for item in pod.status.conditions
    )


def amount(value: Any, size: int) -> int:
    """An IntOrString, rounded up."""
    return int(value.intVal) if value.type == 0 else -(-size * int(value.strVal.rstrip("%")) // 100)


@settings(max_examples=20)
@given(
    replicas=st.integers(1, 5), budget=BUDGETS, policy=st.sampled_from(["IfHealthyBudget", "AlwaysAllow"]),
    actions=st.lists(ACTIONS, min_size=6, max_size=15),
)  # fmt: skip
def test_evictions_leave_as_many_as_the_budget_demands(
    replicas: int, budget: dict[str, Any], policy: str, actions: list[tuple[str, Any]]
) -> None:
    """With evictions at once and any change of pods in between; and all end well."""
    world = Budgeted()

    async def body() -> None:
        await world.create(replicas, budget, policy)
        for action in actions:
            await world.act(action)
        await world.end()

    run(world, body)

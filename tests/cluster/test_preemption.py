"""Preemption end to end: a pod that fits nowhere takes the place of less important ones."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from pinnace import kinds
from tests.support.cluster import Cluster
from tests.support.objects import container, make, pod


@pytest.fixture
async def busy(cluster: Cluster) -> Cluster:
    """Two nodes of two cores, each full with a running pod of priority 0; classes for higher ones."""
    for name, value in (("high", 100), ("higher", 200)):
        await cluster.create(make(kinds.PRIORITY_CLASS, name, value=value))
    await cluster.create(make(kinds.PRIORITY_CLASS, "polite", value=100, preemptionPolicy="Never"))
    for name in ("n1", "n2"):
        await cluster.join(name, cpu="2")
        cluster.alive.add(name)
        made = await cluster.create(asking(f"on-{name}", "2", nodeName=name))
        await cluster.report(name, made)
    return cluster


def asking(name: str, cpu: str = "2", **spec: Any) -> Any:
    return pod(name, container(requests={"cpu": cpu}), **spec)


def scheduled(cluster: Cluster, name: str) -> tuple[str, str]:
    """The node and the nominated one."""
    found = cluster.get(kinds.POD, name)
    return found.spec.nodeName, found.status.nominatedNodeName


def ending(cluster: Cluster) -> list[str]:
    every = [row.message for row in cluster.store.rows(kinds.POD)]
    return sorted(found.metadata.name for found in every if found.metadata.deletionTimestamp.seconds)


@pytest.mark.shows("spec.preemptionPolicy")
async def test_a_more_important_pod_takes_the_place_of_another(busy: Cluster) -> None:
    """It is nominated while the victim stops, and is bound when that is gone."""
    await busy.create(asking("new", priorityClassName="high"))
    assert (ending(busy), scheduled(busy, "new")) == (["on-n1"], ("", "n1"))
    victim = busy.get(kinds.POD, "on-n1")
    target = conditions.find(victim.status, "DisruptionTarget")
    assert target is not None
    assert (target.status, target.reason) == ("True", "PreemptionByScheduler")
    assert target.message == "default-scheduler: preempting to accommodate a higher priority pod"
    [event] = busy.events("Preempted")
    assert event.message == f"Preempted by pod {busy.get(kinds.POD, 'new').metadata.uid} on node n1"
    condition = conditions.find(busy.get(kinds.POD, "new").status, "PodScheduled")
    assert condition is not None
    assert condition.message == "0/2 nodes are available: 2 Insufficient cpu."
    await busy.advance(30)
    assert ending(busy) == ["on-n1"]
    await busy.delete(kinds.POD, "on-n1", grace=0)
    assert scheduled(busy, "new") == ("n1", "")


@pytest.mark.parametrize("spec", [{"priorityClassName": "polite"}, {}])
async def test_a_pod_that_may_not_preempt_waits(busy: Cluster, spec: dict[str, Any]) -> None:
    """By its policy, or since none is less important."""
    await busy.create(asking("new", **spec))
    assert (ending(busy), scheduled(busy, "new")) == ([], ("", ""))


async def test_the_room_of_a_nominated_pod_is_not_given_away(busy: Cluster) -> None:
    """Not to less important pods that would fit; a more important one takes the nomination over."""
    await busy.create(asking("new", priorityClassName="high"))
    await busy.create(asking("late", "1"))
    await busy.create(asking("urgent", priorityClassName="higher"))
    nominated = {name: scheduled(busy, name)[1] for name in ("new", "late", "urgent")}
    assert {nominated["new"], nominated["urgent"]} == {"n1", "n2"}
    await busy.delete(kinds.POD, "on-n1", grace=0)
    assert scheduled(busy, "late")[0] == ""
    await busy.delete(kinds.POD, "on-n2", grace=0)
    assert {scheduled(busy, name)[0] for name in ("new", "urgent")} == {"n1", "n2"}
    await busy.delete(kinds.POD, "new", grace=0)
    assert scheduled(busy, "late")[0] != ""


async def test_a_nominated_pod_that_goes_leaves_its_room_to_others(busy: Cluster) -> None:
    """To a pod that was rejected for it."""
    await busy.create(asking("new", priorityClassName="high"))
    await busy.create(asking("late", "1"))
    await busy.delete(kinds.POD, "new", grace=0)
    await busy.delete(kinds.POD, "on-n1", grace=0)
    assert scheduled(busy, "late")[0] == "n1"


async def test_nothing_more_goes_while_a_victim_stops(busy: Cluster) -> None:
    """Also where another node would do less damage by now."""
    await busy.create(asking("new", priorityClassName="high"))
    await busy.create(make(kinds.PRIORITY_CLASS, "negative", value=-10))
    await busy.create(asking("on-n3", nodeName="n3", priorityClassName="negative"))
    await busy.join("n3", cpu="2")
    busy.alive.add("n3")
    # It is tried again after five minutes in any case.
    await busy.advance(400)
    assert (ending(busy), scheduled(busy, "new")) == (["on-n1"], ("", "n1"))


async def test_a_budget_is_spared(busy: Cluster) -> None:
    """The pod that no budget protects goes."""
    await busy.change(kinds.POD, "on-n1", lambda found: found.metadata.labels.update(app="db"))
    budget = make(kinds.POD_DISRUPTION_BUDGET, "db", spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}})
    await busy.create(budget)
    await busy.create(asking("new", priorityClassName="high"))
    assert ending(busy) == ["on-n2"]


async def test_equal_pods_preempt_one_node_each(busy: Cluster) -> None:
    """Of one batch too: the first nomination counts for the second pod, and the third pod finds no room."""
    for name in ("a", "b", "c"):
        await busy.create(asking(name, priorityClassName="high"))
    assert ending(busy) == ["on-n1", "on-n2"]
    assert sorted(scheduled(busy, name)[1] for name in ("a", "b", "c")) == ["", "n1", "n2"]

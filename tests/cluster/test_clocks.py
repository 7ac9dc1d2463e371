"""Steps of the wall clock and interruptions of the observer: neither makes a live node lost, nor keeps a dead one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from controlplane import conditions
from pinnace import kinds
from pinnace.clock import VirtualClock, settle
from pinnace.wellknown import TAINT_UNREACHABLE
from tests.support.backends import Lasting, Outage
from tests.support.cluster import GRACE, HEARTBEAT, TURNS, Cluster, running
from tests.support.objects import pod

HOUR = 3600.0
FORGIVING = {"key": TAINT_UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}


def ready(cluster: Cluster, name: str) -> str:
    return str(conditions.find(cluster.get(kinds.NODE, name).status, "Ready").status)


def deleting(cluster: Cluster, name: str) -> bool:
    return bool(cluster.get(kinds.POD, name).metadata.deletionTimestamp.seconds)


async def live(cluster: Cluster, *names: str) -> None:
    for name in names:
        await cluster.join(name)
    cluster.alive.update(names)


async def bound(cluster: Cluster, name: str, node: str, **spec: Any) -> None:
    await cluster.report(node, await cluster.create(pod(name, nodeName=node, **spec)))


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_of_the_wall_clock_condemns_no_live_node(cluster: Cluster, step: float) -> None:
    """In either direction; their pods stay ready."""
    await live(cluster, "n1", "n2", "n3")
    await bound(cluster, "web", "n1")
    await cluster.advance(30)
    cluster.clock.step(step)
    for _ in range(4):
        await cluster.advance(GRACE / 2)
        assert [ready(cluster, name) for name in ("n1", "n2", "n3")] == ["True"] * 3
    assert cluster.events("NodeNotReady") == []
    assert conditions.find(cluster.get(kinds.POD, "web").status, "Ready").status == "True"


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_of_the_wall_clock_keeps_no_dead_node_and_moves_no_eviction(cluster: Cluster, step: float) -> None:
    """The node is lost after its grace and its pods go after their tolerationSeconds, neither earlier nor later."""
    await live(cluster, "n1", "n2")
    await bound(cluster, "web", "n1", tolerations=[FORGIVING])
    cluster.alive.discard("n1")
    await cluster.advance(5)
    cluster.clock.step(step)
    await cluster.advance(5)
    assert ready(cluster, "n1") == "True"
    await cluster.advance(6)
    assert ready(cluster, "n1") == "Unknown"
    await cluster.advance(30)
    cluster.clock.step(step)
    await cluster.advance(25)
    assert not deleting(cluster, "web")
    await cluster.advance(8)
    assert deleting(cluster, "web")


async def test_a_control_plane_that_was_down_blames_no_node() -> None:
    """For longer than the grace, with the wall clock ahead on top: the nodes get the whole grace to come back."""
    clock, backend = VirtualClock(), Lasting()
    async with running(backend=backend, clock=clock) as cluster:
        await live(cluster, "n1", "n2")
        await bound(cluster, "web", "n1", tolerations=[FORGIVING])
        await cluster.advance(10)
    await clock.advance(10 * GRACE)
    clock.step(HOUR)
    async with running(backend=backend, clock=clock) as cluster:
        await cluster.advance(GRACE - 3)
        assert (ready(cluster, "n1"), cluster.events("NodeNotReady")) == ("True", [])
        cluster.alive.add("n2")
        await cluster.advance(6)
        assert (ready(cluster, "n1"), ready(cluster, "n2")) == ("Unknown", "True")


async def test_a_restart_counts_toleration_seconds_anew() -> None:
    """A taint that is hours old by the wall clock evicts nobody at once."""
    clock, backend = VirtualClock(), Lasting()
    async with running(backend=backend, clock=clock) as cluster:
        await live(cluster, "n1", "n2")
        await bound(cluster, "web", "n1", tolerations=[FORGIVING])
        cluster.alive.discard("n1")
        await cluster.advance(GRACE + 30)
        assert ready(cluster, "n1") == "Unknown"
    clock.step(HOUR)
    async with running(backend=backend, clock=clock) as cluster:
        cluster.alive.add("n2")
        await cluster.advance(55)
        assert not deleting(cluster, "web")
        await cluster.advance(10)
        assert deleting(cluster, "web")


async def test_a_frozen_process_blames_no_node(cluster: Cluster) -> None:
    """Everything is due at once when it resumes: before anything else has run, nothing is late."""
    await live(cluster, "n1", "n2")
    await cluster.advance(10)
    cluster.clock.stall(20 * GRACE)
    await settle(TURNS)
    await cluster.advance(GRACE)
    assert [ready(cluster, name) for name in ("n1", "n2")] == ["True", "True"]
    assert cluster.events("NodeNotReady") == []


@pytest.mark.parametrize("seconds", [6.0, 9.0, 14.0, 60.0, 600.0])
async def test_a_store_that_could_not_be_written_blames_no_node(seconds: float) -> None:
    """The heartbeats of that time could not be recorded. Whether or not leadership was lost over it."""
    backend = Outage()
    async with running(backend=backend) as cluster:
        await live(cluster, "n1", "n2")
        await cluster.advance(10)
        backend.down, beating = True, set(cluster.alive)
        cluster.alive.clear()
        await cluster.advance(seconds)
        backend.down = False
        cluster.alive.update(beating)
        await cluster.advance(HEARTBEAT + 0.1)
        await cluster.advance(4 * GRACE)
        assert [ready(cluster, name) for name in ("n1", "n2")] == ["True", "True"]
        assert cluster.events("NodeNotReady") == []


async def test_a_short_outage_does_not_count_against_a_node_that_was_late_already() -> None:
    """Leadership survives it; the node was silent for 8 seconds that the control plane could see, not for 16."""
    backend = Outage()
    async with running(backend=backend) as cluster:
        await cluster.join("n1")
        await cluster.advance(7)
        backend.down = True
        await cluster.advance(8)
        backend.down = False
        await cluster.advance(1)
        assert ready(cluster, "n1") == "True"
        await cluster.beat("n1")
        await cluster.advance(GRACE - 1)
        assert cluster.events("NodeNotReady") == []
        await cluster.advance(2)
        assert ready(cluster, "n1") == "Unknown"


@pytest.mark.parametrize("seed", range(12))
async def test_live_nodes_are_never_lost_and_dead_ones_always(seed: int) -> None:
    """Whatever the wall clock does and however often the store fails, for up to half a minute each time."""
    chance, backend = random.Random(seed), Outage()
    async with running(backend=backend) as cluster:
        await live(cluster, "n1", "n2", "dead")
        agents = {"n1", "n2"}
        for _ in range(12):
            cluster.clock.step(chance.choice((0.0, HOUR, -HOUR, chance.uniform(-60, 60))))
            if chance.random() < 0.5:
                backend.down = True
                cluster.alive.clear()
                await cluster.advance(chance.uniform(1, 30))
                backend.down = False
            # The dispatcher writes the heartbeats that it has heard meanwhile as soon as it can.
            cluster.alive = set(agents)
            await cluster.beat(*sorted(agents))
            await cluster.advance(chance.uniform(1, 20))
            assert [ready(cluster, name) for name in sorted(agents)] == ["True", "True"]
            assert {event.involvedObject.name for event in cluster.events("NodeNotReady")} <= {"dead"}
        await cluster.advance(2 * GRACE)
        assert ready(cluster, "dead") == "Unknown"

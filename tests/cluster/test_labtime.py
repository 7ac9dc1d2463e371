"""An advance of a lab's clock: timers act at once, live nodes stay, dead ones go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane import conditions
from controlplane.labtime import LabTime
from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.batch.v1.cronjob_pb2 import CronJob
from pinnace.batch.v1.job_pb2 import Job
from pinnace.clock import VirtualClock, settle
from pinnace.core.v1.event_pb2 import Event
from pinnace.errors import BadRequest
from pinnace.wellknown import LEADER_LEASE, TAINT_UNREACHABLE
from tests.support import objects
from tests.support.cluster import GRACE, HEARTBEAT, TURNS, Cluster, running

HOUR = 3600.0
TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "a"}]}}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(lab_clock=tmp_path / "clock.json") as cluster:
        yield cluster


async def advance(lab: Cluster, seconds: float) -> None:
    """Only the lab's clock: no time passes on the machine."""
    machine = lab.clock.monotonic()
    await lab.labtime.advance(seconds)
    await settle(TURNS)
    assert lab.clock.monotonic() == machine


async def live(lab: Cluster, *names: str) -> None:
    for name in names:
        await lab.join(name)
    lab.alive.update(names)


def ready(lab: Cluster, name: str) -> str:
    return str(conditions.find(lab.get(kinds.NODE, name).status, "Ready").status)


def cronjob(name: str, **spec: Any) -> CronJob:
    made = {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}, **spec}
    return codec.decode(CronJob, {"metadata": {"name": name, "namespace": "default"}, "spec": made})


async def test_a_cronjob_creates_one_job_however_many_times_have_passed(lab: Cluster) -> None:
    """And none when its starting deadline has passed."""
    await lab.create(cronjob("hourly"))
    await lab.create(cronjob("punctual", startingDeadlineSeconds=60))
    await advance(lab, HOUR)
    assert [name.rpartition("-")[0] for name in lab.names(kinds.JOB)].count("hourly") == 1
    await advance(lab, 300 * HOUR)
    assert [name.rpartition("-")[0] for name in lab.names(kinds.JOB)].count("hourly") == 2
    assert [event.involvedObject.name for event in lab.events("TooManyMissedTimes")].count("hourly") == 1
    due = int(lab.get(kinds.CRON_JOB, "hourly").status.lastScheduleTime.seconds)
    assert due % HOUR == 0
    assert lab.time.now() - due < HOUR


async def test_a_finished_job_is_deleted_when_its_time_has_come(lab: Cluster) -> None:
    spec = {"ttlSecondsAfterFinished": 3000, "template": TEMPLATE}
    await lab.create(codec.decode(Job, {"metadata": {"name": "brief", "namespace": "default"}, "spec": spec}))

    def finish(tx: Tx) -> None:
        item = tx.require(kinds.JOB, "default", "brief")
        conditions.put(item.status, "Complete", "True", now=lab.time.now())
        tx.put(kinds.JOB, item)

    await lab.store.update(finish)
    await advance(lab, 2900)
    assert lab.get(kinds.JOB, "brief") is not None
    await advance(lab, 101)
    found = lab.get(kinds.JOB, "brief")
    assert found is None or found.metadata.deletionTimestamp.seconds


async def test_events_are_deleted_when_their_time_has_come(lab: Cluster) -> None:
    """An hour after they happened."""
    about = {"kind": "Pod", "namespace": "default", "name": "web"}
    made = {"metadata": {"name": "old", "namespace": "default"}, "involvedObject": about, "reason": "Old"}
    await lab.create(codec.decode(Event, made))
    await settle(TURNS)
    await advance(lab, HOUR - 60)
    assert lab.events("Old")
    await advance(lab, 120)
    assert not lab.events("Old")


async def test_live_nodes_stay_ready_and_dead_ones_are_lost_at_once(lab: Cluster) -> None:
    """Whatever the advance; the pods of the dead one go when their tolerationSeconds have passed too."""
    await live(lab, "n1", "n2", "n3")
    tolerations = [{"key": TAINT_UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]
    await lab.report("n3", await lab.create(objects.pod("web", nodeName="n3", tolerations=tolerations)))
    await lab.advance(2 * HEARTBEAT)
    lab.alive.discard("n3")
    for seconds in (GRACE + 1, HOUR, 100 * HOUR):
        await advance(lab, seconds)
        await lab.clock.advance(1)
        await settle(TURNS)
        assert [ready(lab, name) for name in ("n1", "n2", "n3")] == ["True", "True", "Unknown"]
    assert [event.involvedObject.name for event in lab.events("NodeNotReady")] in ([], ["n3"])
    assert lab.get(kinds.POD, "web").metadata.deletionTimestamp.seconds


async def test_no_node_is_lost_while_its_agent_is_asked(lab: Cluster) -> None:
    """For as long as that takes; then those that did not answer."""
    await live(lab, "n1", "n2")
    await lab.advance(2 * HEARTBEAT)
    answers = asyncio.Event()

    async def tell() -> list[str]:
        await answers.wait()
        await lab.beat("n1")
        return ["n2"]

    lab.labtime._tell = tell
    lab.alive.clear()
    task = asyncio.ensure_future(lab.labtime.advance(HOUR))
    await settle(TURNS)
    await lab.clock.advance(1)
    await settle(TURNS)
    assert [ready(lab, name) for name in ("n1", "n2")] == ["True", "True"]
    answers.set()
    assert await task == ["n2"]
    await lab.clock.advance(1)
    await settle(TURNS)
    assert [ready(lab, name) for name in ("n1", "n2")] == ["True", "Unknown"]


async def test_the_leader_stays_the_leader(lab: Cluster) -> None:
    """Its deadlines are the machine's."""
    await lab.advance(5)
    transitions = lab.get(kinds.LEASE, LEADER_LEASE, namespace="kube-system").spec.leaseTransitions
    await advance(lab, 24 * HOUR)
    assert lab.elector.leading
    await lab.advance(5)
    lease = lab.get(kinds.LEASE, LEADER_LEASE, namespace="kube-system")
    assert lease.spec.leaseTransitions == transitions
    assert abs(codec.seconds_of(lease.spec.renewTime) - lab.time.now()) < 10


async def test_the_time_of_a_real_cluster_cannot_be_moved() -> None:
    """Its control plane has no clock of a lab."""
    time = LabTime(VirtualClock(), lambda: asyncio.sleep(0, []))
    with pytest.raises(BadRequest, match="only a lab's can be advanced"):
        await time.advance(1.0)
    assert (time.adjustable, time.offset, time.unasked()) == (False, 0.0, 0.0)

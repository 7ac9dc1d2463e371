"""CronJobs create Jobs when they are due, as kube-controller-manager's do, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.cronjob import SCHEDULED
from pinnace import kinds
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.jobs import Workers, job
from tests.support.workloads import SettledApi


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def workers(cluster: Cluster) -> Workers:
    """At a full hour."""
    made = Workers(cluster, "n1")
    await made.join()
    await cluster.advance(3600 - cluster.clock.now() % 3600)
    return made


def cronjob(schedule: str = "*/10 * * * *", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"tier": "batch"}}, "spec": job()["spec"]}
    body = {"schedule": schedule, "jobTemplate": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick", "namespace": "default"}, "spec": body}


def minutes(cluster: Cluster) -> int:
    return int(cluster.clock.now()) // 60


def status(cluster: Cluster) -> Any:
    return cluster.get(kinds.CRON_JOB, "tick").status


def jobs(cluster: Cluster) -> list[str]:
    return cluster.names(kinds.JOB, namespace="default")


async def test_a_job_is_created_when_it_is_due(api: Api, cluster: Cluster, workers: Workers) -> None:
    """Named by the minute, owned by the CronJob, listed as active until it has ended."""
    start = minutes(cluster)
    await api.create(kinds.CRON_JOB, cronjob(timeZone="Europe/Berlin"))
    await workers.wait(595)
    assert jobs(cluster) == []
    await workers.wait(10)
    [name] = jobs(cluster)
    assert name == f"tick-{start + 10}"
    made = cluster.get(kinds.JOB, name)
    assert made.metadata.labels["tier"] == "batch"
    assert made.metadata.annotations[SCHEDULED] == "2023-11-15T00:10:00+01:00"
    assert [(ref.kind, ref.name, ref.controller) for ref in made.metadata.ownerReferences] == [("CronJob", "tick", True)]
    assert [(ref.kind, ref.name, ref.uid) for ref in status(cluster).active] == [("Job", name, made.metadata.uid)]
    assert status(cluster).lastScheduleTime.seconds == 60 * (start + 10)
    await workers.end(workers.running()[0])
    assert not status(cluster).active
    assert status(cluster).lastSuccessfulTime == cluster.get(kinds.JOB, name).status.completionTime
    assert [event.message for event in cluster.events("SawCompletedJob")] == [f"Saw completed job: {name}, condition: Complete"]
    await workers.wait(600)
    assert jobs(cluster) == [f"tick-{start + 10}", f"tick-{start + 20}"]


@pytest.mark.parametrize(("policy", "names"), [("Allow", [10, 20, 30]), ("Forbid", [10]), ("Replace", [30])])
async def test_a_job_that_still_runs(
    api: Api, cluster: Cluster, workers: Workers, policy: str, names: list[int]
) -> None:  # fmt: skip
    """Runs along with the next ones, prevents them, or is deleted for them."""
    start = minutes(cluster)
    await api.create(kinds.CRON_JOB, cronjob(concurrencyPolicy=policy))
    for _ in range(3):
        await workers.wait(601)
        await workers.stop()
    assert jobs(cluster) == [f"tick-{start + at}" for at in names]
    assert len(status(cluster).active) == len(names)
    assert bool(cluster.events("JobAlreadyActive")) == (policy == "Forbid")


async def test_forbid_starts_the_missed_job_after_the_one_before(api: Api, cluster: Cluster, workers: Workers) -> None:
    """The latest that was missed, once."""
    start = minutes(cluster)
    await api.create(kinds.CRON_JOB, cronjob(concurrencyPolicy="Forbid"))
    await workers.wait(1500)
    await workers.end(workers.running()[0])
    assert jobs(cluster) == [f"tick-{start + 10}", f"tick-{start + 20}"]


async def test_old_jobs_are_removed(api: Api, cluster: Cluster, workers: Workers) -> None:
    """As many are kept as the limits say, of those that succeeded and of those that failed."""
    start = minutes(cluster)
    made = cronjob(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1)
    made["spec"]["jobTemplate"]["spec"]["backoffLimit"] = 0
    await api.create(kinds.CRON_JOB, made)
    for turn in range(6):
        await workers.wait(601)
        await workers.end(workers.running()[0], "Failed" if turn % 3 == 2 else "Succeeded")
    await workers.stop()
    assert jobs(cluster) == [f"tick-{start + at}" for at in (40, 50, 60)]
    assert len(workers.pods()) == 3


async def test_a_suspended_cronjob_creates_nothing(api: Api, cluster: Cluster, workers: Workers) -> None:
    """Resumed, it creates the latest Job that it missed, unless that is too long ago."""
    start = minutes(cluster)
    await api.create(kinds.CRON_JOB, cronjob(suspend=True))
    await workers.wait(1500)
    assert jobs(cluster) == []
    await api.patch(kinds.CRON_JOB, "tick", "MERGE", {"spec": {"suspend": False, "startingDeadlineSeconds": 200}})
    assert jobs(cluster) == []
    [event, *_] = cluster.events("MissSchedule")
    assert (event.type, event.message) == ("Warning", "Missed scheduled time to start a job: Tue, 14 Nov 2023 23:20:00 +0000")
    await api.patch(kinds.CRON_JOB, "tick", "MERGE", {"spec": {"startingDeadlineSeconds": 400}})
    assert jobs(cluster) == [f"tick-{start + 20}"]


async def test_a_control_plane_that_was_down_creates_one_job(api: Api, cluster: Cluster, workers: Workers) -> None:
    """The latest, with a warning if there were many."""
    start = minutes(cluster)
    await api.create(kinds.CRON_JOB, cronjob("* * * * *", suspend=True))
    await workers.wait(60 * 200 + 5)
    await api.patch(kinds.CRON_JOB, "tick", "MERGE", {"spec": {"suspend": False}})
    assert jobs(cluster) == [f"tick-{start + 200}"]
    assert len(cluster.events("TooManyMissedTimes")) == 1


async def test_times_before_the_deadline_are_not_missed(api: Api, cluster: Cluster, workers: Workers) -> None:
    """As the warning about many missed times advises."""
    await api.create(kinds.CRON_JOB, cronjob("* * * * *", suspend=True, startingDeadlineSeconds=600))
    await workers.wait(60 * 200 + 5)
    await api.patch(kinds.CRON_JOB, "tick", "MERGE", {"spec": {"suspend": False}})
    assert len(jobs(cluster)) == 1
    assert not cluster.events("TooManyMissedTimes")


async def test_a_day_that_does_not_exist_is_an_invalid_schedule(api: Api, cluster: Cluster, workers: Workers) -> None:
    """Its syntax is right, so that it is accepted."""
    await api.create(kinds.CRON_JOB, cronjob("0 0 30 2 *"))
    text = "invalid schedule: 0 0 30 2 * : time difference between two schedules is less than 1 second"
    assert [event.message for event in cluster.events("InvalidSchedule")] == [text]


async def test_an_unknown_time_zone_is_named(api: Api, cluster: Cluster, workers: Workers) -> None:
    """One that the control plane knew when the CronJob was created."""
    await api.create(kinds.CRON_JOB, cronjob())

    def lose(tx: Any) -> None:
        item = tx.require(kinds.CRON_JOB, "default", "tick")
        item.spec.timeZone = "Mars/Base"
        tx.put(kinds.CRON_JOB, item)

    await cluster.store.update(lose)
    await workers.wait(1)
    text = 'invalid timeZone: "Mars/Base": unknown time zone Mars/Base'
    assert [event.message for event in cluster.events("UnknownTimeZone")] == [text]


async def test_a_job_that_is_rejected_is_tried_again(api: Api, cluster: Cluster, workers: Workers) -> None:
    """More quota continues, for the same time."""
    start = minutes(cluster)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "default"}}
    await api.create(kinds.RESOURCE_QUOTA, {**quota, "spec": {"hard": {"count/jobs.batch": "0"}}})
    await api.create(kinds.CRON_JOB, cronjob())
    await workers.wait(605)
    assert jobs(cluster) == []
    assert "exceeded quota: none" in cluster.events("FailedCreate")[0].message
    await cluster.delete(kinds.RESOURCE_QUOTA, "none")
    await workers.wait(30)
    assert jobs(cluster) == [f"tick-{start + 10}"]


async def test_jobs_go_with_their_cronjob(api: Api, cluster: Cluster, workers: Workers) -> None:
    """And their pods; one that a user deletes is no longer active."""
    await api.create(kinds.CRON_JOB, cronjob())
    await workers.wait(1205)
    first = jobs(cluster)[0]
    await cluster.delete(kinds.JOB, first, propagation="Background")
    assert [event.message for event in cluster.events("MissingJob")] == [f"Active job went missing: {first}"]
    assert len(status(cluster).active) == 1
    await cluster.delete(kinds.CRON_JOB, "tick", propagation="Background")
    await workers.stop()
    assert (jobs(cluster), workers.pods()) == ([], [])

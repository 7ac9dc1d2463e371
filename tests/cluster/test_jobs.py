"""Jobs count, limit, replace and end their pods as kube-controller-manager's do, on virtual time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers import job as jobcontroller
from controlplane.controllers.jobpods import FAILURES, TRACKING
from pinnace import kinds
from pinnace.errors import Invalid
from tests.support.api import Api
from tests.support.cluster import Cluster, running
from tests.support.jobs import INDEX, Workers, indexed, job
from tests.support.workloads import SettledApi


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def workers(cluster: Cluster) -> Workers:
    made = Workers(cluster, "n1", "n2")
    await made.join()
    return made


def reasons(cluster: Cluster, reason: str) -> list[str]:
    return [event.message for event in cluster.events(reason)]


async def test_a_job_is_complete_when_its_pod_has_succeeded(api: Api, cluster: Cluster, workers: Workers) -> None:
    """With generated labels and selector, and the conditions that clients wait for."""
    made = await api.create(kinds.JOB, job())
    spec, uid = made.spec, made.metadata.uid
    assert (spec.parallelism, spec.completions, spec.backoffLimit, spec.completionMode) == (1, 1, 6, "NonIndexed")
    assert spec.podReplacementPolicy == "TerminatingOrFailed"
    assert spec.selector.matchLabels == {"batch.kubernetes.io/controller-uid": uid}
    labels = {
        "batch.kubernetes.io/controller-uid": uid, "controller-uid": uid, "batch.kubernetes.io/job-name": "work",
        "job-name": "work",
    }  # fmt: skip
    assert spec.template.metadata.labels == labels
    assert made.metadata.labels == labels
    [pod] = workers.pods()
    assert pod.metadata.name.startswith("work-")
    assert pod.metadata.labels == labels
    assert TRACKING in pod.metadata.finalizers
    assert [(ref.kind, ref.name, ref.controller) for ref in pod.metadata.ownerReferences] == [("Job", "work", True)]
    assert workers.counts() == (1, 0, 0)
    await workers.start(pod)
    assert workers.job().status.ready == 1
    await workers.end(workers.pods()[0])
    status = workers.job().status
    assert workers.counts() == (0, 1, 0)
    assert (status.ready, status.terminating) == (0, 0)
    assert workers.condition("SuccessCriteriaMet") == workers.condition("Complete") == "CompletionsReached"
    assert status.completionTime.seconds == int(cluster.clock.now())
    assert not status.uncountedTerminatedPods.succeeded
    [pod] = workers.pods()
    assert TRACKING not in pod.metadata.finalizers
    assert reasons(cluster, "Completed") == ["Job completed"]
    assert reasons(cluster, "SuccessfulCreate") == [f"Created pod: {pod.metadata.name}"]


async def test_no_more_pods_run_than_parallelism_and_what_is_left(api: Api, workers: Workers) -> None:
    """Five completions, two at a time, the last one alone."""
    await api.create(kinds.JOB, job(completions=5, parallelism=2))
    seen = []
    while running := workers.running():
        seen.append(len(running))
        await workers.end(running[0])
    assert seen == [2, 2, 2, 2, 1]
    assert workers.counts() == (0, 5, 0)
    assert workers.condition("Complete")


async def test_without_completions_one_success_and_the_end_of_all_suffice(api: Api, workers: Workers) -> None:
    """As a work queue: no pod is created after the first success, and the others are left to end."""
    await api.create(kinds.JOB, job(parallelism=3))
    first, second, third = workers.running()
    await workers.end(first)
    assert workers.counts() == (2, 1, 0)
    assert not workers.condition("Complete")
    await workers.fail(second)
    await workers.end(third)
    assert workers.counts() == (0, 2, 1)
    assert workers.condition("Complete")


async def test_a_deleted_pod_is_counted_before_it_vanishes(api: Api, cluster: Cluster, workers: Workers) -> None:
    """Its finalizer keeps a pod that succeeded and was deleted at the same time, and is removed when it is counted."""
    await api.create(kinds.JOB, job(completions=2, parallelism=1))
    [pod] = workers.running()
    await cluster.report(pod.spec.nodeName, pod, phase="Succeeded")
    await cluster.delete(kinds.POD, pod.metadata.name)
    assert cluster.get(kinds.POD, pod.metadata.name) is None
    assert workers.counts() == (1, 1, 0)


async def test_pods_are_counted_once_by_a_controller_that_starts_again(cluster: Cluster, workers: Workers, api: Api) -> None:
    """Every reconciliation again, in any state, changes nothing."""
    await api.create(kinds.JOB, job(completions=3, parallelism=2))
    for _ in range(3):
        await workers.end(workers.running()[0])
        before = workers.job()
        fresh = jobcontroller.Jobs(cluster.ids)
        await cluster.store.update(lambda tx, fresh=fresh: fresh.reconcile(tx, "default/work", _moment(cluster)) and None)
        assert workers.job() == before
    assert workers.counts() == (0, 3, 0)


def _moment(cluster: Cluster) -> Any:
    return jobcontroller.Moment(cluster.clock.now(), 0.0)


async def test_pods_that_another_controller_listed_are_counted_once(api: Api, cluster: Cluster, workers: Workers) -> None:
    """status.uncountedTerminatedPods: those in it count, and not again as pods with a finalizer."""
    await api.create(kinds.JOB, job(completions=3, parallelism=1))
    [pod] = workers.running()

    def list_it(tx: Any) -> None:
        item = tx.require(kinds.JOB, "default", "work")
        item.status.uncountedTerminatedPods.succeeded.extend([pod.metadata.uid, "of-a-pod-that-is-gone"])
        stored = tx.require(kinds.POD, "default", pod.metadata.name)
        stored.status.phase = "Succeeded"
        tx.put(kinds.JOB, item)
        tx.put(kinds.POD, stored)

    await cluster.store.update(list_it)
    await cluster.advance(1)
    assert workers.counts() == (1, 2, 0)
    assert not workers.job().status.uncountedTerminatedPods.succeeded


async def test_failed_pods_are_replaced_ever_later(api: Api, workers: Workers) -> None:
    """After 10 seconds, 20, 40 and so on, ten minutes at most; a success resets the delay."""
    await api.create(kinds.JOB, job(completions=2, backoffLimit=20))
    for delay in (10, 20, 40, 80, 160, 320, 600, 600):
        await workers.fail(workers.running()[0])
        await workers.wait(delay - 2)
        assert workers.running() == [], delay
        await workers.wait(4)
        assert len(workers.running()) == 1, delay
    await workers.end(workers.running()[0])
    assert len(workers.running()) == 1
    await workers.wait(2)
    await workers.fail(workers.running()[0])
    await workers.wait(8)
    assert workers.running() == []
    await workers.wait(4)
    assert len(workers.running()) == 1


async def test_too_many_failures_fail_the_job(api: Api, cluster: Cluster, workers: Workers) -> None:
    """At backoffLimit + 1; running pods are deleted, and it has failed when they have ended."""
    await api.create(kinds.JOB, job(completions=5, parallelism=2, backoffLimit=1))
    await workers.fail(workers.running()[0])
    await workers.wait(12)
    assert len(workers.running()) == 2
    for pod in workers.pods():
        if pod.status.phase == "Pending":
            await workers.start(pod)
    await workers.fail(workers.running()[0])
    assert workers.condition("FailureTarget") == "BackoffLimitExceeded"
    assert not workers.condition("Failed")
    assert workers.job().status.terminating == 1
    await workers.stop()
    assert workers.condition("Failed") == "BackoffLimitExceeded"
    assert workers.counts() == (0, 0, 3)
    assert reasons(cluster, "BackoffLimitExceeded") == ["Job has reached the specified backoff limit"]
    await workers.wait(700)
    assert workers.running() == []


async def test_restarts_count_where_pods_restart_their_containers(api: Api, workers: Workers) -> None:
    """With restartPolicy OnFailure no pod fails; the Job does, at backoffLimit restarts."""
    await api.create(kinds.JOB, job(restart="OnFailure", backoffLimit=2))
    [pod] = workers.running()
    for count, reason in ((1, ""), (2, "BackoffLimitExceeded")):
        status = [{"name": "main", "restartCount": count, "state": {"running": {}}}]
        await workers.cluster.report(pod.spec.nodeName, pod, containerStatuses=status)
        assert workers.condition("FailureTarget") == reason


async def test_a_job_fails_at_its_deadline(api: Api, workers: Workers) -> None:
    """activeDeadlineSeconds since its start, whatever its pods do."""
    await api.create(kinds.JOB, job(activeDeadlineSeconds=60))
    await workers.start(workers.running()[0])
    await workers.wait(55)
    assert not workers.condition("FailureTarget")
    await workers.wait(10)
    assert workers.condition("FailureTarget") == "DeadlineExceeded"
    await workers.stop()
    assert workers.condition("Failed") == "DeadlineExceeded"


async def test_a_suspended_job_has_no_pods(api: Api, cluster: Cluster, workers: Workers) -> None:
    """Its running pods are deleted and do not count as failed; resumed, it starts again, with its deadline."""
    await api.create(kinds.JOB, job(completions=2, activeDeadlineSeconds=60, suspend=True))
    assert workers.pods() == []
    assert workers.condition("Suspended") == "JobSuspended"
    assert not workers.job().status.HasField("startTime")
    await workers.wait(100)
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"suspend": False}})
    assert not workers.condition("Suspended")
    assert workers.job().status.startTime.seconds == int(cluster.clock.now())
    await workers.start(workers.running()[0])
    await workers.wait(30)
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"suspend": True}})
    assert (workers.running(), workers.job().status.terminating) == ([], 1)
    assert not workers.job().status.HasField("startTime")
    [suspended] = [item for item in workers.job().status.conditions if item.type == "Suspended"]
    assert suspended.lastProbeTime.seconds == suspended.lastTransitionTime.seconds == int(cluster.clock.now())
    await workers.stop()
    assert workers.counts() == (0, 0, 0)
    await workers.wait(100)
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"suspend": False}})
    await workers.wait(50)
    assert len(workers.running()) == 1
    assert not workers.condition("FailureTarget")
    assert (reasons(cluster, "Suspended"), reasons(cluster, "Resumed")) == (["Job suspended"], ["Job resumed"])


async def test_the_template_of_a_suspended_job_can_move(api: Api, workers: Workers) -> None:
    """Nodes and resources of a Job that ran and was suspended change for the pods that follow; of one that runs, nothing."""
    await api.create(kinds.JOB, job(parallelism=1))
    container = {"name": "main", "image": "work:1", "resources": {"requests": {"cpu": "100m"}}}
    change = {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "n2"}, "containers": [container]}}}}
    with pytest.raises(Invalid, match=r"spec\.template: Invalid value"):
        await api.patch(kinds.JOB, "work", "MERGE", change)
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"suspend": True}})
    await api.patch(kinds.JOB, "work", "MERGE", change)
    await workers.stop()
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"suspend": False}})
    [pod] = workers.running()
    assert dict(pod.spec.nodeSelector) == {"kubernetes.io/hostname": "n2"}
    assert pod.spec.containers[0].resources.requests["cpu"].string == "100m"


async def test_a_pod_of_another_controller_keeps_the_finalizer(api: Api, cluster: Cluster, workers: Workers) -> None:
    """Only a pod without a controller, or of a Job that is gone, is no longer to be counted."""
    owner = {"apiVersion": "example.com/v1", "kind": "Batch", "name": "b", "uid": "1", "controller": True}
    spec = {"containers": [{"name": "main", "image": "work:1"}]}
    for name, owners in (("foreign", [owner]), ("orphan", [])):
        metadata = {"name": name, "namespace": "default", "finalizers": [TRACKING], "ownerReferences": owners}
        await api.create(kinds.POD, {"metadata": metadata, "spec": spec})
    await cluster.advance(1)
    kept = {pod.metadata.name: list(pod.metadata.finalizers) for pod in workers.pods()}
    assert kept == {"foreign": [TRACKING], "orphan": []}


async def test_less_parallelism_deletes_pods(api: Api, workers: Workers) -> None:
    """They do not count as failed."""
    await api.create(kinds.JOB, job(completions=9, parallelism=4))
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"parallelism": 1}})
    await workers.stop()
    assert workers.counts() == (1, 0, 0)
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"parallelism": 3}})
    assert workers.counts() == (3, 0, 0)


# Indexed Jobs


async def test_each_index_has_a_pod_that_knows_it(api: Api, workers: Workers) -> None:
    """By name, host name, annotation, label and environment."""
    await api.create(kinds.JOB, indexed(3))
    for index in range(3):
        pod = workers.at(index)
        assert pod.metadata.name.startswith(f"work-{index}-")
        assert pod.spec.hostname == f"work-{index}"
        assert pod.metadata.labels[INDEX] == str(index)
        [env] = pod.spec.containers[0].env
        assert (env.name, env.valueFrom.fieldRef.fieldPath) == ("JOB_COMPLETION_INDEX", f"metadata.labels['{INDEX}']")
    await workers.end(workers.at(2))
    await workers.end(workers.at(0))
    assert (workers.job().status.completedIndexes, workers.job().status.succeeded) == ("0,2", 2)
    await workers.fail(workers.at(1))
    await workers.wait(12)
    await workers.end(workers.at(1))
    assert (workers.job().status.completedIndexes, workers.counts()) == ("0-2", (0, 3, 1))
    assert workers.condition("Complete")


async def test_the_lowest_indexes_come_first(api: Api, workers: Workers) -> None:
    """As many as parallelism; more when some have succeeded."""
    await api.create(kinds.JOB, indexed(5, parallelism=2))
    order = []
    while running := workers.running():
        order.append(sorted(int(pod.metadata.annotations[INDEX]) for pod in running))
        await workers.end(workers.at(order[-1][-1]))
    assert order == [[0, 1], [0, 2], [0, 3], [0, 4], [0]]


async def test_an_indexed_job_can_grow_and_shrink(api: Api, workers: Workers) -> None:
    """Completions and parallelism together; indexes above do not count any more."""
    await api.create(kinds.JOB, indexed(3))
    await workers.end(workers.at(2))
    await workers.end(workers.at(0))
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"completions": 4, "parallelism": 4}})
    assert {pod.metadata.annotations[INDEX] for pod in workers.running()} == {"1", "3"}
    await api.patch(kinds.JOB, "work", "MERGE", {"spec": {"completions": 2, "parallelism": 2}})
    assert (workers.job().status.completedIndexes, workers.job().status.succeeded) == ("0", 1)
    assert {pod.metadata.annotations[INDEX] for pod in workers.running()} == {"1"}
    await workers.stop()
    await workers.end(workers.at(1))
    assert workers.condition("Complete")


async def test_an_index_fails_by_itself(api: Api, workers: Workers) -> None:
    """After backoffLimitPerIndex failures, each with its own delay; the others go on, and then the Job has failed."""
    await api.create(kinds.JOB, indexed(2, backoffLimitPerIndex=1))
    assert workers.job().spec.backoffLimit == 2**31 - 1
    assert workers.at(0).metadata.annotations[FAILURES] == "0"
    await workers.fail(workers.at(0))
    assert workers.counts() == (1, 0, 0)
    await workers.wait(12)
    assert workers.at(0).metadata.annotations[FAILURES] == "1"
    assert workers.counts() == (2, 0, 1)
    await workers.fail(workers.at(0))
    assert (workers.job().status.failedIndexes, workers.counts()) == ("0", (1, 0, 2))
    await workers.wait(60)
    assert len(workers.running()) == 1
    await workers.end(workers.at(1))
    assert workers.condition("Failed") == "FailedIndexes"
    assert (workers.job().status.completedIndexes, workers.job().status.failedIndexes) == ("1", "0")


async def test_each_index_has_a_delay_of_its_own(api: Api, workers: Workers) -> None:
    """10 seconds after its first failure, 20 after its second; another index does not wait."""
    await api.create(kinds.JOB, indexed(2, backoffLimitPerIndex=9))
    await workers.fail(workers.at(0))
    await workers.wait(12)
    await workers.fail(workers.at(0))
    await workers.wait(18)
    assert {pod.metadata.annotations[INDEX] for pod in workers.running()} == {"1"}
    await workers.fail(workers.at(1))
    await workers.wait(4)
    assert {pod.metadata.annotations[INDEX] for pod in workers.running()} == {"0"}
    await workers.wait(8)
    assert workers.at(1).metadata.annotations[FAILURES] == "1"


async def test_many_indexes_that_wait_cost_nothing(api: Api, cluster: Cluster, workers: Workers) -> None:
    """More than one transaction would create: the next look is when the delay of the first one has passed."""
    await api.create(kinds.JOB, indexed(60, backoffLimitPerIndex=9))
    for pod in workers.running():
        await workers.fail(pod)
    again: list[float] = []

    def look(tx: Any) -> None:
        found = jobcontroller.Jobs(cluster.ids).reconcile(tx, "default/work", _moment(cluster))
        again.append(found.seconds if found is not None else 0.0)

    await cluster.store.update(look)
    assert again[-1] > 5
    await workers.wait(12)
    assert len(workers.running()) == 60


async def test_an_index_keeps_one_pod(api: Api, workers: Workers) -> None:
    """A second one, which only a user can create, is deleted, as is one of an index that the Job does not have."""
    await api.create(kinds.JOB, indexed(3, parallelism=2))
    await workers.fail(workers.at(1))
    labels, spec = dict(workers.at(0).metadata.labels), job()["spec"]["template"]["spec"]
    for name, index in (("second", "0"), ("other", "7")):
        meta = {"name": name, "namespace": "default", "labels": labels, "annotations": {INDEX: index}}
        await api.create(kinds.POD, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        assert [pod.metadata.annotations[INDEX] for pod in workers.running()] == ["0"]
    await workers.stop()
    assert workers.counts() == (1, 0, 1)


async def test_too_many_failed_indexes_fail_the_job_at_once(api: Api, workers: Workers) -> None:
    """More than maxFailedIndexes."""
    await api.create(kinds.JOB, indexed(4, backoffLimitPerIndex=0, maxFailedIndexes=1))
    await workers.fail(workers.at(0))
    assert not workers.condition("FailureTarget")
    await workers.fail(workers.at(1))
    assert workers.condition("FailureTarget") == "MaxFailedIndexesExceeded"
    await workers.stop()
    assert workers.condition("Failed") == "MaxFailedIndexesExceeded"


# Policies


def policy(action: str, **rule: Any) -> dict[str, Any]:
    return {"rules": [{"action": action, **rule}]}


CODES = {"onExitCodes": {"operator": "In", "values": [42]}}


async def test_an_exit_code_can_fail_the_job(api: Api, workers: Workers) -> None:
    """FailJob: at the first pod with this code, and its message names it."""
    await api.create(kinds.JOB, job(completions=3, parallelism=2, podFailurePolicy=policy("FailJob", **CODES)))
    await workers.fail(workers.running()[0], 1)
    assert not workers.condition("FailureTarget")
    pod = workers.running()[0]
    await workers.fail(pod, 42)
    assert workers.condition("Failed") == "PodFailurePolicy"
    [text] = reasons(workers.cluster, "PodFailurePolicy")
    name = pod.metadata.name
    assert text == f"Container main for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"


async def test_a_failure_can_be_ignored(api: Api, workers: Workers) -> None:
    """Ignore: it counts towards no limit, and the pod is replaced; other failures count."""
    pattern = {"onPodConditions": [{"type": "DisruptionTarget"}]}
    await api.create(kinds.JOB, job(backoffLimit=0, podFailurePolicy=policy("Ignore", **pattern)))
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    await workers.fail(workers.running()[0], conditions=[disrupted])
    assert workers.counts() == (0, 0, 0)
    await workers.wait(12)
    assert workers.counts() == (1, 0, 0)
    await workers.fail(workers.running()[0])
    assert workers.condition("Failed") == "BackoffLimitExceeded"


async def test_a_count_rule_ends_the_search(api: Api, workers: Workers) -> None:
    """Count before FailJob: the first rule that matches decides."""
    rules = [{"action": "Count", **CODES}, {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1]}}]
    await api.create(kinds.JOB, job(podFailurePolicy={"rules": rules}))
    await workers.fail(workers.running()[0], 42)
    assert (workers.counts(), workers.condition("FailureTarget")) == ((0, 0, 1), "")
    await workers.wait(12)
    await workers.fail(workers.running()[0], 3)
    assert workers.condition("Failed") == "PodFailurePolicy"


async def test_an_exit_code_can_fail_its_index(api: Api, workers: Workers) -> None:
    """FailIndex: without the retries that it has left."""
    await api.create(kinds.JOB, indexed(2, backoffLimitPerIndex=5, podFailurePolicy=policy("FailIndex", **CODES)))
    await workers.fail(workers.at(1), 42)
    assert workers.job().status.failedIndexes == "1"
    await workers.wait(60)
    assert {pod.metadata.annotations[INDEX] for pod in workers.running()} == {"0"}


@pytest.mark.parametrize(
    ("rule", "ends"), [({"succeededIndexes": "0,2"}, [1, 0, 2]), ({"succeededCount": 1}, [3]),
                       ({"succeededIndexes": "1-3", "succeededCount": 2}, [0, 3, 1])],
)  # fmt: skip
async def test_some_indexes_can_suffice(api: Api, workers: Workers, rule: dict[str, Any], ends: list[int]) -> None:
    """successPolicy: at the last of these ends; the pods left are deleted and do not count as failed."""
    await api.create(kinds.JOB, indexed(4, successPolicy={"rules": [rule]}))
    for pod in workers.running():
        await workers.start(pod)
    for index in ends:
        assert not workers.condition("SuccessCriteriaMet")
        await workers.end(workers.at(index))
    assert workers.condition("SuccessCriteriaMet") == "SuccessPolicy"
    assert workers.job().status.terminating == 4 - len(ends)
    assert not workers.condition("Complete")
    await workers.stop()
    assert workers.condition("Complete") == "SuccessPolicy"
    assert workers.counts() == (0, len(ends), 0)


@pytest.mark.parametrize("when", ["TerminatingOrFailed", "Failed"])
async def test_a_deleted_pod_is_replaced(api: Api, cluster: Cluster, workers: Workers, when: str) -> None:
    """At once, while it still runs, or when it has ended, as podReplacementPolicy has it."""
    await api.create(kinds.JOB, job(podReplacementPolicy=when))
    [pod] = workers.running()
    await workers.start(pod)
    await cluster.delete(kinds.POD, pod.metadata.name)
    at_once = when == "TerminatingOrFailed"
    assert len(workers.running()) == workers.job().status.failed == at_once
    assert workers.job().status.terminating == 1
    await workers.stop()
    await workers.wait(12)
    assert workers.counts() == (1, 0, 1)


# Around


async def test_a_finished_job_is_deleted_after_its_time(api: Api, cluster: Cluster, workers: Workers) -> None:
    """ttlSecondsAfterFinished after its end, with its pods."""
    await api.create(kinds.JOB, job(ttlSecondsAfterFinished=60))
    await workers.end(workers.running()[0])
    await workers.wait(50)
    assert workers.job() is not None
    await workers.wait(20)
    await workers.stop()
    assert (workers.job(), workers.pods()) == (None, [])


async def test_a_job_of_another_controller_is_left_alone(api: Api, workers: Workers) -> None:
    """No pods, no status."""
    await api.create(kinds.JOB, job(managedBy="example.com/mine"))
    await workers.wait(5)
    assert workers.pods() == []
    assert not workers.job().status.HasField("startTime")


@pytest.mark.parametrize("how", ["Background", "Foreground", "Orphan"])
async def test_deleting_a_job_keeps_no_pod_by_its_finalizer(api: Api, cluster: Cluster, workers: Workers, how: str) -> None:
    """They go with it, or stay as orphans that can be deleted; also while they still run."""
    await api.create(kinds.JOB, job(parallelism=2, completions=2, podReplacementPolicy="Failed"))
    await workers.start(workers.running()[0])
    await cluster.delete(kinds.JOB, "work", propagation=how)
    assert workers.pods()
    assert not any(TRACKING in pod.metadata.finalizers for pod in workers.pods())
    await workers.stop()
    assert workers.job() is None
    assert len(workers.pods()) == (2 if how == "Orphan" else 0)


async def test_a_selector_of_ones_own_adopts_pods(api: Api, workers: Workers) -> None:
    """With manualSelector; an adopted pod counts."""
    made = job(manualSelector=True, selector={"matchLabels": {"app": "own"}})
    made["spec"]["template"]["metadata"] = {"labels": {"app": "own"}}
    lone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lone", "namespace": "default", "labels": {"app": "own"}}}
    await api.create(kinds.POD, {**lone, "spec": made["spec"]["template"]["spec"]})
    await api.create(kinds.JOB, made)
    [pod] = workers.running()
    assert pod.metadata.name == "lone"
    await workers.end(pod)
    assert workers.counts() == (0, 1, 0)


async def test_stated_labels_that_are_generated_are_rejected(api: Api) -> None:
    """A Job cannot claim the pods of another one."""
    made = job()
    made["spec"]["template"]["metadata"] = {"labels": {"job-name": "other"}}
    with pytest.raises(Invalid, match=r"spec\.template\.metadata\.labels\[job-name\]: Invalid value: .*must be 'work'"):
        await api.create(kinds.JOB, made)
    with pytest.raises(Invalid, match="`selector` not auto-generated"):
        await api.create(kinds.JOB, job(selector={"matchLabels": {"batch.kubernetes.io/controller-uid": "x"}}))


async def test_a_pod_that_may_not_be_created_is_tried_again(api: Api, cluster: Cluster, workers: Workers) -> None:
    """More quota continues the Job without a further request."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "default"}}
    await api.create(kinds.RESOURCE_QUOTA, {**quota, "spec": {"hard": {"pods": "1"}}})
    await api.create(kinds.JOB, job(completions=3, parallelism=3))
    assert len(workers.running()) == 1
    assert "exceeded quota: few" in reasons(cluster, "FailedCreate")[0]
    await api.patch(kinds.RESOURCE_QUOTA, "few", "MERGE", {"spec": {"hard": {"pods": "9"}}})
    await workers.wait(70)
    assert len(workers.running()) == 3


async def test_many_pods_take_several_transactions(api: Api, workers: Workers) -> None:
    """All are created, and all are counted."""
    await api.create(kinds.JOB, job(completions=120, parallelism=120, backoffLimit=0))
    assert len(workers.running()) == 120
    await workers.fail(workers.running()[0])
    await workers.stop()
    assert workers.condition("Failed") == "BackoffLimitExceeded"
    assert workers.counts() == (0, 0, 120)


async def test_many_pods_that_end_together_are_all_counted(api: Api, cluster: Cluster, workers: Workers) -> None:
    """Before the Job is complete."""
    await api.create(kinds.JOB, job(completions=120, parallelism=120))

    def end_all(tx: Any) -> None:
        for pod in tx.list(kinds.POD, "default"):
            pod.status.phase = "Succeeded"
            tx.put(kinds.POD, pod)

    await cluster.store.update(end_all)
    await cluster.advance(1)
    assert workers.counts() == (0, 120, 0)
    assert workers.condition("Complete")
    assert not any(TRACKING in pod.metadata.finalizers for pod in workers.pods())


async def test_a_job_can_be_applied_again(cluster: Cluster, workers: Workers) -> None:
    """Its generated labels and selector are not the client's, and stay."""
    api = Api(cluster)
    [(created, _)] = await api.apply(job())
    [(again, _)] = await api.apply(job())
    [(changed, stored)] = await api.apply(job(backoffLimit=1))
    assert (created, again, changed) == ("created", "unchanged", "configured")
    assert stored.spec.selector.matchLabels["batch.kubernetes.io/controller-uid"] == stored.metadata.uid


STEPS = st.lists(
    st.tuples(st.sampled_from(["Succeeded", "Failed", "delete", "gone", "wait", "again"]), st.integers(0, 9)), max_size=20
)


@settings(max_examples=20, deadline=None)
@given(completions=st.integers(1, 6), parallelism=st.integers(1, 4), by_index=st.booleans(), steps=STEPS)
def test_whatever_pods_do_each_success_counts_once(
    completions: int, parallelism: int, by_index: bool, steps: list[tuple[str, int]]
) -> None:
    """Pods end, are deleted and vanish in any order, and the controller starts again in between. In every state no more pods run
    than parallelism, and no success is lost or counted twice; in the end there are exactly as many as completions."""
    asyncio.run(_run(completions, parallelism, by_index, steps))


async def _run(completions: int, parallelism: int, by_index: bool, steps: list[tuple[str, int]]) -> None:
    async with running() as cluster:
        workers, model = Workers(cluster, "n1"), Model(completions, by_index)
        await workers.join()
        mode = "Indexed" if by_index else "NonIndexed"
        made = job(completions=completions, parallelism=parallelism, completionMode=mode, backoffLimit=1000)
        await SettledApi(cluster).create(kinds.JOB, made)
        for action, at in itertools.chain(steps, itertools.cycle([("Succeeded", 0), ("gone", 0), ("wait", 0)])):
            if workers.condition("Complete"):
                break
            await _act(cluster, workers, model, action, at)
            status = workers.job().status
            assert len(workers.running()) <= parallelism
            assert status.succeeded == model.succeeded <= completions
            assert status.active == len(workers.running())
        assert workers.condition("Complete") == "CompletionsReached"
        assert model.succeeded == completions
        assert not any(TRACKING in pod.metadata.finalizers for pod in workers.pods())


class Model:
    """Successes as a reader of the documentation counts them."""

    def __init__(self, completions: int, by_index: bool) -> None:
        self._by_index = by_index
        self._done: set[str] = set()

    @property
    def succeeded(self) -> int:
        return len(self._done)

    def note(self, pod: Any) -> None:
        self._done.add(pod.metadata.annotations[INDEX] if self._by_index else pod.metadata.uid)


async def _act(cluster: Cluster, workers: Workers, model: Model, action: str, at: int) -> None:
    pods = workers.running()
    if action == "wait":
        await workers.wait(700)
    elif action == "again":
        fresh = jobcontroller.Jobs(cluster.ids)
        await cluster.store.update(lambda tx: fresh.reconcile(tx, "default/work", _moment(cluster)) and None)
        await cluster.advance(0)
    elif action == "gone":
        await workers.stop()
    elif pods:
        pod = pods[at % len(pods)]
        if action == "delete":
            await cluster.delete(kinds.POD, pod.metadata.name)
            return
        if action == "Succeeded":
            model.note(pod)
        await workers.end(pod, action)

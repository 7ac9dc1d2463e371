"""Scheduling end to end: pods created through the API, bound by the scheduler, explained when they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from controlplane import conditions
from controlplane.store import Txn
from controlplane.store.backend import Result
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.errors import Unavailable
from tests.support.cluster import Cluster, running
from tests.support.objects import container, pod


def scheduled(cluster: Cluster, name: str = "web") -> tuple[str, Any]:
    found = cluster.get(kinds.POD, name)
    return found.spec.nodeName, conditions.find(found.status, "PodScheduled")


async def test_a_pod_is_bound_and_says_so(cluster: Cluster) -> None:
    """nodeName, the condition and an event, in one transaction."""
    await cluster.join("n1")
    await cluster.create(pod())
    where, condition = scheduled(cluster)
    assert (where, condition.status) == ("n1", "True")
    [event] = cluster.events("Scheduled")
    assert event.message == "Successfully assigned default/web to n1"


async def test_an_unschedulable_pod_says_why_and_is_bound_once_it_fits(cluster: Cluster) -> None:
    """A new node is a reason to try again at once."""
    await cluster.join("n1", cpu="1")
    await cluster.create(pod("web", container(requests={"cpu": "2"})))
    where, condition = scheduled(cluster)
    assert (where, condition.reason) == ("", "Unschedulable")
    assert condition.message == "0/1 nodes are available: 1 Insufficient cpu."
    assert cluster.events("FailedScheduling")[0].type == "Warning"
    await cluster.join("n2", cpu="4")
    assert scheduled(cluster)[0] == "n2"


@pytest.mark.parametrize("amount", ["1e21", "9223372036854775807", "1000Ei"])
async def test_a_pod_that_no_machine_could_hold_only_waits(cluster: Cluster, amount: str) -> None:
    """Its request does not end the scheduler, nor make room when it is pinned to a node again and again."""
    await cluster.join("n1", memory="4Gi")
    huge = container(requests={"memory": amount, "ephemeral-storage": amount})
    await cluster.create(pod("huge", huge))
    assert (
        scheduled(cluster, "huge")[1].message
        == "0/1 nodes are available: 1 Insufficient ephemeral-storage, 1 Insufficient memory."
    )
    for n in range(20):
        pinned = pod(f"pinned{n}", huge)
        pinned.spec.nodeName = "n1"
        await cluster.create(pinned)
    await cluster.create(pod("small", container(requests={"memory": "1Gi"})))
    assert scheduled(cluster, "small")[1].message == "0/1 nodes are available: 1 Insufficient memory."


async def test_room_that_a_finished_pod_leaves_is_used(cluster: Cluster) -> None:
    """A pod that has ended no longer counts, nor does one that is deleted."""
    await cluster.join("n1", cpu="2")
    first = await cluster.create(pod("first", container(requests={"cpu": "2"})))
    await cluster.create(pod("second", container(requests={"cpu": "2"})))
    await cluster.create(pod("third", container(requests={"cpu": "2"})))
    assert [scheduled(cluster, name)[0] for name in ("first", "second", "third")] == ["n1", "", ""]
    await cluster.report("n1", first, phase="Succeeded")
    waiting = [name for name in ("second", "third") if not scheduled(cluster, name)[0]]
    assert len(waiting) == 1
    [bound] = {"second", "third"} - set(waiting)
    await cluster.delete(kinds.POD, bound, grace=0)
    assert scheduled(cluster, waiting[0])[0] == "n1"


async def test_an_uncordoned_node_takes_what_waited(cluster: Cluster) -> None:
    """kctl cordon, then uncordon."""
    await cluster.join("n1")
    await cluster.change(kinds.NODE, "n1", lambda found: setattr(found.spec, "unschedulable", True))
    await cluster.create(pod())
    assert scheduled(cluster)[1].message == "0/1 nodes are available: 1 node(s) were unschedulable."
    await cluster.change(kinds.NODE, "n1", lambda found: setattr(found.spec, "unschedulable", False))
    assert scheduled(cluster)[0] == "n1"


async def test_a_label_that_a_node_gets_helps_the_pods_that_need_it(cluster: Cluster) -> None:
    """Required node affinity is evaluated again with a node's labels."""
    await cluster.join("n1")
    await cluster.join("n2")
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    await cluster.create(pod(affinity={"nodeAffinity": required}))
    assert scheduled(cluster)[1].message == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    await cluster.change(kinds.NODE, "n2", lambda found: found.metadata.labels.update(disk="ssd"))
    assert scheduled(cluster)[0] == "n2"


async def test_a_toleration_added_later_is_seen(cluster: Cluster) -> None:
    """Tolerations may be added to a pod that waits; placement must not go on with what it read first."""
    await cluster.join("n1")
    await cluster.change(kinds.NODE, "n1", lambda found: found.spec.taints.add(key="k", value="v", effect="NoSchedule"))
    await cluster.create(pod())
    assert scheduled(cluster)[0] == ""
    await cluster.change(kinds.POD, "web", lambda found: found.spec.tolerations.add(key="k", operator="Exists"))
    assert scheduled(cluster)[0] == "n1"


async def test_a_deleted_pod_that_waits_is_not_bound(cluster: Cluster) -> None:
    """One that only a finalizer keeps has no use for a node."""
    await cluster.create(pod("web", meta={"finalizers": ["example.com/hold"]}))
    assert await cluster.delete(kinds.POD, "web") is False
    await cluster.join("n1")
    await cluster.advance(60, beating=("n1",))
    assert scheduled(cluster)[0] == ""


@pytest.mark.shows("spec.{schedulerName,nodeName}")
async def test_pods_of_other_schedulers_and_bound_pods_are_left_alone(cluster: Cluster) -> None:
    """schedulerName and nodeName are the user's."""
    await cluster.join("n1")
    await cluster.create(pod("theirs", schedulerName="mine"))
    await cluster.create(pod("pinned", nodeName="n9"))
    assert scheduled(cluster, "theirs") == ("", None)
    assert scheduled(cluster, "pinned")[0] == "n9"


async def test_a_pod_pinned_by_the_user_counts(cluster: Cluster) -> None:
    """Its requests are taken off its node."""
    await cluster.join("n1", cpu="2")
    await cluster.create(pod("pinned", container(requests={"cpu": "2"}), nodeName="n1"))
    await cluster.create(pod("web", container(requests={"cpu": "1"})))
    assert scheduled(cluster)[0] == ""


async def test_repeated_refusals_count_up_in_one_event(cluster: Cluster) -> None:
    """And the pod is not written again for the same words."""
    await cluster.create(pod())
    before = cluster.get(kinds.POD, "web").metadata.resourceVersion
    await cluster.advance(1300)
    [event] = cluster.events("FailedScheduling")
    assert event.count == 5
    assert cluster.get(kinds.POD, "web").metadata.resourceVersion == before


async def test_the_decision_can_be_read_back(cluster: Cluster) -> None:
    """What `kctl why` shows; forgotten with the pod."""
    await cluster.join("n1")
    await cluster.create(pod())
    uid = cluster.get(kinds.POD, "web").metadata.uid
    found = cluster.scheduler.explain("default", "web", uid)
    assert found is not None
    assert (found.decision.node, found.attempts, [verdict.node for verdict in found.verdicts]) == ("n1", 1, ["n1"])
    await cluster.delete(kinds.POD, "web", grace=0)
    assert cluster.scheduler.explain("default", "web", uid) is None


async def test_why_says_when_a_waiting_pod_is_tried_again(cluster: Cluster) -> None:
    """With the reason why it waits."""
    await cluster.join("n1", cpu="1")
    await cluster.create(pod("web", container(requests={"cpu": "2"})))
    found = cluster.scheduler.explain("default", "web", cluster.get(kinds.POD, "web").metadata.uid)
    assert found is not None
    assert found.decision.message == "0/1 nodes are available: 1 Insufficient cpu."
    assert found.next_attempt == "next attempt when a change may help"
    assert [(verdict.node, verdict.reasons) for verdict in found.verdicts] == [("n1", ("Insufficient cpu",))]


class Flaky(MemoryBackend):
    """Refuses the first commits that would bind a pod."""

    left = 2

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        written = [write for txn in txns for write in txn.writes if write.key.startswith(kinds.POD.prefix)]
        if self.left and any(kinds.POD.cls.FromString(write.value or b"").spec.nodeName for write in written):
            self.left -= 1
            raise Unavailable("the disk is away")
        return await super().commit(txns)


async def test_a_failed_commit_is_tried_again_soon() -> None:
    """Without waiting for something else to happen."""
    backend = Flaky()
    async with running(backend=backend) as cluster:
        await cluster.join("n1")
        await cluster.create(pod())
        await cluster.advance(2)
        assert backend.left == 0
        assert scheduled(cluster)[0] == "n1"


async def test_more_pods_than_one_batch_are_all_placed(cluster: Cluster) -> None:
    """A cycle takes 500; the rest follow without a pause."""
    await cluster.join("n1", pods="2000", cpu="64", memory="999Gi")

    await flood(cluster, 600)
    await cluster.advance(1)
    assert all(row.parse().spec.nodeName == "n1" for row in cluster.store.rows(kinds.POD))


async def flood(cluster: Cluster, count: int, **spec: Any) -> None:
    """Many pods in one transaction."""

    def fn(tx: Any) -> None:
        for number in range(count):
            message = pod(f"p{number}", **spec)
            message.metadata.uid = f"u{number}"
            tx.put(kinds.POD, message)

    await cluster.store.update(fn)


async def test_a_scheduler_that_fell_behind_reads_everything_again(cluster: Cluster) -> None:
    """More changes at once than a watcher may be behind cut it off; it goes on all the same."""
    await flood(cluster, 5001, schedulerName="mine")
    await cluster.advance(1)
    await cluster.join("n1")
    await cluster.create(pod())
    assert scheduled(cluster)[0] == "n1"

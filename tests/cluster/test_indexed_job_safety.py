"""Properties of Indexed Jobs with a limit for each index, under random pods, users, node failures and restarts."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers.jobpods import TRACKING
from pinnace import kinds
from pinnace.admission.jobstatuses import is_finished
from pinnace.core.v1.pod_pb2 import Pod
from tests.support.jobs import INDEX, indexed
from tests.support.safety import DISTURBANCES, Change, World, run

FAILURES = "batch.kubernetes.io/job-index-failure-count"
CONTROLLER = "controller:job"
ACTIONS = st.one_of(
    *DISTURBANCES,
    st.tuples(st.just("succeed"), st.integers(0, 9)),
    st.tuples(st.just("fail"), st.integers(0, 9)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([30.0, 120.0])),
)


def index_of(pod: Pod) -> int:
    return int(pod.metadata.annotations[INDEX])


def parsed(text: str) -> set[int]:
    """`1,3-5`"""
    ranges = [part.partition("-") for part in text.split(",") if part]
    return {index for first, _, last in ranges for index in range(int(first), int(last or first) + 1)}


class Indexes(World):
    watched = (kinds.JOB,)
    # The longest back-off of a pod is ten minutes.
    patience = 11

    async def create(self, completions: int, parallelism: int, limit: int, most: int | None, policy: str) -> None:
        self.limit, self.policy = limit, policy
        # Indexes whose pod has succeeded, and the pods of each index that failed, as agents and users saw them.
        self.succeeded: set[int] = set()
        self.failures: dict[int, set[str]] = {}
        more = {} if most is None else {"maxFailedIndexes": most}
        made = indexed(
            completions, parallelism=parallelism, backoffLimitPerIndex=limit, podReplacementPolicy=policy, **more
        )  # fmt: skip
        await self.api.create(kinds.JOB, made)

    async def succeed(self, number: int) -> None:
        pods = [pod for pod in self.active() if pod.status.phase == "Running"]
        if pods:
            pod = pods[number % len(pods)]
            self.fleet.containers.pop(pod.metadata.uid, None)
            await self.fleet.end(pod)

    async def suspend(self, value: bool) -> None:
        if not is_finished(self.cluster.get(kinds.JOB, "work")):
            await self.api.patch(kinds.JOB, "work", "MERGE", {"spec": {"suspend": value}})

    # Checks

    @property
    def item(self) -> Any:
        return self.find(kinds.JOB, "work")

    def done(self) -> set[int]:
        return parsed(self.item.status.completedIndexes)

    def changed(self, change: Change) -> None:
        if change.kind is kinds.JOB and change.old is not None and change.new is not None:
            self._job_changed(change.old, change.new)
        if change.kind is not kinds.POD:
            return
        if change.old is None:
            self._created(change.new)
            return
        ended = ("Succeeded", "Failed")
        pod = change.new or change.old
        if change.new is not None and pod.status.phase == "Succeeded":
            self.succeeded.add(index_of(pod))
        # One that vanishes before it ends has failed, and by this policy also one that is being deleted.
        begins = change.deletes and self.policy != "Failed" and pod.status.phase not in ended
        if pod.status.phase == "Failed" or begins or (change.new is None and change.old.status.phase not in ended):
            self.failures.setdefault(index_of(pod), set()).add(pod.metadata.uid)

    def _job_changed(self, old: Any, new: Any) -> None:
        assert new.status.succeeded >= old.status.succeeded, "a success was forgotten"
        assert new.status.succeeded <= new.spec.completions
        if is_finished(old):
            assert new.status.completedIndexes == old.status.completedIndexes
            assert new.status.failedIndexes == old.status.failedIndexes

    def _created(self, pod: Pod) -> None:
        index, item = index_of(pod), self.item
        assert not is_finished(item)
        assert not item.spec.suspend
        assert index < item.spec.completions
        assert index not in self.done(), f"index {index} has succeeded"
        assert index not in parsed(item.status.failedIndexes), f"index {index} has failed"
        others = [
            other
            for other in self.every(kinds.POD)
            if index_of(other) == index
            and other.metadata.uid != pod.metadata.uid
            and other.status.phase in ("", "Pending", "Running")
        ]
        if self.policy == "Failed":
            assert not others, f"index {index} still terminates"
        assert all(other.metadata.deletionTimestamp.seconds for other in others), f"two pods of index {index}"
        assert int(pod.metadata.annotations[FAILURES]) <= self.limit, f"index {index} tries too often"

    def rested(self) -> None:
        status = self.item.status
        active = [pod for pod in self.every(kinds.POD) if pod.status.phase in ("", "Pending", "Running")]
        live = [pod for pod in active if not pod.metadata.deletionTimestamp.seconds]
        assert len(live) <= self.item.spec.parallelism
        assert len({index_of(pod) for pod in live}) == len(live)
        assert status.succeeded == len(self.done())
        failed = parsed(status.failedIndexes)
        assert not failed & self.done()
        for index in failed:
            assert len(self.failures.get(index, ())) > self.limit, f"index {index} failed too early"

    async def end(self) -> None:
        """Left alone, every index ends, and each success counts once."""
        await self.suspend(False)
        for name in sorted(self.fleet.away):
            await self.heal(name)
        for _ in range(200):
            if is_finished(self.item):
                break
            await self.fleet.settle(watch=self.check)
            await self.succeed(0)
            await self.cluster.advance(60)
            self.check()
        assert is_finished(self.item)
        await self.fleet.settle(watch=self.check)
        self.check()
        status, wanted = self.item.status, set(range(self.item.spec.completions))
        failed = parsed(status.failedIndexes)
        complete = any(item.type == "Complete" and item.status == "True" for item in status.conditions)
        assert complete == (self.done() == wanted)
        if not complete and not self.item.spec.HasField("maxFailedIndexes"):
            assert self.done() | failed == wanted
        assert self.done() <= self.succeeded
        assert not any(TRACKING in pod.metadata.finalizers for pod in self.every(kinds.POD))


@settings(max_examples=20)
@given(
    completions=st.integers(1, 4), parallelism=st.integers(1, 4), limit=st.integers(0, 2),
    most=st.sampled_from([None, 0, 1]), policy=st.sampled_from(["TerminatingOrFailed", "Failed"]),
    actions=st.lists(ACTIONS, min_size=6, max_size=15),
)  # fmt: skip
def test_no_order_of_events_breaks_the_limits_of_an_index(
    completions: int, parallelism: int, limit: int, most: int | None, policy: str, actions: list[tuple[str, Any]]
) -> None:
    """Never two pods of one index, none of an index that has succeeded or failed, and no more tries than its limit allows; each
    success counts once, and every index ends."""
    world = Indexes()

    async def body() -> None:
        await world.create(completions, parallelism, limit, most, policy)
        for action in actions:
            await world.act(action)
        await world.end()

    run(world, body)

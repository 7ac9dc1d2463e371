"""Properties of CronJobs under random clocks, users, pods and restarts: how many Jobs run at once, and for which times."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pinnace import kinds
from pinnace.admission.jobstatuses import is_finished
from pinnace.errors import NotFound
from tests.support.jobs import job
from tests.support.safety import DISTURBANCES, Change, World, run

CONTROLLER = "controller:cronjob"
MINUTE = 60
ACTIONS = st.one_of(
    *DISTURBANCES,
    st.tuples(st.just("wait"), st.sampled_from([30.0, 60.0, 200.0])),
    st.tuples(st.just("finish"), st.integers(0, 9)),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("outage"), st.sampled_from([30.0, 150.0, 400.0])),
)


class Ticking(World):
    watched = (kinds.CRON_JOB, kinds.JOB)

    async def create(self, policy: str, deadline: int | None, kept: int) -> None:
        self.times: list[str] = []
        template = {"spec": job(backoffLimit=2)["spec"]}
        spec = {
            "schedule": "* * * * *", "jobTemplate": template, "concurrencyPolicy": policy, "successfulJobsHistoryLimit": kept,
            "failedJobsHistoryLimit": kept, **({} if deadline is None else {"startingDeadlineSeconds": deadline}),
        }  # fmt: skip
        await self.api.create(kinds.CRON_JOB, {"metadata": {"name": "tick", "namespace": "default"}, "spec": spec})

    async def finish(self, number: int) -> None:
        """A pod of a Job succeeds."""
        pods = [pod for pod in self.active() if pod.status.phase == "Running"]
        if pods:
            pod = pods[number % len(pods)]
            self.fleet.containers.pop(pod.metadata.uid, None)
            await self.fleet.end(pod)

    async def remove(self, number: int) -> None:
        """A user deletes a Job."""
        names = self.cluster.names(kinds.JOB, namespace="default")
        if names:
            await self.cluster.delete(kinds.JOB, names[number % len(names)])

    async def suspend(self, value: bool) -> None:
        await self.api.patch(kinds.CRON_JOB, "tick", "MERGE", {"spec": {"suspend": value}})

    async def outage(self, seconds: float) -> None:
        """No control plane for a while."""
        await self.restart(seconds)

    # Checks

    @property
    def item(self) -> Any:
        return self.find(kinds.CRON_JOB, "tick")

    def unfinished(self) -> list[str]:
        return [
            str(item.metadata.name)
            for item in self.every(kinds.JOB)
            if not is_finished(item) and not item.metadata.deletionTimestamp.seconds
        ]

    def changed(self, change: Change) -> None:
        if change.kind is not kinds.JOB or change.old is not None:
            return
        made, spec = change.new, self.item.spec
        assert change.actor == CONTROLLER
        assert not spec.suspend
        if spec.concurrencyPolicy != "Allow":
            assert len(self.unfinished()) == 1, self.unfinished()
        time = int(made.metadata.name.rpartition("-")[2]) * MINUTE
        assert made.metadata.name not in self.times, f"a second Job for {time}"
        self.times.append(made.metadata.name)
        created = made.metadata.creationTimestamp.seconds
        assert time <= created
        assert time > self.item.metadata.creationTimestamp.seconds - 1
        if spec.HasField("startingDeadlineSeconds"):
            assert created - time <= spec.startingDeadlineSeconds, f"{created - time} s late"
        assert self.times == sorted(self.times, key=lambda name: int(name.rpartition("-")[2])), "not in order"

    def rested(self) -> None:
        spec = self.item.spec
        listed = {reference.name for reference in self.item.status.active}
        assert listed == {item.metadata.name for item in self.every(kinds.JOB) if not is_finished(item)}
        for type_, kept in (("Complete", spec.successfulJobsHistoryLimit), ("Failed", spec.failedJobsHistoryLimit)):
            ended = [
                item.metadata.name
                for item in self.every(kinds.JOB)
                if any(found.type == type_ and found.status == "True" for found in item.status.conditions)
            ]
            assert len(ended) <= kept, ended

    async def end(self) -> None:
        """Left alone, a Job comes for each minute, or when the one before it has ended."""
        for name in sorted(self.fleet.away):
            await self.heal(name)
        await self.suspend(False)
        for item in self.every(kinds.JOB):
            # The controller may have replaced or removed it meanwhile.
            with suppress(NotFound):
                await self.cluster.delete(kinds.JOB, item.metadata.name)
        await self.fleet.settle(watch=self.check)
        before = len(self.times)
        for _ in range(3):
            await self.cluster.advance(MINUTE)
            self.check()
            await self.fleet.settle(watch=self.check)
            await self.finish(0)
            await self.cluster.advance(1)
            self.check()
        assert len(self.times) >= before + 2


@settings(max_examples=20)
@given(
    policy=st.sampled_from(["Forbid", "Replace", "Allow"]), deadline=st.sampled_from([None, 20, 90]), kept=st.integers(0, 2),
    actions=st.lists(ACTIONS, min_size=6, max_size=15),
)  # fmt: skip
def test_no_order_of_events_breaks_the_policy(
    policy: str, deadline: int | None, kept: int, actions: list[tuple[str, Any]]
) -> None:
    """Forbid and Replace never run two Jobs, each time has one Job at most and none after its deadline, none comes while
    suspended, and no more of the ended ones stay than the limits say."""
    world = Ticking()

    async def body() -> None:
        await world.create(policy, deadline, kept)
        for action in actions:
            await world.act(action)
        await world.end()

    run(world, body)

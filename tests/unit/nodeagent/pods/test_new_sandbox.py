"""A pod whose sandbox was lost, after a reboot or otherwise: all of it begins anew, as in kubelet."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.model import Attempt, ContainerTermination, LifecycleState, ObservedState, Policy
from nodeagent.pods.sandboxes import Sandbox, begin_anew
from nodeagent.pods.status import pod_status
from nodeagent.pods.steps import CreateSandbox, PostStart, Release, Start, Step, Terminate, Wait, next_step
from nodeagent.pods.worker import Worker
from pinnace.clock import settle
from tests.support.hosting import Host
from tests.support.objects import pod
from tests.support.observed import T0, observed, ran

POLICY = Policy(backoff=10, max_backoff=300, backoff_reset=600)
SETUP, WATCH = {"name": "setup", "image": "busybox"}, {"name": "watch", "image": "busybox", "restartPolicy": "Always"}


def subject(policy: str = "Always", *mains: str, **spec: Any) -> Any:
    """An init container, a sidecar, and main containers."""
    return pod("web", *(mains or ("main",)), initContainers=[SETUP, WATCH], restartPolicy=policy, **spec)


def step(item: Any, view: ObservedState, now: float = T0) -> Step:
    return next_step(item, gone=False, observed=view, now=now, policy=POLICY)


def lost(*attempts: Attempt, **rest: Any) -> ObservedState:
    """What an agent finds after a reboot, its volumes made again."""
    return observed(*attempts, ready=False, volumes=True, **rest)


def again(item: Any, view: ObservedState) -> ObservedState:
    """With a new sandbox."""
    begin_anew(item, view)
    view.sandbox = True
    return view


def seen(view: ObservedState, attempt: Attempt) -> None:
    view.attempts[attempt.name] = (*view.attempts.get(attempt.name, ()), attempt)[-2:]
    view.lifecycles[attempt.name] = LifecycleState(started=True, ready=True)


def test_everything_starts_again_in_order() -> None:
    """Init containers that had succeeded, sidecars, then the main ones; numbers go on, and nothing waits for a back-off."""
    item, view = subject(), lost(ran("setup", 0), ran("watch", 137), ran("main", 137, streak=3))
    assert step(item, view) == CreateSandbox()
    again(item, view)
    order = [("setup", 0), ("watch", None), ("main", None)]
    for name, code in order:
        found = step(item, view)
        assert isinstance(found, Start)
        assert (found.name, found.number) == (name, 1)
        seen(view, ran(name, number=1, epoch=1))
        if code is not None:
            assert step(item, view) == Wait()
            view.attempts[name] = (*view.attempts[name][:-1], ran(name, code, number=1, epoch=1))
    assert step(item, view) == Wait()


def test_an_agent_that_starts_again_runs_nothing_again() -> None:
    """The sandbox is whole."""
    view = observed(ran("setup", 0), ran("watch"), ran("main"), ready=False, sandbox=True, volumes=True)
    assert step(subject(), view) == Wait()


def test_what_still_runs_is_stopped_first() -> None:
    """Main containers, then the sidecar, within the pod's grace; it could not be reached in the new sandbox."""
    item, view = subject(terminationGracePeriodSeconds=30), lost(ran("setup", 0), ran("watch"), ran("main"))
    asked = step(item, view)
    assert isinstance(asked, Terminate)
    assert (asked.name, asked.told.deadline) == ("main", T0 + 30)
    view.lifecycles["main"] = LifecycleState(stopping=ContainerTermination(T0 + 30, T0 + 30, signalled=True))
    assert step(item, view, T0 + 5) == Wait(T0 + 30)
    seen(view, ran("main", 0))
    asked = step(item, view, T0 + 6)
    assert isinstance(asked, Terminate)
    assert asked.name == "watch"
    seen(view, ran("watch", 0))
    assert step(item, view, T0 + 7) == CreateSandbox()


def test_main_containers_that_have_ended_for_good_stay_so() -> None:
    """With OnFailure those that succeeded; the pod ends once the others have."""
    item = subject("OnFailure", "one", "two")
    view = again(item, lost(ran("setup", 0), ran("watch", 137), ran("one", 0), ran("two", 137)))
    assert view.finished == {"one"}
    assert step(item, view) == Start("setup", 1, 1)
    seen(view, ran("setup", 0, number=1, epoch=1))
    assert step(item, view) == Start("watch", 1, 1)
    seen(view, ran("watch", number=1, epoch=1))
    assert step(item, view) == Start("two", 1, 1)
    # Once more, before it has ended.
    view.sandbox = False
    seen(view, ran("watch", 137, number=1, epoch=1))
    again(item, view)
    assert (view.epoch, view.finished) == (2, {"one"})
    seen(view, ran("two", 0, number=1, epoch=2))
    assert isinstance(step(item, view), Release)


def test_a_sandbox_that_takes_two_tries_is_one_beginning() -> None:
    """Nothing has run in the first."""
    item, view = subject("OnFailure"), lost(ran("setup", 0), ran("watch", 137), ran("main", 0))
    view.attempts["main"] = (ran("main", 1),)
    assert begin_anew(item, view)
    assert not begin_anew(item, view)
    assert (view.epoch, view.finished) == (1, frozenset())
    assert not begin_anew(item, observed(ready=False, volumes=True))


@pytest.mark.parametrize(
    ("attempts", "phase"),
    [
        pytest.param((ran("setup", 0), ran("watch", 137), ran("main", 137)), "Failed", id="its main container ran"),
        pytest.param((ran("setup", 137),), "Failed", id="its init container ran"),
        pytest.param((ran("setup", 0), ran("watch", 137)), "Pending", id="it had not come to its main container"),
    ],
)
def test_a_pod_that_is_never_restarted(attempts: tuple[Attempt, ...], phase: str) -> None:
    """It has failed, unless its main container never ran."""
    item, view = subject("Never"), lost(*attempts)
    status = pod_status(item, gone=False, observed=view, now=T0, host_ips=("h",), policy=POLICY, previous=None)
    assert status.phase == phase
    assert isinstance(step(item, view), Release if phase == "Failed" else CreateSandbox)


def test_ephemeral_containers_are_not_started_again() -> None:
    """They run once."""
    item = subject()
    item.spec.ephemeralContainers.add().ephemeralContainerCommon.name = "debug"
    view = again(item, lost(ran("debug", 137), ran("setup", 0), ran("watch", 137), ran("main", 137)))
    assert step(item, view) == Start("setup", 1, 1)


def test_the_status_tells_of_it() -> None:
    """Pending while an init container runs, Initialized False; restart counts and last states."""
    item = subject()
    view = again(item, lost(ran("setup", 0), ran("watch", 137), ran("main", 137)))
    seen(view, ran("setup", number=1, epoch=1))
    status = pod_status(item, gone=False, observed=view, now=T0, host_ips=("h",), policy=POLICY, previous=None)
    conditions = {condition.type: condition.status for condition in status.conditions}
    assert (status.phase, conditions["Initialized"], conditions["Ready"]) == ("Pending", "False", "False")
    [setup, watch], [main] = status.initContainerStatuses, status.containerStatuses
    assert (setup.restartCount, setup.ready, setup.lastState.terminated.exitCode) == (1, False, 0)
    assert (watch.state.waiting.reason, watch.lastState.terminated.exitCode) == ("PodInitializing", 137)
    assert (main.state.waiting.reason, main.lastState.terminated.exitCode) == ("PodInitializing", 137)
    for name, code in (("setup", 0), ("watch", None), ("main", None)):
        seen(view, ran(name, code, number=1, epoch=1))
    status = pod_status(item, gone=False, observed=view, now=T0, host_ips=("h",), policy=POLICY, previous=None)
    assert (status.phase, [item.restartCount for item in status.initContainerStatuses]) == ("Running", [1, 1])


async def test_it_is_on_disk_before_anything_starts(tmp_path: Path) -> None:
    """An agent that is killed then begins where this one was; the event says why."""
    host = Host(tmp_path)
    item = subject("OnFailure", "one", "two")
    item.metadata.uid = "u1"
    worker = Worker(host.deps(), item)
    worker.folder.mkdir(parents=True)
    attempts = (ran("setup", 0), ran("watch", 137), ran("one", 0), ran("two", 137))
    worker.observed.attempts = {attempt.name: (attempt,) for attempt in attempts}
    worker._pod_ctx.state.checkpoint.sandbox_made.touch()
    await Sandbox(worker._pod_ctx).create()
    assert worker.observed.sandbox
    assert ("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.") in host.events
    record = PodCheckpoint(worker.folder).load_sandbox()
    assert record is not None
    assert (record["epoch"], record["finished"]) == (1, ["one"])
    following = Worker(host.deps(), item)
    assert (following.observed.epoch, following.observed.finished) == (1, {"one"})


@pytest.mark.parametrize("host", [False, True])
async def test_a_pod_waits_for_services_and_names_of_its_node(tmp_path: Path, host: bool) -> None:
    """Its network is there meanwhile; one in the host's network needs neither."""
    node = Host(tmp_path)
    node.serving.clear()
    item = pod("web", hostNetwork=host)
    worker = Worker(node.deps(), item)
    worker.folder.mkdir(parents=True)
    creating = asyncio.ensure_future(Sandbox(worker._pod_ctx).create())
    await settle()
    assert (creating.done(), worker.observed.sandbox, item.metadata.uid in node.network.attached) == (host, host, not host)
    node.serving.set()
    await creating
    assert worker.observed.sandbox


def hooked(name: str) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "lifecycle": {"postStart": {"sleep": {"seconds": 5}}}}


@pytest.mark.parametrize("hook", ["", "running", "done"])
def test_a_post_start_hook_holds_back_the_next_container(hook: Any) -> None:
    """Until it has ended, well or not; also a restart, and an ephemeral container."""
    item = pod("web", hooked("first"), "second", "third")
    view = observed(ran("first"), ran("third", 1, at=T0 - 100), lifecycles={"first": LifecycleState(post_start=hook)})
    expected = {"": PostStart("first"), "running": Wait(), "done": Start("second", 0, 0)}
    assert step(item, view) == expected[hook]
    seen(view, ran("second"))
    expected["done"] = Start("third", 1, 1)
    assert step(item, view) == expected[hook]
    item.spec.ephemeralContainers.add().ephemeralContainerCommon.name = "debug"
    expected |= {"done": Start("debug", 0, 0), "": Start("debug", 0, 0)}
    assert step(item, view) == expected[hook]


def test_a_hook_whose_container_has_ended_holds_back_nothing() -> None:
    """Its container may have ended in the middle of it."""
    item = pod("web", hooked("first"), "second", restartPolicy="Never")
    view = observed(ran("first", 1), lifecycles={"first": LifecycleState(post_start="running")})
    view.attempts["first"] = (replace(view.attempts["first"][0], finished_at=T0 - 1),)
    assert step(item, view) == Start("second", 0, 0)

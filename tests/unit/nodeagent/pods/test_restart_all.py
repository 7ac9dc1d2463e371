"""The action RestartAllContainers of a restart rule: the pod begins anew in its sandbox."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodeagent.pods.model import Attempt, ContainerTermination, Fault, LifecycleState, ObservedState, Policy
from nodeagent.pods.status import pod_status
from nodeagent.pods.steps import Kill, RestartAll, Start, Step, Terminate, Wait, next_step
from pinnace import codec
from tests.support.objects import pod
from tests.support.observed import T0, observed, ran

POLICY = Policy(backoff=10, max_backoff=300, backoff_reset=600)
ALL_ON_88 = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]
RULED = {"restartPolicy": "Never", "restartPolicyRules": ALL_ON_88}


def subject(**spec: Any) -> Any:
    """An init container, a sidecar that may ask for a restart of all, and a main container that is not restarted."""
    return pod(
        "web", {"name": "main", "image": "busybox"}, restartPolicy="Never",
        initContainers=[
            {"name": "setup", "image": "busybox"},
            {"name": "watch", "image": "busybox", "restartPolicy": "Always", "restartPolicyRules": ALL_ON_88},
        ],
        **spec,
    )  # fmt: skip


def step(item: Any, view: ObservedState, now: float = T0) -> Step:
    return next_step(item, gone=False, observed=view, now=now, policy=POLICY)


def with_attempt(view: ObservedState, attempt: Attempt, **state: Any) -> ObservedState:
    """The view once an attempt, or its end, has been seen."""
    before = [item for item in view.attempts.get(attempt.name, ()) if item.number != attempt.number]
    view.attempts[attempt.name] = (*before, attempt)[-2:]
    view.lifecycles[attempt.name] = LifecycleState(started=True, ready=True, **state)
    return view


def test_all_containers_begin_anew_after_an_exit_that_asks_for_it() -> None:
    """Those that run are killed without grace; then init containers first, also those that had succeeded."""
    view = observed(ran("setup", 0), ran("watch", 88), ran("main"))
    asked = view.last("watch")
    assert step(subject(), view) == Kill("main")
    view.lifecycles["main"] = replace(view.lifecycle("main"), stopping=ContainerTermination(0, 0, killed=True))
    assert step(subject(), view) == Wait()
    with_attempt(view, ran("main", 137), stopping=ContainerTermination(0, 0, killed=True))
    assert step(subject(), view) == RestartAll(asked)
    view.epoch += 1
    assert step(subject(), view) == Start("setup", 1, 1)
    with_attempt(view, ran("setup", number=1, epoch=1))
    assert step(subject(), view) == Wait()
    with_attempt(view, ran("setup", 0, number=1, epoch=1))
    assert step(subject(), view) == Start("watch", 1, 1)
    with_attempt(view, ran("watch", number=1, epoch=1, streak=1))
    assert step(subject(), view) == Start("main", 1, 1)
    with_attempt(view, ran("main", number=1, epoch=1, streak=1))
    assert step(subject(), view) == Wait()


def test_the_back_off_is_that_of_the_container_that_asked() -> None:
    """What fails again and again does not restart all in a loop; the others are killed at once all the same."""
    view = observed(ran("setup", 0), ran("watch", 88, streak=2), ran("main"))
    assert step(subject(), view) == Kill("main")
    with_attempt(view, ran("main", 137), stopping=ContainerTermination(0, 0, killed=True))
    assert step(subject(), view, T0 + 1) == Wait(T0 + 20)
    assert isinstance(step(subject(), view, T0 + 20), RestartAll)


def test_completed_containers_are_restarted_too() -> None:
    """Whatever their policy; a pod in which one has asked has not ended."""
    view = observed(ran("setup", 0), ran("watch", 88), ran("main", 0))
    assert isinstance(step(subject(), view), RestartAll)


def test_a_sidecar_that_is_stopped_after_the_pods_end_does_not_ask() -> None:
    """Its exit code is that of the stop."""
    any_code = [{"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0]}}]
    item = subject()
    item.spec.initContainers[1].ClearField("restartPolicyRules")
    rule = item.spec.initContainers[1].restartPolicyRules.add(action=any_code[0]["action"])
    rule.exitCodes.operator = "NotIn"
    view = observed(ran("setup", 0), ran("watch"), ran("main", 0))
    assert isinstance(step(item, view), Terminate)
    with_attempt(view, ran("watch", 143), stopping=ContainerTermination(0, 0, signalled=True))
    assert not isinstance(step(item, view), RestartAll)
    # One that a probe has stopped does.
    with_attempt(view, ran("main"))
    with_attempt(view, ran("watch", 143), stopping=ContainerTermination(0, 0, signalled=True), fault=Fault("unhealthy"))
    assert step(item, view) == Kill("main")


def test_the_first_rule_that_matches_wins() -> None:
    """A rule with the action Restart before it keeps the others running."""
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [88]}}, *ALL_ON_88]
    item = pod("web", {"name": "main", "image": "busybox", "restartPolicy": "Never", "restartPolicyRules": rules}, "other")
    assert step(item, observed(ran(code=88), ran("other"))) == Start("main", 1, 1)


@pytest.mark.parametrize("code", [0, 1, 87])
def test_other_exits_restart_nothing(code: int) -> None:
    """The policy decides, as without rules."""
    item = pod("web", {"name": "main", "image": "busybox", **RULED}, "other")
    assert step(item, observed(ran(code=code), ran("other"))) == Wait()


def test_an_init_container_may_ask() -> None:
    """Then it is the first to run again."""
    item = pod("web", "main", initContainers=[{"name": "setup", "image": "busybox", **RULED}])
    view = observed(ran("setup", 88))
    assert isinstance(step(item, view), RestartAll)
    view.epoch += 1
    assert step(item, view) == Start("setup", 1, 1)


def test_a_deletion_comes_before_a_restart() -> None:
    """A pod that is deleted does not begin anew."""
    item = subject()
    item.metadata.deletionTimestamp.CopyFrom(codec.time_of(T0 + 30))
    item.metadata.deletionGracePeriodSeconds = 30
    view = observed(ran("setup", 0), ran("watch", 88), ran("main"))
    assert isinstance(step(item, view), Terminate)


def test_ephemeral_containers_are_left_alone() -> None:
    """They look at the pod and are no part of it: neither killed nor run again."""
    item = subject(ephemeralContainers=[{"name": "look", "image": "busybox"}])
    view = observed(ran("setup", 0), ran("watch", 88), ran("main", 0), ran("look"))
    assert isinstance(step(item, view), RestartAll)
    view.epoch += 1
    assert step(item, view) == Start("setup", 1, 1)
    with_attempt(view, ran("look", 0))
    assert step(item, view) == Start("setup", 1, 1)


def shown(view: ObservedState, now: float = T0) -> tuple[Any, dict[str, str]]:
    status = pod_status(subject(), gone=False, observed=view, now=now, host_ips=("h",), policy=POLICY, previous=None)
    return status, {condition.type: condition.status for condition in status.conditions}


def test_the_status_tells_of_the_restart() -> None:
    """The condition is True until all have stopped; restart counts grow, the phase stays."""
    view = observed(ran("setup", 0), ran("watch"), ran("main"))
    assert shown(view)[1]["AllContainersRestarting"] == "False"
    with_attempt(view, ran("watch", 88))
    status, conditions = shown(view)
    assert (conditions["AllContainersRestarting"], status.phase) == ("True", "Running")
    with_attempt(view, ran("main", 137), stopping=ContainerTermination(0, 0, killed=True))
    assert shown(view)[1]["AllContainersRestarting"] == "True"
    view.epoch += 1
    status, conditions = shown(view)
    assert (conditions["AllContainersRestarting"], conditions["Initialized"], status.phase) == ("False", "False", "Running")
    [main] = status.containerStatuses
    assert (main.state.waiting.reason, main.lastState.terminated.exitCode, main.restartCount) == ("PodInitializing", 137, 0)
    with_attempt(view, ran("setup", 0, number=1, epoch=1))
    with_attempt(view, ran("watch", number=1, epoch=1))
    with_attempt(view, ran("main", number=1, epoch=1))
    status, conditions = shown(view)
    assert (conditions["Ready"], status.containerStatuses[0].restartCount) == ("True", 1)
    assert [item.restartCount for item in status.initContainerStatuses] == [1, 1]


def test_pods_without_such_a_rule_have_no_such_condition() -> None:
    """As in Kubernetes."""
    status = pod_status(pod(), gone=False, observed=observed(ran()), now=T0, host_ips=("h",), policy=POLICY, previous=None)
    assert "AllContainersRestarting" not in {condition.type for condition in status.conditions}

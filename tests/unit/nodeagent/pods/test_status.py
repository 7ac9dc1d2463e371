"""A pod's status, as Kubernetes would show what was seen."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.pods import status as statuses
from nodeagent.pods.model import Attempt, ObservedState, Policy, StepFailure
from pinnace import codec
from tests.support.objects import pod
from tests.support.observed import T0, observed, ran

POLICY = Policy(backoff=10, max_backoff=300, backoff_reset=600)


def status(
    subject: Any, view: ObservedState, now: float = T0, *, gone: bool = False, previous: Any = None,
    host_ips: tuple[str, ...] = ("192.0.2.1",),
) -> Any:  # fmt: skip
    return statuses.pod_status(subject, gone=gone, observed=view, now=now, host_ips=host_ips, policy=POLICY, previous=previous)


def main_of(found: Any) -> Any:
    return found.containerStatuses[0]


def condition(found: Any, type_: str) -> Any:
    return next(item for item in found.conditions if item.type == type_)


def deleted(subject: Any, at: float) -> Any:
    subject.metadata.deletionTimestamp.CopyFrom(codec.time_of(at))
    return subject


@pytest.mark.parametrize(
    ("policy", "view", "phase"),
    [
        pytest.param("Always", observed(ready=False), "Pending", id="nothing yet"),
        pytest.param("Always", observed(), "Pending", id="pulling"),
        pytest.param("Always", observed(ran()), "Running", id="running"),
        pytest.param("Always", observed(ran(code=0)), "Running", id="between restarts"),
        pytest.param("OnFailure", observed(ran(code=1)), "Running", id="failed, to be restarted"),
        pytest.param("OnFailure", observed(ran(code=0)), "Succeeded", id="done"),
        pytest.param("Never", observed(ran(code=1)), "Failed", id="failed"),
    ],
)
def test_the_phase_follows_the_containers(policy: str, view: ObservedState, phase: str) -> None:
    """Pending, Running, and an end by policy and exit codes."""
    assert status(pod(restartPolicy=policy), view).phase == phase


def test_a_pod_is_pending_until_every_container_has_started() -> None:
    """One of two is not enough."""
    subject = pod("web", "a", "b")
    assert status(subject, observed(ran("a"))).phase == "Pending"
    assert status(subject, observed(ran("a"), ran("b"))).phase == "Running"


def test_a_pod_past_its_deadline_has_failed_and_says_why() -> None:
    """DeadlineExceeded, at once, and no container claims that it will be restarted."""
    late = status(pod(activeDeadlineSeconds=60), observed(ran(code=1, number=3, streak=3, ended=T0 + 61)), T0 + 62)
    assert (late.phase, late.reason) == ("Failed", "DeadlineExceeded")
    assert main_of(late).state.HasField("terminated")


def test_a_pod_that_succeeded_in_time_stays_succeeded() -> None:
    """Its deadline passing later changes nothing."""
    subject = pod(activeDeadlineSeconds=60, restartPolicy="Never")
    found = status(subject, observed(ran(code=0, ended=T0 + 1), released=True), T0 + 99)
    assert (found.phase, found.reason) == ("Succeeded", "")


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (137, "Failed")])
def test_a_deleted_pod_ends_with_what_its_codes_say(code: int, phase: str) -> None:
    """Also under restartPolicy Always."""
    assert status(deleted(pod(), T0), observed(ran(code=code), released=True)).phase == phase


def test_a_running_container_is_ready_and_identified() -> None:
    """Started, ready, with ids and its start time."""
    found = main_of(status(pod("web", meta={"uid": "u1"}), observed(ran(number=2, at=T0 + 5, image_id="sha256:ab"))))
    assert (found.ready, found.started, found.restartCount) == (True, True, 2)
    assert (found.containerID, found.imageID) == ("pinnace://u1/main/2", "sha256:ab")
    assert found.state.running.startedAt.seconds == T0 + 5


def test_a_container_that_was_asked_for_but_has_not_run_is_being_created() -> None:
    """An attempt without a start time is not running."""
    found = main_of(status(pod(), observed(Attempt("main", 0, "busybox"))))
    assert (found.state.waiting.reason, found.ready, found.started) == ("ContainerCreating", False, False)


def test_a_failed_pull_is_shown_with_its_message() -> None:
    """The problem's reason becomes the waiting reason."""
    found = main_of(status(pod(), observed(step_failures={"main": StepFailure("ErrImagePull", "no such image", T0 + 5)})))
    assert (found.state.waiting.reason, found.state.waiting.message) == ("ErrImagePull", "no such image")


def test_a_crashing_container_is_in_crash_loop_back_off() -> None:
    """Kubernetes' message, and the last end in lastState."""
    subject = pod("web", meta={"uid": "u1"})
    found = main_of(status(subject, observed(ran(code=1, number=4, streak=4)), T0 + 1))
    assert found.state.waiting.reason == "CrashLoopBackOff"
    assert found.state.waiting.message == "back-off 1m20s restarting failed container=main pod=web_default(u1)"
    assert (found.lastState.terminated.exitCode, found.lastState.terminated.reason) == (1, "Error")


def test_the_first_crash_is_shown_as_it_is() -> None:
    """Its restart is immediate, so there is no back-off to speak of."""
    assert main_of(status(pod(), observed(ran(code=1)))).state.terminated.reason == "Error"


def test_a_deleted_pod_does_not_promise_restarts() -> None:
    """No CrashLoopBackOff on the way out."""
    found = main_of(status(deleted(pod(), T0 + 30), observed(ran(code=1, streak=4)), T0 + 1))
    assert found.state.terminated.exitCode == 1


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (ran(code=0), "Completed"),
        (ran(code=3), "Error"),
        (ran(code=137, oom_killed=True), "OOMKilled"),
        (ran(code=127, start_error="no such file"), "StartError"),
    ],
)
def test_an_end_says_what_kind_it_was(attempt: Attempt, reason: str) -> None:
    """Completed, Error, OOMKilled or StartError, with code and times."""
    ended = main_of(status(pod(restartPolicy="Never"), observed(attempt))).state.terminated
    assert (ended.reason, ended.exitCode, ended.finishedAt.seconds) == (reason, attempt.code, T0)


def test_a_restarted_container_remembers_its_last_end() -> None:
    """lastState is the end before the present run."""
    view = observed(ran(code=137, oom_killed=True), ran(number=1, at=T0 + 9))
    found = main_of(status(pod(), view, T0 + 10))
    assert found.state.HasField("running")
    assert (found.lastState.terminated.reason, found.restartCount) == ("OOMKilled", 1)


def test_containers_wait_for_init_containers() -> None:
    """PodInitializing until the last one is done, and Initialized says which are missing."""
    subject = pod("web", init=("first", "second"))
    found = status(subject, observed(ran("first", 0), ran("second")))
    assert main_of(found).state.waiting.reason == "PodInitializing"
    assert [(item.name, item.ready) for item in found.initContainerStatuses] == [("first", True), ("second", False)]
    initialized = condition(found, "Initialized")
    assert (initialized.status, initialized.reason) == ("False", "ContainersNotInitialized")
    assert initialized.message == "containers with incomplete status: [second]"
    done = status(subject, observed(ran("first", 0), ran("second", 0)))
    assert main_of(done).state.waiting.reason == "ContainerCreating"
    assert condition(done, "Initialized").status == "True"


def test_a_failing_init_container_backs_off_in_view() -> None:
    """CrashLoopBackOff under any policy that restarts, an end under Never."""
    view = observed(ran("first", 1, number=2, streak=2))
    again = status(pod("web", init=("first",), restartPolicy="OnFailure"), view, T0 + 1).initContainerStatuses[0]
    assert again.state.waiting.reason == "CrashLoopBackOff"
    over = status(pod("web", init=("first",), restartPolicy="Never"), view, T0 + 1)
    assert (over.phase, over.initContainerStatuses[0].state.terminated.exitCode) == ("Failed", 1)


def test_readiness_needs_every_container() -> None:
    """Ready and ContainersReady name those that are not."""
    found = status(pod("web", "a", "b"), observed(ran("a")))
    ready = condition(found, "Ready")
    assert (ready.status, ready.reason) == ("False", "ContainersNotReady")
    assert ready.message == "containers with unready status: [b]"
    assert condition(status(pod("web", "a", "b"), observed(ran("a"), ran("b"))), "Ready").status == "True"


@pytest.mark.parametrize(("code", "reason"), [(0, "PodCompleted"), (1, "PodFailed")])
def test_a_finished_pod_is_not_ready_and_says_why(code: int, reason: str) -> None:
    """PodCompleted or PodFailed."""
    ready = condition(status(pod(restartPolicy="Never"), observed(ran(code=code))), "Ready")
    assert (ready.status, ready.reason) == ("False", reason)


def test_conditions_keep_their_transition_time_until_they_change() -> None:
    """Also across a change of reason only."""
    before = status(pod(), observed(), T0)
    later = status(pod(), observed(step_failures={"main": StepFailure("ErrImagePull", "", T0)}), T0 + 50, previous=before)
    assert condition(later, "Ready").lastTransitionTime.seconds == T0
    up = status(pod(), observed(ran()), T0 + 60, previous=later)
    assert condition(up, "Ready").lastTransitionTime.seconds == T0 + 60
    assert condition(up, "Initialized").lastTransitionTime.seconds == T0


def test_addresses_are_the_pods_own_or_the_hosts() -> None:
    """podIP once there is a sandbox; a pod on the host's network has the host's."""
    assert status(pod(), observed(ready=False)).podIP == ""
    assert status(pod(), observed()).podIP == "10.244.1.2"
    shared = status(pod(hostNetwork=True), observed(addresses=()))
    assert (shared.podIP, shared.podIPs[0].ip, shared.hostIP) == ("192.0.2.1", "192.0.2.1", "192.0.2.1")
    assert status(pod(hostNetwork=True), observed(ready=False)).podIP == ""


def test_a_pod_of_two_families_shows_both_addresses() -> None:
    """The primary one first, also of the node; a pod on the host's network has the node's."""
    hosts = ("192.0.2.1", "fd00:1::1")
    own = status(pod(), observed(addresses=("10.244.1.2", "fd00:244:0:1::2")), host_ips=hosts)
    assert (own.podIP, [item.ip for item in own.podIPs]) == ("10.244.1.2", ["10.244.1.2", "fd00:244:0:1::2"])
    assert (own.hostIP, [item.ip for item in own.hostIPs]) == ("192.0.2.1", list(hosts))
    shared = status(pod(hostNetwork=True), observed(addresses=()), host_ips=hosts)
    assert [item.ip for item in shared.podIPs] == list(hosts)


def test_a_readiness_that_others_took_away_is_seen() -> None:
    """The control plane marks pods of a silent node unready; once back, the agent must say again that they are."""
    own = status(pod(), observed(ran()))
    subject = pod()
    assert not statuses.overridden(subject.status, own)
    subject.status.CopyFrom(own)
    assert not statuses.overridden(subject.status, own)
    condition(subject.status, "Ready").status = "False"
    assert statuses.overridden(subject.status, own)

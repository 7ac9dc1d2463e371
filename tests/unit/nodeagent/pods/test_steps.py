"""next_step through a pod's whole life: each row of a table is one moment and what comes next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.pods import steps
from nodeagent.pods.model import (
    Attempt,
    ContainerTermination,
    Eviction,
    Fault,
    LifecycleState,
    ObservedState,
    Policy,
    StepFailure,
)
from nodeagent.pods.steps import (
    CreateSandbox,
    Kill,
    MountVolumes,
    PostStart,
    Release,
    Signal,
    Start,
    Step,
    Teardown,
    Terminate,
    Wait,
    next_step,
)  # fmt: skip
from pinnace import codec
from tests.support.objects import pod
from tests.support.observed import T0, observed, ran

POLICY = Policy(backoff=10, max_backoff=300, backoff_reset=600)


def step(subject: Any, view: ObservedState, now: float = T0, *, gone: bool = False) -> Step:
    return next_step(subject, gone=gone, observed=view, now=now, policy=POLICY)


def deleted(subject: Any, at: float) -> Any:
    subject.metadata.deletionTimestamp.CopyFrom(codec.time_of(at))
    subject.metadata.deletionGracePeriodSeconds = 30
    return subject


def told(deadline: float, **more: Any) -> dict[str, LifecycleState]:
    """`main` has its stop signal and until `deadline`."""
    return {
        "main": LifecycleState(
            started=True, ready=True, stopping=ContainerTermination(deadline, deadline, **{"signalled": True, **more})
        )
    }


def failure(retry_at: float) -> StepFailure:
    return StepFailure("FailedMount", "not there", retry_at)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(observed(ready=False), MountVolumes(), id="volumes come first"),
        pytest.param(observed(ready=False, volumes=True), CreateSandbox(), id="then the sandbox"),
        pytest.param(observed(), Start("main", 0, 0), id="then the container"),
        pytest.param(observed(ran()), Wait(), id="then nothing"),
        pytest.param(observed(ready=False, step_failures={"": failure(T0 + 5)}), Wait(T0 + 5), id="failed volumes wait"),
        pytest.param(observed(ready=False, step_failures={"": failure(T0)}), MountVolumes(), id="failed volumes are retried"),
        pytest.param(
            observed(ready=False, volumes=True, step_failures={"": failure(T0 + 5)}), Wait(T0 + 5), id="a failed sandbox waits"
        ),
        pytest.param(observed(step_failures={"main": failure(T0 + 5)}), Wait(T0 + 5), id="a failed pull waits"),
        pytest.param(observed(step_failures={"main": failure(T0)}), Start("main", 0, 0), id="a failed pull is retried"),
    ],
)
def test_a_pod_comes_up_in_order(view: ObservedState, expected: Step) -> None:
    """Volumes, sandbox, container; a step that failed waits for its retry."""
    assert step(pod(), view) == expected


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (observed(), Start("first", 0, 0)),
        (observed(ran("first")), Wait()),
        (observed(ran("first", 0)), Start("second", 0, 0)),
        (observed(ran("first", 0), ran("second")), Wait()),
        (observed(ran("first", 0), ran("second", 0)), Start("main", 0, 0)),
        (observed(ran("first", 1)), Start("first", 1, 1)),
        (observed(ran("first", 1, number=1, streak=1)), Wait(T0 + 10)),
    ],
)
def test_init_containers_run_one_by_one_until_each_succeeds(view: ObservedState, expected: Step) -> None:
    """The next one starts after the one before it ended with 0; a failed one is tried again."""
    assert step(pod("web", init=("first", "second")), view) == expected


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    """With restartPolicy Never nothing of the pod starts after that."""
    subject = pod("web", init=("first",), restartPolicy="Never")
    assert step(subject, observed(ran("first", 1))) == Release()
    assert steps.outcome(subject, observed(ran("first", 1))) == "Failed"


def test_containers_start_in_order_without_waiting_for_each_other() -> None:
    """A held or finished container does not hold up its siblings."""
    subject = pod("web", "a", "b", restartPolicy="Never")
    assert step(subject, observed(ran("a"))) == Start("b", 0, 0)
    assert step(subject, observed(ran("a", 1))) == Start("b", 0, 0)
    assert step(subject, observed(step_failures={"a": failure(T0 + 9)})) == Start("b", 0, 0)


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        ("Always", 0, Start("main", 1, 1)),
        ("Always", 1, Start("main", 1, 1)),
        ("OnFailure", 0, Release()),
        ("OnFailure", 1, Start("main", 1, 1)),
        ("Never", 0, Release()),
        ("Never", 1, Release()),
    ],
)
def test_the_restart_policy_decides_by_exit_code(policy: str, code: int, expected: Step) -> None:
    """Restarted or over, as Kubernetes' restartPolicy says."""
    assert step(pod(restartPolicy=policy), observed(ran(code=code))) == expected


@pytest.mark.parametrize(("policy", "codes", "expected"), [
    ("Never", (0, 0), "Succeeded"), ("Never", (0, 3), "Failed"), ("Never", (None, 3), None),
    ("OnFailure", (0, 0), "Succeeded"), ("OnFailure", (0, 3), None), ("Always", (0, 0), None),
])  # fmt: skip
def test_a_pod_is_over_when_no_container_will_run_again(policy: str, codes: tuple[Any, Any], expected: Any) -> None:
    """Failed when one of them failed, else Succeeded."""
    view = observed(ran("a", codes[0]), ran("b", codes[1]))
    assert steps.outcome(pod("web", "a", "b", restartPolicy=policy), view) == expected


@pytest.mark.parametrize(("streak", "delay"), [(1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (400, 300)])
def test_restarts_back_off_exponentially_up_to_the_limit(streak: int, delay: float) -> None:
    """10 s, doubling, at most 5 minutes; not a moment sooner."""
    view = observed(ran(code=1, number=streak, streak=streak))
    assert step(pod(), view, T0 + delay - 1) == Wait(T0 + delay)
    assert step(pod(), view, T0 + delay) == Start("main", streak + 1, streak + 1)


def test_a_long_run_forgives_earlier_failures() -> None:
    """After ten minutes the next restart is immediate, and the streak begins again."""
    view = observed(ran(code=1, number=7, streak=7, ended=T0 + 600))
    assert step(pod(), view, T0 + 600) == Start("main", 8, 0)


def test_a_start_that_failed_backs_off_like_a_crash() -> None:
    """It has no start time, yet counts."""
    failed = Attempt("main", 2, "busybox", streak=2, finished_at=T0, code=127, start_error="no such file")
    assert step(pod(), observed(failed), T0 + 1) == Wait(T0 + 20)


@pytest.mark.parametrize(
    ("view", "now", "expected"),
    [
        pytest.param(observed(ran()), T0, Terminate("main", ContainerTermination(T0 + 30, T0 + 30)), id="told first"),
        pytest.param(observed(ran(), lifecycles=told(T0 + 30)), T0 + 1, Wait(T0 + 30), id="grace"),
        pytest.param(observed(ran(), lifecycles=told(T0 + 30)), T0 + 30, Kill("main"), id="then killed"),
        pytest.param(observed(ran(), lifecycles=told(T0 + 99)), T0 + 30, Kill("main"), id="grace shortened"),
        pytest.param(observed(ran(), lifecycles=told(0, killed=True)), T0 + 31, Wait(), id="killed once"),
        pytest.param(
            observed(ran()), T0 + 30, Terminate("main", ContainerTermination(T0 + 32, T0 + 30)), id="late, a moment is left"
        ),
        pytest.param(observed(ran(code=0)), T0, Teardown(), id="ended"),
        pytest.param(observed(ran(code=1, streak=3)), T0 + 29, Teardown(), id="not restarted"),
        pytest.param(observed(ready=False), T0, Teardown(), id="never began"),
        pytest.param(observed(step_failures={"main": failure(T0 + 99)}), T0, Teardown(), id="still pulling"),
    ],
)
def test_a_deleted_pod_is_asked_then_killed_then_removed(view: ObservedState, now: float, expected: Step) -> None:
    """SIGTERM, grace until the deletion timestamp, SIGKILL, teardown; never a start."""
    assert step(deleted(pod(), T0 + 30), view, now) == expected


def test_every_container_is_told_before_any_is_waited_for() -> None:
    """The grace period of all containers runs at the same time."""
    subject = deleted(pod("web", "a", "b"), T0 + 30)
    view = observed(ran("a"), ran("b"), lifecycles={"a": told(T0 + 30)["main"]})
    assert step(subject, view) == Terminate("b", ContainerTermination(T0 + 30, T0 + 30))


def test_deletion_also_stops_a_running_init_container() -> None:
    """Init containers get the same grace."""
    assert step(deleted(pod("web", init=("first",)), T0 + 30), observed(ran("first"))) == Terminate(
        "first", ContainerTermination(T0 + 30, T0 + 30)
    )


def test_a_pod_taken_off_the_node_is_killed_and_removed() -> None:
    """Forced deletion: nobody waits for it."""
    assert step(pod(), observed(ran()), gone=True) == Kill("main")
    assert step(pod(), observed(ran(), lifecycles=told(T0 + 30)), gone=True) == Kill("main")
    assert step(pod(), observed(ran(code=137)), gone=True) == Teardown()


@pytest.mark.parametrize(
    ("view", "now", "expected"),
    [
        pytest.param(observed(ran()), T0 + 59, Wait(T0 + 60), id="runs until then"),
        pytest.param(
            observed(ran()), T0 + 60, Terminate("main", ContainerTermination(T0 + 90, T0 + 90)), id="told at the deadline"
        ),
        pytest.param(observed(ran(), lifecycles=told(T0 + 90)), T0 + 90, Kill("main"), id="killed after grace"),
        pytest.param(observed(ran(code=137, ended=T0 + 90)), T0 + 90, Release(), id="over"),
        pytest.param(observed(ran(code=137, ended=T0 + 90), released=True), T0 + 99, Wait(), id="stays over"),
        pytest.param(observed(ready=False), T0 + 60, Release(), id="never began"),
        pytest.param(observed(ready=False, step_failures={"": failure(T0 + 200)}), T0, Wait(T0 + 60), id="before a late retry"),
        pytest.param(observed(step_failures={"main": failure(T0 + 200)}), T0, Wait(T0 + 60), id="before a late pull"),
    ],
)
def test_the_active_deadline_ends_a_pod(view: ObservedState, now: float, expected: Step) -> None:
    """After activeDeadlineSeconds the containers get their grace, and nothing starts again."""
    assert step(pod(activeDeadlineSeconds=60), view, now) == expected


def test_a_pod_that_ended_in_time_is_not_failed_by_its_deadline() -> None:
    """States never go backward: Succeeded stays."""
    subject = pod(activeDeadlineSeconds=60, restartPolicy="Never")
    assert steps.ending(subject, gone=False, observed=observed(ran(code=0, ended=T0 + 9)), now=T0 + 100) is None
    late = observed(ran(code=0, ended=T0 + 61))
    assert steps.ending(subject, gone=False, observed=late, now=T0 + 100) is not None


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_a_new_image_replaces_the_container_whatever_the_policy(policy: str) -> None:
    """Asked with the pod's grace, killed after it, and started again: the exit was ours."""
    subject = pod(restartPolicy=policy, terminationGracePeriodSeconds=5)
    old = {"image": "busybox:old"}
    asked = step(subject, observed(ran(**old)))
    assert isinstance(asked, Terminate)
    assert asked.told == ContainerTermination(T0 + 5, T0 + 5)
    assert step(subject, observed(ran(**old), lifecycles=told(T0 + 5))) == Wait(T0 + 5)
    assert step(subject, observed(ran(**old), lifecycles=told(T0 + 5)), T0 + 5) == Kill("main")
    assert step(subject, observed(ran(**old), lifecycles=told(0, killed=True)), T0 + 6) == Wait()
    assert step(subject, observed(ran(code=0, **old), lifecycles=told(T0 + 5))) == Start("main", 1, 1)


def test_a_container_that_ended_by_itself_is_not_revived_by_a_new_image() -> None:
    """Only one that we stopped for the image starts again."""
    assert step(pod(restartPolicy="Never"), observed(ran(code=0, image="busybox:old"))) == Release()


def test_a_clock_that_was_set_back_holds_up_no_restart() -> None:
    """A back-off is from an end in the past."""
    view = observed(ran(code=1, streak=3))
    assert isinstance(step(pod(), view), Wait)
    assert step(pod(), view, T0 - 3600) == Start("main", 1, 4)


def test_a_finished_pod_is_released_once() -> None:
    """Its network goes back; then nothing is left to do."""
    subject = pod(restartPolicy="Never")
    assert step(subject, observed(ran(code=0))) == Release()
    assert step(subject, observed(ran(code=0), released=True)) == Wait()


def attempts(name: str) -> st.SearchStrategy[tuple[Attempt, ...]]:
    one = st.builds(
        Attempt, st.just(name), st.integers(0, 5), st.sampled_from(["busybox", "other"]),
        streak=st.integers(0, 9), started_at=st.none() | st.floats(T0, T0 + 700),
        finished_at=st.none() | st.floats(T0, T0 + 1400), code=st.sampled_from([0, 1, 137]),
    )  # fmt: skip
    return st.lists(one, max_size=2).map(tuple)


NAMES = ("first", "second", "a", "b")
HOOKS = st.sampled_from(["", "running", "done"])
MOMENTS = st.floats(T0, T0 + 1500)
LIVES = st.builds(
    LifecycleState, post_start=HOOKS, started=st.booleans(), ready=st.booleans(),
    fault=st.none() | st.builds(Fault, st.just("unwell"), st.none() | st.integers(1, 60)),
    stopping=st.none() | st.builds(ContainerTermination, MOMENTS, MOMENTS, HOOKS, st.booleans(), st.booleans()),
)  # fmt: skip
VIEWS = st.builds(
    ObservedState, st.just(T0), sandbox=st.booleans(), released=st.booleans(), volumes=st.booleans(),
    attempts=st.fixed_dictionaries({}, optional={name: attempts(name) for name in NAMES}),
    step_failures=st.dictionaries(st.sampled_from(["", *NAMES]), st.floats(T0, T0 + 1500).map(failure)),
    lifecycles=st.dictionaries(st.sampled_from(NAMES), LIVES),
)  # fmt: skip
PODS = st.builds(
    lambda policy, limit, end: deleted(_made(policy, limit), end) if end else _made(policy, limit),
    st.sampled_from(["Always", "OnFailure", "Never"]), st.none() | st.integers(1, 900),
    st.none() | st.integers(1000, 2500),
)  # fmt: skip


def _made(policy: str, limit: int | None) -> Any:
    extra = {} if limit is None else {"activeDeadlineSeconds": limit}
    return pod("web", "a", "b", init=("first", "second"), restartPolicy=policy, **extra)


@settings(max_examples=300, deadline=None)
@given(PODS, VIEWS, st.floats(T0, T0 + 1500), st.booleans())
def test_whatever_was_seen_no_step_breaks_the_order(subject: Any, view: ObservedState, now: float, gone: bool) -> None:
    """Nothing starts while the pod ends, no main before its inits, no waiting for the past, no second copy."""
    taken = step(subject, view, now, gone=gone)
    if steps.ending(subject, gone=gone, observed=view, now=now) is not None:
        assert isinstance(taken, Terminate | Signal | Kill | Release | Teardown | Wait)
    if isinstance(taken, Wait) and taken.until is not None:
        assert taken.until > now
    if isinstance(taken, Start):
        last = view.last(taken.name)
        assert view.volumes
        assert view.sandbox
        assert last is None or not last.running
        assert taken.number == (0 if last is None else last.number + 1)
        before = ("first", "second") if taken.name in ("a", "b") else NAMES[: NAMES.index(taken.name)]
        if view.last("a") or view.last("b"):
            # The init containers are behind the pod for good.
            assert taken.name in ("a", "b")
            return
        assert all((end := view.last(name)) is not None and not end.running and end.code == 0 for name in before)


# Sidecars, hooks, faults, ephemeral containers, evictions


def sidecar(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "restartPolicy": "Always", **more}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(observed(), Start("log", 0, 0), id="the sidecar first"),
        pytest.param(observed(ran("log"), lifecycles={"log": LifecycleState()}), Wait(), id="not started yet"),
        pytest.param(observed(ran("log")), Start("setup", 0, 0), id="started: on to the next"),
        pytest.param(observed(ran("log"), ran("setup")), Wait(), id="an init container beside it"),
        pytest.param(observed(ran("log", 1), ran("setup")), Start("log", 1, 1), id="it restarts while others initialise"),
        pytest.param(observed(ran("log"), ran("setup", 0)), Start("main", 0, 0), id="then the main container"),
        pytest.param(observed(ran("log", 0), ran("setup", 0), ran()), Start("log", 1, 1), id="it restarts whatever its code"),
        pytest.param(observed(ran("log", 1, streak=1), ran("setup", 0), ran()), Wait(T0 + 10), id="with back-off"),
        pytest.param(
            observed(ran("log", 1, streak=1), ran("setup", 0), ran(code=1)), Start("main", 1, 1), id="holding up nobody"
        ),
    ],
)
def test_sidecars_start_in_order_and_stay(view: ObservedState, expected: Step) -> None:
    """The next container waits until a sidecar has started, not until it has ended."""
    assert step(pod("web", init=(sidecar("log"), "setup")), view) == expected


def test_a_sidecar_restarts_in_a_pod_that_never_restarts() -> None:
    """Its own policy counts."""
    subject = pod("web", init=(sidecar("log"),), restartPolicy="Never")
    assert step(subject, observed(ran("log", 1), ran())) == Start("log", 1, 1)


def test_sidecars_stop_after_the_main_containers_the_last_one_first() -> None:
    """In a deletion, and when the pod has ended by itself."""
    subject = pod("web", init=(sidecar("one"), sidecar("two")), restartPolicy="Never")
    for view in (observed(ran("one"), ran("two"), ran(code=0)), observed(ran("one"), ran("two"), ran(code=1))):
        assert step(subject, view) == Terminate("two", ContainerTermination(T0 + 30, T0 + 30))
        assert steps.outcome(subject, view) is not None
    assert step(subject, observed(ran("one"), ran("two", 143), ran(code=0))) == Terminate(
        "one", ContainerTermination(T0 + 30, T0 + 30)
    )
    assert step(subject, observed(ran("one", 143), ran("two", 143), ran(code=0))) == Release()
    ending = deleted(subject, T0 + 10)
    assert step(ending, observed(ran("one"), ran("two"), ran())) == Terminate("main", ContainerTermination(T0 + 10, T0 + 10))
    late = observed(ran("one"), ran("two"), ran(code=137))
    assert step(ending, late, T0 + 11) == Terminate("two", ContainerTermination(T0 + 13, T0 + 10))


def test_sidecars_do_not_decide_how_a_pod_ended() -> None:
    """A failed one does not fail the pod."""
    subject = pod("web", init=(sidecar("log"),), restartPolicy="Never")
    assert steps.outcome(subject, observed(ran("log", 1), ran(code=0))) == "Succeeded"


def hooked(**lifecycle: Any) -> Any:
    return pod("web", {"name": "main", "image": "busybox", "lifecycle": lifecycle})


def test_the_post_start_hook_runs_once_after_the_start() -> None:
    """Begun once; while it runs, and after it, there is nothing to do."""
    subject = hooked(postStart={"exec": {"command": ["true"]}})
    assert step(subject, observed(ran(), lifecycles={"main": LifecycleState()})) == PostStart("main")
    assert step(subject, observed(ran(), lifecycles={"main": LifecycleState(post_start="running")})) == Wait()
    assert step(subject, observed(ran(), lifecycles={"main": LifecycleState(post_start="done")})) == Wait()


@pytest.mark.parametrize(
    ("told_", "now", "expected"),
    [
        (ContainerTermination(T0 + 30, T0 + 30, hook="running"), T0 + 1, Wait(T0 + 30)),
        (ContainerTermination(T0 + 30, T0 + 30, hook="done"), T0 + 1, Signal("main", T0 + 30)),
        (ContainerTermination(T0 + 30, T0 + 30, hook="running"), T0 + 30, Signal("main", T0 + 32)),
        (ContainerTermination(T0 + 32, T0 + 30, hook="done", signalled=True), T0 + 31, Wait(T0 + 32)),
        (ContainerTermination(T0 + 32, T0 + 30, hook="done", signalled=True), T0 + 32, Kill("main")),
        (ContainerTermination(T0 + 30, T0 + 30), T0, Signal("main", T0 + 30)),
    ],
)
def test_the_pre_stop_hook_comes_before_the_signal_within_the_grace(
    told_: ContainerTermination, now: float, expected: Step
) -> None:
    """Hook, signal, kill; a hook that takes all of the time leaves two seconds."""
    view = observed(ran(), lifecycles={"main": LifecycleState(started=True, stopping=told_)})
    assert step(deleted(pod(), T0 + 30), view, now) == expected


@pytest.mark.parametrize(("grace", "expected"), [(None, 30), (5, 5)])
def test_a_failed_probe_stops_the_container_with_its_own_grace(grace: int | None, expected: int) -> None:
    """terminationGracePeriodSeconds of the probe, else of the pod."""
    view = observed(ran(), lifecycles={"main": LifecycleState(started=True, fault=Fault("unwell", grace))})
    assert step(pod(), view) == Terminate("main", ContainerTermination(T0 + expected, T0 + expected), "unwell")


def test_an_earlier_end_of_the_pod_shortens_a_stop_that_is_under_way() -> None:
    """And a later one does not prolong it."""
    view = observed(ran(), lifecycles=told(T0 + 60))
    assert step(deleted(pod(), T0 + 10), view) == Wait(T0 + 10)
    assert step(deleted(pod(), T0 + 90), view) == Wait(T0 + 60)


def debugged(*names: str) -> Any:
    subject = pod("web", init=("first",))
    for name in names:
        subject.spec.ephemeralContainers.add().ephemeralContainerCommon.name = name
    return subject


def test_ephemeral_containers_start_once_whatever_the_others_do() -> None:
    """Beside a hanging init container, never again, and of no weight for the pod's end."""
    assert step(debugged("debug"), observed(ran("first"))) == Start("debug", 0, 0)
    assert step(debugged("debug"), observed(ran("first"), ran("debug", 1, image=""))) == Wait()
    subject = debugged("debug")
    subject.spec.restartPolicy = "Never"
    over = observed(ran("first", 0), ran(code=0), ran("debug", image=""))
    assert step(subject, over) == Terminate("debug", ContainerTermination(T0 + 30, T0 + 30))
    assert steps.outcome(subject, over) == "Succeeded"


def test_an_evicted_pod_is_stopped_and_never_restarted() -> None:
    """With its grace, or at once; it stays on the node as Failed."""
    soft = observed(ran(), eviction=Eviction("Evicted", "low on memory", T0 + 5))
    assert step(pod(), soft) == Terminate("main", ContainerTermination(T0 + 5, T0 + 5))
    assert step(pod(), observed(ran(), eviction=Eviction("Evicted", "low on memory", 0.0))) == Kill("main")
    assert step(pod(), observed(ran(code=137), eviction=Eviction("Evicted", "low on memory", 0.0))) == Release()


ON_42 = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}


@pytest.mark.parametrize(
    ("own", "code", "again"),
    [
        ({"restartPolicy": "Never"}, 1, False),
        ({"restartPolicy": "OnFailure"}, 0, False),
        ({"restartPolicy": "OnFailure"}, 3, True),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [ON_42],
            },
            42,
            True,
        ),
        ({"restartPolicy": "Never", "restartPolicyRules": [ON_42]}, 43, False),
    ],
)
@pytest.mark.shows(
    "spec.containers[].{restartPolicy,restartPolicyRules[].action,restartPolicyRules[].exitCodes.operator,restartPolicyRules[].exitCodes.values}"
)
def test_a_containers_own_policy_and_rules_come_before_the_pods(own: dict[str, Any], code: int, again: bool) -> None:
    """restartPolicy and restartPolicyRules of the container."""
    subject = pod("web", {"name": "main", "image": "busybox", **own}, "other")
    taken = step(subject, observed(ran(code=code), ran("other")))
    assert taken == (Start("main", 1, 1) if again else Wait())


@pytest.mark.parametrize(
    ("eviction", "expected"),
    [
        (Eviction("Evicted", "low on memory", 0.0), Kill("main")),
        (Eviction("Evicted", "low on memory", T0 + 10), Wait(T0 + 10)),
        (Eviction("Evicted", "low on memory", T0 + 900), Wait(T0 + 600)),
    ],
)
def test_an_eviction_shortens_a_deletion(eviction: Eviction, expected: Step) -> None:
    """A node that is short of memory does not wait for what is on its way out with ten minutes of grace."""
    assert step(deleted(pod(), T0 + 600), observed(ran(), lifecycles=told(T0 + 600), eviction=eviction)) == expected


def test_an_eviction_without_grace_kills_a_deleted_pod_at_once() -> None:
    """Also a container that has not been told to stop yet: neither hook nor signal delays the node."""
    eviction = Eviction("Evicted", "low on memory", 0.0)
    assert step(deleted(pod(), T0 + 600), observed(ran(), eviction=eviction)) == Kill("main")


def test_a_sidecar_is_told_to_stop_once_the_one_after_it_has_ended() -> None:
    """One that takes its time still has the others that it was started with."""
    subject = pod("web", init=(sidecar("one"), sidecar("two")), restartPolicy="Never")
    stopping = {"two": LifecycleState(started=True, stopping=ContainerTermination(T0 + 30, T0 + 30, signalled=True))}
    assert step(subject, observed(ran("one"), ran("two"), ran(code=0), lifecycles=stopping)) == Wait(T0 + 30)

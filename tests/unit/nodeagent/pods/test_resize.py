"""Resources that change while a pod runs, as decisions: each row is a moment and what comes next."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.pods import resize
from nodeagent.pods.model import RESIZE, Attempt, ContainerTermination, LifecycleState, ObservedState, Policy, StepFailure
from nodeagent.pods.resize import Limit
from nodeagent.pods.status import pod_status
from nodeagent.pods.steps import FinishResize, Start, Step, Terminate, Wait, next_step
from nodeagent.pods.steps import Resize as Apply
from tests.support.objects import container, pod
from tests.support.observed import T0, observed, ran

HALF = '{"requests":{"cpu":"500m"}}'
ONE = '{"requests":{"cpu":"1"}}'
RESTART = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
STOPPED = {"main": LifecycleState(started=True, stopping=ContainerTermination(T0 + 30, T0 + 30, signalled=True))}


def wanting(cpu: str = "1", *others: Any, **more: Any) -> Any:
    """A pod to whose container `cpu` is allocated."""
    return pod("web", container(requests={"cpu": cpu}, **more), *others)


def step(subject: Any, view: ObservedState) -> Step:
    return next_step(subject, gone=False, observed=view, now=T0, policy=Policy())


def during(*attempts: Attempt, due: bool = False, **more: Any) -> ObservedState:
    return observed(*attempts, resizing=True, limits_due=due, **more)


@pytest.mark.parametrize(
    ("subject", "view", "expected"),
    [
        pytest.param(wanting(), observed(ran(resources=HALF)), Wait(), id="nothing was allocated"),
        pytest.param(wanting(), during(ran(resources=HALF)), Apply(), id="a running container is resized"),
        pytest.param(wanting(), during(ran(resources=ONE), due=True), Apply(), id="so is the pod alone"),
        pytest.param(wanting("1000m"), during(ran(resources=ONE)), FinishResize(), id="equal amounts are no change"),
        pytest.param(wanting(), during(ran()), FinishResize(), id="an earlier agent recorded nothing"),
        pytest.param(wanting(), during(due=True), Apply(), id="the pod comes before its containers start"),
        pytest.param(
            wanting(), during(ran(resources=HALF), step_failures={RESIZE: StepFailure("Error", "", T0 + 5)}), Wait(T0 + 5),
            id="a failure waits",
        ),
        pytest.param(
            wanting(resizePolicy=RESTART), during(ran(resources=HALF), due=True),
            Terminate("main", ContainerTermination(T0 + 30, T0 + 30), "Container main resize requires restart"),
            id="a policy stops the container first",
        ),
        pytest.param(
            wanting(resizePolicy=RESTART), during(ran(resources=HALF), due=True, lifecycles=STOPPED), Wait(T0 + 30),
            id="then it ends",
        ),
        pytest.param(
            wanting(resizePolicy=RESTART), during(ran(code=143, resources=HALF), due=True, lifecycles=STOPPED), Apply(),
            id="then the pod has its limits",
        ),
        pytest.param(
            wanting(resizePolicy=RESTART), during(ran(code=143, resources=HALF), lifecycles=STOPPED), Start("main", 1, 1),
            id="then it starts again at once",
        ),
        pytest.param(
            wanting(resizePolicy=[{"resourceName": "memory", "restartPolicy": "RestartContainer"}]),
            during(ran(resources=HALF)), Apply(), id="a policy of another resource restarts nothing",
        ),
        pytest.param(
            wanting("1", container("side", requests={"cpu": "1"})), during(ran(resources=ONE), ran("side", 1, resources=HALF)),
            FinishResize(), id="an ended container starts with what is allocated",
        ),
    ],
)  # fmt: skip
def test_what_is_allocated_comes_into_force(subject: Any, view: ObservedState, expected: Step) -> None:
    """Restarts first, then pod and running containers together, then the end."""
    assert step(subject, view) == expected


def test_a_container_that_restarts_for_its_resources_does_so_whatever_its_policy() -> None:
    """It did not end by itself: no restart policy and no back-off is about it."""
    subject = wanting(resizePolicy=RESTART)
    subject.spec.restartPolicy = "OnFailure"
    view = during(ran(code=0, resources=HALF, streak=5), lifecycles=STOPPED)
    assert step(subject, view) == Start("main", 1, 6)


@pytest.mark.parametrize(
    ("pod_limit", "containers", "expected"),
    [
        ((1, 2), {"a": (1, 2)}, ["", "a"]),
        ((2, 1), {"a": (2, 1)}, ["a", ""]),
        ((2, 2), {"a": (0, 1), "b": (1, 2), "c": (2, 1)}, ["", "a", "c", "b"]),
        ((0, 3), {"a": (0, 1), "b": (1, 2)}, ["a", "b", ""]),
        ((3, 0), {"a": (1, 0)}, ["", "a"]),
        ((0, 0), {}, [""]),
    ],
)
def test_no_container_has_more_than_its_pod_at_any_time(
    pod_limit: tuple[int, int], containers: dict[str, tuple[int, int]], expected: list[str]
) -> None:
    """Zero is no limit, and so the most."""
    assert resize.order(Limit("", *pod_limit), [Limit(name, *pair) for name, pair in containers.items()]) == expected


def test_memory_in_use_is_not_taken_away() -> None:
    """In kubelet's words; what grows is not asked."""
    pod_limit, main = Limit("", 200, 100), Limit("main", 200, 100)
    assert resize.below_usage([pod_limit, main], {"": 90, "main": 90}) == ""
    assert resize.below_usage([pod_limit, main], {"": 150, "main": 90}) == (
        "cannot decrease memory limits: attempting to set pod memory limit (100) below current usage (150)"
    )
    assert resize.below_usage([pod_limit, main], {"": 150, "main": 140}) == (
        "cannot decrease memory limits: [attempting to set pod memory limit (100) below current usage (150), "
        'attempting to set container "main" memory limit (100) below current usage (140)]'
    )
    assert resize.below_usage([Limit("", 100, 200)], {"": 300}) == ""


def test_a_pod_keeps_what_is_allocated_until_it_gets_something_else() -> None:
    """Of main containers and sidecars; the rest is that of the newer version."""
    sidecar = container("side", requests={"cpu": "1"}, restartPolicy="Always")
    before = pod("web", container(requests={"cpu": "1"}), init=(sidecar,))
    after = pod("web", container(requests={"cpu": "2"}, image="other"), init=({**sidecar, "resources": {}},))
    found = resize.allocated(after, before)
    assert (found.spec.containers[0].image, found.spec.containers[0].resources) == (
        "other",
        before.spec.containers[0].resources,
    )
    assert found.spec.initContainers[0].resources == before.spec.initContainers[0].resources
    assert resize.allocated(before, before) is before
    assert resize.allocated(after, pod("web")).spec.containers[0].resources.requests == {}
    assert resize.allocated(after, type(after)()) is after


def test_events_name_what_every_container_is_to_have() -> None:
    """As kubelet writes them."""
    resources = {"requests": {"memory": "1Gi", "cpu": "1"}, "limits": {"cpu": "2"}}
    subject = pod("web", {**container(), "resources": resources}, meta={"generation": 3})
    assert resize.summary(subject, "no room") == (
        '{"containers":[{"name":"main","resources":{"limits":{"cpu":"2"},"requests":{"cpu":"1","memory":"1Gi"}}}],'
        '"generation":3,"error":"no room"}'
    )


def shown(subject: Any, view: ObservedState) -> Any:
    return pod_status(subject, gone=False, observed=view, now=T0, host_ips=("",), policy=Policy(), previous=None)


def test_the_status_shows_what_is_allocated_and_what_is_in_force() -> None:
    """The two differ while a resize is under way, and its conditions say so; of a pod that has ended they say nothing."""
    subject = pod("web", container(requests={"cpu": "1"}), meta={"generation": 4})
    view = during(ran(resources=HALF), step_failures={RESIZE: StepFailure("Error", "in use", T0)})
    [main] = (status := shown(subject, view)).containerStatuses
    assert (main.allocatedResources["cpu"].string, main.resources.requests["cpu"].string) == ("1", "500m")
    [condition] = [item for item in status.conditions if item.type.startswith("PodResize")]
    assert (condition.type, condition.reason, condition.message) == ("PodResizeInProgress", "Error", "in use")
    assert (condition.observedGeneration, status.observedGeneration) == (4, 4)
    view.resizing = False
    assert shown(subject, view).containerStatuses[0].resources.requests["cpu"].string == "1"
    subject.spec.restartPolicy = "Never"
    ended = shown(subject, during(ran(code=0, resources=HALF)))
    assert not [item for item in ended.conditions if item.type.startswith("PodResize")]

"""Replicas for a metric, case by case with the numbers of Kubernetes' replica_calculator_test.go (1.37).

A pod has two containers, each of which requests one processor and uses the given thousandths of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.controllers import replicacalculator
from controlplane.controllers.replicacalculator import Proposal, Startup, Target, Tolerances, Uncomputable
from controlplane.podusage import PodUse
from pinnace import codec
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.podresources import CPU, MEMORY
from pinnace.usage import Use
from tests.support import objects

NOW = 1_000_000
STARTUP = Startup(initialization=120, readiness=10)
# Seconds since a pod's start: past the initialization period, and within it.
COOL, HOT = 180, 30


@dataclass(frozen=True)
class Case:
    """A pod. `used`: thousandths of each container, one number for both; None: not measured. `changed`: seconds since the last
    change of its readiness, by default since its start."""

    used: int | tuple[int, ...] | None
    ready: bool | None = True
    phase: str = "Running"
    age: int | None = COOL
    changed: int | None = None
    window: int = 1
    deleted: bool = False
    request: str | None = "1"


def made(index: int, case: Case) -> Pod:
    requests = {"cpu": case.request, "memory": "100"} if case.request else None
    containers = [objects.container(name, requests=requests) for name in ("one", "two")]
    meta: dict[str, Any] = {"uid": str(index)}
    if case.deleted:
        meta["deletionTimestamp"] = codec.format_time(NOW)
    pod: Pod = objects.pod(f"p{index}", *containers, meta=meta)
    pod.status.phase = case.phase
    if case.age is not None:
        pod.status.startTime.seconds = NOW - case.age
    if case.ready is not None:
        changed = case.changed if case.changed is not None else case.age or 0
        pod.status.conditions.add(type="Ready", status=str(case.ready)).lastTransitionTime.seconds = NOW - changed
    return pod


def measured(case: Case) -> PodUse | None:
    if case.used is None:
        return None
    each = case.used if isinstance(case.used, tuple) else (case.used, case.used)
    names = ("one", "two")[: len(each)]
    return PodUse(NOW, case.window, {name: Use(used * 10**6, used) for name, used in zip(names, each, strict=True)})


def propose(
    cases: list[Case], target: Target, *, current: int | None = None, tolerances: Tolerances | None = None
) -> Proposal:  # fmt: skip
    pods = [made(index, case) for index, case in enumerate(cases)]
    found = {str(index): use for index, case in enumerate(cases) if (use := measured(case)) is not None}
    wanted = len(pods) if current is None else current
    return replicacalculator.propose(target, pods, found, wanted, tolerances or Tolerances(), STARTUP)


def running(*used: int | tuple[int, ...] | None, **more: Any) -> list[Case]:
    return [Case(each, **more) for each in used]


UNREADY: dict[str, Any] = {"ready": False}
TWO = "two"


@pytest.mark.parametrize(
    ("cases", "percent", "container", "replicas", "utilization", "average"),
    [
        pytest.param(running(300, 500, 700), 30, "", 5, 50, 1000, id="up"),
        pytest.param(running((1000, 300), (1000, 500), (1000, 700)), 30, TWO, 5, 50, 500, id="up by one container"),
        pytest.param([Case(300, **UNREADY), *running(500, 700)], 30, "", 4, 60, 1200, id="an unready pod dampens"),
        pytest.param([Case(300, age=HOT, window=60), *running(500, 700)], 30, "", 4, 60, 1200, id="a starting pod dampens"),
        pytest.param([Case(400), *running(500, 700, **UNREADY)], 30, "", 3, 40, 800, id="unready pods prevent"),
        pytest.param([*running(500, 700), *running(None, None, ready=False, phase="Failed")], 30, "", 4, 60, 1200, id="failed pods do not count"),
        pytest.param([*running(500, 700), *running(100, 100, deleted=True)], 30, "", 4, 60, 1200, id="deleted pods do not count"),
        pytest.param(running(100, 300, 500, 250, 250), 50, "", 3, 28, 560, id="down"),
        pytest.param(running((1000, 100), (1000, 300), (1000, 500), (1000, 250), (1000, 250)), 50, TWO, 3, 28, 280, id="down by one container"),
        pytest.param([*running(100, 300, 500), *running(250, 250, **UNREADY)], 50, "", 2, 30, 600, id="down without unready pods"),
        pytest.param([Case(100), *running(None, None, None, None, ready=False, phase="Pending")], 50, "", 1, 10, 200, id="down without pending pods"),
        pytest.param([*running(100, 300, 500), *running(250, 250, age=HOT, window=60)], 50, "", 2, 30, 600, id="down without starting pods"),
        pytest.param(running(1020, 1020, 1020), 100, "", 3, 102, 2040, id="within the tolerance"),
        pytest.param(running(400, 95, None, None), 100, "", 3, 24, 495, id="down with missing pods as if they used their requests"),
        pytest.param(running(1000, None), 100, "", 2, 100, 2000, id="at the target with a missing pod"),
        pytest.param(running(1900, None), 100, "", 2, 190, 3800, id="a missing pod prevents more"),
        pytest.param(running(600, None), 100, "", 2, 60, 1200, id="a missing pod prevents fewer"),
        pytest.param([Case(100, **UNREADY), Case(450), Case(None)], 50, "", 3, 45, 900, id="an unready and a missing pod"),
        pytest.param([Case(100, **UNREADY), Case(2000), Case(None)], 50, "", 4, 200, 4000, id="up with an unready and a missing pod"),
        pytest.param([Case(100, **UNREADY), Case(100), Case(100), Case(None)], 50, "", 3, 10, 200, id="down with an unready and a missing pod"),
        pytest.param([Case(200, **UNREADY), Case(100), Case(100, request="2"), Case(None, request="2")], 300, "", 2, 6, 200, id="a target above all requests"),
    ],
)  # fmt: skip
def test_a_share_of_the_requests(
    cases: list[Case], percent: int, container: str, replicas: int, utilization: int, average: int
) -> None:  # fmt: skip
    """The ratio times the pods that count, rounded up; pods that do not count dampen a change."""
    found = propose(cases, Target(CPU, utilization=percent, container=container))
    assert (found.replicas, found.utilization, found.average) == (replicas, utilization, average)


def test_a_surge_does_not_turn_a_scale_down_around() -> None:
    """With a third pod of a rolling update that is not measured yet."""
    found = propose(running(100, 100, None), Target(CPU, utilization=50), current=2)
    assert (found.replicas, found.utilization) == (2, 10)


MIXED = [Case(0, request=request) for request in ("0.9", "1", "1.1")]


@pytest.mark.parametrize(
    ("used", "tolerances", "replicas"),
    [
        ((1010, 1030, 1020), Tolerances(), 3),
        ((909, 1010, 1111), Tolerances(0, 0), 4),
        ((1890, 1910, 1900), Tolerances(0.1, 2), 3),
        ((1100, 1080, 1090), Tolerances(2, 0.08), 4),
        ((660, 640, 650), Tolerances(0.36, 0.1), 3),
        ((660, 640, 650), Tolerances(0.34, 0.1), 2),
    ],
)
def test_each_direction_has_its_tolerance(used: tuple[int, ...], tolerances: Tolerances, replicas: int) -> None:
    """A ratio within it changes nothing."""
    cases = [Case(each, request=mixed.request) for each, mixed in zip(used, MIXED, strict=True)]
    assert propose(cases, Target(CPU, utilization=100), tolerances=tolerances).replicas == replicas


@pytest.mark.parametrize(
    ("cases", "target", "text"),
    [
        (running(None, None), Target(CPU, utilization=50), "unable to get metrics for resource cpu: no metrics returned from resource metrics API"),
        ([], Target(CPU, utilization=50), "no pods returned by selector while calculating replica count"),
        (running(500, ready=False, age=HOT), Target(CPU, utilization=50), "did not receive metrics for targeted pods (pods might be unready)"),
        (running(500, request=None), Target(CPU, utilization=50), "missing request for cpu in container one of Pod p0"),
        (running(500, request="0"), Target(CPU, utilization=50), "no metrics returned matched known pods"),
        (running(500), Target(CPU, utilization=50, container="three"), "did not receive metrics for targeted pods (pods might be unready)"),
    ],
)  # fmt: skip
def test_no_number_of_replicas(cases: list[Case], target: Target, text: str) -> None:
    """In kube-controller-manager's words."""
    with pytest.raises(Uncomputable) as caught:
        propose(cases, target)
    assert str(caught.value) == text


def test_a_container_that_a_pod_lacks() -> None:
    """One pod has it and is measured, another one does not."""
    pods = [objects.pod(name, objects.container(name, requests={"memory": "1"}), meta={"uid": name}) for name in ("one", "two")]
    for pod in pods:
        pod.status.phase = "Running"
    usage, target = {"one": PodUse(NOW, 1, {"one": Use(1, 1)})}, Target(MEMORY, utilization=50, container="one")
    with pytest.raises(Uncomputable, match="container one not found in Pod two"):
        replicacalculator.propose(target, pods, usage, 2, Tolerances(), STARTUP)


@pytest.mark.parametrize(
    ("case", "counts"),
    [
        pytest.param(Case(1, ready=None), False, id="without the condition"),
        pytest.param(Case(1, age=None), False, id="without a start time"),
        pytest.param(Case(1, age=60, changed=30, window=30), True, id="ready for a window, while it starts"),
        pytest.param(Case(1, age=60, changed=30, window=60), False, id="ready for less than a window, while it starts"),
        pytest.param(Case(1, age=600, changed=594, **UNREADY), False, id="never ready, within the initial readiness delay"),
        pytest.param(Case(1, age=180, window=3600), True, id="without a fresh window, after its start"),
        pytest.param(Case(1, age=600, changed=540, **UNREADY), True, id="unready after it was ready"),
        pytest.param(Case(1, age=600, changed=590, **UNREADY), True, id="unready at the end of the delay"),
    ],
)  # fmt: skip
def test_which_pods_count_for_cpu(case: Case, counts: bool) -> None:
    """A pod that starts uses more than later, so it does not."""
    if counts:
        assert propose([case], Target(CPU, utilization=50)).average == 2
        return
    with pytest.raises(Uncomputable, match="pods might be unready"):
        propose([case], Target(CPU, utilization=50))


def test_memory_counts_from_the_start() -> None:
    """Also of pods that are not ready."""
    found = propose(running(100, 100, ready=False, age=HOT), Target(MEMORY, value=100_000))
    assert (found.replicas, found.utilization, found.average) == (4, None, 200_000)


@pytest.mark.parametrize(
    ("used", "wanted", "replicas"),
    [
        ((300, 500, 700), 500, 6),
        ((100, 300, 500, 250, 250), 1000, 3),
        ((500, 500), 1000, 2),
        ((100, None), 400, 2),
        ((20, None), 400, 2),
    ],
)
def test_an_average_value(used: tuple[int | None, ...], wanted: int, replicas: int) -> None:
    """Thousandths of a processor for each pod, both containers together. A missing pod counts as one at the target where fewer
    are wanted."""
    assert propose(running(*used), Target(CPU, value=wanted)).replicas == replicas


@given(
    used=st.lists(st.none() | st.integers(0, 1 << 40), min_size=1, max_size=20),
    percent=st.integers(1, 1000),
    unready=st.sets(st.integers(0, 19)),
)
def test_the_direction_is_that_of_the_measured_pods(used: list[int | None], percent: int, unready: set[int]) -> None:
    """Pods that do not count may prevent a change, never turn it around; and no number overflows."""
    cases = [Case(each, ready=index not in unready) for index, each in enumerate(used)]
    try:
        found = propose(cases, Target(CPU, utilization=percent))
    except Uncomputable:
        return
    assert found.utilization is not None
    assert 0 <= found.replicas < 1 << 31
    if found.utilization > percent:
        assert found.replicas >= min(len(cases), sum(each is not None for each in used) - len(unready & set(range(len(cases)))))
    if found.utilization < percent:
        assert found.replicas <= len(cases)

"""Whom the node refuses at its door."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.node.admission import Refusal, admit
from nodeagent.node.resources import MONITOR
from pinnace.podresources import CRITICAL_PRIORITY
from tests.support.objects import container, pod

ALLOCATABLE = {"cpu": 2000, "memory": 1 << 30, "ephemeral-storage": 1 << 30, "pods": 3}


def asks(name: str = "web", **requests: str) -> Any:
    return pod(name, container("main", requests={key.replace("_", "-"): value for key, value in requests.items()}))


def refused(
    subject: Any, *others: Any, pressure: str = "", labels: dict[str, str] | None = None, monitors: int = 300 << 20
) -> Refusal | None:
    found = frozenset(pressure.split())
    return admit(subject, others, allocatable=ALLOCATABLE, name="n1", labels=labels or {}, pressure=found, monitors=monitors)


def test_what_fits_comes_in() -> None:
    """To the last millicore."""
    assert refused(asks(cpu="1500m"), asks(cpu="500m")) is None


def test_what_does_not_fit_is_told_what_there_was() -> None:
    """In kubelet's words: millicores and bytes."""
    assert refused(asks(cpu="1501m"), asks(cpu="500m")) == Refusal(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1501, used: 500, capacity: 2000"
    )
    found = refused(asks(memory="2Gi"))
    assert found is not None
    assert found.reason == "OutOfmemory"
    assert str(2 << 30) in found.message


def test_pods_are_counted() -> None:
    """Also those that ask for nothing."""
    found = refused(pod("web"), pod("a"), pod("b"), pod("c"))
    assert found == Refusal("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3")


def test_a_full_node_takes_what_asks_for_nothing_of_what_is_full() -> None:
    """It is judged by its own requests."""
    assert refused(pod("web"), asks(cpu="5")) is None


def test_under_memory_pressure_best_effort_pods_stay_outside() -> None:
    """Those that asked for memory, tolerate it, or are critical, come in."""
    assert refused(pod("web"), pressure="MemoryPressure") == Refusal("Evicted", "The node had condition: [MemoryPressure]. ")
    assert refused(asks(memory="1Mi"), pressure="MemoryPressure") is None
    toleration = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    assert refused(pod("web", tolerations=[toleration]), pressure="MemoryPressure") is None
    assert refused(pod("web", priority=CRITICAL_PRIORITY), pressure="MemoryPressure") is None


def test_under_disk_or_process_pressure_nobody_comes_in() -> None:
    """But what is critical."""
    for pressure in ("DiskPressure", "PIDPressure", "MemoryPressure PIDPressure"):
        assert refused(asks(memory="1Mi"), pressure=pressure) is not None
        assert refused(pod("web", priority=CRITICAL_PRIORITY), pressure=pressure) is None


def test_a_selector_for_another_node() -> None:
    """Labels that the node does not give itself are not its to judge."""
    labels = {"kubernetes.io/hostname": "n1"}
    assert refused(pod(nodeSelector={"kubernetes.io/hostname": "n2"}), labels=labels) == Refusal(
        "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    )
    assert refused(pod(nodeSelector={"kubernetes.io/hostname": "n1", "tier": "gold"}), labels=labels) is None


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("term", "admitted"),
    [
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}, False),
        ({"matchExpressions": [{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["linux"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold"]}]}, True),
        ({}, False),
    ],
)
def test_node_affinity_for_another_node(term: dict[str, Any], admitted: bool) -> None:
    """By the node's name and the labels that it gives itself; others are not known to it."""
    subject = pod(affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}})
    found = refused(subject, labels={"kubernetes.io/os": "linux"})
    assert (found is None) is admitted
    assert found is None or found.reason == "NodeAffinity"


def crowd(name: str, containers: int, **requests: str) -> Any:
    return pod(name, *(container(f"c{number}", requests=requests if not number else None) for number in range(containers)))


def test_monitors_of_many_containers_count_as_memory_of_their_pod() -> None:
    """Each container has one, which is in no cgroup: hundreds in one pod would be hundreds of megabytes in none."""
    reserved = 10 * MONITOR
    assert refused(crowd("few", 10), monitors=reserved) is None
    fits = ((1 << 30) - (900 << 20)) // MONITOR
    assert refused(crowd("many", 10 + fits), asks(memory="900Mi"), monitors=reserved + MONITOR) is None
    found = refused(crowd("many", 11 + fits), asks(memory="900Mi"), monitors=reserved + MONITOR)
    assert found is not None
    assert found.reason == "OutOfmemory"
    assert f"{11 + fits} containers" in found.message


def test_what_is_kept_for_monitors_is_for_those_of_all_pods() -> None:
    """A pod of one container too, once others have used it up; and where memory is left it comes in."""
    full = asks("full", memory="1Gi")
    assert refused(pod("web"), crowd("crowd", 8), full, monitors=10 * MONITOR) is None
    found = refused(pod("web"), crowd("crowd", 9), full, monitors=10 * MONITOR)
    assert found is not None
    assert found.reason == "OutOfmemory"
    assert refused(pod("web"), crowd("crowd", 9), asks(memory="1000Mi"), monitors=10 * MONITOR) is None

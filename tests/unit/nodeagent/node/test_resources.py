"""What of a machine belongs to pods."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from nodeagent.eviction.thresholds import parse
from nodeagent.node import flags
from nodeagent.node.resources import NodeResources, parse_amounts, pod_limits
from nodeagent.runtime.cgroupfiles import Limits
from tests.support.objects import container, pod

MIB = 1 << 20
MACHINE = {"cpu": 4000, "memory": 1000 * MIB, "ephemeral-storage": 1000 * MIB, "pid": 30000}


def test_allocatable_is_what_reservations_and_eviction_leave() -> None:
    """Of memory and disk the part that eviction keeps free, of cpu the reservations alone."""
    node = NodeResources(
        system_reserved={"cpu": 100, "memory": 50 * MIB}, kube_reserved={"cpu": 200, "memory": 30 * MIB},
        hard=parse("memory.available<20Mi,nodefs.available<10%,imagefs.available<50%"),
    )  # fmt: skip
    assert node.allocatable(MACHINE) == {
        "cpu": 3700, "memory": 900 * MIB, "ephemeral-storage": 900 * MIB, "pid": 30000,
    }  # fmt: skip


def test_all_pods_together_may_use_what_eviction_would_free() -> None:
    """Or the kernel would kill before the node could evict."""
    node = NodeResources(system_reserved={"memory": 50 * MIB}, hard=parse("memory.available<20Mi"))
    assert node.node_limits(MACHINE) == Limits(cpu_request=4000, memory_limit=950 * MIB)


def test_a_node_can_have_less_than_its_machine() -> None:
    """Its share is its capacity from then on; processes are bounded when they were said."""
    node = NodeResources(capacity={"cpu": 500, "memory": 100 * MIB, "pid": 50}, hard=parse("memory.available<10Mi"))
    assert node.capacity_of(MACHINE)["cpu"] == 500
    assert node.allocatable(MACHINE)["memory"] == 90 * MIB
    assert node.node_limits(MACHINE) == Limits(cpu_request=500, memory_limit=100 * MIB, pids=50)


def test_more_reserved_than_there_is_leaves_nothing() -> None:
    """Not less than nothing."""
    assert NodeResources(system_reserved={"cpu": 9000}).allocatable(MACHINE)["cpu"] == 0


def limited(name: str = "main", requests: dict[str, str] | None = None, **limits: str) -> Any:
    return container(name, resources={"limits": limits, "requests": requests or {}})


def test_a_pod_is_bounded_where_all_of_its_containers_are() -> None:
    """By the sum of their limits; one without a limit leaves the pod without."""
    both = pod("web", limited("a", {"cpu": "100m"}, cpu="1", memory="10Mi"), limited("b", cpu="500m"))
    assert pod_limits(both.spec, "Burstable", 100) == Limits(cpu_request=100, cpu_limit=1500, pids=100)


def test_a_large_init_container_is_the_pods_peak() -> None:
    """Sidecars run beside it and beside the containers."""
    sidecar = {**limited("side", memory="5Mi"), "restartPolicy": "Always"}
    subject = pod("web", limited("a", memory="10Mi"), init=(sidecar, limited("i", memory="20Mi")))
    assert pod_limits(subject.spec, "Burstable", 0).memory_limit == 25 * MIB


def test_best_effort_pods_weigh_the_least() -> None:
    """Requests of what is neither cpu nor memory do not change that."""
    subject = pod("web", container("main", requests={"ephemeral-storage": "1Mi"}))
    assert pod_limits(subject.spec, "BestEffort", 0) == Limits()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpu", "expected RESOURCE=QUANTITY"),
        ("gpu=1", "expected RESOURCE=QUANTITY"),
        ("cpu=x", "a quantity"),
        ("cpu=-1", "negative"),
    ],
)
def test_a_wrong_amount_names_its_part(text: str, message: str) -> None:
    """As it was written."""
    with pytest.raises(ValueError, match=message):
        parse_amounts(text)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    flags.add(parser)
    return parser.parse_args(arguments)


def test_flags_are_kubelets() -> None:
    """And make what they say."""
    args = parsed(
        "--system-reserved", "cpu=100m", "--max-pods", "5", "--pod-max-pids=-1", "--eviction-hard", "memory.available<1Mi",
        "--eviction-soft", "memory.available<2Mi", "--eviction-soft-grace-period", "memory.available=1m",
        "--eviction-max-pod-grace-period", "7", "--eviction-pressure-transition-period", "30s",
    )  # fmt: skip
    resources, eviction = flags.resources(args), flags.eviction(args)
    assert (resources.system_reserved, resources.max_pods, resources.pod_max_pids) == ({"cpu": 100}, 5, 0)
    assert [item.text for item in resources.hard] == ["1Mi"]
    assert [(item.text, item.grace) for item in eviction.thresholds] == [("1Mi", 0), ("2Mi", 60)]
    assert (eviction.max_pod_grace, eviction.transition, eviction.interval) == (7, 30, 10)


@pytest.mark.parametrize("argument", ["--capacity=cpu", "--max-pods=-1", "--eviction-monitoring-interval=x"])
def test_a_wrong_flag_ends_with_a_word_about_it(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The flag and what was wrong with it."""
    with pytest.raises(SystemExit):
        parsed(argument)
    assert f"argument {argument.partition('=')[0]}: " in capsys.readouterr().err


def test_thresholds_that_contradict_each_other_end_with_a_word_about_it() -> None:
    """They are looked at together."""
    with pytest.raises(SystemExit, match="needs a grace period"):
        flags.eviction(parsed("--eviction-soft", "memory.available<1Mi"))


def test_the_processes_that_look_after_containers_are_reserved_for() -> None:
    """They are in no pod's cgroup. A small node keeps a twentieth of its memory for them."""
    node = NodeResources(max_pods=10, pod_overhead=3 * MIB, hard=parse("memory.available<100Mi"))
    assert node.allocatable(MACHINE)["memory"] == (1000 - 30 - 100) * MIB
    assert node.node_limits(MACHINE).memory_limit == 970 * MIB
    many = NodeResources(max_pods=110, pod_overhead=3 * MIB, hard=parse("memory.available<100Mi"))
    assert many.allocatable(MACHINE)["memory"] == (1000 - 50 - 100) * MIB
    assert many.measured() == {}
    assert (node.monitors(MACHINE), many.monitors(MACHINE)) == (30 * MIB, 50 * MIB)
    own = NodeResources(capacity={"memory": 300 * MIB, "pid": 50}, pod_overhead=3 * MIB)
    assert own.measured() == {"memory": 285 * MIB, "pid": 50}

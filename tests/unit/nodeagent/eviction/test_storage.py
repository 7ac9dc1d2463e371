"""Pods over their own limits of local storage, and the words for it."""

from __future__ import annotations

from typing import Any

from nodeagent.eviction import words
from nodeagent.eviction.decide import Observation
from nodeagent.eviction.storage import exceeded
from nodeagent.eviction.thresholds import parse
from nodeagent.eviction.usage import Disk, PodUse
from tests.support.objects import container, pod

MIB = 1 << 20


def limited(name: str, limit: str = "") -> Any:
    return container(name, resources={"limits": {"ephemeral-storage": limit}} if limit else {})


def volume(name: str, **source: Any) -> Any:
    return {"name": name, "emptyDir": source}


def use(layers: dict[str, int] | None = None, volumes: dict[str, int] | None = None, local: str = "") -> PodUse:
    """MiB of each container and each volume; `local` names the volumes that are on the disk."""
    return PodUse(
        layers={name: Disk(size * MIB, 1) for name, size in (layers or {}).items()},
        volumes={name: Disk(size * MIB, 1) for name, size in (volumes or {}).items()}, local=frozenset(local.split()),
    )  # fmt: skip


def test_a_pod_without_limits_keeps_them() -> None:
    """Whatever it uses."""
    assert exceeded(pod("web", "main", volumes=[volume("v")]), use({"main": 999}, {"v": 999}, "v")) == ""


def test_a_volume_over_its_size_limit() -> None:
    """Exactly the limit is within it; a limit of zero is none."""
    subject = pod("web", volumes=[volume("v", sizeLimit="1Mi"), volume("w", sizeLimit="0")])
    assert exceeded(subject, use(volumes={"v": 1, "w": 9}, local="v w")) == ""
    assert (
        exceeded(subject, use(volumes={"v": 2, "w": 0}, local="v w"))
        == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    )


def test_a_container_over_its_own_limit() -> None:
    """The pod as a whole may have more."""
    subject = pod("web", limited("a", "1Mi"), limited("b", "5Mi"))
    assert exceeded(subject, use({"a": 2, "b": 1})) == 'Container a exceeded its local ephemeral storage limit "1Mi". '


def test_a_pod_over_the_sum_of_its_containers() -> None:
    """Its volumes on the disk count, those in memory do not."""
    subject = pod("web", limited("a", "1Mi"), limited("b", "1Mi"), volumes=[volume("v"), volume("m", medium="Memory")])
    assert exceeded(subject, use({"a": 1, "b": 1}, {"m": 9}, "v")) == ""
    text = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    assert exceeded(subject, use({"a": 1}, {"v": 2}, "v")) == text


def test_an_eviction_names_what_was_short_and_who_used_more_than_asked() -> None:
    """Word for word as kubelet says it."""
    [threshold] = parse("memory.available<100Mi")
    subject = pod("web", container("a", requests={"memory": "64Mi"}), "b", container("c", requests={"memory": "1Gi"}))
    seen = {"memory.available": Observation(90 * MIB, 1000 * MIB)}
    assert words.low_on(threshold, seen, subject, PodUse(containers={"a": 80 * MIB, "b": 50 * MIB, "c": 100 * MIB})) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. "
        "Container a was using 80Mi, request is 64Mi, has larger consumption of memory. "
        "Container b was using 50Mi, request is 0, has larger consumption of memory. "
    )


def test_a_percentage_is_shown_as_what_it_comes_to() -> None:
    """Of the capacity; numbers of processes are plain."""
    disk, pids = parse("nodefs.available<10%,pid.available<10%")
    seen = {"nodefs.available": Observation(MIB, 20 * MIB), "pid.available": Observation(3, 50)}
    assert "Threshold quantity: 2Mi, available: 1Mi. " in words.low_on(disk, seen, pod(), PodUse())
    assert words.low_on(pids, seen, pod(), PodUse()) == (
        "The node was low on resource: pids. Threshold quantity: 5, available: 3. "
    )

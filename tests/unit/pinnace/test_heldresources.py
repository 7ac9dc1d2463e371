"""What a pod counts for while it is resized: the most of what is wanted, allocated and in force."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, heldresources
from pinnace.admission import podresize
from tests.support.objects import container, pod


def status(requests: dict[str, str], allocated: dict[str, str] | None = None, limits: Any = None) -> dict[str, Any]:
    return {
        "name": "main", "allocatedResources": requests if allocated is None else allocated,
        "resources": {"requests": requests, "limits": limits or {}},
    }  # fmt: skip


def resized(wanted: Any, *statuses: dict[str, Any], reason: str = "", **more: Any) -> Any:
    subject = pod("web", container(**wanted), **more)
    value: dict[str, Any] = {"containerStatuses": list(statuses)}
    if reason:
        value["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": reason}]
    subject.status.CopyFrom(codec.decode(type(subject.status), value))
    return subject


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param(resized({"requests": {"cpu": "1"}}), 1000, id="nothing is reported yet"),
        pytest.param(resized({"requests": {"cpu": "2"}}, status({"cpu": "1"})), 2000, id="growing counts at once"),
        pytest.param(resized({"requests": {"cpu": "1"}}, status({"cpu": "2"})), 2000, id="shrinking counts when it is done"),
        pytest.param(
            resized({"requests": {"cpu": "1"}}, status({"cpu": "1"}, {"cpu": "3"})), 3000, id="what is allocated is taken"
        ),
        pytest.param(
            resized({"requests": {"cpu": "9"}}, status({"cpu": "1"}), reason="Infeasible"), 1000, id="what never comes"
        ),
        pytest.param(resized({"requests": {"cpu": "9"}}, status({"cpu": "1"}), reason="Deferred"), 9000, id="what waits"),
        pytest.param(resized({"requests": {"cpu": "1"}}, status({"cpu": "2"}), overhead={"cpu": "1"}), 3000, id="overhead"),
    ],
)
def test_requests_are_the_most_of_what_is_wanted_and_had(subject: Any, expected: int) -> None:
    """Of each container; a resize that the node has refused for good does not count."""
    assert heldresources.requests(subject)["cpu"] == expected


def test_limits_are_the_most_of_what_is_wanted_and_had() -> None:
    """As requests, but that nothing is allocated of limits."""
    subject = resized({"resources": {"limits": {"cpu": "1"}}}, status({"cpu": "1"}, limits={"cpu": "2", "memory": "1Gi"}))
    assert heldresources.limits(subject) == {"cpu": 2000, "memory": 1 << 30}
    refused = resized({"resources": {"limits": {"cpu": "9"}}}, status({}, limits={"cpu": "2"}), reason="Infeasible")
    assert heldresources.limits(refused) == {"cpu": 2000}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"metadata": {"annotations": {"kubernetes.io/config.mirror": "a"}}}, "static pods cannot be resized"),
        ({"spec": {"os": {"name": "windows"}}}, "windows pods cannot be resized"),
        ({"status": {"phase": "Failed"}}, "pods that have ended cannot be resized"),
        ({"status": {"phase": "Succeeded"}}, "pods that have ended cannot be resized"),
    ],
)
def test_some_pods_are_never_resized(change: dict[str, Any], error: str) -> None:
    """Whatever is wanted of them."""
    old = pod("web", container(requests={"cpu": "1"}), nodeName="n1")
    old.MergeFrom(codec.decode(type(old), change))
    new = type(old)()
    new.CopyFrom(old)
    new.spec.containers[0].resources.requests["cpu"].string = "2"
    assert [str(cause) for cause in podresize.validate(old, new)] == [f"Forbidden: {error}"]


def test_an_agent_that_cannot_resize_is_not_asked_to() -> None:
    """One of an earlier version does not say what its containers have."""
    old = pod("web", container(requests={"cpu": "1"}))
    running = {"name": "main", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    old.status.CopyFrom(codec.decode(type(old.status), {"phase": "Running", "containerStatuses": [running]}))
    new = type(old)()
    new.CopyFrom(old)
    new.spec.containers[0].resources.requests["cpu"].string = "2"
    errors = [str(cause) for cause in podresize.validate(old, new)]
    assert errors == ["spec: Forbidden: Pod running on node without support for resize"]
    old.status.containerStatuses[0].resources.SetInParent()
    assert podresize.validate(old, new) == []

"""Which messages mean the same."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.equality import same
from pinnace.kinds import EVENT, POD_TEMPLATE, RESOURCE_QUOTA


def pod(container: dict[str, Any] | None = None, **spec: Any) -> Any:
    return codec.decode(Pod, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", **(container or {})}], **spec}})


def requests(**amounts: Any) -> dict[str, Any]:
    return {"resources": {"requests": amounts}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pod(requests(cpu="1000m")), pod(requests(cpu="1"))),
        (pod(requests(cpu="0.5", memory="1Gi")), pod(requests(cpu="500m", memory="1073741824"))),
        (pod(requests(cpu=2)), pod(requests(cpu="2e0"))),
        (pod({"resources": {}}), pod()),
        (pod({"resources": {"requests": {}}}), pod()),
        (pod({"env": [], "args": None}), pod()),
        (pod(nodeSelector={}), pod()),
        (codec.decode(Pod, {"metadata": {"name": "p", "labels": {}}, "status": {}, "spec": {}}), codec.decode(Pod, {"metadata": {"name": "p"}})),
        (codec.decode(Pod, {"status": {"startTime": "2026-01-01T02:00:00+02:00"}}), codec.decode(Pod, {"status": {"startTime": "2026-01-01T00:00:00Z"}})),
        (codec.decode(EVENT.cls, {"eventTime": "2026-01-01T01:00:00.5+01:00", "source": {}}), codec.decode(EVENT.cls, {"eventTime": "2026-01-01T00:00:00.500000Z"})),
        (codec.decode(RESOURCE_QUOTA.cls, {"spec": {"hard": {"cpu": "1k"}}}), codec.decode(RESOURCE_QUOTA.cls, {"spec": {"hard": {"cpu": "1000"}}})),
        (codec.decode(POD_TEMPLATE.cls, {"template": {"metadata": {}}}), POD_TEMPLATE.cls()),
        (pod(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Ki"}}]), pod(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1024"}}])),
    ],
)  # fmt: skip
def test_the_same_in_other_words(one: Any, other: Any) -> None:
    """Though the messages differ, or would in JSON."""
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pod(requests(cpu="1")), pod(requests(cpu="1001m"))),
        (pod(requests(cpu="1")), pod(requests(memory="1"))),
        (pod(requests(cpu="1")), pod()),
        (pod(requests(cpu="0")), pod()),
        (pod(volumes=[{"name": "v", "emptyDir": {}}]), pod(volumes=[{"name": "v"}])),
        (pod(securityContext={}), pod()),
        (pod({"securityContext": {}}), pod()),
        (pod({"env": [{"name": "A"}]}), pod()),
        (pod({"env": [{"name": "A"}, {"name": "B"}]}), pod({"env": [{"name": "B"}, {"name": "A"}]})),
        (pod({"ports": [{"containerPort": 80}]}), pod({"ports": [{"containerPort": 81}]})),
        (pod(terminationGracePeriodSeconds=0), pod()),
        (codec.decode(Pod, {"status": {"startTime": "2026-01-01T02:00:00Z"}}), codec.decode(Pod, {"status": {"startTime": "2026-01-01T02:00:01Z"}})),
    ],
)  # fmt: skip
def test_what_is_not_the_same(one: Any, other: Any) -> None:
    """An empty struct where its presence means something, among others."""
    assert not same(one, other)
    assert not same(other, one)


def test_a_quantity_that_is_none_equals_itself_alone() -> None:
    """A stored object may hold any text."""
    broken, other = pod(requests(cpu="1")), pod(requests(cpu="1"))
    broken.spec.containers[0].resources.requests["cpu"].string = "much"
    assert not same(broken, other)
    other.spec.containers[0].resources.requests["cpu"].string = "much"
    assert same(broken, other)


def test_comparing_maps_adds_no_key() -> None:
    """Reading an absent key of a map of messages adds it; maps of equal size with other keys differ."""
    one, other = pod(requests(cpu="1")), pod(requests(memory="1"))
    assert not same(one, other)
    assert [list(item.spec.containers[0].resources.requests) for item in (one, other)] == [["cpu"], ["memory"]]

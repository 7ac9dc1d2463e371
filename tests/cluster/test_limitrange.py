"""Limit ranges: defaults and bounds for the containers of new pods."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.resources.limitrange import ANNOTATION
from pinnace import errors, kinds
from tests.support.api import Api, pod_manifest

POD, RANGE = kinds.POD, kinds.LIMIT_RANGE


def limit_range(*items: dict[str, Any], name: str = "bounds") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": name}, "spec": {"limits": list(items)}}


def containers(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = [{"name": f"c{index}", "image": "busybox", "resources": item} for index, item in enumerate(resources)]
    return pod_manifest(containers=made, **more)


def amounts(items: Any) -> dict[str, str]:
    return {name: value.string for name, value in items.items()}


async def test_containers_without_resources_get_the_defaults(api: Api) -> None:
    """Each only what it does not state; an annotation says what was set."""
    await api.create(RANGE, limit_range({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}))
    made = await api.create(POD, containers({}, {"requests": {"cpu": "50m"}}, {"limits": {"cpu": "2"}}))
    stated = [(amounts(c.resources.requests), amounts(c.resources.limits)) for c in made.spec.containers]
    assert stated == [({"cpu": "100m"}, {"cpu": "1"}), ({"cpu": "50m"}, {"cpu": "1"}), ({"cpu": "2"}, {"cpu": "2"})]
    assert made.metadata.annotations[ANNOTATION] == (
        "LimitRanger plugin set: cpu request for container c0; cpu limit for container c0; cpu limit for container c1"
    )
    assert made.status.qosClass == "Burstable"


async def test_a_range_completes_itself(api: Api) -> None:
    """The maximum is the default limit, that is the default request."""
    made = await api.create(
        RANGE, limit_range({"type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "min": {"memory": "1Mi"}})
    )
    [item] = made.spec.limits
    assert amounts(item.default) == amounts(item.defaultRequest) == {"cpu": "2", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("item", "resources", "why"),
    [
        ({"min": {"cpu": "100m"}}, {"requests": {"cpu": "50m"}}, "minimum cpu usage per Container is 100m, but request is 50m"),
        ({"max": {"cpu": "1"}}, {"limits": {"cpu": "1500m"}}, "maximum cpu usage per Container is 1, but limit is 1500m"),
        ({"max": {"cpu": "1"}}, {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}, "maximum cpu usage per Container is 1"),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}}, {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {}, "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"),
        ({"type": "Pod", "max": {"memory": "1Gi"}}, {}, "maximum memory usage per Pod is 1Gi.  No limit is specified"),
    ],
)  # fmt: skip
async def test_what_is_out_of_bounds_is_refused(api: Api, item: dict[str, Any], resources: dict[str, Any], why: str) -> None:
    """In Kubernetes' words."""
    await api.create(RANGE, limit_range({"type": "Container", **item}))
    with pytest.raises(errors.Forbidden) as caught:
        await api.create(POD, containers(resources))
    assert f'pods "web" is forbidden: {why}' in caught.value.message


async def test_a_pod_is_bounded_as_a_whole(api: Api) -> None:
    """Containers together, or an init container that needs more; every error is told."""
    await api.create(RANGE, limit_range({"type": "Pod", "max": {"cpu": "1"}, "min": {"memory": "10Mi"}}))
    one = {"limits": {"cpu": "600m", "memory": "5Mi"}}
    await api.create(
        POD,
        pod_manifest("fits", containers=[{"name": "a", "image": "b", "resources": {"limits": {"cpu": "1", "memory": "10Mi"}}}]),
    )
    with pytest.raises(errors.Forbidden) as caught:
        await api.create(POD, containers(one, one))
    assert caught.value.message.endswith("is forbidden: maximum cpu usage per Pod is 1, but limit is 1200m")
    with pytest.raises(errors.Forbidden) as caught:
        await api.create(POD, containers({"limits": {"cpu": "2", "memory": "1Mi"}}))
    assert "[minimum memory usage per Pod is 10Mi, but request is 1Mi, maximum cpu usage" in caught.value.message


async def test_a_range_is_about_new_pods_of_its_namespace(api: Api) -> None:
    """Pods that exist may still be changed."""
    await api.create(POD, pod_manifest())
    await api.create(RANGE, limit_range({"type": "Container", "max": {"cpu": "1"}}))
    await api.patch(POD, "web", "MERGE", {"metadata": {"labels": {"a": "b"}}})
    await api.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
    elsewhere = pod_manifest("far")
    elsewhere["metadata"]["namespace"] = "team"
    assert not (await api.create(POD, elsewhere)).spec.containers[0].resources.limits


async def test_an_applied_pod_is_unchanged_by_a_second_apply(api: Api) -> None:
    """The defaults of a range are the server's, not a change."""
    await api.create(RANGE, limit_range({"type": "Container", "default": {"cpu": "1"}}))
    assert [outcome for outcome, _ in await api.apply(pod_manifest())] == ["created"]
    assert [outcome for outcome, _ in await api.apply(pod_manifest())] == ["unchanged"]

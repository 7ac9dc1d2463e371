"""HorizontalPodAutoscalers of autoscaling/v1 and v2 are the same objects: conversions lose nothing."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace import autoscalerforms, codec, kinds
from pinnace.admission import admit
from pinnace.errors import Invalid
from tests.support.trees import TREES

FIRST, SECOND = kinds.HORIZONTAL_POD_AUTOSCALER_V1, kinds.HORIZONTAL_POD_AUTOSCALER
PREFIX = "autoscaling.alpha.kubernetes.io/"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


def first(spec: dict[str, Any] | None = None, **annotations: Any) -> Any:
    """Of v1; annotations as JSON, with underscores for dashes."""
    notes = {PREFIX + key.replace("_", "-"): json.dumps(value) for key, value in annotations.items()}
    body = {"scaleTargetRef": TARGET, "minReplicas": 2, "maxReplicas": 5, **(spec or {})}
    value = {"metadata": {"name": "web", "namespace": "default", "annotations": {"own": "x", **notes}}, "spec": body}
    return codec.decode(FIRST.cls, value)


def second(item: Any) -> dict[str, Any]:
    """As it is stored."""
    assert FIRST.stored is not None
    found: dict[str, Any] = codec.encode(FIRST.stored.message(item))
    return found


def back(value: dict[str, Any]) -> Any:
    """An object of v2 as one of v1."""
    assert FIRST.stored is not None
    stored = codec.decode(SECOND.cls, value).SerializeToString()
    return FIRST.cls.FromString(FIRST.stored.read(FIRST.cls, stored))


def cpu(percent: int) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}


def test_the_target_is_a_metric() -> None:
    """Of cpu; without one it is the default."""
    found = second(first({"targetCPUUtilizationPercentage": 60}))
    assert found["spec"] == {"scaleTargetRef": TARGET, "minReplicas": 2, "maxReplicas": 5, "metrics": [cpu(60)]}
    assert found["metadata"]["annotations"] == {"own": "x"}
    assert second(first())["spec"]["metrics"] == [cpu(80)]
    assert codec.encode(back(found))["spec"] == {
        "scaleTargetRef": TARGET, "minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60,
    }  # fmt: skip


def test_annotations_are_those_of_kubernetes() -> None:
    """Further metrics, their values, the behavior with the names of Go fields, and conditions."""
    memory = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "64Mi"}}}
    share = {"type": "Utilization", "averageUtilization": 70}
    container = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "target": share}}
    behavior = {"scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}
    status = {
        "currentReplicas": 3, "desiredReplicas": 4,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12, "averageValue": "6m"}}}],
        "conditions": [{"type": "AbleToScale", "status": "True", "reason": "Ready"}],
    }  # fmt: skip
    value = {"spec": {"metrics": [memory, cpu(50), container], "behavior": behavior}, "status": status}
    item = back(value)
    assert (item.spec.targetCPUUtilizationPercentage, item.status.currentCPUUtilizationPercentage) == (50, 12)
    notes = {key.removeprefix(PREFIX): json.loads(text) for key, text in item.metadata.annotations.items()}
    assert notes == {
        "metrics": [
            {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "64Mi"}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "targetAverageUtilization": 70}},
        ],
        "current-metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "currentAverageUtilization": 12, "currentAverageValue": "6m"}},
        ],
        "behavior": {"ScaleUp": {"SelectPolicy": "Max", "Policies": [{"Type": "Pods", "Value": 4, "PeriodSeconds": 15}]}},
        "conditions": [{"type": "AbleToScale", "status": "True", "reason": "Ready"}],
    }  # fmt: skip
    again = second(item)
    assert again["spec"] == {"metrics": [memory, container, cpu(50)], "behavior": behavior}
    assert again["status"] == status


@pytest.mark.parametrize("text", ["", "null", "[", "{}", "[1]", '[{"type":1}]', '"x"', "[[[]]]"])
@pytest.mark.parametrize("key", ["metrics", "behavior", "conditions", "current-metrics"])
def test_an_annotation_that_cannot_be_read_is_left_out(key: str, text: str) -> None:
    """As in Kubernetes. What it leaves is still an object that validation judges."""
    item = first()
    item.metadata.annotations[PREFIX + key] = text
    found = second(item)
    assert "annotations" not in found["metadata"] or found["metadata"]["annotations"] == {"own": "x"}
    assert found["spec"]["maxReplicas"] == 5


@given(metrics=TREES, behavior=TREES, conditions=TREES)
def test_any_annotation_is_converted(metrics: Any, behavior: Any, conditions: Any) -> None:
    """Never another exception than a refusal of validation."""
    item = first(metrics=metrics, behavior=behavior, conditions=conditions, current_metrics=metrics)
    second(item)
    with contextlib.suppress(Invalid):
        admit(FIRST, item)


utilization = st.integers(1, 500)


@given(
    shares=st.lists(utilization, max_size=1), memory=st.lists(utilization, max_size=2), window=st.none() | st.integers(0, 3600),
    replicas=st.integers(0, 1000),
)  # fmt: skip
def test_v2_survives_a_way_through_v1(shares: list[int], memory: list[int], window: int | None, replicas: int) -> None:
    """But for the order of metrics, where cpu comes last, and a second metric of cpu, as in Kubernetes."""
    others = [
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": share}}}
        for share in memory
    ]
    metrics = [*others, *map(cpu, shares)] or [cpu(80)]
    value: dict[str, Any] = {
        "metadata": {"name": "web"}, "spec": {"metrics": metrics, "maxReplicas": 9}, "status": {"desiredReplicas": replicas},
    }  # fmt: skip
    if window is not None:
        value["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": window}}
    assert second(back(value)) == codec.encode(codec.decode(SECOND.cls, value))


def test_the_rules_are_those_of_v2() -> None:
    """By the names of its fields."""
    for item, error in (
        (first({"targetCPUUtilizationPercentage": 0}), "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"),
        (first({"maxReplicas": 1}), "spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"),
        (first(metrics=[{"type": "Pods", "pods": {"metricName": "hits"}}]), 'spec.metrics[0].type: Unsupported value: "Pods": supported values: "ContainerResource", "Resource"'),
        (first({"scaleTargetRef": {**TARGET, "apiVersion": "v1"}}), 'spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group'),
    ):  # fmt: skip
        with pytest.raises(Invalid) as caught:
            admit(FIRST, item)
        assert [str(cause) for cause in caught.value.causes] == [error]


def test_v2_drops_the_annotations_of_v1() -> None:
    """They would be taken for its fields by clients of v1."""
    item = codec.decode(SECOND.cls, {
        "metadata": {"name": "web", "namespace": "default", "annotations": {autoscalerforms.METRICS: "[]", "own": "x"}},
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 5},
    })  # fmt: skip
    admit(SECOND, item)
    assert dict(item.metadata.annotations) == {"own": "x"}

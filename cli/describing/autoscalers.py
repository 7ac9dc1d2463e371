"""HorizontalPodAutoscalers as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describeHorizontalPodAutoscalerV2 of kubectl's pkg/describe.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cli.describing.templates import annotation_lines, pairs
from pinnace.admission.horizontalpodautoscalers import CONTAINER_RESOURCE, MAX
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import MetricStatus
from pinnace.kinds import Kind

_UNKNOWN = "<unknown>"


def autoscaler(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec, status = item.metadata, item.spec, item.status
    created = datetime.fromtimestamp(meta.creationTimestamp.seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")
    target = spec.scaleTargetRef
    least = str(spec.minReplicas) if spec.HasField("minReplicas") else "<unset>"
    return [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}",
        *pairs("Labels", meta.labels), *annotation_lines("Annotations", meta.annotations),
        f"CreationTimestamp:\t{created}", f"Reference:\t{target.kind}/{target.name}",
        "Metrics:\t( current / target )", *_metrics(item),
        f"Min replicas:\t{least}", f"Max replicas:\t{spec.maxReplicas}", *_behavior(spec),
        f"{target.kind} pods:\t{status.currentReplicas} current / {status.desiredReplicas} desired",
        *_conditions(status.conditions),
    ]  # fmt: skip


def _metrics(item: Any) -> Iterator[str]:
    statuses = item.status.currentMetrics
    for index, metric in enumerate(item.spec.metrics):
        status = statuses[index] if index < len(statuses) else MetricStatus()
        by_container = metric.type == CONTAINER_RESOURCE
        source = metric.containerResource if by_container else metric.resource
        found = status.containerResource if by_container else status.resource
        known = status.HasField("containerResource" if by_container else "resource")
        of = f' of container "{source.container}"' if by_container else ""
        yield f"  resource {source.name}{of} on pods{_values(source.target, found.current, known=known)}"


def _values(target: Any, current: Any, *, known: bool) -> str:
    """What follows the name of a metric: the present value and the target."""
    if target.HasField("averageValue"):
        return f":\t{current.averageValue.string if known else _UNKNOWN} / {target.averageValue.string}"
    share = f"{current.averageUtilization}% ({current.averageValue.string})" if known else _UNKNOWN
    return f"  (as a percentage of request):\t{share} / {target.averageUtilization}%"


def _behavior(spec: Any) -> Iterator[str]:
    if not spec.HasField("behavior"):
        return
    yield "Behavior:"
    for title, name in (("Scale Up", "scaleUp"), ("Scale Down", "scaleDown")):
        if spec.behavior.HasField(name):
            yield f"  {title}:"
            yield from _rules(getattr(spec.behavior, name))


def _rules(rules: Any) -> Iterator[str]:
    if rules.HasField("stabilizationWindowSeconds"):
        yield f"    Stabilization Window: {rules.stabilizationWindowSeconds} seconds"
    if rules.policies:
        yield f"    Select Policy: {rules.selectPolicy or MAX}"
        yield "    Policies:"
    for policy in rules.policies:
        yield f"      - Type: {policy.type}\tValue: {policy.value}\tPeriod: {policy.periodSeconds} seconds"


def _conditions(items: Any) -> list[str]:
    rows = [f"  {item.type}\t{item.status}\t{item.reason}\t{item.message}" for item in items]
    return ["Conditions:", "  Type\tStatus\tReason\tMessage", "  ----\t------\t------\t-------", *rows] if rows else []

"""HorizontalPodAutoscalers of autoscaling/v1 as those of autoscaling/v2, which are stored, and back. Pure.

Fields that v1 lacks are in annotations of its objects, as JSON. One that cannot be read is left out, as in Kubernetes.
Source: pkg/apis/autoscaling/v1 (conversion.go) and pkg/apis/autoscaling (annotations.go) of Kubernetes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinnace.autoscaling.v1.horizontalpodautoscaler_pb2 import HorizontalPodAutoscaler as First
    from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import HorizontalPodAutoscaler as Second

_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, BEHAVIOR = f"{_PREFIX}metrics", f"{_PREFIX}behavior"
STATUSES, CONDITIONS = f"{_PREFIX}current-metrics", f"{_PREFIX}conditions"
# Of the status, which a write of the object does not change.
OF_STATUS = (STATUSES, CONDITIONS)
ALL = (METRICS, BEHAVIOR, *OF_STATUS, f"{_PREFIX}scale-down-tolerance", f"{_PREFIX}scale-up-tolerance")
CPU, RESOURCE, CONTAINER_RESOURCE = "cpu", "Resource", "ContainerResource"
DEFAULT_UTILIZATION = 80
_FIELDS = {RESOURCE: "resource", CONTAINER_RESOURCE: "containerResource"}
Json = dict[str, Any]


def drop(annotations: Any) -> None:
    """Remove what only stands for fields of the other version."""
    for key in ALL:
        annotations.pop(key, None)


def to_second(first: First, second: Second) -> None:
    """Fill an object of v2. Without any metric it has that of cpu, which is v1's default."""
    _copy_common(first, second)
    notes = dict(first.metadata.annotations)
    drop(second.metadata.annotations)
    for metric in _read(notes.get(METRICS), _metric_of):
        _decode(second.spec.metrics, metric)
    if first.spec.HasField("targetCPUUtilizationPercentage") or not second.spec.metrics:
        has = first.spec.HasField("targetCPUUtilizationPercentage")
        second.spec.metrics.add(type=RESOURCE).resource.name = CPU
        target = second.spec.metrics[-1].resource.target
        target.type = "Utilization"
        target.averageUtilization = first.spec.targetCPUUtilizationPercentage if has else DEFAULT_UTILIZATION
    for value in _read(notes.get(BEHAVIOR), _behavior_of, many=False):
        _merge(second.spec.behavior, value)
    if first.status.HasField("currentCPUUtilizationPercentage"):
        second.status.currentMetrics.add(type=RESOURCE).resource.name = CPU
        share = first.status.currentCPUUtilizationPercentage
        second.status.currentMetrics[-1].resource.current.averageUtilization = share
    if STATUSES in notes:
        del second.status.currentMetrics[:]
    for status in _read(notes.get(STATUSES), _status_of):
        _decode(second.status.currentMetrics, status)
    for condition in _read(notes.get(CONDITIONS), lambda value: value):
        _decode(second.status.conditions, condition)


def to_first(second: Second, first: First) -> None:
    """Fill an object of v1."""
    _copy_common(second, first)
    notes = first.metadata.annotations
    drop(notes)
    shares = [metric for metric in second.spec.metrics if _is_cpu_share(metric)]
    if shares:
        first.spec.targetCPUUtilizationPercentage = shares[0].resource.target.averageUtilization
    _note(notes, METRICS, [_metric_to(_encode(metric)) for metric in second.spec.metrics if not _is_cpu_share(metric)])
    if second.spec.HasField("behavior"):
        notes[BEHAVIOR] = _text(_behavior_to(_encode(second.spec.behavior)))
    for status in second.status.currentMetrics:
        current = status.resource.current
        if status.type == RESOURCE and status.resource.name == CPU and current.HasField("averageUtilization"):
            first.status.currentCPUUtilizationPercentage = current.averageUtilization
    _note(notes, STATUSES, [_status_to(_encode(status)) for status in second.status.currentMetrics])
    _note(notes, CONDITIONS, [_encode(condition) for condition in second.status.conditions])


def _copy_common(source: Any, target: Any) -> None:
    """Fields that both versions have, under the same names."""
    target.metadata.CopyFrom(source.metadata)
    for part, names in (
        ("spec", ("scaleTargetRef", "minReplicas", "maxReplicas")),
        ("status", ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")),
    ):
        if source.HasField(part):
            getattr(target, part).SetInParent()
        for field, value in getattr(source, part).ListFields():
            if field.name in names and field.message_type is None:
                setattr(getattr(target, part), field.name, value)
            elif field.name in names:
                found = getattr(getattr(target, part), field.name)
                found.SetInParent()
                found.MergeFromString(value.SerializeToString())


def _is_cpu_share(metric: Any) -> bool:
    of = metric.resource
    return bool(metric.type == RESOURCE and of.name == CPU and of.target.HasField("averageUtilization"))


def _note(notes: Any, key: str, values: list[Any]) -> None:
    if values:
        notes[key] = _text(values)


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _encode(message: Any) -> Json:
    # Imported here: most processes never see an object of v1.
    from pinnace import codec

    value: Json = codec.encode(message)
    return value


def _read(text: str | None, convert: Callable[[Json], Json], *, many: bool = True) -> list[Json]:
    """The converted items of an annotation; none where it is absent or cannot be read."""
    from pinnace import codec

    if text is None:
        return []
    try:
        found = codec.load_json(text.encode())
        items = found if many else [found]
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            return []
        return [convert(item) for item in items]
    except (ValueError, TypeError, AttributeError):
        return []


def _decode(items: Any, value: Json) -> None:
    _merge(items.add(), value)


def _merge(target: Any, value: Json) -> None:
    """Fields that do not fit are left out with their object."""
    from pinnace import codec

    try:
        target.CopyFrom(codec.decode(type(target), value))
    except codec.FieldError:
        # A metric without a type is refused by validation.
        target.SetInParent()


# Metrics: v1 has the target's fields in the source itself.


def _metric_to(metric: Json) -> Json:
    return _converted(metric, lambda source: _flat(source, "target", "target"))


def _metric_of(metric: Json) -> Json:
    return _converted(metric, lambda source: _nested(source, "target", "target", typed=True))


def _status_to(status: Json) -> Json:
    return _converted(status, lambda source: _flat(source, "current", "current"))


def _status_of(status: Json) -> Json:
    return _converted(status, lambda source: _nested(source, "current", "current", typed=False))


def _converted(metric: Json, convert: Callable[[Json], Json]) -> Json:
    field = _FIELDS.get(metric.get("type", ""))
    found: Json = {"type": metric.get("type", "")}
    if field is not None and isinstance(metric.get(field), dict):
        found[field] = convert(metric[field])
    return found


def _flat(source: Json, part: str, prefix: str) -> Json:
    found = {key: value for key, value in source.items() if key != part}
    for key in ("averageUtilization", "averageValue"):
        if key in source.get(part, {}):
            found[f"{prefix}{key[0].upper()}{key[1:]}"] = source[part][key]
    return found


def _nested(source: Json, part: str, prefix: str, *, typed: bool) -> Json:
    names = {f"{prefix}{key[0].upper()}{key[1:]}": key for key in ("averageUtilization", "averageValue")}
    inner = {names[key]: value for key, value in source.items() if key in names and value is not None}
    if typed:
        inner["type"] = "Utilization" if "averageUtilization" in inner else "AverageValue"
    return {**{key: value for key, value in source.items() if key not in names}, part: inner}


# The behavior: Kubernetes writes it with the names of its Go fields.


def _behavior_to(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[0].upper() + key[1:]: _behavior_to(item) for key, item in value.items()}
    return [_behavior_to(item) for item in value] if isinstance(value, list) else value


def _behavior_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _behavior_of(item) for key, item in value.items() if item is not None}
    return [_behavior_of(item) for item in value] if isinstance(value, list) else value

"""HorizontalPodAutoscalers: bounds, the scaled object, metrics of resources, and how fast the replicas may change.

Source: autoscaling/validation (ValidateHorizontalPodAutoscaler) and autoscaling/v2's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import autoscalerforms, fielderrors, formats, kinds
from pinnace.admission import meta, resources, workloads
from pinnace.admission.kindrules import KindRules
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import (
    HorizontalPodAutoscaler,
    HPAScalingPolicy,
    HPAScalingRules,
    MetricTarget,
    ResourceMetricSource,
)
from pinnace.errors import Cause
from pinnace.podresources import CPU, MEMORY

RESOURCE, CONTAINER_RESOURCE = "Resource", "ContainerResource"
UTILIZATION, AVERAGE_VALUE = "Utilization", "AverageValue"
MAX, MIN, DISABLED = "Max", "Min", "Disabled"
PODS, PERCENT = "Pods", "Percent"
# Seconds.
MAX_PERIOD, MAX_WINDOW = 1800, 3600
DEFAULT_PERIOD = 15
_FIELDS = {RESOURCE: "resource", CONTAINER_RESOURCE: "containerResource"}
_MEASURED = (CPU, MEMORY)


def prepare(item: HorizontalPodAutoscaler, _: HorizontalPodAutoscaler | None) -> None:
    """Annotations that stand for fields in autoscaling/v1 stand for nothing here."""
    autoscalerforms.drop(item.metadata.annotations)


def default(item: HorizontalPodAutoscaler) -> None:
    if not item.spec.metrics:
        target = MetricTarget(type=UTILIZATION, averageUtilization=autoscalerforms.DEFAULT_UTILIZATION)
        item.spec.metrics.add(type=RESOURCE, resource=ResourceMetricSource(name=CPU, target=target))
    if item.spec.HasField("behavior"):
        up, down, whole = item.spec.behavior.scaleUp, item.spec.behavior.scaleDown, (PERCENT, 100)
        _default_rules(up, (PODS, 4), whole)
        if not up.HasField("stabilizationWindowSeconds"):
            up.stabilizationWindowSeconds = 0
        # The window for fewer replicas is a setting of the control plane.
        _default_rules(down, whole)


def _default_rules(rules: HPAScalingRules, *policies: tuple[str, int]) -> None:
    rules.selectPolicy = rules.selectPolicy or MAX
    if not rules.policies:
        for type_, value in policies:
            rules.policies.add(type=type_, value=value, periodSeconds=DEFAULT_PERIOD)


def validate(item: HorizontalPodAutoscaler) -> list[Cause]:
    return list(_errors(item.spec))


def _errors(spec: Any) -> Iterator[Cause]:
    if spec.maxReplicas == 0:
        yield fielderrors.required("spec.maxReplicas", "must be set and greater than 0")
    elif spec.maxReplicas < 0:
        yield fielderrors.invalid("spec.maxReplicas", spec.maxReplicas, "must be greater than or equal to 1")
    if spec.maxReplicas < spec.minReplicas:
        yield fielderrors.invalid("spec.maxReplicas", spec.maxReplicas, "must be greater than or equal to `minReplicas`")
    for index, metric in enumerate(spec.metrics):
        yield from _metric(f"spec.metrics[{index}]", metric)
    if spec.HasField("minReplicas") and spec.minReplicas == 0:
        text = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield fielderrors.forbidden("spec.metrics", text)
    for name in ("scaleUp", "scaleDown"):
        if spec.HasField("behavior") and spec.behavior.HasField(name):
            yield from _rules(f"spec.behavior.{name}", getattr(spec.behavior, name))


def _metric(path: str, metric: Any) -> Iterator[Cause]:
    wanted = _FIELDS.get(metric.type)
    if not metric.type:
        yield fielderrors.required(f"{path}.type", "must specify a metric source type")
    elif wanted is None:
        yield fielderrors.not_supported(f"{path}.type", metric.type, sorted(_FIELDS))
    elif not metric.HasField(wanted):
        yield fielderrors.required(f"{path}.{wanted}", "must populate information for the given metric source")
    given = [name for name in _FIELDS.values() if metric.HasField(name)]
    for name in given:
        if name == wanted or len(given) == 1:
            yield from _source(f"{path}.{name}", getattr(metric, name))
        if name != wanted and wanted is not None:
            yield fielderrors.forbidden(f"{path}.{name}", "must populate the given metric source only")


def _source(path: str, source: Any) -> Iterator[Cause]:
    if not source.name:
        yield fielderrors.required(f"{path}.name", "must specify a resource name")
    elif source.name not in _MEASURED:
        yield fielderrors.not_supported(f"{path}.name", source.name, _MEASURED)
    if "container" in source.DESCRIPTOR.fields_by_name:
        if not source.container:
            yield fielderrors.required(f"{path}.container", "must specify a container")
        else:
            yield from meta.each(f"{path}.container", source.container, formats.dns_label)
    yield from _target(f"{path}.target", source.target)


def _target(path: str, target: MetricTarget) -> Iterator[Cause]:
    if not target.type:
        yield fielderrors.required(f"{path}.type", "must specify a metric target type")
    elif target.type not in (UTILIZATION, "Value", AVERAGE_VALUE):
        yield fielderrors.invalid(f"{path}.type", target.type, "must be either Utilization, Value, or AverageValue")
    by_share, by_value = target.HasField("averageUtilization"), target.HasField("averageValue")
    if by_value and (resources.amount(target.averageValue.string) or 0) <= 0:
        yield fielderrors.invalid(f"{path}.averageValue", target.averageValue.string, "must be positive")
    if by_share and target.averageUtilization < 1:
        yield fielderrors.invalid(f"{path}.averageUtilization", target.averageUtilization, "must be greater than 0")
    if by_share and by_value:
        text = "may not set both a target raw value and a target utilization"
        yield fielderrors.forbidden(f"{path}.averageValue", text)
    if not by_share and not by_value:
        yield fielderrors.required(f"{path}.averageUtilization", "must set either a target raw value or a target utilization")


def _rules(path: str, rules: HPAScalingRules) -> Iterator[Cause]:
    window = rules.stabilizationWindowSeconds
    if window < 0:
        yield fielderrors.invalid(f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero")
    if window > MAX_WINDOW:
        yield fielderrors.invalid(f"{path}.stabilizationWindowSeconds", window, f"must be less than or equal to {MAX_WINDOW}")
    if rules.selectPolicy not in (MAX, MIN, DISABLED):
        yield fielderrors.not_supported(f"{path}.selectPolicy", rules.selectPolicy, (DISABLED, MAX, MIN))
    for index, policy in enumerate(rules.policies):
        yield from _policy(f"{path}.policies[{index}]", policy)
    if rules.HasField("tolerance"):
        yield from resources.one_quantity(f"{path}.tolerance", rules.tolerance.string, whole=False)


def _policy(path: str, policy: HPAScalingPolicy) -> Iterator[Cause]:
    if policy.type not in (PODS, PERCENT):
        yield fielderrors.not_supported(f"{path}.type", policy.type, (PERCENT, PODS))
    for name in ("value", "periodSeconds"):
        if getattr(policy, name) <= 0:
            yield fielderrors.invalid(f"{path}.{name}", getattr(policy, name), "must be greater than zero")
    if policy.periodSeconds > MAX_PERIOD:
        yield fielderrors.invalid(f"{path}.periodSeconds", policy.periodSeconds, f"must be less than or equal to {MAX_PERIOD}")


def _api_version(item: HorizontalPodAutoscaler) -> list[Cause]:
    """The scaled object's group, which only the core group's ReplicationController may leave out."""
    target, path = item.spec.scaleTargetRef, "spec.scaleTargetRef.apiVersion"
    if target.apiVersion.count("/") > 1:
        text = f"unexpected GroupVersion string: {target.apiVersion}"
        return [fielderrors.invalid(path, target.apiVersion, text)]
    if "/" not in target.apiVersion.strip("/") and target.kind != "ReplicationController":
        return [fielderrors.invalid(path, target.apiVersion, "apiVersion must specify API group")]
    return []


def validate_update(old: HorizontalPodAutoscaler, new: HorizontalPodAutoscaler) -> list[Cause]:
    before, after = old.spec.scaleTargetRef, new.spec.scaleTargetRef
    unchanged = (before.apiVersion, before.kind) == (after.apiVersion, after.kind)
    return [] if unchanged else _api_version(new)


def validate_status(new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler) -> list[Cause]:
    causes = list(workloads.negative_counts(new.status, ("currentReplicas", "desiredReplicas")))
    for index, condition in enumerate(new.status.conditions):
        if condition.observedGeneration < 0:
            path = f"status.conditions[{index}].observedGeneration"
            causes.append(fielderrors.invalid(path, condition.observedGeneration, "must be greater than or equal to 0"))
    return causes


RULES: KindRules[HorizontalPodAutoscaler] = KindRules(
    prepare=prepare, default=default, validate=validate, validate_create=_api_version, validate_update=validate_update,
    validate_status=validate_status,
)  # fmt: skip


def stored(item: Any) -> Any:
    """An object of autoscaling/v1 in the form in which it is stored, that of autoscaling/v2."""
    form = kinds.HORIZONTAL_POD_AUTOSCALER_V1.stored
    assert form is not None
    return form.message(item)


def _validate_first(item: Any) -> list[Cause]:
    """As an object of autoscaling/v2; what annotations stand for is named as there."""
    found = stored(item)
    default(found)
    return validate(found)


FIRST_RULES: KindRules[Any] = KindRules(
    validate=_validate_first,
    validate_create=lambda item: _api_version(stored(item)),
    validate_update=lambda old, new: validate_update(stored(old), stored(new)),
    validate_status=lambda new, old: validate_status(stored(new), stored(old)),
)

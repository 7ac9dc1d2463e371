"""PodDisruptionBudgets: one bound, as a number or a percentage of at most 100.

Source: policy/validation (ValidatePodDisruptionBudgetSpec, ValidatePodDisruptionBudgetStatusUpdate).
"""

from __future__ import annotations

from pinnace import fielderrors, intorpercent, labelselectors
from pinnace.admission import workloads
from pinnace.admission.kindrules import KindRules
from pinnace.errors import Cause
from pinnace.policy.v1.policy_pb2 import PodDisruptionBudget

ALWAYS_ALLOW, IF_HEALTHY = "AlwaysAllow", "IfHealthyBudget"
_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def validate(item: PodDisruptionBudget) -> list[Cause]:
    causes, spec = list[Cause](), item.spec
    if spec.HasField("minAvailable") and spec.HasField("maxUnavailable"):
        causes.append(fielderrors.invalid("spec", {}, "minAvailable and maxUnavailable cannot be both set"))
    for name in ("minAvailable", "maxUnavailable"):
        if spec.HasField(name):
            value, path = getattr(spec, name), f"spec.{name}"
            causes += [*intorpercent.validate(value, path), *intorpercent.at_most_all(value, path)]
    if spec.HasField("selector"):
        causes += labelselectors.validate(spec.selector, "spec.selector")
    policy = spec.unhealthyPodEvictionPolicy
    if policy not in ("", ALWAYS_ALLOW, IF_HEALTHY):
        causes.append(fielderrors.not_supported("spec.unhealthyPodEvictionPolicy", policy, (ALWAYS_ALLOW, IF_HEALTHY)))
    return causes


def validate_status(new: PodDisruptionBudget, old: PodDisruptionBudget) -> list[Cause]:
    return list(workloads.negative_counts(new.status, _COUNTS))


RULES: KindRules[PodDisruptionBudget] = KindRules(validate=validate, validate_status=validate_status)

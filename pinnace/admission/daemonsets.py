"""DaemonSets: a rolling update has room on nodes or next to old pods, not both.

Source: apps/validation (ValidateDaemonSet, ValidateRollingUpdateDaemonSet, ValidateDaemonSetStatus) and apps/v1's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, intorpercent
from pinnace.admission import workloads
from pinnace.admission.kindrules import KindRules
from pinnace.apps.v1.daemonset_pb2 import DaemonSet
from pinnace.errors import Cause
from pinnace.meta.v1.scalars_pb2 import IntOrString

ROLLING_UPDATE, ON_DELETE = "RollingUpdate", "OnDelete"
_DEFAULTS = {"maxUnavailable": 1, "maxSurge": 0}
_COUNTS = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
    "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
)  # fmt: skip


def prepare(item: DaemonSet, _: DaemonSet | None) -> None:
    workloads.prepare(item.spec)


def default(item: DaemonSet) -> None:
    workloads.default(item.spec)
    strategy = item.spec.updateStrategy
    if strategy.type in ("", ROLLING_UPDATE):
        strategy.type = ROLLING_UPDATE
        for name, number in _DEFAULTS.items():
            if not strategy.rollingUpdate.HasField(name):
                getattr(strategy.rollingUpdate, name).CopyFrom(IntOrString(intVal=number))


def validate(item: DaemonSet) -> list[Cause]:
    return [
        *workloads.selector_errors(item.spec, "daemonset"), *workloads.template_errors(item.spec, "DaemonSet"),
        *_strategy(item.spec.updateStrategy),
    ]  # fmt: skip


def _strategy(strategy: Any) -> Iterator[Cause]:
    if strategy.type not in (ROLLING_UPDATE, ON_DELETE):
        yield fielderrors.not_supported("spec.updateStrategy.type", strategy.type, (ROLLING_UPDATE, ON_DELETE))
    if strategy.type != ROLLING_UPDATE:
        return
    path, bounds = "spec.updateStrategy.rollingUpdate", strategy.rollingUpdate
    for name in _DEFAULTS:
        yield from intorpercent.validate(getattr(bounds, name), f"{path}.{name}")
        yield from intorpercent.at_most_all(getattr(bounds, name), f"{path}.{name}")
    surge, unavailable = (
        intorpercent.scaled(getattr(bounds, name), 100, round_up=True) for name in ("maxSurge", "maxUnavailable")
    )
    if surge > 0 and unavailable > 0:
        shown = bounds.maxSurge.strVal if bounds.maxSurge.type else bounds.maxSurge.intVal
        yield fielderrors.invalid(f"{path}.maxSurge", shown, "may not be set when maxUnavailable is non-zero")
    elif surge == 0 and unavailable == 0:
        yield fielderrors.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def validate_status(new: DaemonSet, old: DaemonSet) -> list[Cause]:
    return list(workloads.negative_counts(new.status, _COUNTS))


RULES: KindRules[DaemonSet] = KindRules(prepare=prepare, default=default, validate=validate, validate_status=validate_status)

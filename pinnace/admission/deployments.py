"""Deployments: bounds of a rolling update that let it proceed, and a deadline longer than a pod takes to be available.

Source: apps/validation (ValidateDeployment, ValidateDeploymentStatus) and apps/v1's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, intorpercent
from pinnace.admission import workloads
from pinnace.admission.kindrules import KindRules
from pinnace.apps.v1.deployment_pb2 import Deployment
from pinnace.errors import Cause

ROLLING_UPDATE, RECREATE = "RollingUpdate", "Recreate"
_QUARTER = intorpercent.percent("25%")
_COUNTS = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
_PARTS = (("updatedReplicas", "replicas"), ("readyReplicas", "replicas"), ("availableReplicas", "replicas"),
          ("availableReplicas", "readyReplicas"))  # fmt: skip


def prepare(item: Deployment, _: Deployment | None) -> None:
    workloads.prepare(item.spec)


def default(item: Deployment) -> None:
    workloads.default(item.spec)
    strategy = item.spec.strategy
    if strategy.type in ("", ROLLING_UPDATE):
        strategy.type = ROLLING_UPDATE
        for name in ("maxUnavailable", "maxSurge"):
            if not strategy.rollingUpdate.HasField(name):
                getattr(strategy.rollingUpdate, name).CopyFrom(_QUARTER)


def validate(item: Deployment) -> list[Cause]:
    return [
        *workloads.selector_errors(item.spec), *workloads.template_errors(item.spec, "ReplicaSet"),
        *_strategy(item.spec.strategy), *_deadline(item.spec),
    ]  # fmt: skip


def _strategy(strategy: Any) -> Iterator[Cause]:
    path = "spec.strategy.rollingUpdate"
    if strategy.type == RECREATE:
        if strategy.HasField("rollingUpdate"):
            yield fielderrors.forbidden(path, f"may not be specified when strategy `type` is '{RECREATE}'")
    elif strategy.type == ROLLING_UPDATE:
        yield from rolling_update(strategy.rollingUpdate, path)
    else:
        yield fielderrors.not_supported("spec.strategy.type", strategy.type, (RECREATE, ROLLING_UPDATE))


def rolling_update(bounds: Any, path: str) -> Iterator[Cause]:
    """Errors of maxUnavailable and maxSurge at `path`."""
    for name in ("maxUnavailable", "maxSurge"):
        yield from intorpercent.validate(getattr(bounds, name), f"{path}.{name}")
    if all(intorpercent.scaled(getattr(bounds, name), 100, round_up=True) == 0 for name in ("maxUnavailable", "maxSurge")):
        value = bounds.maxUnavailable.strVal if bounds.maxUnavailable.type else bounds.maxUnavailable.intVal
        yield fielderrors.invalid(f"{path}.maxUnavailable", value, "may not be 0 when `maxSurge` is 0")
    yield from intorpercent.at_most_all(bounds.maxUnavailable, f"{path}.maxUnavailable")


def _deadline(spec: Any) -> Iterator[Cause]:
    if spec.HasField("progressDeadlineSeconds") and spec.progressDeadlineSeconds <= spec.minReadySeconds:
        text = "must be greater than minReadySeconds"
        yield fielderrors.invalid("spec.progressDeadlineSeconds", spec.progressDeadlineSeconds, text)


def validate_status(new: Deployment, old: Deployment) -> list[Cause]:
    return [*workloads.negative_counts(new.status, _COUNTS), *workloads.excess_counts(new.status, _PARTS)]


RULES: KindRules[Deployment] = KindRules(prepare=prepare, default=default, validate=validate, validate_status=validate_status)

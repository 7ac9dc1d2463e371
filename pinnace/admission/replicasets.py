"""ReplicaSets: their labels are the template's where they have none.

Source: apps/validation (ValidateReplicaSet, ValidateReplicaSetStatus) and apps/v1's defaults.
"""

from __future__ import annotations

from pinnace.admission import workloads
from pinnace.admission.kindrules import KindRules
from pinnace.apps.v1.replicaset_pb2 import ReplicaSet
from pinnace.errors import Cause

_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
_PARTS = (("fullyLabeledReplicas", "replicas"), ("readyReplicas", "replicas"), ("availableReplicas", "replicas"),
          ("availableReplicas", "readyReplicas"))  # fmt: skip


def prepare(item: ReplicaSet, _: ReplicaSet | None) -> None:
    workloads.prepare(item.spec)


def default(item: ReplicaSet) -> None:
    workloads.default(item.spec)
    if not item.metadata.labels:
        item.metadata.labels.update(item.spec.template.metadata.labels)


def validate(item: ReplicaSet) -> list[Cause]:
    return [*workloads.selector_errors(item.spec), *workloads.template_errors(item.spec, "ReplicaSet")]


def validate_status(new: ReplicaSet, old: ReplicaSet) -> list[Cause]:
    return [*workloads.negative_counts(new.status, _COUNTS), *workloads.excess_counts(new.status, _PARTS)]


RULES: KindRules[ReplicaSet] = KindRules(prepare=prepare, default=default, validate=validate, validate_status=validate_status)

"""StatefulSets: what identifies their pods does not change.

Source: apps/validation (ValidateStatefulSet, ValidateStatefulSetUpdate, ValidateStatefulSetStatus) and apps/v1's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, intorpercent
from pinnace.admission import claims, workloads
from pinnace.admission.kindrules import KindRules
from pinnace.admission.meta import each
from pinnace.apps.v1.statefulset_pb2 import StatefulSet
from pinnace.equality import same
from pinnace.errors import Cause
from pinnace.messages import clone
from pinnace.meta.v1.scalars_pb2 import IntOrString
from pinnace.persistentvolumes import PENDING

ROLLING_UPDATE, ON_DELETE = "RollingUpdate", "OnDelete"
ORDERED, PARALLEL = "OrderedReady", "Parallel"
# Fields of the spec that an update may change.
MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)  # fmt: skip
_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_COUNTS = (
    "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "observedGeneration", "availableReplicas",
)  # fmt: skip
_PARTS = (("readyReplicas", "replicas"), ("currentReplicas", "replicas"), ("updatedReplicas", "replicas"),
          ("availableReplicas", "replicas"), ("availableReplicas", "readyReplicas"))  # fmt: skip


def prepare(item: StatefulSet, _: StatefulSet | None) -> None:
    workloads.prepare(item.spec)


def default(item: StatefulSet) -> None:
    workloads.default(item.spec)
    _default_claims(item.spec)
    strategy = item.spec.updateStrategy
    if strategy.type in ("", ROLLING_UPDATE):
        strategy.type = ROLLING_UPDATE
        if not strategy.rollingUpdate.HasField("partition"):
            strategy.rollingUpdate.partition = 0
        if not strategy.rollingUpdate.HasField("maxUnavailable"):
            strategy.rollingUpdate.maxUnavailable.CopyFrom(IntOrString(intVal=1))


RETAIN, DELETE = "Retain", "Delete"


def _default_claims(spec: Any) -> None:
    """Of templates, and of what becomes of the claims, which is kept with both fields or neither."""
    policy = spec.persistentVolumeClaimRetentionPolicy
    policy.whenDeleted, policy.whenScaled = policy.whenDeleted or RETAIN, policy.whenScaled or RETAIN
    for template in spec.volumeClaimTemplates:
        template.status.phase = template.status.phase or PENDING


def validate(item: StatefulSet) -> list[Cause]:
    spec = item.spec
    causes = [*workloads.selector_errors(spec, "statefulset"), *workloads.template_errors(_mounted(spec), "StatefulSet")]
    if spec.podManagementPolicy not in (ORDERED, PARALLEL):
        text = f"must be '{ORDERED}' or '{PARALLEL}'"
        causes.append(fielderrors.invalid("spec.podManagementPolicy", spec.podManagementPolicy, text))
    if spec.serviceName:
        causes += each("spec.serviceName", spec.serviceName, formats.dns_label)
    return [*causes, *_strategy(spec.updateStrategy), *_retention(spec.persistentVolumeClaimRetentionPolicy), *_claims(spec)]


def _mounted(spec: Any) -> Any:
    """The spec whose template has a volume for each claim, which its containers may mount."""
    if not spec.volumeClaimTemplates:
        return spec
    mounted = clone(spec)
    present = {volume.name for volume in spec.template.spec.volumes}
    for template in spec.volumeClaimTemplates:
        if template.metadata.name and template.metadata.name not in present:
            volume = mounted.template.spec.volumes.add(name=template.metadata.name)
            volume.volumeSource.persistentVolumeClaim.claimName = template.metadata.name
    return mounted


def _retention(policy: Any) -> Iterator[Cause]:
    for field in ("whenDeleted", "whenScaled"):
        value = getattr(policy, field)
        if value not in (RETAIN, DELETE):
            yield fielderrors.not_supported(f"spec.persistentVolumeClaimRetentionPolicy.{field}", value, (RETAIN, DELETE))


def _claims(spec: Any) -> Iterator[Cause]:
    """A template without a name, or with one that another has, would make no claim."""
    names: set[str] = set()
    for index, template in enumerate(spec.volumeClaimTemplates):
        path, name = f"spec.volumeClaimTemplates[{index}]", template.metadata.name
        if not name:
            yield fielderrors.required(f"{path}.metadata.name")
        elif name in names:
            yield fielderrors.duplicate(f"{path}.metadata.name", name)
        names.add(name)
        yield from claims.spec_errors(template.spec, f"{path}.spec")


def _strategy(strategy: Any) -> Iterator[Cause]:
    path = "spec.updateStrategy"
    if strategy.type == ON_DELETE:
        if strategy.HasField("rollingUpdate"):
            text = f"only allowed for updateStrategy '{ROLLING_UPDATE}'"
            yield fielderrors.invalid(f"{path}.rollingUpdate", {}, text)
    elif strategy.type == ROLLING_UPDATE:
        bound, path = strategy.rollingUpdate.maxUnavailable, f"{path}.rollingUpdate.maxUnavailable"
        yield from intorpercent.validate(bound, path)
        yield from intorpercent.at_most_all(bound, path)
        if not any(intorpercent.validate(bound, path)) and intorpercent.scaled(bound, 100, round_up=True) == 0:
            yield fielderrors.invalid(path, bound.strVal if bound.type else bound.intVal, "cannot be 0")
    else:
        yield fielderrors.invalid(path, strategy.type, f"must be '{ROLLING_UPDATE}' or '{ON_DELETE}'")


def validate_update(old: StatefulSet, new: StatefulSet) -> list[Cause]:
    before, after = clone(old.spec), clone(new.spec)
    for name in MUTABLE:
        before.ClearField(name)
        after.ClearField(name)
    return [] if same(before, after) else [fielderrors.forbidden("spec", _FIXED)]


def validate_status(new: StatefulSet, old: StatefulSet) -> list[Cause]:
    return [*workloads.negative_counts(new.status, _COUNTS), *workloads.excess_counts(new.status, _PARTS)]


RULES: KindRules[StatefulSet] = KindRules(
    prepare=prepare, default=default, validate=validate, validate_update=validate_update, validate_status=validate_status
)

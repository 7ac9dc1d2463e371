"""Pods: the defaults and the rules between fields that field options cannot say.

Source: the behaviour of Kubernetes' core/v1 defaults and pod validation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pinnace import fielderrors, podresources, podspec
from pinnace.admission import (
    affinity,
    containers,
    images,
    lifecycle,
    meta,
    names,
    podannotations,
    podparts,
    podresize,
    podstatus,
    podupdates,
    ports,
    resources,
    schedulinggates,
    security,
    tolerations,
    topologyspread,
    volumes,
)
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1 import pod_pb2, scheduling_pb2
from pinnace.errors import Cause
from pinnace.remembered import Remembered, in_place
from pinnace.wellknown import TAINT_NOT_READY, TAINT_UNREACHABLE

# The account of a pod that names none; its template names none either.
DEFAULT_ACCOUNT = "default"
# How long a pod stays bound to a node that is gone, in seconds (DefaultTolerationSeconds).
TOLERATION_SECONDS = 300
_TOLERATIONS = {
    key: scheduling_pb2.Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=TOLERATION_SECONDS)
    for key in (TAINT_NOT_READY, TAINT_UNREACHABLE)
}


def prepare(pod: Any, old: Any | None) -> None:
    """Before defaults: fields and annotations with an older form are brought into the newer one.

    `serviceAccount` is an older name of `serviceAccountName`, which wins where both are set; of an update, the name that
    changed wins, so that the change is refused like any other and not lost."""
    spec = pod.spec
    changed = old is not None and spec.serviceAccount not in ("", old.spec.serviceAccount)
    if not spec.serviceAccountName or (changed and old is not None and spec.serviceAccountName == old.spec.serviceAccountName):
        spec.serviceAccountName = spec.serviceAccount
    if spec.terminationGracePeriodSeconds < 0:
        # As Kubernetes treats such a pod when it is deleted.
        spec.terminationGracePeriodSeconds = 1
    podannotations.apply(pod, old)


def default(pod: Any) -> None:
    _complete(pod.spec)


@in_place
def _complete(spec: Any) -> None:
    spec.serviceAccountName = spec.serviceAccountName or DEFAULT_ACCOUNT
    default_spec(spec)
    tolerations = spec.tolerations
    keys = {item.key for item in tolerations if item.effect in ("NoExecute", "")}
    for key, toleration in _TOLERATIONS.items():
        if key not in keys and "" not in keys:
            tolerations.append(toleration)


def default_spec(spec: Any) -> None:
    """Defaults that a template of pods has too."""
    if not spec.HasField("securityContext"):
        spec.securityContext.SetInParent()
    spec.serviceAccount = spec.serviceAccountName
    for _, container in podspec.containers_of(spec):
        if not container.imagePullPolicy:
            container.imagePullPolicy = images.pull_policy(container.image)
        if container.HasField("resources"):
            _default_requests(container.resources)
    ports.default(spec)
    for volume in spec.volumes:
        if not volume.volumeSource.ListFields():
            volume.volumeSource.emptyDir.SetInParent()
        image = volume.volumeSource.image
        if image.reference and not image.pullPolicy:
            image.pullPolicy = images.pull_policy(image.reference)


def _default_requests(amounts: Any) -> None:
    """A request that is left out is its limit."""
    for name in amounts.limits:
        if name in resources.KNOWN and name not in amounts.requests:
            amounts.requests[name].string = amounts.limits[name].string


def validate(pod: Any) -> list[Cause]:
    errors = [*_spec_errors(pod.spec)]
    if pod.metadata.annotations:
        errors += [*podannotations.validate(pod, podparts.read(pod.spec)), *_mirror(pod)]
    return errors


@Remembered
def _spec_errors(spec: Any) -> tuple[Cause, ...]:
    parts = podparts.read(spec)
    fields = parts.fields
    errors = [*volumes.validate(spec), *containers.validate(parts), *ports.validate(parts), *lifecycle.validate(parts)]
    if "nodeSelector" in fields:
        errors += meta.labels("spec.nodeSelector", spec.nodeSelector)
    if "overhead" in fields:
        errors += resources.amounts("spec.overhead", spec.overhead)
    if "affinity" in fields:
        errors += affinity.validate(spec.affinity, "spec.affinity")
    if "topologySpreadConstraints" in fields:
        errors += topologyspread.validate(spec.topologySpreadConstraints, "spec.topologySpreadConstraints")
    if "schedulingGates" in fields:
        errors += schedulinggates.validate(spec.schedulingGates)
    if "tolerations" in fields:
        errors += tolerations.validate("spec.tolerations", spec.tolerations)
    return (*errors, *podresize.policies(parts), *names.validate(parts), *security.validate(parts))


def validate_create(pod: Any) -> list[Cause]:
    """Rules that hold only for a pod that is new."""
    errors = [*podannotations.validate_create(pod), *schedulinggates.validate_create(pod.spec)]
    if pod.spec.ephemeralContainers:
        text = "cannot be set on create (kctl debug adds one to a running pod)"
        errors.append(fielderrors.forbidden("spec.ephemeralContainers", text))
    return errors


def _mirror(pod: Any) -> list[Cause]:
    value = pod.metadata.annotations.get(podresources.MIRROR)
    if value is None or pod.spec.nodeName:
        return []
    field = f"metadata.annotations[{podresources.MIRROR}]"
    return [fielderrors.invalid(field, value, "must set spec.nodeName if mirror pod annotation is set")]


RULES = KindRules[pod_pb2.Pod](
    prepare=prepare, default=default, validate=validate, validate_create=validate_create,
    validate_update=podupdates.validate, validate_status=podstatus.validate,
)  # fmt: skip
# Of writes through subresources.
EPHEMERAL_CONTAINERS_RULES = replace(RULES, validate_update=podupdates.validate_ephemeral)
RESIZE_RULES = replace(RULES, validate_update=podresize.validate)

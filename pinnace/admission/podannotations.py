"""Annotations of pods that have rules: profiles in the form before their fields, and the cost of a deletion.

An AppArmor profile is copied to its field; a seccomp profile is only checked, as in Kubernetes since 1.27.
Source: core/v1's ValidateAppArmorPodAnnotations, ValidateSeccompPodAnnotations and ValidatePodSpecificAnnotationUpdates, and
applyAppArmorVersionSkew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, podresources, podspec
from pinnace.admission import meta
from pinnace.admission.podparts import PodParts
from pinnace.errors import Cause

APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_DEFAULT, _UNCONFINED, _LOCALHOST = "runtime/default", "unconfined", "localhost/"
_DOCKER_DEFAULT = "docker/default"
_COST = re.compile("-?(0|[1-9][0-9]{0,9})", re.ASCII)


def apply(pod: Any, old: Any | None) -> None:
    """Set the appArmorProfile of containers that have the annotation, since their creation, and no field."""
    if not pod.metadata.annotations:
        return
    for _, container in podspec.containers(pod):
        key = APPARMOR + container.name
        value = pod.metadata.annotations.get(key)
        if value is None or container.securityContext.HasField("appArmorProfile"):
            continue
        if old is not None and old.metadata.annotations.get(key) != value:
            continue
        if value in (_DEFAULT, _UNCONFINED):
            container.securityContext.appArmorProfile.type = "RuntimeDefault" if value == _DEFAULT else "Unconfined"
        elif value.startswith(_LOCALHOST):
            profile = container.securityContext.appArmorProfile
            profile.type, profile.localhostProfile = "Localhost", value.removeprefix(_LOCALHOST)


def validate(pod: Any, parts: PodParts) -> Iterator[Cause]:
    """Errors of a pod's annotations."""
    by_name = {item.message.name: item for item in parts.containers}
    for key, value in pod.metadata.annotations.items():
        field = f"metadata.annotations[{key}]"
        if key == DELETION_COST and not (_COST.fullmatch(value) and -(1 << 31) <= int(value) < 1 << 31):
            yield fielderrors.invalid(field, value, "must be a 32bit integer")
        if key == SECCOMP_POD or key.startswith(SECCOMP):
            yield from _seccomp(f"metadata.annotations.{key}", value)
        if not key.startswith(APPARMOR):
            continue
        name = key.removeprefix(APPARMOR)
        if value not in ("", _DEFAULT, _UNCONFINED) and not value.startswith(_LOCALHOST):
            yield fielderrors.invalid(field, value, f"invalid AppArmor profile name: {fielderrors.shown(value)}")
        if name not in by_name:
            yield fielderrors.invalid(field, name, "container not found")
        else:
            path, container, _ = by_name[name]
            profile = container.securityContext.appArmorProfile
            yield from _matches(f"{path}.securityContext.appArmorProfile", profile, value, "apparmor")


def _seccomp(field: str, value: str) -> Iterator[Cause]:
    if value.startswith(_LOCALHOST):
        yield from meta.each(field, value.removeprefix(_LOCALHOST), formats.descending_path)
    elif value not in (_DEFAULT, _DOCKER_DEFAULT, _UNCONFINED):
        yield fielderrors.invalid(field, value, "must be a valid seccomp profile")


def validate_create(pod: Any) -> Iterator[Cause]:
    """Seccomp profiles of a new pod whose fields say something else than their annotations."""
    if not pod.metadata.annotations:
        return
    holders = [("spec", SECCOMP_POD, pod.spec)]
    holders += [(path, SECCOMP + container.name, container) for path, container in podspec.containers(pod)]
    for path, key, holder in holders:
        value = pod.metadata.annotations.get(key)
        if value is not None:
            value = _DEFAULT if value == _DOCKER_DEFAULT else value
            profile = holder.securityContext.seccompProfile
            yield from _matches(f"{path}.securityContext.seccompProfile", profile, value, "seccomp")


def _matches(path: str, profile: Any, value: str, label: str) -> Iterator[Cause]:
    """A field that says something else than its annotation."""
    expected = {"RuntimeDefault": _DEFAULT, "Unconfined": _UNCONFINED, "Localhost": _LOCALHOST + profile.localhostProfile}
    if not profile.type or expected.get(profile.type, value) == value:
        return
    if profile.type == "Localhost" and value.startswith(_LOCALHOST):
        yield fielderrors.forbidden(f"{path}.localhostProfile", f"{label} profile in annotation and field must match")
    else:
        yield fielderrors.forbidden(f"{path}.type", f"{label} type in annotation and field must match")


def validate_update(old: Any, new: Any) -> Iterator[Cause]:
    """Annotations that a pod has from its creation, or never."""
    before, after = old.metadata.annotations, new.metadata.annotations
    for key in sorted({*before, *after}):
        label = "mirror pod annotation" if key == podresources.MIRROR else "AppArmor annotations"
        if before.get(key) == after.get(key) or not (key == podresources.MIRROR or key.startswith(APPARMOR)):
            continue
        verb = "remove or update" if key in before else "add"
        yield fielderrors.forbidden(f"metadata.annotations[{key}]", f"may not {verb} {label}")

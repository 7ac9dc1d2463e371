"""PersistentVolumeClaims, and the templates of claims in StatefulSets and pods.

Source: core/v1's ValidatePersistentVolumeClaimSpec, ValidatePersistentVolumeClaimUpdate and its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pinnace import fielderrors, formats, labelselectors, persistentvolumes
from pinnace.admission import meta, resources
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.equality import same
from pinnace.errors import Cause
from pinnace.messages import clone
from pinnace.persistentvolumes import BLOCK, BOUND, FILESYSTEM, READ_WRITE_ONCE_POD, SHORT_MODES, STORAGE
from pinnace.wellknown import BETA_STORAGE_CLASS

_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def access_modes(path: str, modes: Iterable[str]) -> Iterator[Cause]:
    """Errors of access modes, of claims and volumes."""
    found = list(modes)
    for mode in found:
        if mode not in SHORT_MODES:
            yield fielderrors.not_supported(path, mode, sorted(SHORT_MODES))
    if READ_WRITE_ONCE_POD in found and len(found) > 1:
        yield fielderrors.forbidden(path, "may not use ReadWriteOncePod with other access modes")


def volume_mode(path: str, spec: Any) -> Iterator[Cause]:
    if spec.HasField("volumeMode") and spec.volumeMode not in (BLOCK, FILESYSTEM):
        yield fielderrors.not_supported(path, spec.volumeMode, (BLOCK, FILESYSTEM))


def class_name(path: str, name: str) -> Iterator[Cause]:
    if name:
        yield from meta.each(path, name, formats.dns_subdomain)


def positive(path: str, text: str) -> Iterator[Cause]:
    """Errors of a size."""
    wrong = list(resources.one_quantity(path, text, whole=False))
    amount = resources.amount(text)
    if not wrong and amount is not None and amount <= 0:
        wrong.append(fielderrors.invalid(path, text, "must be greater than zero"))
    yield from wrong


def spec_errors(spec: Any, path: str = "spec") -> Iterator[Cause]:
    """Errors of a claim's spec at `path`."""
    if not spec.accessModes:
        yield fielderrors.required(f"{path}.accessModes", "at least 1 access mode is required")
    yield from access_modes(f"{path}.accessModes", spec.accessModes)
    if spec.HasField("selector"):
        yield from labelselectors.validate(spec.selector, f"{path}.selector")
    if STORAGE not in spec.resources.requests:
        yield fielderrors.required(f"{path}.resources[{STORAGE}]")
    else:
        yield from positive(f"{path}.resources[{STORAGE}]", spec.resources.requests[STORAGE].string)
    yield from class_name(f"{path}.storageClassName", spec.storageClassName)
    yield from volume_mode(f"{path}.volumeMode", spec)


def template_errors(template: Any, path: str) -> Iterator[Cause]:
    """Errors of the template of a claim for one pod: its metadata are labels and annotations."""
    for field, _ in template.metadata.ListFields():
        if field.name not in ("labels", "annotations"):
            yield fielderrors.forbidden(f"{path}.metadata.{field.name}", "cannot be set for an ephemeral volume")
    yield from meta.labels(f"{path}.metadata.labels", template.metadata.labels)
    yield from meta.annotation_map(template.metadata.annotations, f"{path}.metadata.annotations")
    yield from spec_errors(template.spec, f"{path}.spec")


def validate(item: PersistentVolumeClaim) -> list[Cause]:
    errors = list(spec_errors(item.spec))
    beta = item.metadata.annotations.get(BETA_STORAGE_CLASS, "")
    if beta and item.spec.storageClassName:
        text = "may not be specified together with the annotation " + BETA_STORAGE_CLASS
        errors.append(fielderrors.invalid("spec.storageClassName", item.spec.storageClassName, text))
    return errors


def validate_update(old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> list[Cause]:
    before, after = clone(old.spec), clone(new.spec)
    if not before.volumeName:
        after.ClearField("volumeName")
    if not persistentvolumes.names_class(old) and new.spec.HasField("storageClassName"):
        # A claim without a class gets the default one later.
        after.ClearField("storageClassName")
    errors = [*_mode(old, new)]
    if old.status.phase == BOUND:
        before.resources.ClearField("requests")
        after.resources.ClearField("requests")
        errors += _resize(old, new)
    if not same(before, after):
        errors.append(fielderrors.forbidden("spec", _FIXED))
    return errors


def _mode(old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> Iterator[Cause]:
    if old.spec.volumeMode != new.spec.volumeMode:
        yield fielderrors.invalid("spec.volumeMode", new.spec.volumeMode, "field is immutable")


def _resize(old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> Iterator[Cause]:
    """A claim may request less again while that is more than it has, to end an expansion that cannot succeed."""
    wanted, had = persistentvolumes.request(new), persistentvolumes.request(old)
    if wanted < had and wanted <= persistentvolumes.size(old.status.capacity):
        yield fielderrors.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def validate_status(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> list[Cause]:
    errors = list(access_modes("status.accessModes", new.status.accessModes))
    return errors + list(resources.quantities("status.capacity", new.status.capacity))


RULES: KindRules[PersistentVolumeClaim] = KindRules(
    validate=validate, validate_update=validate_update, validate_status=validate_status
)

"""Checks of ObjectMeta, the same for every kind.

Source: apimachinery's api/validation (objectmeta.go), and core/v1's check of finalizers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pinnace import fielderrors, formats
from pinnace.errors import Cause
from pinnace.formats import Check
from pinnace.kinds import Kind
from pinnace.wellknown import FINALIZER_FOREGROUND, FINALIZER_ORPHAN

# All annotations together, in bytes (Kubernetes' TotalAnnotationSizeLimitB).
MAX_ANNOTATIONS = 256 * 1024
# The finalizers of core/v1 that need no domain.
_STANDARD_FINALIZERS = ("kubernetes", FINALIZER_ORPHAN, FINALIZER_FOREGROUND)


def validate(kind: Kind, message: Any, old: Any | None, *, name: Check = formats.dns_subdomain) -> list[Cause]:
    """Errors of the metadata; `name` is the kind's syntax of names."""
    meta = message.metadata
    errors = [*_names(kind, meta, name), *labels("metadata.labels", meta.labels)]
    if meta.annotations:
        errors += annotation_map(meta.annotations)
    if meta.finalizers:
        errors += _finalizers(kind, meta.finalizers)
    if meta.ownerReferences:
        errors += _owners(meta.ownerReferences)
    if old is not None and old.metadata.deletionTimestamp.seconds:
        added = sorted(set(meta.finalizers) - set(old.metadata.finalizers))
        if added:
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers {', '.join(added)}"
            errors.append(fielderrors.forbidden("metadata.finalizers", text[:1000]))
    return errors


def _names(kind: Kind, meta: Any, check: Check) -> Iterator[Cause]:
    if meta.generateName:
        yield from each("metadata.generateName", meta.generateName, formats.prefix_of(check))
    if not meta.name:
        yield fielderrors.required("metadata.name", "name or generateName is required")
    for detail in check(meta.name) if meta.name else ():
        yield fielderrors.invalid("metadata.name", meta.name, detail)
    for detail in formats.dns_label(meta.namespace) if kind.namespaced else ():
        yield fielderrors.invalid("metadata.namespace", meta.namespace, detail)


def each(field: str, value: str, check: Check) -> Iterator[Cause]:
    """What a check finds wrong with a value, as errors of its field."""
    for detail in check(value):
        yield fielderrors.invalid(field, value, detail)


def labels(field: str, items: Mapping[str, str]) -> Iterator[Cause]:
    """Errors of a label map's keys and values."""
    for key, value in items.items():
        for detail in formats.qualified_name(key):
            yield fielderrors.invalid(field, key, detail)
        for detail in formats.label_value(value):
            yield fielderrors.invalid(field, value, detail)


def annotation_map(items: Mapping[str, str], field: str = "metadata.annotations") -> Iterator[Cause]:
    """Errors of an annotation map."""
    for key in items:
        for detail in formats.qualified_name(key.lower()):
            yield fielderrors.invalid(field, key, detail)
    if sum(len(key.encode()) + len(value.encode()) for key, value in items.items()) > MAX_ANNOTATIONS:
        yield fielderrors.too_long(field, MAX_ANNOTATIONS)


def _finalizers(kind: Kind, names: Any) -> Iterator[Cause]:
    for index, name in enumerate(names):
        path = f"metadata.finalizers[{index}]"
        yield from each(path, name, formats.qualified_name)
        if not kind.group:
            yield from standard_finalizer(path, name)
    if FINALIZER_ORPHAN in names and FINALIZER_FOREGROUND in names:
        text = f"finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set"
        yield fielderrors.invalid("metadata.finalizers", list(names), text)


def standard_finalizer(field: str, name: str) -> Iterator[Cause]:
    """The error of a name without a domain that is not one of Kubernetes' own."""
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        yield fielderrors.invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified")


def _owners(references: Any) -> Iterator[Cause]:
    controller = ""
    for index, ref in enumerate(references):
        path = f"metadata.ownerReferences[{index}]"
        if ref.apiVersion and (ref.apiVersion.count("/") > 1 or not ref.apiVersion.rpartition("/")[2]):
            yield fielderrors.invalid(f"{path}.apiVersion", ref.apiVersion, "must be <group>/<version> or <version>")
        if (ref.apiVersion, ref.kind) == ("v1", "Event"):
            yield fielderrors.invalid(path, f"{ref.kind}/{ref.name}", "/v1, Kind=Event is disallowed from being an owner")
        if not ref.controller:
            continue
        name = f"{ref.kind}/{ref.name}"
        if controller:
            text = 'Only one reference can have Controller set to true. Found "true" in references for'
            yield fielderrors.invalid("metadata.ownerReferences", name, f"{text} {controller} and {name}")
        controller = controller or name

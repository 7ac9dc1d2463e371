"""Checks of ObjectMeta, the same for every kind."""

from __future__ import annotations

from typing import Any

from pinnace import codec
from pinnace.errors import Cause
from pinnace.kinds import Kind
from pinnace.rules import is_label, is_label_value, is_qualified_name, is_subdomain

# All annotations together, in bytes (Kubernetes' TotalAnnotationSizeLimitB).
MAX_ANNOTATIONS = 256 * 1024


def validate(kind: Kind, message: Any) -> list[Cause]:
    meta = message.metadata
    faults: list[Cause] = []
    if not meta.name:
        faults.append(Cause("metadata.name", "Required value: name or generateName is required", "FieldValueRequired"))
    else:
        wrong = is_label(meta.name) if kind.kind == "Namespace" else is_subdomain(meta.name)
        if wrong:
            faults.append(Cause("metadata.name", f"Invalid value: {codec.describe(meta.name)}: {wrong}"))
    if kind.namespaced and is_label(meta.namespace):
        shown = codec.describe(meta.namespace)
        faults.append(Cause("metadata.namespace", f"Invalid value: {shown}: {is_label(meta.namespace)}"))
    faults += labels("metadata.labels", meta.labels)
    size = 0
    for key, value in meta.annotations.items():
        size += len(key) + len(value)
        wrong = is_qualified_name(key)
        if wrong:
            faults.append(Cause("metadata.annotations", f"Invalid value: {codec.describe(key)}: {wrong}"))
    if size > MAX_ANNOTATIONS:
        faults.append(Cause("metadata.annotations", f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"))
    for index, name in enumerate(meta.finalizers):
        wrong = is_qualified_name(name)
        if wrong:
            faults.append(Cause(f"metadata.finalizers[{index}]", f"Invalid value: {codec.describe(name)}: {wrong}"))
    return faults


def labels(path: str, items: Any) -> list[Cause]:
    """Faults of a label map's keys and values."""
    faults = []
    for key, value in items.items():
        wrong = is_qualified_name(key)
        if wrong:
            faults.append(Cause(codec.join(path, codec.segment(key)), f"Invalid key {codec.describe(key)}: {wrong}"))
        wrong = is_label_value(value)
        if wrong:
            shown = codec.describe(value)
            faults.append(Cause(codec.join(path, codec.segment(key)), f"Invalid value: {shown}: {wrong}"))
    return faults

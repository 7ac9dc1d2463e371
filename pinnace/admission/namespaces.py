"""Namespaces: phase, and the finalizer that keeps one until its content is gone.

Source: core/v1's ValidateNamespace and ValidateNamespaceStatusUpdate.
"""

from __future__ import annotations

from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1 import namespace_pb2
from pinnace.errors import Cause
from pinnace.wellknown import FINALIZER_KUBERNETES, LABEL_METADATA_NAME


def prepare(message: Any, _: Any | None) -> None:
    if not message.metadata.deletionTimestamp.seconds and FINALIZER_KUBERNETES not in message.spec.finalizers:
        message.spec.finalizers.append(FINALIZER_KUBERNETES)
    message.metadata.labels[LABEL_METADATA_NAME] = message.metadata.name


def validate(message: Any) -> list[Cause]:
    errors: list[Cause] = []
    for index, name in enumerate(message.spec.finalizers):
        path = f"spec.finalizers[{index}]"
        errors += [*meta.each(path, name, formats.qualified_name), *meta.standard_finalizer(path, name)]
    return errors


def validate_status(message: Any, _: Any) -> list[Cause]:
    deleted = bool(message.metadata.deletionTimestamp.seconds)
    only, state = ("Terminating", "not empty") if deleted else ("Active", "empty")
    if message.status.phase == only:
        return []
    text = f"may only be '{only}' if `deletionTimestamp` is {state}"
    return [fielderrors.invalid("status.phase", message.status.phase, text)]


RULES = KindRules[namespace_pb2.Namespace](
    prepare=prepare, validate=validate, validate_status=validate_status, name=formats.dns_label
)

"""IngressClasses: the controller, which never changes, and the object with its parameters.

Source: networking/validation (ValidateIngressClass, ValidateIngressClassUpdate).
"""

from __future__ import annotations

from collections.abc import Iterator

from pinnace import fielderrors, formats
from pinnace.admission import meta, objectnames
from pinnace.admission.kindrules import KindRules
from pinnace.errors import Cause
from pinnace.networking.v1.ingressclass_pb2 import IngressClass, IngressClassParametersReference

CLUSTER, NAMESPACE = "Cluster", "Namespace"
# Bytes of a controller's name.
MAX_CONTROLLER = 250


def validate(item: IngressClass) -> list[Cause]:
    errors = [*_controller(item.spec.controller)]
    if item.spec.HasField("parameters"):
        errors += _parameters(item.spec.parameters, "spec.parameters")
    return errors


def _controller(name: str) -> Iterator[Cause]:
    path = "spec.controller"
    if not name:
        yield fielderrors.required(path)
        return
    if len(name.encode()) > MAX_CONTROLLER:
        yield fielderrors.too_long(path, MAX_CONTROLLER)
    yield from objectnames.domain_prefixed_path(path, name)


def _parameters(item: IngressClassParametersReference, path: str) -> Iterator[Cause]:
    yield from objectnames.local_reference(path, item)
    yield from _scope(item, path)


def _scope(item: IngressClassParametersReference, path: str) -> Iterator[Cause]:
    if item.scope not in (CLUSTER, NAMESPACE):
        yield fielderrors.not_supported(f"{path}.scope", item.scope, (CLUSTER, NAMESPACE))
    elif item.scope == NAMESPACE and not item.HasField("namespace"):
        yield fielderrors.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
    elif item.scope == NAMESPACE:
        yield from meta.each(f"{path}.namespace", item.namespace, formats.dns_label)
    elif item.HasField("namespace"):
        yield fielderrors.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")


def validate_update(old: IngressClass, new: IngressClass) -> list[Cause]:
    if old.spec.controller == new.spec.controller:
        return []
    return [fielderrors.invalid("spec.controller", new.spec.controller, "field is immutable")]


RULES: KindRules[IngressClass] = KindRules(validate=validate, validate_update=validate_update)

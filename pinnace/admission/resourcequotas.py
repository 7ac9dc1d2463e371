"""ResourceQuotas: resources that can be counted, and scopes that can be.

Source: core/v1's ValidateResourceQuota, ValidateResourceQuotaUpdate and its lists of resources by scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta, resources
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.resourcequota_pb2 import ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus
from pinnace.errors import Cause

TERMINATING, NOT_TERMINATING = "Terminating", "NotTerminating"
BEST_EFFORT, NOT_BEST_EFFORT, PRIORITY_CLASS = "BestEffort", "NotBestEffort", "PriorityClass"
SCOPES = (TERMINATING, NOT_TERMINATING, BEST_EFFORT, NOT_BEST_EFFORT, PRIORITY_CLASS)
# What pods use, besides their number.
COMPUTE = tuple(f"{prefix}{name}" for name in ("cpu", "memory", "ephemeral-storage") for prefix in ("", "requests.", "limits."))
# Objects that have a name of their own besides count/NAME.
COUNTED = (
    "pods", "configmaps", "secrets", "resourcequotas", "services", "services.nodeports", "services.loadbalancers",
    "replicationcontrollers", "persistentvolumeclaims",
)  # fmt: skip
_STORAGE = re.compile(r"requests\.storage|.+\.storageclass\.storage\.k8s\.io/(requests\.storage|persistentvolumeclaims)")
_EXCLUSIVE = ({TERMINATING, NOT_TERMINATING}, {BEST_EFFORT, NOT_BEST_EFFORT})
_UNSELECTIVE = "must be 'Exist' when scope is any of {}".format(
    "ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def validate(item: ResourceQuota) -> list[Cause]:
    spec = item.spec
    return [*_hard("spec.hard", spec.hard), *_scopes(spec), *_selector(spec)]


def _hard(path: str, items: Mapping[str, Any]) -> Iterator[Cause]:
    for name, value in items.items():
        field = f"{path}[{name[: formats.MAX_SUBDOMAIN]}]"
        yield from meta.each(field, name, formats.qualified_name)
        if "/" not in name and name not in COMPUTE and name not in COUNTED and not _STORAGE.fullmatch(name):
            yield fielderrors.invalid(field, name, "must be a standard resource for quota")
        yield from resources.one_quantity(field, value.string, whole=name in COUNTED or name.startswith("count/"))


def _scopes(spec: ResourceQuotaSpec) -> Iterator[Cause]:
    names = set(spec.scopes)
    for name in spec.scopes:
        if name not in SCOPES or name == PRIORITY_CLASS:
            yield fielderrors.invalid("spec.scopes", list(spec.scopes), "unsupported scope")
    yield from _conflicts("spec.scopes", names, spec)


def _conflicts(field: str, names: set[str], spec: ResourceQuotaSpec) -> Iterator[Cause]:
    if any(pair <= names for pair in _EXCLUSIVE):
        yield fielderrors.invalid(field, sorted(names), "conflicting scopes")
    for name in sorted(names & set(SCOPES)):
        allowed = ("pods",) if name == BEST_EFFORT else ("pods", *COMPUTE)
        if any(resource not in allowed for resource in spec.hard):
            yield fielderrors.invalid(field, sorted(names), "unsupported scope applied to resource")


def _selector(spec: ResourceQuotaSpec) -> Iterator[Cause]:
    path = "spec.scopeSelector.matchExpressions"
    for index, item in enumerate(spec.scopeSelector.matchExpressions):
        here = f"{path}[{index}]"
        if item.scopeName and item.scopeName not in SCOPES:
            yield fielderrors.invalid(f"{here}.scopeName", item.scopeName, "unsupported scope")
        if item.scopeName != PRIORITY_CLASS and item.scopeName in SCOPES and item.operator != "Exists":
            yield fielderrors.invalid(f"{here}.operator", item.operator, _UNSELECTIVE)
        if item.operator in ("In", "NotIn") and not item.values:
            text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            yield fielderrors.required(f"{here}.values", text)
        if item.operator in ("Exists", "DoesNotExist") and item.values:
            text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            yield fielderrors.invalid(f"{here}.values", list(item.values), text)
    yield from _conflicts(path, {item.scopeName for item in spec.scopeSelector.matchExpressions}, spec)


def validate_update(old: ResourceQuota, new: ResourceQuota) -> list[Cause]:
    """The pods that a quota is about do not change: what was counted would no longer be."""
    if set(old.spec.scopes) != set(new.spec.scopes):
        return [fielderrors.invalid("spec.scopes", list(new.spec.scopes), "field is immutable")]
    return []


def validate_status(item: ResourceQuota, _: ResourceQuota) -> list[Cause]:
    status: ResourceQuotaStatus = item.status
    return [*_hard("status.hard", status.hard), *_hard("status.used", status.used)]


RULES: KindRules[ResourceQuota] = KindRules(validate=validate, validate_update=validate_update, validate_status=validate_status)

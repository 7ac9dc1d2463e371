"""Roles and bindings: rules that name what they allow, subjects of known kinds, and a role that does not change.

Source: rbac/validation (validation.go) and rbac/v1's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from pinnace import codec, fielderrors, formats, labelselectors
from pinnace.admission.kindrules import KindRules
from pinnace.admission.meta import each
from pinnace.errors import Cause
from pinnace.rbac.v1.rbac_pb2 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject

GROUP = "rbac.authorization.k8s.io"
USER, USER_GROUP, ACCOUNT = "User", "Group", "ServiceAccount"
Binding = TypeVar("Binding", RoleBinding, ClusterRoleBinding)


def validate_role(item: Role) -> list[Cause]:
    return [error for index, rule in enumerate(item.rules) for error in _rule(rule, f"rules[{index}]", namespaced=True)]


def validate_cluster_role(item: ClusterRole) -> list[Cause]:
    errors = [error for index, rule in enumerate(item.rules) for error in _rule(rule, f"rules[{index}]", namespaced=False)]
    if item.HasField("aggregationRule"):
        path, selectors = "aggregationRule.clusterRoleSelectors", item.aggregationRule.clusterRoleSelectors
        if not selectors:
            errors.append(fielderrors.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
        for index, selector in enumerate(selectors):
            errors += labelselectors.validate(selector, f"{path}[{index}]")
    return errors


def _rule(rule: PolicyRule, path: str, *, namespaced: bool) -> Iterator[Cause]:
    if not rule.verbs:
        yield fielderrors.required(f"{path}.verbs", "verbs must contain at least one value")
    if rule.nonResourceURLs:
        field, urls = f"{path}.nonResourceURLs", list(rule.nonResourceURLs)
        if namespaced:
            yield fielderrors.invalid(field, urls, "namespaced rules cannot apply to non-resource URLs")
        if rule.apiGroups or rule.resources or rule.resourceNames:
            yield fielderrors.invalid(field, urls, "rules cannot apply to both regular resources and non-resource URLs")
        return
    if not rule.apiGroups:
        yield fielderrors.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.resources:
        yield fielderrors.required(f"{path}.resources", "resource rules must supply at least one resource")


def default_binding(item: RoleBinding | ClusterRoleBinding) -> None:
    """The group of the role, and of users and groups."""
    item.roleRef.apiGroup = item.roleRef.apiGroup or GROUP
    for subject in item.subjects:
        if not subject.apiGroup and subject.kind in (USER, USER_GROUP):
            subject.apiGroup = GROUP


def validate_role_binding(item: RoleBinding) -> list[Cause]:
    return list(_binding(item, ("Role", "ClusterRole")))


def validate_cluster_role_binding(item: ClusterRoleBinding) -> list[Cause]:
    return list(_binding(item, ("ClusterRole",)))


def _binding(item: RoleBinding | ClusterRoleBinding, roles: tuple[str, ...]) -> Iterator[Cause]:
    role = item.roleRef
    if role.apiGroup != GROUP:
        yield fielderrors.not_supported("roleRef.apiGroup", role.apiGroup, (GROUP,))
    if role.kind not in roles:
        yield fielderrors.not_supported("roleRef.kind", role.kind, roles)
    if role.name:
        yield from each("roleRef.name", role.name, formats.path_segment)
    else:
        yield fielderrors.required("roleRef.name")
    for index, subject in enumerate(item.subjects):
        yield from _subject(subject, f"subjects[{index}]", namespaced=isinstance(item, RoleBinding))


def _subject(subject: Subject, path: str, *, namespaced: bool) -> Iterator[Cause]:
    if not subject.name:
        yield fielderrors.required(f"{path}.name")
    if subject.kind == ACCOUNT:
        if subject.name:
            yield from each(f"{path}.name", subject.name, formats.dns_subdomain)
        if subject.apiGroup:
            yield fielderrors.not_supported(f"{path}.apiGroup", subject.apiGroup, ("",))
        if not namespaced and not subject.namespace:
            yield fielderrors.required(f"{path}.namespace")
    elif subject.kind in (USER, USER_GROUP):
        if not subject.name:
            yield fielderrors.invalid(f"{path}.name", subject.name, f"{subject.kind.lower()} name cannot be empty")
        if subject.apiGroup != GROUP:
            yield fielderrors.not_supported(f"{path}.apiGroup", subject.apiGroup, (GROUP,))
    else:
        yield fielderrors.not_supported(f"{path}.kind", subject.kind, (ACCOUNT, USER, USER_GROUP))


def validate_binding_update(old: Binding, new: Binding) -> list[Cause]:
    if old.roleRef == new.roleRef:
        return []
    return [fielderrors.invalid("roleRef", _shown(new.roleRef), "cannot change roleRef")]


def _shown(role: RoleRef) -> dict[str, str]:
    return codec.encode(role)


ROLE_RULES: KindRules[Role] = KindRules(validate=validate_role, name=formats.path_segment)
CLUSTER_ROLE_RULES: KindRules[ClusterRole] = KindRules(validate=validate_cluster_role, name=formats.path_segment)
ROLE_BINDING_RULES: KindRules[RoleBinding] = KindRules(
    default=default_binding, validate=validate_role_binding, validate_update=validate_binding_update, name=formats.path_segment
)
CLUSTER_ROLE_BINDING_RULES: KindRules[ClusterRoleBinding] = KindRules(
    default=default_binding,
    validate=validate_cluster_role_binding,
    validate_update=validate_binding_update,
    name=formats.path_segment,
)

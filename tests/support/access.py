"""Roles, bindings and users for tests of access."""

from __future__ import annotations

from typing import Any

from controlplane.access.identity import Identity, authenticated
from pinnace.admission.rbac import GROUP
from pinnace.rbac.v1.rbac_pb2 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject


def user(name: str, *groups: str) -> Identity:
    """A user as authentication names it."""
    return authenticated(Identity(name, groups))


def rule(verbs: str, resources: str, *, group: str = "", names: str = "") -> PolicyRule:
    """A rule of words: `rule("get list", "pods pods/log")`."""
    return PolicyRule(verbs=verbs.split(), apiGroups=[group], resources=resources.split(), resourceNames=names.split())


def paths(verbs: str, *urls: str) -> PolicyRule:
    return PolicyRule(verbs=verbs.split(), nonResourceURLs=urls)


def role(name: str, *rules: PolicyRule, namespace: str = "default") -> Role:
    made = Role(rules=rules)
    made.metadata.name, made.metadata.namespace = name, namespace
    return made


def cluster_role(name: str, *rules: PolicyRule) -> ClusterRole:
    made = ClusterRole(rules=rules)
    made.metadata.name = name
    return made


def subject(text: str) -> Subject:
    """`User:jane`, `Group:staff`, `ServiceAccount:builder` or `ServiceAccount:ns/builder`."""
    kind, _, name = text.partition(":")
    namespace, slash, account = name.partition("/")
    if kind == "ServiceAccount":
        return Subject(kind=kind, name=account if slash else name, namespace=namespace if slash else "")
    return Subject(kind=kind, name=name, apiGroup=GROUP)


def bind(made: Any, role: str, *subjects: str) -> Any:
    made.roleRef.kind, _, made.roleRef.name = role.partition("/")
    made.roleRef.apiGroup = GROUP
    made.subjects.extend(map(subject, subjects))
    return made


def role_binding(name: str, role: str, *subjects: str, namespace: str = "default") -> RoleBinding:
    """Grants `Role/NAME` or `ClusterRole/NAME` in a namespace."""
    made = RoleBinding()
    made.metadata.name, made.metadata.namespace = name, namespace
    bound: RoleBinding = bind(made, role, *subjects)
    return bound


def cluster_role_binding(name: str, role: str, *subjects: str) -> ClusterRoleBinding:
    made = ClusterRoleBinding()
    made.metadata.name = name
    bound: ClusterRoleBinding = bind(made, f"ClusterRole/{role}", *subjects)
    return bound

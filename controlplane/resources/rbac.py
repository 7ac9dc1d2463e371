"""Roles and bindings as stored objects. `controlplane.access` evaluates them, and checks who may grant what.

Source: registry/rbac.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.resources.columns import AGE, NAME, NAME_AND_CREATION, Cell, Column, Columns, age, wide
from controlplane.resources.resource import Resource
from pinnace import kinds
from pinnace.admission import rbac
from pinnace.rbac.v1.rbac_pb2 import ClusterRoleBinding, RoleBinding

# The index of bindings by their namespace and subject.
SUBJECT = "subject"


def subject_value(where: str, kind: str, name: str, namespace: str = "") -> str:
    """The value in the index of bindings in namespace `where`, empty for ClusterRoleBindings; `namespace` of an account."""
    return "\0".join((where, kind, name, namespace))


def _by_subject(item: RoleBinding | ClusterRoleBinding) -> Sequence[str]:
    """An account without a namespace is of the binding's own."""
    where = item.metadata.namespace
    return [
        subject_value(where, subject.kind, subject.name, (subject.namespace or where) if subject.kind == rbac.ACCOUNT else "")
        for subject in item.subjects
    ]


def _cells(item: RoleBinding | ClusterRoleBinding, now: float) -> tuple[Cell, ...]:
    subjects = [", ".join(_subjects(item, kind)) for kind in ("User", "Group", "ServiceAccount")]
    return item.metadata.name, f"{item.roleRef.kind}/{item.roleRef.name}", age(item, now), *subjects


def _subjects(item: RoleBinding | ClusterRoleBinding, kind: str) -> list[str]:
    """The subjects of one kind, accounts with their namespace."""
    found = [subject for subject in item.subjects if subject.kind == kind]
    return [f"{subject.namespace}/{subject.name}" if kind == "ServiceAccount" else subject.name for subject in found]


_BINDING: Columns[Any] = Columns(
    (
        NAME,
        Column("Role", description="Kind and name of the granted role."),
        AGE,
        wide("Users", "Users to whom they are granted."),
        wide("Groups", "Groups to whom they are granted."),
        wide("ServiceAccounts", "Accounts to which they are granted, with their namespaces."),
    ),
    _cells,
)
ROLE = Resource(kinds.ROLE, rules=rbac.ROLE_RULES, columns=NAME_AND_CREATION, creates_on_update=True)
# The index of the ClusterRoles with an aggregationRule, and their only value in it.
AGGREGATED = "aggregated"
CLUSTER_ROLE = Resource(
    kinds.CLUSTER_ROLE,
    rules=rbac.CLUSTER_ROLE_RULES,
    creates_on_update=True,
    columns=NAME_AND_CREATION,
    own_indexes={AGGREGATED: lambda item: (AGGREGATED,) if item.HasField("aggregationRule") else ()},
)
ROLE_BINDING = Resource(
    kinds.ROLE_BINDING,
    rules=rbac.ROLE_BINDING_RULES,
    columns=_BINDING,
    own_indexes={SUBJECT: _by_subject},
    creates_on_update=True,
)
CLUSTER_ROLE_BINDING = Resource(
    kinds.CLUSTER_ROLE_BINDING,
    rules=rbac.CLUSTER_ROLE_BINDING_RULES,
    columns=_BINDING,
    own_indexes={SUBJECT: _by_subject},
    creates_on_update=True,
)

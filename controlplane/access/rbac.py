"""Role-based access control: what bindings and roles in the store allow.

A check costs what is bound to the user and its groups, in the namespace of the request and in the cluster, up to a limit;
bindings of others cost nothing. An index of the watch cache finds bindings by subject, so that the answer is never older than
the cache; roles are kept as tables from their last change on.
Source: plugin/pkg/auth/authorizer/rbac and registry/rbac/validation (rule.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from controlplane.access.attributes import Attributes
from controlplane.access.authorizer import NO_OPINION, Decision, Rules, Verdict
from controlplane.access.identity import Identity
from controlplane.access.rules import RuleTable
from controlplane.access.tablecache import TableCache
from controlplane.resources.rbac import SUBJECT, subject_value
from controlplane.store import StoredObject
from pinnace import kinds
from pinnace.admission.rbac import ACCOUNT, USER, USER_GROUP
from pinnace.errors import NotFound
from pinnace.fielderrors import quoted
from pinnace.kinds import Kind
from pinnace.rbac.v1.rbac_pb2 import PolicyRule, RoleRef

# Bindings, and values of their roles' rules, that one check looks at. Nothing else runs meanwhile, and a user who may write
# roles in a namespace may bind any number of them to any user there. What is beyond allows nothing.
MAX_BINDINGS, MAX_VALUES = 2_000, 50_000
TOO_MANY = (
    f"the user has more than {MAX_BINDINGS} bindings, or roles with more than {MAX_VALUES} values: not all were considered"
)


class Rows(Protocol):
    """The part of a store that is read."""

    def row(self, kind: Kind, key: str) -> StoredObject | None: ...

    def rows_by(self, kind: Kind, index: str, value: str) -> list[StoredObject]: ...


class _Subject(NamedTuple):
    """A subject as bindings name it; `namespace` of an account."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {quoted(f'{self.name}/{self.namespace}' if self.kind == ACCOUNT else self.name)}"


class _Grant(NamedTuple):
    """A binding that applies to a user, the subject by which it does, and the table of its role."""

    binding: StoredObject
    subject: _Subject
    table: RuleTable


class RBAC:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._tables = TableCache()

    def authorize(self, request: Attributes) -> Decision:
        errors: list[str] = []
        namespace = request.namespace if request.resource else ""
        for grant in self._grants(request.identity, namespace, errors):
            if grant.table.allows(request):
                return Decision(Verdict.ALLOW, f"RBAC: allowed by {_source(grant)}")
        return Decision(Verdict.NO_OPINION, f"RBAC: {_listed(errors)}") if errors else NO_OPINION

    def rules_for(self, identity: Identity, namespace: str) -> Rules:
        errors: list[str] = []
        rules = tuple(rule for grant in self._grants(identity, namespace, errors) for rule in grant.table.rules)
        return Rules(rules, incomplete=TOO_MANY in errors, errors=tuple(errors))

    def rules_of(self, role: RoleRef, namespace: str) -> Sequence[PolicyRule]:
        """The rules of the role that a binding in `namespace` names. Raises NotFound."""
        return self._table(role, namespace).rules

    def _grants(self, identity: Identity, namespace: str, errors: list[str]) -> Iterator[_Grant]:
        """Those of the cluster first, each role once; `errors` gets the roles that do not exist, and TOO_MANY."""
        subjects, bindings, left, seen = _subjects(identity), 0, MAX_VALUES, set[tuple[str, str]]()
        for kind, where in ((kinds.CLUSTER_ROLE_BINDING, ""), (kinds.ROLE_BINDING, namespace)):
            if kind is kinds.ROLE_BINDING and not namespace:
                continue
            for subject in subjects:
                for row in self._rows.rows_by(kind, SUBJECT, subject_value(where, *subject)):
                    role, bindings = row.message.roleRef, bindings + 1
                    if bindings > MAX_BINDINGS or left < 0:
                        errors.append(TOO_MANY)
                        return
                    if (role.kind, role.name) in seen:
                        continue
                    seen.add((role.kind, role.name))
                    try:
                        table = self._table(role, where)
                    except NotFound as error:
                        errors.append(error.message)
                        continue
                    left -= table.values
                    yield _Grant(row, subject, table)

    def _table(self, role: RoleRef, namespace: str) -> RuleTable:
        kind = kinds.ROLE if role.kind == "Role" else kinds.CLUSTER_ROLE
        row = self._rows.row(kind, kind.key(namespace, role.name))
        if row is None:
            # As apiserver's errors have it: the resource in the singular.
            raise NotFound.of(f"{kind.singular}.{kind.group}", role.name)
        return self._tables.of(row)


def _subjects(identity: Identity) -> list[_Subject]:
    found = [_Subject(USER, identity.user), *(_Subject(USER_GROUP, group) for group in identity.groups)]
    if identity.account is not None:
        namespace, name = identity.account
        found.append(_Subject(ACCOUNT, name, namespace))
    return found


def _source(grant: _Grant) -> str:
    row = grant.binding
    meta, role = row.message.metadata, row.message.roleRef
    name = f"{meta.name}/{meta.namespace}" if row.kind.namespaced else meta.name
    return f"{row.kind.kind} {quoted(name)} of {role.kind} {quoted(role.name)} to {grant.subject}"


def _listed(errors: Sequence[str]) -> str:
    """As apimachinery's aggregate: one by itself, several in brackets, each once."""
    once = list(dict.fromkeys(errors))
    return once[0] if len(once) == 1 else f"[{', '.join(once)}]"

"""Audit policies: at which level a request is recorded. Pure.

Secrets and tokens are recorded without their content, whatever the policy says.

Source: audit.k8s.io/v1 Policy of k8s.io/apiserver.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controlplane.access.attributes import Attributes
from controlplane.access.identity import Identity
from pinnace import errors, manifest
from pinnace.errors import Invalid

# Resources that hold credentials: their content is in no log.
_SECRET = frozenset({("", "secrets"), ("", "serviceaccounts/token"), ("authentication.k8s.io", "tokenreviews")})


class Level(enum.IntEnum):
    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3

    @classmethod
    def of(cls, text: Any) -> Level:
        """Raises ValueError."""
        names = {"None": cls.NONE, "Metadata": cls.METADATA, "Request": cls.REQUEST, "RequestResponse": cls.REQUEST_RESPONSE}
        if text not in names:
            raise ValueError(f"level: {str(text)[:40]!r} is not one of {', '.join(names)}")
        return names[text]

    @property
    def text(self) -> str:
        return ("None", "Metadata", "Request", "RequestResponse")[self]


# JSON, or nothing; or what makes it, for a record that is written with it.
Body = bytes | Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """One request that has been answered. Times in seconds since the epoch."""

    id: str
    uri: str
    verb: str
    user: str
    groups: Sequence[str]
    source: str
    agent: str
    received: float
    answered: float
    code: int
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    request: Body = b""
    response: Body = b""
    # The user that `user` acts as.
    impersonated: Identity | None = None

    @property
    def combined(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def of_call(
    method: str, caller: Identity, code: str, about: Attributes | None = None, request: Body = b"", response: Body = b"", *,
    id_: str, received: float, answered: float, source: str = "",
) -> Record:  # fmt: skip
    """A gRPC call: a request on a resource, or without one for a path. `code` is the name of its status."""
    http = 200 if code == "OK" else next((item.http for item in errors.ALL if item.grpc == code), 500)
    verb = about.verb if about is not None else method.rpartition("/")[2].lower()
    record = Record(id_, method, verb, caller.user, caller.groups, source, "grpc", received, answered, http)
    if about is None:
        return record
    return replace(
        record, group=about.group, version=about.version, resource=about.resource, subresource=about.subresource,
        namespace=about.namespace, name=about.name, request=request, response=response,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches a request that each non-empty list names. The first rule that matches decides."""

    level: Level
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    # API group and resources (`pods`, `pods/log`, `pods/*`, `*/status`; none: all of the group).
    resources: tuple[tuple[str, frozenset[str]], ...] = ()
    urls: tuple[str, ...] = ()

    def matches(self, record: Record) -> bool:
        if self.users and record.user not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(record.groups):
            return False
        if self.verbs and record.verb not in self.verbs:
            return False
        if self.urls:
            return not record.resource and any(_covers(url, record.uri.partition("?")[0]) for url in self.urls)
        if self.resources and not (record.resource and any(_names(group, names, record) for group, names in self.resources)):
            return False
        return not self.namespaces or (bool(record.resource) and record.namespace in self.namespaces)


def _covers(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def _names(group: str, names: frozenset[str], record: Record) -> bool:
    if group != record.group:
        return False
    wildcards = (f"{record.resource}/*", f"*/{record.subresource}") if record.subresource else ()
    return not names or record.combined in names or "*" in names or any(name in names for name in wildcards)


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...] = (Rule(Level.METADATA),)

    def level(self, record: Record) -> Level:
        found = next((rule.level for rule in self.rules if rule.matches(record)), Level.NONE)
        return min(found, Level.METADATA) if (record.group, record.combined) in _SECRET else found


def read_policy(data: bytes, source: str) -> Policy:
    """A Policy of audit.k8s.io/v1. Raises Invalid, naming the rule."""
    documents = manifest.load(data, source)
    value = documents[0].value if len(documents) == 1 else None
    if not isinstance(value, dict) or value.get("kind") != "Policy" or value.get("apiVersion") != "audit.k8s.io/v1":
        raise Invalid(f"{source} is not one Policy of audit.k8s.io/v1")
    rules = value.get("rules")
    if not isinstance(rules, list) or not rules:
        raise Invalid(f"{source}: rules: Required value")
    found = []
    for number, rule in enumerate(rules):
        try:
            found.append(_rule(rule))
        except (ValueError, TypeError, AttributeError) as error:
            raise Invalid(f"{source}: rules[{number}]: {error}") from None
    return Policy(tuple(found))


_FIELDS = {
    "level", "users", "userGroups", "verbs", "namespaces", "resources", "nonResourceURLs", "omitStages", "omitManagedFields",
}  # fmt: skip


def _rule(value: Any) -> Rule:
    """Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    known = {
        "level",
        "users",
        "userGroups",
        "verbs",
        "namespaces",
        "resources",
        "nonResourceURLs",
        "omitStages",
        "omitManagedFields",
    }
    unknown = sorted(set(value) - known)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    resources = []
    for item in value.get("resources") or ():
        if item.get("resourceNames"):
            raise ValueError("resources.resourceNames is not supported")
        resources.append((str(item.get("group") or ""), _texts(item, "resources")))
    urls = tuple(sorted(_texts(value, "nonResourceURLs")))
    if urls and resources:
        raise ValueError("a rule is for resources or for nonResourceURLs, not for both")
    return Rule(
        Level.of(value.get("level")), _texts(value, "users"), _texts(value, "userGroups"), _texts(value, "verbs"),
        _texts(value, "namespaces"), tuple(resources), urls,
    )  # fmt: skip


def _texts(value: dict[str, Any], name: str) -> frozenset[str]:
    found = value.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError(f"{name}: expected a list of strings")
    return frozenset(found)

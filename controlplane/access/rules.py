"""Whether rules of roles allow a request, and whether a set of rules covers another. Pure.

Source: component-helpers' auth/rbac/validation (policy_comparator.go) and pkg/apis/rbac (evaluation_helpers.go).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.access.attributes import Attributes
from pinnace.errors import Forbidden
from pinnace.rbac.v1.rbac_pb2 import PolicyRule

ALL = "*"
# Parts into which the rules of one role may be broken down for a comparison: their number is a product of lengths.
MAX_PARTS = 50_000


class Part(NamedTuple):
    """A rule with one of each; `name` None: all names. Of a path the resource is empty."""

    verb: str
    group: str
    resource: str
    name: str | None
    path: str


class Rule(NamedTuple):
    """A PolicyRule as sets."""

    verbs: frozenset[str]
    groups: frozenset[str]
    names: frozenset[str]

    def allows(self, verb: str, group: str, name: str | None) -> bool:
        """On a resource that the rule is about; `name` None: on all names."""
        if verb not in self.verbs and ALL not in self.verbs:
            return False
        if group not in self.groups and ALL not in self.groups:
            return False
        return not self.names or name in self.names


class RuleTable:
    """Rules by resource: a check looks at those that are about the resource alone."""

    __slots__ = ("_paths", "_resources", "rules", "values")

    def __init__(self, rules: Iterable[PolicyRule]) -> None:
        self.rules = tuple(rules)
        self._resources: dict[str, list[Rule]] = {}
        self._paths: list[tuple[frozenset[str], tuple[str, ...]]] = []
        # Rules and items of their lists: what they cost.
        self.values = 0
        for item in self.rules:
            verbs = frozenset(item.verbs)
            if item.nonResourceURLs:
                self._paths.append((verbs, tuple(item.nonResourceURLs)))
            rule = Rule(verbs, frozenset(item.apiGroups), frozenset(item.resourceNames))
            lists = (item.verbs, item.apiGroups, item.resources, item.resourceNames, item.nonResourceURLs)
            self.values += 1 + sum(map(len, lists))
            for resource in dict.fromkeys(item.resources):
                self._resources.setdefault(resource, []).append(rule)

    def allows(self, request: Attributes) -> bool:
        """Whether a rule allows the request."""
        if not request.resource:
            return self._allows_path(request.verb, request.path)
        return self._allows_resource(request.verb, request.group, request.combined, request.name)

    def covers(self, part: Part) -> bool:
        """Whether a rule allows all that the part of a rule allows."""
        if part.path:
            return self._allows_path(part.verb, part.path)
        return self._allows_resource(part.verb, part.group, part.resource, part.name)

    def _allows_path(self, verb: str, path: str) -> bool:
        return any(
            (verb in verbs or ALL in verbs) and any(covers_path(pattern, path) for pattern in paths)
            for verbs, paths in self._paths
        )

    def _allows_resource(self, verb: str, group: str, resource: str, name: str | None) -> bool:
        subresource = resource.partition("/")[2]
        words = (resource, ALL, f"*/{subresource}") if subresource else (resource, ALL)
        return any(rule.allows(verb, group, name) for word in words for rule in self._resources.get(word, ()))


def covers_path(pattern: str, path: str) -> bool:
    """Whether a rule's path is `*`, the path itself, or a beginning of it that ends with `*`."""
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL)))


def missing(owned: Iterable[PolicyRule], wanted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """The parts of the `wanted` rules that no `owned` rule covers. Raises Forbidden for more parts than are compared."""
    table = RuleTable(owned)
    return [_rule(part) for part in _parts(wanted) if not table.covers(part)]


def _parts(rules: Iterable[PolicyRule]) -> Iterator[Part]:
    """Each part once. Raises Forbidden for too many."""
    seen: set[Part] = set()
    for count, part in enumerate(itertools.chain.from_iterable(map(_split, rules)), 1):
        if count > MAX_PARTS:
            raise Forbidden(f"the rules have more than {MAX_PARTS} combinations of verbs, resources and names")
        if part not in seen:
            seen.add(part)
            yield part


def _split(rule: PolicyRule) -> Iterator[Part]:
    for verb in rule.verbs:
        for group, resource in itertools.product(rule.apiGroups, rule.resources):
            for name in rule.resourceNames or (None,):
                yield Part(verb, group, resource, name, "")
        for path in rule.nonResourceURLs:
            yield Part(verb, "", "", None, path)


def _rule(part: Part) -> PolicyRule:
    if part.path:
        return PolicyRule(verbs=[part.verb], nonResourceURLs=[part.path])
    names = [] if part.name is None else [part.name]
    return PolicyRule(verbs=[part.verb], apiGroups=[part.group], resources=[part.resource], resourceNames=names)


def compact(rules: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Rules of one group and resource each, with all their verbs in one. Other rules stay as they are."""
    simple: dict[tuple[str, str, tuple[str, ...]], PolicyRule] = {}
    out = []
    for rule in rules:
        if len(rule.apiGroups) != 1 or len(rule.resources) != 1 or rule.nonResourceURLs:
            out.append(rule)
            continue
        key = rule.apiGroups[0], rule.resources[0], tuple(rule.resourceNames)
        if key not in simple:
            simple[key] = PolicyRule()
            simple[key].CopyFrom(rule)
            out.append(simple[key])
            continue
        simple[key].verbs.extend(verb for verb in rule.verbs if verb not in simple[key].verbs)
    return out


def describe(rule: PolicyRule) -> str:
    """`{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`, as Kubernetes' errors show a rule."""
    lists = {
        "APIGroups": rule.apiGroups, "Resources": rule.resources, "NonResourceURLs": rule.nonResourceURLs,
        "ResourceNames": rule.resourceNames, "Verbs": rule.verbs,
    }  # fmt: skip
    shown = [f"{name}:[{' '.join(f'{chr(34)}{item}{chr(34)}' for item in items)}]" for name, items in lists.items() if items]
    return "{" + ", ".join(shown) + "}"

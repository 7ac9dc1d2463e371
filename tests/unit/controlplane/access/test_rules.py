"""Rules of roles: the requests that they allow, and the rules that they cover."""

from __future__ import annotations

import pytest

from controlplane.access import rules
from controlplane.access.attributes import Attributes
from controlplane.access.rules import RuleTable
from pinnace.errors import Forbidden
from pinnace.rbac.v1.rbac_pb2 import PolicyRule
from tests.support.access import paths, rule

EVERYTHING = PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"])


def asks(verb: str, resource: str, *, group: str = "", name: str = "") -> Attributes:
    resource, _, subresource = resource.partition("/")
    return Attributes(user="u", verb=verb, group=group, resource=resource, subresource=subresource, name=name)


@pytest.mark.parametrize(
    ("rule", "request_", "allowed"),
    [
        (rule("get", "pods"), asks("get", "pods"), True),
        (rule("get", "pods"), asks("list", "pods"), False),
        (rule("get", "pods"), asks("get", "secrets"), False),
        (rule("get", "pods"), asks("get", "pods/log"), False),
        (rule("get", "pods/log"), asks("get", "pods/log"), True),
        (rule("get", "pods/log"), asks("get", "pods"), False),
        (rule("get", "*/log"), asks("get", "pods/log"), True),
        (rule("get", "*/log"), asks("get", "pods"), False),
        (rule("get", "*"), asks("get", "pods/log"), True),
        (rule("*", "pods"), asks("anything", "pods"), True),
        (rule("get", "deployments", group="apps"), asks("get", "deployments", group="apps"), True),
        (rule("get", "deployments", group="apps"), asks("get", "deployments"), False),
        (rule("get", "deployments", group="*"), asks("get", "deployments", group="apps"), True),
        (rule("get", "pods", names="a b"), asks("get", "pods", name="b"), True),
        (rule("get", "pods", names="a b"), asks("get", "pods", name="c"), False),
        # A name limits collections and creations too, which have none.
        (rule("get list", "pods", names="a"), asks("list", "pods"), False),
        (paths("get", "*"), asks("get", "pods"), False),
    ],
)
def test_a_rule_allows_requests_on_resources(rule: PolicyRule, request_: Attributes, allowed: bool) -> None:
    """Verb, group, resource with its subresource, and name must match."""
    assert RuleTable([rule]).allows(request_) is allowed


@pytest.mark.parametrize(
    ("rule", "path", "allowed"),
    [
        (paths("get", "/healthz"), "/healthz", True),
        (paths("get", "/healthz"), "/healthz/etcd", False),
        (paths("get", "/logs/*"), "/logs/a/b", True),
        (paths("get", "/logs/*"), "/logs", False),
        (paths("get", "*"), "/x", True),
        (paths("post", "*"), "/x", False),
        (paths("*", "/x"), "/x", True),
        (EVERYTHING, "/x", False),
    ],
)
def test_a_rule_allows_requests_on_paths(rule: PolicyRule, path: str, allowed: bool) -> None:
    """By the whole path, or its beginning before a star."""
    assert RuleTable([rule]).allows(Attributes(user="u", verb="get", path=path)) is allowed


@pytest.mark.parametrize(
    ("owned", "wanted", "left"),
    [
        ([rule("get list", "pods secrets")], [rule("get", "pods"), rule("list", "secrets")], []),
        ([rule("get", "pods")], [rule("get list", "pods")], [rule("list", "pods")]),
        ([rule("get", "*")], [rule("get", "pods/log")], []),
        ([rule("get", "*/log")], [rule("get", "pods/log *")], [rule("get", "*")]),
        ([rule("get", "pods")], [rule("*", "pods")], [rule("*", "pods")]),
        ([rule("get", "pods", names="a")], [rule("get", "pods", names="a")], []),
        ([rule("get", "pods", names="a")], [rule("get", "pods", names="a b")], [rule("get", "pods", names="b")]),
        ([rule("get", "pods", names="a")], [rule("get", "pods")], [rule("get", "pods")]),
        ([PolicyRule(verbs=["get"], apiGroups=[""], resources=["pods"], resourceNames=[""])], [rule("get", "pods")], [rule("get", "pods")]),
        ([rule("get", "pods")], [rule("get", "pods", names="a")], []),
        ([paths("get", "/a/*")], [paths("get", "/a/b*", "/b")], [paths("get", "/b")]),
        ([EVERYTHING], [paths("get", "/a")], [paths("get", "/a")]),
        ([EVERYTHING], [rule("x", "y/z", group="g", names="n")], []),
        ([], [], []),
    ],
)  # fmt: skip
def test_rules_cover_rules(owned: list[PolicyRule], wanted: list[PolicyRule], left: list[PolicyRule]) -> None:
    """Part by part; the parts that are not covered are named."""
    assert rules.missing(owned, wanted) == left


def test_a_comparison_is_bounded() -> None:
    """The parts of a rule are a product: a small role could keep the control plane busy."""
    wide = PolicyRule(
        verbs=list(map(str, range(100))), apiGroups=list(map(str, range(100))), resources=list(map(str, range(100)))
    )
    with pytest.raises(Forbidden, match="more than 50000 combinations"):
        rules.missing([], [wide])


def test_missing_rules_are_shown_together() -> None:
    """Verbs of one resource as one rule, in Kubernetes' form."""
    left = rules.missing([], [rule("get list", "pods", names="a"), paths("get", "/x")])
    assert [rules.describe(item) for item in rules.compact(left)] == [
        '{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get" "list"]}',
        '{NonResourceURLs:["/x"], Verbs:["get"]}',
    ]

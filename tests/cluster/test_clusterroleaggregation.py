"""Aggregated ClusterRoles have the rules of those that their selectors choose, and follow them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pinnace import kinds
from pinnace.rbac.v1.rbac_pb2 import ClusterRole
from tests.support.cluster import Cluster, running


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running() as cluster:
        yield cluster


def role(
    name: str, *resources: str, labels: dict[str, str] | None = None, selects: dict[str, str] | None = None
) -> ClusterRole:
    """A role that may get each of the resources, by a rule for each."""
    made = ClusterRole()
    made.metadata.name = name
    made.metadata.labels.update(labels or {})
    for resource in resources:
        made.rules.add(verbs=["get"], apiGroups=[""], resources=[resource])
    if selects is not None:
        made.aggregationRule.clusterRoleSelectors.add(matchLabels=selects)
    return made


def resources(cluster: Cluster, name: str) -> list[str]:
    found = cluster.get(kinds.CLUSTER_ROLE, name)
    assert found is not None
    return [rule.resources[0] for rule in found.rules]


async def test_rules_are_those_of_selected_roles(cluster: Cluster) -> None:
    """In order of name, each rule once, and rules that were written by hand are replaced."""
    await cluster.create(role("b", "pods", "secrets", labels={"to": "sum"}))
    await cluster.create(role("sum", "events", selects={"to": "sum"}))
    assert resources(cluster, "sum") == ["pods", "secrets"]
    await cluster.create(role("a", "nodes", "pods", labels={"to": "sum"}))
    await cluster.create(role("other", "leases"))
    assert resources(cluster, "sum") == ["nodes", "pods", "secrets"]


async def test_an_aggregated_role_follows_changes(cluster: Cluster) -> None:
    """Of rules and labels of the selected roles, also through another aggregated role, and of deletions."""
    await cluster.create(role("a", "pods", labels={"to": "mid"}))
    await cluster.create(role("mid", labels={"to": "top"}, selects={"to": "mid"}))
    await cluster.create(role("top", selects={"to": "top"}))
    assert resources(cluster, "top") == ["pods"]
    await cluster.change(kinds.CLUSTER_ROLE, "a", lambda item: item.rules[0].resources.__setitem__(0, "secrets"))
    assert resources(cluster, "top") == ["secrets"]
    await cluster.change(kinds.CLUSTER_ROLE, "a", lambda item: item.metadata.labels.clear())
    assert resources(cluster, "top") == []
    await cluster.change(kinds.CLUSTER_ROLE, "a", lambda item: item.metadata.labels.update({"to": "mid"}))
    assert resources(cluster, "top") == ["secrets"]
    await cluster.delete(kinds.CLUSTER_ROLE, "a")
    assert resources(cluster, "top") == []

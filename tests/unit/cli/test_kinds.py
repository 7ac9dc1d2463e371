"""Descriptions and short names of the kinds that are bounds, priorities and templates."""

from __future__ import annotations

from typing import Any

import pytest

from cli.describing import bounds
from pinnace import codec, kinds
from pinnace.kinds import Kind

RESOURCES = {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m", "memory": "1Mi"}}]}}
QUOTA = {
    "spec": {"hard": {"pods": "5", "limits.cpu": "4"}, "scopes": ["NotBestEffort"]},
    "status": {"hard": {"pods": "5", "limits.cpu": "4"}, "used": {"pods": "2", "limits.cpu": "500m"}},
}


def made(kind: Kind, value: dict[str, Any]) -> Any:
    meta = {"name": "one", "namespace": "default", "creationTimestamp": "2026-01-31T12:00:00Z"}
    return codec.decode(kind.cls, {"metadata": meta, **value})


def test_descriptions_are_tables() -> None:
    """Of every bound, with dashes where there is none."""
    limits = bounds.limit_range(None, kinds.LIMIT_RANGE, made(kinds.LIMIT_RANGE, RESOURCES))
    assert [line.split() for line in limits[-2:]] == [
        ["Container", "cpu", "100m", "2", "-", "-", "-"],
        ["Container", "memory", "1Mi", "-", "-", "-", "-"],
    ]
    quota = bounds.resource_quota(None, kinds.RESOURCE_QUOTA, made(kinds.RESOURCE_QUOTA, QUOTA))
    assert [line.split() for line in quota[-2:]] == [["limits.cpu", "500m", "4"], ["pods", "2", "5"]]
    assert "NotBestEffort" in "\n".join(quota)


@pytest.mark.parametrize(
    "word",
    ["pc", "priorityclasses.scheduling.k8s.io", "deployment.apps", "deploy.apps", "sa", "quota", "limits", "podtemplate"],
)
def test_kinds_have_kubernetes_short_names(word: str) -> None:
    """And their groups."""
    assert kinds.by_word(word) in kinds.ALL


def test_a_kind_with_two_groups_is_of_the_core_group() -> None:
    """Unless the word names the other one."""
    assert kinds.by_word("ev") is kinds.by_word("events") is kinds.EVENT
    assert kinds.by_word("events.events.k8s.io") is kinds.EVENTS_EVENT

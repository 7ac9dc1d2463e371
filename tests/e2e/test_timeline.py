"""kctl timeline on a lab: the path of a rollout from the user to the node, also after the control plane was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.breaking import IDLE
from tests.support.labs import LabUnderTest, eventually, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-timeline", tmp_path_factory.mktemp("timeline"), nodes=1) as found:
        yield found


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "web", "image": "busybox", "command": ["sh", "-c", IDLE]}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}},
        },
    }  # fmt: skip


def records(lab: LabUnderTest, *words: str) -> list[Any]:
    found: list[Any] = json.loads(lab.kctl("timeline", "deployment/web", "-o", "json", *words))["records"]
    return found


def test_a_rollout_from_the_user_to_the_node(lab: LabUnderTest) -> None:
    """Who did what, in order; a kill of the control plane loses nothing that was shown, and the rest is found afterwards."""
    lab.apply(deployment(1))
    lab.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    lab.kctl("scale", "deployment/web", "--replicas=2")
    lab.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    lines = lab.kctl("timeline", "deployment", "web").splitlines()
    assert lines[0].split() == ["TIME", "DELTA", "OBJECT", "WHO", "WHAT"]
    steps = [
        "kubernetes-admin (kctl) created",
        "deployment-controller created",
        "replicaset-controller created",
        "default-scheduler attempt: node node-1 chosen, 1 of 1 fit",
        "default-scheduler event Normal Scheduled",
        "nodeagent event Normal Started",
        "kubernetes-admin (kctl-scale) spec.replicas: 1 → 2",
    ]
    told = [" ".join(line.split()) for line in lines]
    places = [next(at for at, line in enumerate(told) if step in line) for step in steps]
    assert places == sorted(places), "\n".join(lines)
    before = records(lab)
    lab.kill("control")
    lab.start_control()
    lab.kctl("scale", "deployment/web", "--replicas=1")
    eventually(lambda: any(r["type"] == "DELETED" and r["object"]["kind"] == "Pod" for r in records(lab)))
    after = records(lab)
    assert after[: len(before)] == before


def test_a_deleted_object_is_found(lab: LabUnderTest) -> None:
    """With what it owned."""
    lab.apply(deployment(1))
    lab.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    lab.kctl("delete", "deployment", "web")
    eventually(lambda: lab.pods() == {})
    gone = [(r["object"]["kind"], r["type"]) for r in records(lab) if r["type"] == "DELETED"]
    assert {kind for kind, _ in gone} == {"Deployment", "ReplicaSet", "Pod"}

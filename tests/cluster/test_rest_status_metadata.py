"""Requests for the status change annotations and labels as well, where kube-apiserver's do (its status strategies)."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace.clock import settle
from tests.support import customkinds
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

BATCH = "/apis/batch/v1/namespaces/default/cronjobs"
APPS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"
TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
CRON_JOB = {
    "metadata": {"name": "a", "labels": {"old": "yes"}},
    "spec": {
        "schedule": "0 0 1 1 *",
        "jobTemplate": {"spec": {"template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}},
    },
}
DEPLOYMENT = {
    "metadata": {"name": "a", "labels": {"old": "yes"}},
    "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE},
}
CHANGE = {"metadata": {"annotations": {"a": "b"}, "labels": {"new": "yes"}, "finalizers": ["example.com/f"]}}


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


async def patched(rest: Rest, url: str, item: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """An object that is created, and then changed by a patch of its status."""
    code, _ = await rest.ask("POST", url, item)
    assert code == 201
    code, found = await rest.ask("PATCH", f"{url}/a/status", {**CHANGE, "status": status}, content_type=MERGE)
    assert code == 200, found
    return dict(found)


async def test_a_patch_of_the_status_brings_annotations_and_labels(rest: Rest) -> None:
    """Nothing else of the metadata, and an owner for each."""
    found = await patched(rest, BATCH, CRON_JOB, {"lastScheduleTime": "2026-01-01T00:00:00Z"})
    meta = found["metadata"]
    assert (meta["annotations"], meta["labels"]) == ({"a": "b"}, {"old": "yes", "new": "yes"})
    assert "finalizers" not in meta
    assert found["status"] == {"lastScheduleTime": "2026-01-01T00:00:00Z"}
    [owned] = [entry["fieldsV1"] for entry in meta["managedFields"] if entry.get("subresource") == "status"]
    assert owned == {
        "f:metadata": {"f:annotations": {"f:a": {}}, "f:labels": {"f:new": {}}},
        "f:status": {"f:lastScheduleTime": {}},
    }  # fmt: skip


async def test_an_update_of_the_status_replaces_them(rest: Rest) -> None:
    """As a client sends the whole object back."""
    found = await patched(rest, BATCH, CRON_JOB, {})
    found["metadata"]["annotations"] = {"c": "d"}
    del found["metadata"]["labels"]
    code, after = await rest.ask("PUT", f"{BATCH}/a/status", found)
    assert code == 200
    assert after["metadata"]["annotations"] == {"c": "d"}
    assert "labels" not in after["metadata"]


async def test_labels_of_a_deployment_are_not_those_of_its_status(rest: Rest) -> None:
    """They choose it for its users; annotations come."""
    found = await patched(rest, APPS, DEPLOYMENT, {})
    assert found["metadata"]["labels"] == {"old": "yes"}
    assert found["metadata"]["annotations"]["a"] == "b"


async def test_custom_objects_and_their_definitions_take_the_status_alone(rest: Rest) -> None:
    """As apiextensions-apiserver has it."""
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await rest.ask("POST", definitions, customkinds.definition())
    await settle(TURNS)
    tabs = "/apis/stable.example.com/v1/namespaces/default/crontabs"
    item = {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": "a"},
        "spec": {"cronSpec": "* * * * *"},
    }
    found = await patched(rest, tabs, item, {"replicas": 1})
    assert found["status"] == {"replicas": 1}
    assert not {"annotations", "labels"} & set(found["metadata"])
    code, found = await rest.ask("PATCH", f"{definitions}/crontabs.stable.example.com/status", CHANGE, content_type=MERGE)
    assert code == 200
    assert not {"annotations", "labels"} & set(found["metadata"])


async def test_metadata_of_a_status_is_checked(rest: Rest) -> None:
    """A label that is none."""
    await rest.ask("POST", BATCH, CRON_JOB)
    code, found = await rest.ask("PATCH", f"{BATCH}/a/status", {"metadata": {"labels": {"a": "-"}}}, content_type=MERGE)
    assert (code, found["details"]["causes"][0]["field"]) == (422, "metadata.labels")

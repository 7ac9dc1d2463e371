"""autoscaling/v1 and v2 over REST: one object in two versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinnace import autoscalerforms, kinds
from tests.support.cluster import Cluster
from tests.support.rest import Rest

V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
V2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def first(**spec: Any) -> dict[str, Any]:
    body = {"scaleTargetRef": TARGET, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60, **spec}
    return {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": body}


async def done(rest: Rest, method: str, url: str, body: Any = None, **headers: str) -> Any:
    status, found = await rest.ask(method, url, body, **headers)
    assert status in (200, 201), found
    return found


async def test_v2_is_preferred(rest: Rest) -> None:
    """The group has both."""
    group = await rest.get("/apis/autoscaling")
    assert [item["version"] for item in group["versions"]] == ["v2", "v1"]
    listed = await rest.get("/apis/autoscaling/v1")
    assert [item["name"] for item in listed["resources"]] == ["horizontalpodautoscalers", "horizontalpodautoscalers/status"]


async def test_one_object_in_two_versions(rest: Rest) -> None:
    """Created in v1, read, listed and changed in v2, and back; a table is the same in both."""
    made = await done(rest, "POST", V1, first())
    assert (made["apiVersion"], made["spec"]["targetCPUUtilizationPercentage"], made["spec"]["minReplicas"]) == (
        "autoscaling/v1",
        60,
        1,
    )
    found = await rest.get(f"{V2}/web")
    assert found["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 60}
    assert found["metadata"]["generation"] == 1
    memory = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "64Mi"}}}
    found["spec"]["metrics"].append(memory)
    await done(rest, "PUT", f"{V2}/web", found)
    [listed] = (await rest.get(V1))["items"]
    assert listed["spec"]["targetCPUUtilizationPercentage"] == 60
    assert json.loads(listed["metadata"]["annotations"][autoscalerforms.METRICS])[0]["resource"]["targetAverageValue"] == "64Mi"
    patched = await done(rest, "PATCH", f"{V1}/web", {"spec": {"targetCPUUtilizationPercentage": 70}}, content_type=MERGE)
    assert patched["metadata"]["generation"] == 3
    found = await rest.get(f"{V2}/web")
    assert [item["resource"]["name"] for item in found["spec"]["metrics"]] == ["memory", "cpu"]
    tables = [
        (await rest.get(url, accept="application/json;as=Table;v=v1;g=meta.k8s.io"))["rows"][0]["cells"][:6] for url in (V1, V2)
    ]
    assert tables[0] == tables[1] == ["web", "Deployment/web", "memory: <unknown>/64Mi, cpu: <unknown>/70%", "1", 5, 0]


async def test_a_behavior_of_an_annotation_is_a_new_generation(rest: Rest) -> None:
    """And reads as a field in v2."""
    await done(rest, "POST", V1, first())
    note = {
        autoscalerforms.BEHAVIOR: '{"ScaleDown":{"SelectPolicy":"Disabled","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":15}]}}'
    }
    found = await done(rest, "PATCH", f"{V1}/web", {"metadata": {"annotations": note}}, content_type=MERGE)
    assert found["metadata"]["generation"] == 2
    assert (await rest.get(f"{V2}/web"))["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"


async def test_the_status_is_not_written_by_annotations(rest: Rest) -> None:
    """Neither by a create nor by an update of the object."""
    forged = {
        autoscalerforms.CONDITIONS: '[{"type":"Forged","status":"True"}]',
        autoscalerforms.STATUSES: '[{"type":"Resource"}]',
    }
    item = first()
    item["metadata"]["annotations"] = forged
    await done(rest, "POST", V1, item)
    assert "Forged" not in json.dumps(await rest.get(f"{V2}/web"))
    found = await rest.get(f"{V2}/web")
    found["status"] = {"desiredReplicas": 0, "conditions": [{"type": "AbleToScale", "status": "True"}]}
    await done(rest, "PUT", f"{V2}/web/status", found)
    await done(rest, "PATCH", f"{V1}/web", {"metadata": {"annotations": {**forged, "own": "x"}}}, content_type=MERGE)
    found = await rest.get(f"{V2}/web")
    assert [item["type"] for item in found["status"]["conditions"]] == ["AbleToScale"]
    assert found["metadata"]["annotations"] == {"own": "x"}
    removed = {"metadata": {"annotations": {autoscalerforms.CONDITIONS: None}}}
    await done(rest, "PATCH", f"{V1}/web", removed, content_type=MERGE)
    assert [item["type"] for item in (await rest.get(f"{V2}/web"))["status"]["conditions"]] == ["AbleToScale"]


async def test_apply_in_each_version(rest: Rest, cluster: Cluster) -> None:
    """A manifest of v1 again changes nothing; one of v2 by the same manager follows."""
    url = "?fieldManager=me"
    await done(rest, "PATCH", f"{V1}/web{url}", first(), content_type=APPLY)
    before = cluster.get(kinds.HORIZONTAL_POD_AUTOSCALER, "web")
    await done(rest, "PATCH", f"{V1}/web{url}", first(), content_type=APPLY)
    assert cluster.get(kinds.HORIZONTAL_POD_AUTOSCALER, "web") == before
    changed = {**first(), "apiVersion": "autoscaling/v2", "spec": {"scaleTargetRef": TARGET, "maxReplicas": 7}}
    found = await done(rest, "PATCH", f"{V2}/web{url}", changed, content_type=APPLY)
    assert (found["spec"]["maxReplicas"], found["spec"]["minReplicas"]) == (7, 1)

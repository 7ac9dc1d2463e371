"""The subresource `resize` of pods: over REST and gRPC, with quotas, limit ranges, owners of fields and permissions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.access import defaultroles
from controlplane.access.identity import Identity
from pinnace import errors, kinds
from pinnace.api.v1 import objects_pb2
from tests.support.access import role, role_binding, rule, user
from tests.support.api import Api, opened, pod_manifest, sealed
from tests.support.cluster import Cluster
from tests.support.rest import Rest

POD, QUOTA = kinds.POD, kinds.RESOURCE_QUOTA
PODS = "/api/v1/namespaces/default/pods"
STRATEGIC, MERGE = "application/strategic-merge-patch+json", "application/merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def asking(cpu: str = "500m", name: str = "a", **more: Any) -> dict[str, Any]:
    """A pod that may be resized: it requests cpu, and sets a limit of memory."""
    resources = {"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    return pod_manifest(name, containers=[{"name": "main", "image": "busybox", "resources": resources}], **more)


def to(cpu: str) -> dict[str, Any]:
    """A strategic merge patch."""
    return {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}}


def cpu_of(found: Any) -> str:
    return str(found["spec"]["containers"][0]["resources"]["requests"]["cpu"])


async def test_a_pod_is_resized_by_every_kind_of_write(rest: Rest) -> None:
    """PUT and each type of patch; the generation counts each, the rest of a body is dropped, GET is the pod."""
    assert (await rest.ask("POST", PODS, asking()))[0] == 201
    writes: list[tuple[str, Any, str]] = [
        ("PATCH", {**to("600m"), "metadata": {"labels": {"not": "taken"}}}, STRATEGIC),
        ("PATCH", [{"op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "700m"}], JSON_PATCH),
    ]
    for count, (method, body, media) in enumerate(writes):
        status, found = await rest.ask(method, f"{PODS}/a/resize", body, content_type=media)
        assert (status, found["metadata"]["generation"]) == (200, count + 2), found
        assert "labels" not in found["metadata"]
    whole = await rest.get(f"{PODS}/a/resize")
    assert (whole["kind"], cpu_of(whole)) == ("Pod", "700m")
    whole["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "800m"
    whole["spec"]["containers"][0]["image"] = "another"
    status, found = await rest.ask("PUT", f"{PODS}/a/resize", whole)
    assert (status, cpu_of(found), found["spec"]["containers"][0]["image"]) == (200, "800m", "busybox")
    containers = [{**found["spec"]["containers"][0], "resources": {**whole["spec"]["containers"][0]["resources"]}}]
    containers[0]["resources"]["requests"]["cpu"] = "900m"
    status, found = await rest.ask("PATCH", f"{PODS}/a/resize", {"spec": {"containers": containers}}, content_type=MERGE)
    assert (status, cpu_of(found), found["metadata"]["generation"]) == (200, "900m", 5)
    # Who changes nothing changes no generation either.
    status, found = await rest.ask("PATCH", f"{PODS}/a/resize", to("900m"), content_type=STRATEGIC)
    assert (status, found["metadata"]["generation"]) == (200, 5)


async def test_a_resize_is_dry_run_and_refused_like_any_update(rest: Rest) -> None:
    """Nothing is stored by a dry run; the pod itself takes no other resources; POST and DELETE are not for it."""
    await rest.ask("POST", PODS, asking())
    status, found = await rest.ask("PATCH", f"{PODS}/a/resize?dryRun=All", to("1"), content_type=STRATEGIC)
    assert (status, cpu_of(found)) == (200, "1")
    assert cpu_of(await rest.get(f"{PODS}/a")) == "500m"
    status, found = await rest.ask("PATCH", f"{PODS}/a", to("1"), content_type=STRATEGIC)
    assert (status, found["reason"]) == (422, "Invalid")
    limits = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": None}}}]}}
    status, found = await rest.ask("PATCH", f"{PODS}/a/resize", limits, content_type=STRATEGIC)
    assert (status, found["message"]) == (
        422, 'Pod "a" is invalid: spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed'
    )  # fmt: skip
    status, found = await rest.ask("PATCH", f"{PODS}/a/resize?fieldValidation=Strict", {"spec": {"x": 1}}, content_type=MERGE)
    assert (status, found["reason"]) == (400, "BadRequest")
    assert (await rest.ask("POST", f"{PODS}/a/resize", asking()))[0] == 405
    assert (await rest.ask("DELETE", f"{PODS}/a/resize"))[0] == 405
    assert (await rest.ask("PATCH", f"{PODS}/none/resize", to("1"), content_type=STRATEGIC))[0] == 404
    stale = {**to("1"), "metadata": {"resourceVersion": "1"}}
    assert (await rest.ask("PATCH", f"{PODS}/a/resize", stale, content_type=STRATEGIC))[0] == 409


async def test_discovery_and_openapi_list_it(rest: Rest) -> None:
    """With the verbs that it has."""
    found = await rest.get("/api/v1")
    [item] = [item for item in found["resources"] if item["name"] == "pods/resize"]
    assert (item["kind"], item["verbs"]) == ("Pod", ["get", "patch", "update"])
    document = await rest.get("/openapi/v3/api/v1")
    assert {"get", "put", "patch"} <= document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/resize"].keys()


def entries(found: Any) -> dict[str, dict[str, Any]]:
    return {
        f"{item['manager']} {item['operation']}": item["fieldsV1"]
        for item in found["metadata"]["managedFields"]
        if item.get("subresource") == "resize"
    }


async def test_who_resizes_owns_the_resources(rest: Rest) -> None:
    """Apart from what the manager owns of the pod; an apply conflicts, takes and gives back resources alone."""
    await rest.ask("POST", f"{PODS}?fieldManager=creator", asking())
    status, found = await rest.ask("PATCH", f"{PODS}/a/resize?fieldManager=tuner", to("1"), content_type=STRATEGIC)
    assert entries(found) == {
        "tuner Update": {
            "f:spec": {"f:containers": {'k:{"name":"main"}': {"f:resources": {"f:requests": {"f:cpu": {}}}}}}
        }
    }  # fmt: skip
    applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **to("2")}
    # What is no resource is dropped before it can conflict.
    applied["spec"]["containers"][0]["image"] = "another"
    url = f"{PODS}/a/resize?fieldManager=vpa"
    status, found = await rest.ask("PATCH", url, applied, content_type=APPLY)
    assert status == 409
    assert found["message"].endswith(
        'conflict with "tuner" with subresource "resize" using v1: .spec.containers[name="main"].resources.requests.cpu'
    ), found["message"]
    status, found = await rest.ask("PATCH", f"{url}&force=true", applied, content_type=APPLY)
    assert (status, cpu_of(found), found["metadata"]["generation"]) == (200, "2", 3)
    assert found["spec"]["containers"][0]["image"] == "busybox"
    assert set(entries(found)) == {"vpa Apply"}
    status, again = await rest.ask("PATCH", url, applied, content_type=APPLY)
    assert (status, again["metadata"]["resourceVersion"]) == (200, found["metadata"]["resourceVersion"])
    # A request cannot be removed, also not by no longer applying it.
    applied["spec"] = {}
    status, found = await rest.ask("PATCH", url, applied, content_type=APPLY)
    assert (status, "resource requests cannot be removed" in found["message"]) == (422, True)


async def test_grpc_resizes_too(api: Api, cluster: Cluster) -> None:
    """Get, Patch, Update and Apply with the subresource's name."""
    made = await api.create(POD, asking())
    found = await api.patch(POD, "a", "STRATEGIC", to("600m"), subresource="resize")
    assert found.spec.containers[0].resources.requests["cpu"].string == "600m"
    found.spec.containers[0].resources.requests["cpu"].string = "700m"
    found.spec.containers[0].image = "another"
    request = objects_pb2.WriteRequest(object=sealed(POD, found), ref=api.ref(POD, "a"), subresource="resize")
    updated = opened(await cluster.api.Update(request, None))
    assert (updated.spec.containers[0].resources.requests["cpu"].string, updated.spec.containers[0].image) == (
        "700m",
        "busybox",
    )
    get = objects_pb2.GetRequest(ref=api.ref(POD, "a"), subresource="resize")
    assert opened(await cluster.api.Get(get, None)) == updated
    applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **to("800m")}
    [(outcome, found)] = await api.apply(applied, subresource="resize", force=True)
    assert (outcome, found.metadata.generation, found.metadata.uid) == ("configured", 4, made.metadata.uid)


async def used(api: Api) -> str:
    return str((await api.get(QUOTA, "bounds")).status.used["requests.cpu"].string)


async def report(cluster: Cluster, subject: Any, cpu: str, *conditions: dict[str, str]) -> None:
    """The pod's agent says that the pod has `cpu` now."""
    own = {"name": "main", "image": "busybox", "allocatedResources": {"cpu": cpu}, "resources": {"requests": {"cpu": cpu}}}
    await cluster.report("n1", subject, containerStatuses=[own], conditions=list(conditions))


async def test_a_quota_charges_exactly_what_a_resize_needs_more(api: Api, cluster: Cluster) -> None:
    """Growing at once, shrinking when the node has given it back; what exceeds the quota is refused."""
    await cluster.join("n1")
    hard = {"requests.cpu": "2"}
    await api.create(
        QUOTA, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "bounds"}, "spec": {"hard": hard}}
    )
    subject = await api.create(POD, asking("500m", nodeName="n1"))
    await report(cluster, subject, "500m")
    await api.patch(POD, "a", "STRATEGIC", to("1500m"), subresource="resize")
    assert await used(api) == "1500m"
    with pytest.raises(errors.Forbidden) as caught:
        await api.patch(POD, "a", "STRATEGIC", to("2500m"), subresource="resize")
    assert caught.value.message == (
        'pods "a" is forbidden: exceeded quota: bounds, requested: requests.cpu=1, used: requests.cpu=1500m, limited: requests.cpu=2'
    )
    await report(cluster, subject, "1500m")
    await api.patch(POD, "a", "STRATEGIC", to("100m"), subresource="resize")
    assert await used(api) == "1500m"
    with pytest.raises(errors.Forbidden):
        await api.create(POD, asking("1", "b"))
    await report(cluster, subject, "100m")
    await api.create(POD, asking("1", "b"))
    assert await used(api) == "1100m"


async def test_an_infeasible_resize_gives_its_quota_back_and_the_next_is_charged_again(api: Api, cluster: Cluster) -> None:
    """It never comes; but what is wanted after it may, so that nobody exceeds a quota by way of a refusal."""
    await cluster.join("n1")
    hard = {"requests.cpu": "3"}
    await api.create(
        QUOTA, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "bounds"}, "spec": {"hard": hard}}
    )
    subject = await api.create(POD, asking("1", nodeName="n1"))
    await report(cluster, subject, "1")
    await api.patch(POD, "a", "STRATEGIC", to("3"), subresource="resize")
    refused = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    await report(cluster, subject, "1", refused)
    await api.create(POD, asking("2", "b"))
    with pytest.raises(errors.Forbidden, match="exceeded quota"):
        await api.patch(POD, "a", "STRATEGIC", to("2"), subresource="resize")
    await api.delete(POD, "b")
    found = await api.patch(POD, "a", "STRATEGIC", to("2"), subresource="resize")
    assert [item.type for item in found.status.conditions if item.type == "PodResizePending"] == []


async def test_limit_ranges_bound_a_resize(api: Api) -> None:
    """And give it no defaults."""
    await api.create(POD, asking())
    limit = {"type": "Container", "max": {"memory": "256Mi"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}
    await api.create(
        kinds.LIMIT_RANGE,
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}, "spec": {"limits": [limit]}},
    )
    found = await api.patch(POD, "a", "STRATEGIC", to("600m"), subresource="resize")
    assert dict(found.spec.containers[0].resources.limits).keys() == {"memory"}
    more = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": "512Mi"}}}]}}
    with pytest.raises(errors.Forbidden, match="maximum memory usage per Container is 256Mi, but limit is 512Mi"):
        await api.patch(POD, "a", "STRATEGIC", more, subresource="resize")


def test_no_default_role_grants_it_but_cluster_admin() -> None:
    """As in Kubernetes."""
    granting = {
        role.metadata.name
        for role in defaultroles.roles()
        for granted in role.rules
        if {"pods/resize", "pods/*", "*/resize", "*"} & set(granted.resources)
    }
    assert granting == {"cluster-admin"}


@pytest.mark.parametrize(
    ("identity", "resource", "status"),
    [
        (user("jane"), "pods/resize", 200),
        # The pod itself is another resource.
        (user("jane"), "pods", 403),
        (user("system:node:n1", "system:nodes"), "", 403),
    ],
)
async def test_it_has_permissions_of_its_own(cluster: Cluster, identity: Identity, resource: str, status: int) -> None:
    """Which a node has for none of its pods."""
    await cluster.join("n1")
    administrator = Rest(cluster)
    assert (await administrator.ask("POST", PODS, asking(nodeName="n1")))[0] == 201
    if resource:
        for message in (role("tuner", rule("patch", resource)), role_binding("tuner", "Role/tuner", "User:jane")):
            await cluster.create(message)
    found = await Rest(cluster, identity).ask("PATCH", f"{PODS}/a/resize", to("1"), content_type=STRATEGIC)
    assert found[0] == status, json.dumps(found[1])

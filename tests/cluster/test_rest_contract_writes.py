"""Writes, deletions, subresources and reviews as the clients of Kubernetes make them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.access import bootstraproles
from pinnace.clock import settle
from tests.support import objects
from tests.support.cluster import TURNS, Cluster
from tests.support.customkinds import GROUP, crontab, definition
from tests.support.rest import Rest

DEFAULT = "/api/v1/namespaces/default"
MAPS, PODS = f"{DEFAULT}/configmaps", f"{DEFAULT}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
RBAC, LEASES = "/apis/rbac.authorization.k8s.io/v1", "/apis/coordination.k8s.io/v1/namespaces/default/leases"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE, JSON_PATCH, APPLY = "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"
ALICE = "Bearer token-of-alice"


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    await cluster.store.update(lambda tx: bootstraproles.reconcile(tx, cluster.call()))
    await settle(TURNS)
    return Rest(cluster)


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(replicas: int = 2) -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


# Writes


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{LEASES}/x", {"spec": {"holderIdentity": "me"}}), (f"{DEFAULT}/limitranges/x", {"spec": {"limits": [{"type": "Pod"}]}}),
        (f"{RBAC}/clusterroles/x", {"rules": []}), (f"{RBAC}/namespaces/default/roles/x", {"rules": []}),
        (f"{RBAC}/clusterrolebindings/x", {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}),
        (f"{DEFAULT}/events/x", {"involvedObject": {"namespace": "default"}}),
        ("/apis/node.k8s.io/v1/runtimeclasses/x", {"handler": "runc"}),
    ],
    ids=lambda value: value.split("/")[-2] if isinstance(value, str) else "",
)  # fmt: skip
async def test_a_put_creates_what_is_not_there(rest: Rest, path: str, body: dict[str, Any]) -> None:
    """Of the kinds of which kube-apiserver allows it: 201, then 200; a uid is a precondition that nothing meets."""
    stated = {**body, "metadata": {"name": "x", "uid": "other"}}
    assert (await rest.ask("PUT", path, stated))[0] == 409
    stated["metadata"] = {"name": "x", "resourceVersion": "5"}
    assert (await rest.ask("PUT", f"{path}?dryRun=All", stated))[0] == 201
    status, made = await rest.ask("PUT", path, stated)
    assert (status, made["metadata"]["name"]) == (201, "x"), made
    assert (await rest.ask("PUT", path, made))[0] == 200


async def test_a_put_of_another_kind_creates_nothing(rest: Rest) -> None:
    """POST is needed there."""
    for path, body in ((f"{MAPS}/x", config_map("x")), (f"{DEPLOYMENTS}/web", deployment())):
        assert (await rest.ask("PUT", path, body))[0] == 404


async def test_a_put_that_creates_takes_the_right_to_create(rest: Rest) -> None:
    """And of a role the rights that it grants."""
    rules = [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["update"]}]
    await rest.ask("POST", f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "updater"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "updater"}
    subjects = [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}]
    binding = {"metadata": {"name": "updater"}, "subjects": subjects, "roleRef": reference}
    await rest.ask("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
    role = {"metadata": {"name": "mine"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    path = f"{RBAC}/namespaces/default/roles/mine"
    rest.anonymous()
    status, found = await rest.ask("PUT", path, role, authorization=ALICE)
    assert (status, 'cannot create resource "roles"' in found["message"]) == (403, True)
    rest.anonymous(False)
    rules[0]["verbs"].append("create")
    await rest.ask("PATCH", f"{RBAC}/namespaces/default/roles/updater", {"rules": rules}, content_type=MERGE)
    rest.anonymous()
    status, found = await rest.ask("PUT", path, role, authorization=ALICE)
    assert (status, "attempting to grant RBAC permissions not currently held" in found["message"]) == (403, True)
    rest.anonymous(False)
    assert (await rest.ask("GET", path))[0] == 404


@pytest.mark.parametrize("media", [MERGE, STRATEGIC, JSON_PATCH])
async def test_an_empty_patch_changes_nothing(rest: Rest, media: str) -> None:
    """The object comes back at its revision; controllers send such patches."""
    _, made = await rest.ask("POST", MAPS, config_map(k="v"))
    status, found = await rest.ask("PATCH", f"{MAPS}/a", [] if media == JSON_PATCH else {}, content_type=media)
    assert (status, found) == (200, made)


async def test_patches_of_custom_objects(rest: Rest) -> None:
    """A strategic one is 415, by which kubectl and Helm know to send a merge patch."""
    await rest.ask("POST", CRDS, definition())
    await settle(50)
    path = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
    await rest.ask("POST", path, crontab("a"))
    status, found = await rest.ask("PATCH", f"{path}/a", {}, content_type=STRATEGIC)
    assert (status, found["reason"]) == (415, "UnsupportedMediaType")
    assert (await rest.ask("PATCH", f"{path}/a", {"spec": {"image": "x"}}, content_type=MERGE))[1]["spec"]["image"] == "x"
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "add", "path": "/metadata/finalizers", "value": []},
    ]
    assert (await rest.ask("PATCH", f"{path}/a", patch, content_type=JSON_PATCH))[0] == 422


async def test_warnings_are_headers_one_each(rest: Rest) -> None:
    """Of unknown fields, unless they are errors, in kubectl's form."""
    body = {**config_map(k="v"), "dataa": {}, "extra": 1}
    answer = await rest.respond("POST", f"{MAPS}?fieldValidation=Warn&fieldManager=kubectl-create", body)
    assert [value for name, value in answer.headers if name == "warning"] == [
        '299 - "unknown field \\"dataa\\""', '299 - "unknown field \\"extra\\""',
    ]  # fmt: skip
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["metadata"]["managedFields"][0]["manager"] == "kubectl-create"
    status, found = await rest.ask("PUT", f"{MAPS}/a?fieldValidation=Strict", body)
    assert (status, found["reason"]) == (400, "BadRequest")
    assert found["message"].startswith(
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dataa"'
    )


async def test_directives_of_strategic_patches(rest: Rest) -> None:
    """As kubectl writes them for lists with merge keys."""
    await rest.ask("POST", DEPLOYMENTS, deployment())
    containers = [{"name": "d", "image": "j"}, {"name": "c", "env": [{"name": "A", "value": "1"}]}]
    spec = {"$setElementOrder/containers": [{"name": "d"}, {"name": "c"}], "containers": containers}
    change: dict[str, Any] = {"spec": {"template": {"spec": spec}, "strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    status, found = await rest.ask("PATCH", f"{DEPLOYMENTS}/web", change, content_type=STRATEGIC)
    assert status == 200, found
    assert [item["name"] for item in found["spec"]["template"]["spec"]["containers"]] == ["d", "c"]
    assert found["spec"]["strategy"] == {"type": "Recreate"}
    change = {"spec": {"template": {"spec": {"containers": [{"name": "d", "$patch": "delete"}]}}}}
    _, found = await rest.ask("PATCH", f"{DEPLOYMENTS}/web", change, content_type=STRATEGIC)
    assert [item["name"] for item in found["spec"]["template"]["spec"]["containers"]] == ["c"]
    change = {"metadata": {"finalizers": ["a/b", "a/c"]}}
    await rest.ask("PATCH", f"{DEPLOYMENTS}/web", change, content_type=STRATEGIC)
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"]}}
    _, found = await rest.ask("PATCH", f"{DEPLOYMENTS}/web", change, content_type=STRATEGIC)
    assert found["metadata"]["finalizers"] == ["a/c"]


async def test_a_conflict_of_an_apply_names_manager_and_field(rest: Rest) -> None:
    """kubectl prints each cause."""
    await rest.ask("POST", f"{MAPS}?fieldManager=editor", config_map(k="1"))
    status, found = await rest.ask("PATCH", f"{MAPS}/a?fieldManager=me", config_map(k="2"), content_type=APPLY)
    assert (status, found["reason"], found["details"]["causes"]) == (409, "Conflict", [{
        "reason": "FieldManagerConflict", "message": 'conflict with "editor" using v1', "field": ".data.k",
    }])  # fmt: skip
    status, found = await rest.ask("PATCH", f"{MAPS}/a", config_map(k="2"), content_type=APPLY)
    assert (status, found["reason"]) == (422, "Invalid")


# Errors


async def test_statuses_of_errors(rest: Rest) -> None:
    """The details' kind is the plural, but for Invalid, which has the Kind."""
    await rest.ask("POST", DEPLOYMENTS, deployment())
    status, found = await rest.ask("GET", f"{DEPLOYMENTS}/none")
    assert (status, found["message"]) == (404, 'deployments.apps "none" not found')
    assert found["details"] == {"name": "none", "group": "apps", "kind": "deployments"}
    assert found.keys() == {"kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"}
    status, found = await rest.ask("POST", DEPLOYMENTS, deployment())
    assert (status, found["reason"], found["details"]["kind"]) == (409, "AlreadyExists", "deployments")
    stale = deployment() | {"metadata": {"name": "web", "resourceVersion": "1"}}
    status, found = await rest.ask("PUT", f"{DEPLOYMENTS}/web", stale)
    assert (status, found["message"]) == (
        409, 'Operation cannot be fulfilled on deployments.apps "web": the object has been modified; '
        "please apply your changes to the latest version and try again",
    )  # fmt: skip
    wrong = deployment(-1)
    wrong["metadata"], wrong["spec"]["template"]["spec"]["containers"][0]["image"] = {"name": "other"}, ""
    status, found = await rest.ask("POST", DEPLOYMENTS, wrong)
    assert (status, found["details"]["kind"], found["details"]["group"]) == (422, "Deployment", "apps")
    assert {cause["reason"] for cause in found["details"]["causes"]} >= {"FieldValueInvalid", "FieldValueRequired"}
    assert all(cause["field"] and cause["message"] for cause in found["details"]["causes"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{MAPS}/a"), ("POST", "/api/v1/nodes/n"), ("PUT", MAPS), ("PATCH", MAPS), ("PUT", f"{PODS}/a/binding"),
        ("GET", f"{PODS}/a/eviction"), ("POST", f"{PODS}/a/status"), ("POST", f"{DEPLOYMENTS}/a/scale"),
        ("DELETE", f"{DEPLOYMENTS}/a/status"), ("OPTIONS", MAPS), ("PATCH", f"{PODS}/a/log"),
    ],
)  # fmt: skip
async def test_methods_that_a_path_does_not_have(rest: Rest, method: str, path: str) -> None:
    """An object is created in its collection and written at its own path, which is what permissions on names count on."""
    status, found = await rest.ask(method, path, config_map(), content_type=MERGE if method == "PATCH" else "application/json")
    assert (status, found["reason"], found["code"]) == (405, "MethodNotAllowed", 405)
    assert (await rest.ask("GET", f"{MAPS}/a"))[0] == 404


# Deletions


async def test_options_of_a_deletion_in_body_and_query(rest: Rest, cluster: Cluster) -> None:
    """Grace, propagation, preconditions; a dry run; what is pending is 200 with the object, 202 only for an old client."""
    await cluster.join("n1")
    for name in ("a", "b"):
        await cluster.create(objects.pod(name, nodeName="n1"))
    status, found = await rest.ask("DELETE", f"{PODS}/a?gracePeriodSeconds=7&propagationPolicy=Background")
    assert (status, found["kind"], found["metadata"]["deletionGracePeriodSeconds"]) == (200, "Pod", 7)
    body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 9, "propagationPolicy": "Background"}
    assert (await rest.ask("DELETE", f"{PODS}/b", body))[1]["metadata"]["deletionTimestamp"]
    _, made = await rest.ask("POST", MAPS, config_map() | {"metadata": {"name": "a", "finalizers": ["x/y"]}})
    for condition in ({"uid": "other"}, {"resourceVersion": "1"}):
        status, found = await rest.ask("DELETE", f"{MAPS}/a", {"preconditions": condition})
        assert (status, found["reason"]) == (409, "Conflict")
    condition = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    assert (await rest.ask("DELETE", f"{MAPS}/a", {"preconditions": condition, "dryRun": ["All"]}))[0] == 200
    status, found = await rest.ask("DELETE", f"{MAPS}/a", {"orphanDependents": False})
    assert (status, bool(found["metadata"]["deletionTimestamp"])) == (202, True)
    assert (await rest.ask("DELETE", f"{MAPS}/a", {"propagationPolicy": "Background"}))[0] == 200


async def test_what_is_gone_is_a_status_or_the_object(rest: Rest) -> None:
    """A Status with the uid of most kinds; of pods and service accounts their last state; of a collection the list."""
    _, made = await rest.ask("POST", DEPLOYMENTS, deployment())
    status, found = await rest.ask("DELETE", f"{DEPLOYMENTS}/web", {"propagationPolicy": "Background"})
    assert (status, found) == (200, {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": "web", "group": "apps", "kind": "deployments", "uid": made["metadata"]["uid"]},
    })  # fmt: skip
    await rest.ask("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "robot"}})
    status, found = await rest.ask("DELETE", f"{DEFAULT}/serviceaccounts/robot")
    assert (status, found["kind"], found["metadata"]["name"]) == (200, "ServiceAccount", "robot")
    for name in ("a", "b"):
        await rest.ask("POST", MAPS, config_map(name))
    status, found = await rest.ask("DELETE", MAPS)
    assert (status, found["kind"], len(found["items"])) == (200, "ConfigMapList", 2)


# Subresources


async def test_scale(rest: Rest) -> None:
    """Read, put without a media type, and patched in both ways; its selector is what autoscalers count by."""
    await rest.ask("POST", DEPLOYMENTS, deployment())
    path = f"{DEPLOYMENTS}/web/scale"
    scale = await rest.get(path)
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 2)
    assert scale["status"]["selector"] == "app=web"
    scale["spec"]["replicas"] = 3
    assert (await rest.ask("PUT", path, scale))[1]["spec"]["replicas"] == 3
    for media, count in ((MERGE, 4), (STRATEGIC, 5)):
        status, found = await rest.ask("PATCH", path, {"spec": {"replicas": count}}, content_type=media)
        assert (status, found["kind"], found["spec"]["replicas"]) == (200, "Scale", count)
    assert (await rest.get(f"{DEPLOYMENTS}/web"))["spec"]["replicas"] == 5


async def test_a_blocked_eviction_is_not_retried_by_client_libraries(rest: Rest, cluster: Cluster) -> None:
    """429 with the cause that kubectl looks for, and without Retry-After: `drain` has its own pace."""
    await cluster.join("n1")
    made = await cluster.create(objects.pod("web", nodeName="n1", meta={"labels": {"app": "web"}}))
    await cluster.report("n1", made)
    budget = {"metadata": {"name": "all"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}
    await rest.ask("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
    await settle(TURNS)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": "default"}}
    answer = await rest.respond("POST", f"{PODS}/web/eviction", body)
    assert isinstance(answer.body, bytes)
    found = json.loads(answer.body)
    assert (answer.status, found["reason"]) == (429, "TooManyRequests")
    assert [cause["reason"] for cause in found["details"]["causes"]] == ["DisruptionBudget"]
    assert not [name for name, _ in answer.headers if name == "retry-after"]


async def test_namespaces_are_finalized_by_their_own_path(rest: Rest) -> None:
    """PUT, as older controllers do."""
    await rest.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    status, found = await rest.ask(
        "PUT", "/api/v1/namespaces/n/finalize", {"metadata": {"name": "n"}, "spec": {"finalizers": []}}
    )
    assert (status, found["spec"].get("finalizers")) == (200, None)


# Reviews


async def test_reviews_have_kubernetes_answers(rest: Rest) -> None:
    """Of others, within a namespace, all rules of a user, and of a token; none is stored."""
    reviews, spec = (
        "/apis/authorization.k8s.io/v1",
        {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}},
    )
    status, found = await rest.ask("POST", f"{reviews}/subjectaccessreviews", {"spec": spec, "status": {"allowed": True}})
    assert (status, found["kind"], found["status"]["allowed"]) == (201, "SubjectAccessReview", False)
    local = f"{reviews}/namespaces/default/localsubjectaccessreviews"
    assert (await rest.ask("POST", local, {"spec": spec}))[0] == 201
    spec["resourceAttributes"]["namespace"] = "other"
    assert (await rest.ask("POST", local, {"spec": spec}))[0] == 422
    status, found = await rest.ask("POST", f"{reviews}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})
    assert status == 201
    assert {"resourceRules", "nonResourceRules", "incomplete"} <= found["status"].keys()
    assert found["status"]["resourceRules"][0].keys() >= {"verbs", "apiGroups", "resources"}
    tokens = "/apis/authentication.k8s.io/v1/tokenreviews"
    status, found = await rest.ask("POST", tokens, {"spec": {"token": "token-of-alice"}})
    assert (status, found["status"]["authenticated"], found["status"]["user"]["username"]) == (201, True, "alice")
    status, found = await rest.ask("POST", tokens, {"spec": {"token": "nonsense"}})
    assert (status, found["status"].get("authenticated", False), bool(found["status"]["error"])) == (201, False, True)


# Definitions


async def test_a_definition_from_creation_to_deletion(rest: Rest, cluster: Cluster) -> None:
    """The conditions that Helm and `kubectl wait` read; then discovery, objects and OpenAPI; creation ends with the deletion."""
    status, _ = await rest.ask("POST", CRDS, definition())
    assert status == 201
    await settle(50)
    found = (await rest.get(f"{CRDS}/crontabs.{GROUP}"))["status"]
    conditions = {item["type"]: (item["status"], item["reason"]) for item in found["conditions"]}
    assert conditions["NamesAccepted"] == ("True", "NoConflicts")
    assert conditions["Established"] == ("True", "InitialNamesAccepted")
    assert (found["acceptedNames"]["plural"], found["storedVersions"]) == ("crontabs", ["v1"])
    assert GROUP in [group["name"] for group in (await rest.get("/apis"))["groups"]]
    assert f"apis/{GROUP}/v1" in (await rest.get("/openapi/v3"))["paths"]
    path = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
    held = crontab("held")
    held["metadata"]["finalizers"] = ["x/y"]
    assert (await rest.ask("POST", path, held))[0] == 201
    await rest.ask("DELETE", f"{CRDS}/crontabs.{GROUP}")
    await settle(50)
    going = await rest.get(f"{CRDS}/crontabs.{GROUP}")
    assert going["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert "Terminating" in [item["type"] for item in going["status"]["conditions"] if item["status"] == "True"]
    status, refused = await rest.ask("POST", path, crontab("late"))
    assert (status, refused["reason"]) == (405, "MethodNotAllowed")
    await rest.ask("PATCH", f"{path}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
    await settle(TURNS)
    await cluster.clock.advance(60.0)
    await settle(TURNS)
    assert (await rest.ask("GET", f"{CRDS}/crontabs.{GROUP}"))[0] == 404
    assert (await rest.text("GET", path))[0] == 404

"""Discovery: what is served, in the order and the forms that Kubernetes' clients expect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane import resources
from controlplane.controllers.customresources import accept
from controlplane.requests import discovery
from controlplane.requests.discovery import ServedGroup
from controlplane.resources.custom import resources_of
from pinnace import codec, kinds
from tests.support.customkinds import GROUP, definition


def served(*definitions: dict[str, Any]) -> list[ServedGroup]:
    """The built-in kinds, and those of established definitions."""
    registry = resources.built_in()
    for manifest in definitions:
        value = {key: item for key, item in manifest.items() if key not in ("apiVersion", "kind")}
        item: Any = codec.decode(kinds.CUSTOM_RESOURCE_DEFINITION.cls, value)
        accept(item, now=0)
        if manifest["metadata"].get("finalizers"):
            item.metadata.deletionTimestamp.seconds = 1
        registry.serve_custom(item.metadata.name, list(resources_of(item)))
    return discovery.groups(registry)


def resource(found: list[ServedGroup], group: str, version: str, plural: str) -> dict[str, Any]:
    """From the aggregated document."""
    versions = next(item["versions"] for item in discovery.aggregated(found)["items"] if item["metadata"]["name"] == group)
    listed = next(item["resources"] for item in versions if item["version"] == version)
    return dict(next(item for item in listed if item["resource"] == plural))


def test_built_in_kinds_are_listed_by_group_and_version() -> None:
    """The core group first, the others by name; resources by their plural."""
    found = served()
    names = [group.name for group in found]
    assert names == ["", *sorted(names[1:])]
    assert {
        f"{item.kind.plural}.{group.name}" for group in found for version in group.versions for item in version.resources
    } == {
        f"{kind.plural}.{kind.group}"
        for kind in (*kinds.ALL, *kinds.FORMS, *kinds.REVIEWS, kinds.NODE_METRICS, kinds.POD_METRICS)
        if "/" not in kind.plural
    }
    core = [item.kind.plural for item in found[0].versions[0].resources]
    assert core == sorted(core)


def test_a_resource_in_the_aggregated_document() -> None:
    """apidiscovery.k8s.io/v2: a status is a subresource of the same kind; empty lists are absent."""
    found = served()
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    quotas = {"group": "", "version": "v1", "kind": "ResourceQuota"}
    assert resource(found, "", "v1", "resourcequotas") == {
        "resource": "resourcequotas", "responseKind": quotas, "scope": "Namespaced", "singularResource": "resourcequota",
        "verbs": verbs, "shortNames": ["quota"],
        "subresources": [{"subresource": "status", "responseKind": quotas, "verbs": ["get", "patch", "update"]}],
    }  # fmt: skip
    assert resource(found, "", "v1", "pods")["categories"] == ["all"]
    assert resource(found, "", "v1", "secrets") == {
        "resource": "secrets", "responseKind": {"group": "", "version": "v1", "kind": "Secret"}, "scope": "Namespaced",
        "singularResource": "secret", "verbs": verbs,
    }  # fmt: skip
    assert resource(found, "", "v1", "namespaces")["scope"] == "Cluster"
    assert "deletecollection" not in resource(found, "", "v1", "namespaces")["verbs"]
    assert [item["subresource"] for item in resource(found, "", "v1", "namespaces")["subresources"]] == ["finalize", "status"]
    document = discovery.aggregated(found)
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    assert json.loads(json.dumps(document)) == document


def test_custom_kinds_are_listed_with_their_names() -> None:
    """Each served version, the preferred one first, whichever is stored."""
    manifest = definition(versions=("v1beta1", "v1", "v2alpha1"))
    manifest["spec"]["names"]["categories"] = ["all", "cron"]
    group = next(item for item in served(manifest) if item.name == GROUP)
    assert [version.version for version in group.versions] == ["v1", "v1beta1", "v2alpha1"]
    item = resource([group], GROUP, "v1", "crontabs")
    assert (item["shortNames"], item["categories"]) == (["ct"], ["all", "cron"])
    assert [part["subresource"] for part in item["subresources"]] == ["status"]
    assert discovery.group_document(group) == {
        "kind": "APIGroup", "apiVersion": "v1", "name": GROUP,
        "versions": [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in ("v1", "v1beta1", "v2alpha1")],
        "preferredVersion": {"groupVersion": f"{GROUP}/v1", "version": "v1"},
    }  # fmt: skip


def test_a_version_that_is_only_stored_is_not_listed() -> None:
    """Nor is a status that the version does not have."""
    manifest = definition(versions=("v1", "v2"), status=False)
    manifest["spec"]["versions"][0]["served"] = False
    group = next(item for item in served(manifest) if item.name == GROUP)
    assert [version.version for version in group.versions] == ["v2"]
    assert "subresources" not in resource([group], GROUP, "v2", "crontabs")


def test_nothing_is_created_while_a_definition_is_deleted() -> None:
    """As kube-apiserver lists it then."""
    manifest = definition()
    manifest["metadata"]["finalizers"] = ["example.com/keep"]
    assert resource(served(manifest), GROUP, "v1", "crontabs")["verbs"] == [
        "delete",
        "deletecollection",
        "get",
        "list",
        "watch",
    ]


def test_legacy_documents_name_subresources_with_a_slash() -> None:
    """And groups without the core one, which has an address of its own."""
    found = served()
    names = [item["name"] for item in discovery.group_list(found)["groups"]]
    assert "" not in names
    assert "coordination.k8s.io" in names
    document = discovery.resource_list(found[0].versions[0])
    assert (document["kind"], document["groupVersion"]) == ("APIResourceList", "v1")
    listed = {item["name"]: item for item in document["resources"]}
    assert listed["pods"] == {
        "name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "shortNames": ["po"], "categories": ["all"],
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    }  # fmt: skip
    assert listed["pods/status"] == {
        "name": "pods/status", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get", "patch", "update"],
    }  # fmt: skip


def test_subresources_have_the_kinds_that_kubernetes_lists() -> None:
    """A stream's is that of the options of its request; one of another group has its group and version."""
    found = served()
    listed = {item["name"]: item for item in discovery.resource_list(found[0].versions[0])["resources"]}
    assert {name: item["kind"] for name, item in listed.items() if name.startswith("pods/")} == {
        "pods/attach": "PodAttachOptions", "pods/binding": "Binding", "pods/ephemeralcontainers": "Pod", "pods/eviction": "Eviction",
        "pods/exec": "PodExecOptions", "pods/log": "Pod", "pods/portforward": "PodPortForwardOptions", "pods/proxy": "PodProxyOptions",
        "pods/resize": "Pod", "pods/status": "Pod",
    }  # fmt: skip
    assert "group" not in listed["pods/exec"]
    assert listed["pods/eviction"]["group"] == "policy"
    assert listed["serviceaccounts/token"] == {
        "name": "serviceaccounts/token", "singularName": "", "namespaced": True, "group": "authentication.k8s.io",
        "version": "v1", "kind": "TokenRequest", "verbs": ["create"],
    }  # fmt: skip
    parts = {part["subresource"]: part["responseKind"] for part in resource(found, "", "v1", "pods")["subresources"]}
    assert parts["attach"] == {"group": "", "version": "v1", "kind": "PodAttachOptions"}


@pytest.mark.parametrize(
    "ordered",
    [
        ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"],
        ["v1", "v1beta10", "v1beta2", "v1alpha1", "v0", "v1beta", "v1gamma1"],
    ],
)
def test_versions_are_preferred_as_in_kubernetes(ordered: list[str]) -> None:
    """Stable ones first, then beta, alpha and all others; the highest number first."""
    shuffled = sorted(ordered, key=lambda version: version[::-1])
    assert sorted(shuffled, key=discovery.version_order) == ordered

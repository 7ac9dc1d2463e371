"""URL paths to what they mean."""

from __future__ import annotations

import pytest

from controlplane.rest.paths import Target, parse


@pytest.mark.parametrize(("path", "expected"), [
    ("/api/v1/pods", Target("", "v1", "pods")),
    ("/api/v1/namespaces", Target("", "v1", "namespaces")),
    ("/api/v1/namespaces/a", Target("", "v1", "namespaces", name="a")),
    ("/api/v1/namespaces/a/status", Target("", "v1", "namespaces", name="a", subresource="status")),
    ("/api/v1/namespaces/a/finalize", Target("", "v1", "namespaces", name="a", subresource="finalize")),
    ("/api/v1/namespaces/a/pods/", Target("", "v1", "pods", "a")),
    ("/api/v1/namespaces/a/pods/b/log", Target("", "v1", "pods", "a", "b", "log")),
    ("/api/v1/namespaces/a/services/b:80/proxy/x/y", Target("", "v1", "services", "a", "b:80", "proxy", "/x/y")),
    ("/api/v1/nodes/n1", Target("", "v1", "nodes", name="n1")),
    ("/apis/apps/v1/namespaces/a/deployments/b", Target("apps", "v1", "deployments", "a", "b")),
    ("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
     Target("rbac.authorization.k8s.io", "v1", "clusterroles", name="system:node")),
])  # fmt: skip
def test_paths_of_resources(path: str, expected: Target) -> None:
    """As RequestInfo of kube-apiserver reads them."""
    assert parse(path) == expected


@pytest.mark.parametrize("path", [
    "/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/version", "/api/v1//pods", "/api/v1/pods//log",
    "/api/v1/namespaces/a/pods/b/log/c", "/api/v1/namespaces/a/status/b", "/api/v1/pods/a%2Fb", "/api/v1/namespaces//pods",
])  # fmt: skip
def test_paths_that_are_no_resource(path: str) -> None:
    """Empty parts and encoded slashes do not slip through as names."""
    assert parse(path) is None


@pytest.mark.parametrize(("method", "path", "watch", "verb"), [
    ("GET", "/api/v1/pods", False, "list"), ("GET", "/api/v1/pods", True, "watch"), ("HEAD", "/api/v1/nodes/a", False, "get"),
    ("GET", "/api/v1/nodes/a", True, "get"), ("POST", "/api/v1/nodes", False, "create"),
    ("DELETE", "/api/v1/nodes", False, "deletecollection"), ("DELETE", "/api/v1/nodes/a", False, "delete"),
    ("PUT", "/api/v1/nodes/a/status", False, "update"), ("PATCH", "/api/v1/nodes/a", False, "patch"),
    ("OPTIONS", "/api/v1/nodes", False, ""),
])  # fmt: skip
def test_verbs_of_methods(method: str, path: str, watch: bool, verb: str) -> None:
    """What is authorized."""
    target = parse(path)
    assert target is not None
    assert target.verb(method, watch=watch) == verb

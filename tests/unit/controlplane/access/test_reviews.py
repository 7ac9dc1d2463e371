"""Reviews: the caller, what users may do, and the user of a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.access import bootstraproles, control
from controlplane.access.authorizers import Authorizers
from controlplane.access.control import TokenSettings
from controlplane.access.identity import ANONYMOUS, Identity
from pinnace import codec, kinds
from pinnace.clock import RandomIds
from pinnace.errors import BadRequest, Forbidden, Invalid
from pinnace.kinds import Kind
from tests.support.access import cluster_role, cluster_role_binding, paths, role, role_binding, rule, user
from tests.support.cluster import Cluster, running

ADMIN, JANE = user("root", "system:masters"), user("jane", "staff")


class Door:
    def __init__(self, cluster: Cluster, keys: Path) -> None:
        self.cluster = cluster
        file = keys / "users.csv"
        file.write_text("secret,jane,7,staff\n")
        authorizers = Authorizers(cluster.store)
        self._reviews = control.build(cluster.store, RandomIds(1), authorizers, keys, TokenSettings(file=str(file))).reviews

    def ask(self, who: Identity, kind: Kind, spec: Any = None, *, namespace: str = "") -> Any:
        """The status of the answer, as JSON."""
        meta = {"namespace": namespace} if namespace else {}
        review = codec.decode(kind.cls, {"metadata": meta} | ({} if spec is None else {"spec": spec}))
        return codec.encode(self._reviews.create(kind, review, who, now=self.cluster.clock.now())).get("status", {})


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with running() as cluster:
        await cluster._done(lambda tx: bootstraproles.reconcile(tx, cluster.call()))
        await cluster.create(role("reader", rule("get list", "pods", names="a")))
        await cluster.create(role_binding("read", "Role/reader", "User:jane"))
        yield Door(cluster, tmp_path)


GET_A = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default", "name": "a"}}
GET_B = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default", "name": "b"}}


async def test_users_ask_about_themselves(door: Door) -> None:
    """Every authenticated user may; others may not."""
    assert door.ask(JANE, kinds.SELF_SUBJECT_ACCESS_REVIEW, GET_A) == {
        "allowed": True, "reason": 'RBAC: allowed by RoleBinding "read/default" of Role "reader" to User "jane"',
    }  # fmt: skip
    assert door.ask(JANE, kinds.SELF_SUBJECT_ACCESS_REVIEW, GET_B).get("allowed", False) is False
    version = {"nonResourceAttributes": {"verb": "get", "path": "/version"}}
    assert door.ask(JANE, kinds.SELF_SUBJECT_ACCESS_REVIEW, version)["allowed"] is True
    with pytest.raises(Forbidden, match='User "system:anonymous" cannot create resource "selfsubjectaccessreviews"'):
        door.ask(ANONYMOUS, kinds.SELF_SUBJECT_ACCESS_REVIEW, GET_A)
    found = door.ask(user("jane", "staff"), kinds.SELF_SUBJECT_REVIEW)
    assert found == {"userInfo": {"username": "jane", "groups": ["staff", "system:authenticated"]}}


async def test_administrators_ask_about_others(door: Door) -> None:
    """With groups and extra; users may not."""
    asked = {**GET_A, "user": "jane", "groups": ["x"], "extra": {"k": ["v"]}}
    assert door.ask(ADMIN, kinds.SUBJECT_ACCESS_REVIEW, asked)["allowed"] is True
    assert door.ask(ADMIN, kinds.SUBJECT_ACCESS_REVIEW, {**GET_A, "user": "john"}).get("allowed", False) is False
    assert door.ask(ADMIN, kinds.SUBJECT_ACCESS_REVIEW, {**GET_B, "groups": ["system:masters"]})["allowed"] is True
    with pytest.raises(Forbidden):
        door.ask(JANE, kinds.SUBJECT_ACCESS_REVIEW, asked)


async def test_a_namespace_s_administrator_asks_within_it(door: Door) -> None:
    await door.cluster.create(role_binding("boss", "ClusterRole/admin", "User:boss"))
    local, asked = kinds.LOCAL_SUBJECT_ACCESS_REVIEW, {**GET_A, "user": "jane"}
    assert door.ask(user("boss"), local, asked, namespace="default")["allowed"] is True
    with pytest.raises(Forbidden):
        door.ask(user("boss"), local, asked, namespace="kube-system")
    with pytest.raises(Invalid, match=r"must match metadata.namespace"):
        door.ask(ADMIN, local, asked, namespace="kube-system")
    with pytest.raises(Invalid, match="disallowed on this kind of request"):
        door.ask(ADMIN, local, {"user": "jane", "nonResourceAttributes": {"path": "/x"}}, namespace="default")


@pytest.mark.parametrize("spec", [{}, {**GET_A, "nonResourceAttributes": {"path": "/x"}}])
async def test_a_question_is_about_one_request(door: Door, spec: Any) -> None:
    for kind, more in ((kinds.SELF_SUBJECT_ACCESS_REVIEW, {}), (kinds.SUBJECT_ACCESS_REVIEW, {"user": "jane"})):
        with pytest.raises(Invalid):
            door.ask(ADMIN, kind, {**spec, **more})
    with pytest.raises(Invalid, match="at least one of user or group must be specified"):
        door.ask(ADMIN, kinds.SUBJECT_ACCESS_REVIEW, GET_A)


async def test_rules_of_a_namespace_are_listed(door: Door) -> None:
    """Those of the cluster too; a node's cannot be."""
    await door.cluster.create(cluster_role("metrics", paths("get", "/metrics")))
    await door.cluster.create(cluster_role_binding("metrics", "metrics", "User:jane"))
    found = door.ask(JANE, kinds.SELF_SUBJECT_RULES_REVIEW, {"namespace": "default"})
    assert {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]} in found[
        "resourceRules"
    ]
    assert {"verbs": ["get"], "nonResourceURLs": ["/metrics"]} in found["nonResourceRules"]
    assert "incomplete" not in found or found["incomplete"] is False
    elsewhere = door.ask(JANE, kinds.SELF_SUBJECT_RULES_REVIEW, {"namespace": "kube-system"})
    assert not any("pods" in rule["resources"] for rule in elsewhere["resourceRules"])
    node = door.ask(user("system:node:n1", "system:nodes"), kinds.SELF_SUBJECT_RULES_REVIEW, {"namespace": "default"})
    assert node["incomplete"] is True
    with pytest.raises(BadRequest, match="no namespace on request"):
        door.ask(JANE, kinds.SELF_SUBJECT_RULES_REVIEW, {})


async def test_a_token_is_reviewed(door: Door) -> None:
    """Whose it is, or why it is not good."""
    found = door.ask(ADMIN, kinds.TOKEN_REVIEW, {"token": "secret"})
    assert found["authenticated"] is True
    assert found["user"] == {"username": "jane", "uid": "7", "groups": ["staff", "system:authenticated"]}
    wrong = door.ask(ADMIN, kinds.TOKEN_REVIEW, {"token": "other"})
    assert (wrong.get("authenticated", False), wrong["error"]) == (False, "invalid bearer token")
    with pytest.raises(BadRequest, match="token is required"):
        door.ask(ADMIN, kinds.TOKEN_REVIEW, {})
    with pytest.raises(Forbidden):
        door.ask(JANE, kinds.TOKEN_REVIEW, {"token": "secret"})

"""Who may do what over REST: credentials, RBAC, impersonation, reviews and tokens of service accounts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from controlplane.access import bootstraproles
from controlplane.access.auditlog import Log
from controlplane.access.auditpolicy import Level, Policy, Rule
from controlplane.resources.registry import Registry
from controlplane.rest.auditing import Audited
from pinnace import kinds
from pinnace.authentication.v1 import authentication_pb2
from pinnace.clock import settle
from pinnace.meta.v1 import rest_pb2
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

MAPS, SECRETS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ALICE = "Bearer token-of-alice"


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    await cluster.store.update(lambda tx: bootstraproles.reconcile(tx, cluster.call()))
    # Roles that aggregate others get their rules from a controller.
    await settle(TURNS)
    return Rest(cluster)


async def grant(rest: Rest, subject: dict[str, Any], role: str, namespace: str = "default") -> None:
    """A RoleBinding to a cluster role."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body = {"metadata": {"name": f"b-{role}"}, "subjects": [subject], "roleRef": reference}
    status, found = await rest.ask("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", body)
    assert status == 201, found


def user(name: str) -> dict[str, Any]:
    return {"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer ", "Bearer nonsense", "Bearer a.b.c", "Bearer " + "x" * 5000])
async def test_what_is_no_credential_is_401(rest: Rest, header: str) -> None:
    """With a Status that clients recognize; nothing is told of what exists."""
    rest.anonymous()
    headers = {"authorization": header} if header else {}
    for path in (MAPS, "/api/v1/nonsense", "/apis", "/nonsense"):
        status, found = await rest.ask("GET", path, **headers)
        assert (status, found["reason"], found["code"]) == (401, "Unauthorized", 401)


async def test_strangers_may_read_the_version(rest: Rest) -> None:
    """And no more."""
    rest.anonymous()
    assert (await rest.get("/version"))["minor"] == "37"


async def test_a_user_may_do_what_roles_allow(rest: Rest) -> None:
    """A view role reads configmaps and no secrets, and writes nothing; in its namespace alone."""
    await grant(rest, user("alice"), "view")
    rest.anonymous()
    assert (await rest.ask("GET", MAPS, authorization=ALICE))[0] == 200
    status, found = await rest.ask("GET", SECRETS, authorization=ALICE)
    assert (status, found["reason"]) == (403, "Forbidden")
    assert found["message"] == (
        'secrets is forbidden: User "alice" cannot list resource "secrets" in API group "" in the namespace "default"'
    )
    for method, path in (("POST", MAPS), ("DELETE", MAPS), ("DELETE", f"{MAPS}/a"), ("GET", "/api/v1/configmaps"),
                         ("GET", "/api/v1/nodes"), ("GET", "/api/v1/namespaces/kube-system/configmaps")):  # fmt: skip
        assert (await rest.ask(method, path, {"metadata": {"name": "a"}}, authorization=ALICE))[0] == 403, (method, path)


async def test_a_user_cannot_grant_more_than_they_have(rest: Rest) -> None:
    """Neither by a role nor by a binding."""
    await grant(rest, user("alice"), "admin")
    rest.anonymous()
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    roles = f"{RBAC}/namespaces/default/roles"
    assert (await rest.ask("POST", roles, {"metadata": {"name": "all"}, "rules": [rule]}, authorization=ALICE))[0] == 403
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    body = {"metadata": {"name": "up"}, "subjects": [user("alice")], "roleRef": reference}
    assert (await rest.ask("POST", f"{RBAC}/namespaces/default/rolebindings", body, authorization=ALICE))[0] == 403
    mild = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    assert (await rest.ask("POST", roles, {"metadata": {"name": "mild"}, "rules": [mild]}, authorization=ALICE))[0] == 201


async def test_impersonation_takes_permission(rest: Rest) -> None:
    """An administrator may; alice may not."""
    assert (await rest.ask("GET", MAPS, impersonate_user="bob"))[0] == 403
    await grant(rest, user("bob"), "view")
    assert (await rest.ask("GET", MAPS, impersonate_user="bob"))[0] == 200
    assert (await rest.ask("GET", MAPS, impersonate_group="system:masters"))[0] == 400
    rest.anonymous()
    status, found = await rest.ask("GET", MAPS, authorization=ALICE, impersonate_user="admin")
    assert (status, 'cannot impersonate resource "users"' in found["message"]) == (403, True)
    assert (await rest.ask("GET", MAPS, impersonate_user="admin"))[0] == 401


async def test_reviews(rest: Rest) -> None:
    """They are in discovery, answered with 201, and not stored."""
    await grant(rest, user("alice"), "view")
    rest.anonymous()
    question = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}}
    status, found = await rest.ask("POST", f"{REVIEWS}/selfsubjectaccessreviews", question, authorization=ALICE)
    assert (status, found["status"]["allowed"]) == (201, True)
    question["spec"]["resourceAttributes"]["verb"] = "delete"
    status, found = await rest.ask("POST", f"{REVIEWS}/selfsubjectaccessreviews", question, authorization=ALICE)
    assert (status, found["status"].get("allowed", False)) == (201, False)
    _, found = await rest.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, authorization=ALICE)
    assert found["status"]["userInfo"]["username"] == "alice"
    assert (await rest.ask("GET", f"{REVIEWS}/selfsubjectaccessreviews", authorization=ALICE))[0] == 403
    listed = await rest.get(REVIEWS, authorization=ALICE)
    assert {"selfsubjectaccessreviews", "subjectaccessreviews"} <= {item["name"] for item in listed["resources"]}
    rest.anonymous(False)
    assert (await rest.ask("GET", f"{REVIEWS}/selfsubjectaccessreviews"))[0] == 405


async def test_a_token_request_in_protobuf(rest: Rest) -> None:
    """As kubectl sends it: the account is in the URL alone."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await rest.ask("POST", accounts, {"metadata": {"name": "robot"}})
    inner = rest_pb2.Unknown(
        typeMeta=rest_pb2.TypeMeta(apiVersion="authentication.k8s.io/v1", kind="TokenRequest"),
        raw=authentication_pb2.TokenRequest().SerializeToString(),
    )
    status, made = await rest.ask(
        "POST", f"{accounts}/robot/token", b"k8s\0" + inner.SerializeToString(),
        content_type="application/vnd.kubernetes.protobuf",
    )  # fmt: skip
    assert (status, made["metadata"]["name"], bool(made["status"]["token"])) == (201, "robot", True)


async def test_a_service_account_has_a_token_until_it_is_gone(rest: Rest) -> None:
    """TokenRequest, and what the token may do."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await rest.ask("POST", accounts, {"metadata": {"name": "robot"}})
    status, made = await rest.ask("POST", f"{accounts}/robot/token", {"spec": {"expirationSeconds": 600}})
    assert status == 201, made
    bearer = f"Bearer {made['status']['token']}"
    assert made["status"]["expirationTimestamp"]
    await grant(rest, {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}, "view")
    rest.anonymous()
    assert (await rest.ask("GET", MAPS, authorization=bearer))[0] == 200
    assert (await rest.ask("POST", MAPS, {"metadata": {"name": "a"}}, authorization=bearer))[0] == 403
    rest.anonymous(False)
    other = await rest.ask("POST", f"{accounts}/robot/token", {"spec": {"audiences": ["elsewhere"]}})
    await rest.ask("DELETE", f"{accounts}/robot")
    rest.anonymous()
    assert (await rest.ask("GET", MAPS, authorization=bearer))[0] == 401
    assert (await rest.ask("GET", MAPS, authorization=f"Bearer {other[1]['status']['token']}"))[0] == 401


def enveloped(kind: str, message: Any) -> bytes:
    type_ = rest_pb2.TypeMeta(apiVersion="v1", kind=kind)
    return b"k8s\0" + rest_pb2.Unknown(typeMeta=type_, raw=message.SerializeToString()).SerializeToString()


def _recorded(rest: Rest, cluster: Cluster, folder: Path) -> Log:
    """The log of all that is asked from here on, with everything that is ever written."""
    log = Log(folder / "audit.log", Policy((Rule(Level.REQUEST_RESPONSE),)))
    log.open()
    rest.site = Audited(rest.site, log, Registry.of(cluster.store), cluster.clock, cluster.ids)
    return log


async def test_requests_are_recorded(rest: Rest, cluster: Cluster, tmp_path: Path) -> None:
    """Those that are refused for their credentials, too; a secret only with its name."""
    log = _recorded(rest, cluster, tmp_path)
    await rest.ask("POST", SECRETS, {"metadata": {"name": "s"}, "stringData": {"k": "hidden"}})
    await rest.ask("POST", MAPS, {"metadata": {"name": "m"}, "data": {"k": "shown"}})
    rest.anonymous()
    await rest.ask("GET", MAPS, authorization="Bearer nonsense")
    log.close()
    text = (tmp_path / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["verb"], line["objectRef"]["resource"], line["responseStatus"]["code"]) for line in lines] == [
        ("create", "secrets", 201), ("create", "configmaps", 201), ("list", "configmaps", 401),
    ]  # fmt: skip
    assert [line["user"]["username"] for line in lines] == ["admin", "admin", "system:anonymous"]
    assert ("hidden" in text, "shown" in text, "nonsense" in text) == (False, True, False)


async def test_what_is_sent_in_protobuf_is_recorded_in_json(rest: Rest, cluster: Cluster, tmp_path: Path) -> None:
    """Objects and options in both directions; of a secret nothing, and of what cannot be read neither."""
    log = _recorded(rest, cluster, tmp_path)
    for kind, path in ((kinds.CONFIG_MAP, MAPS), (kinds.SECRET, SECRETS)):
        message = kind.cls(metadata={"name": "m"})
        message.data["k"] = "shown" if kind is kinds.CONFIG_MAP else b"hidden"
        await rest.text("POST", path, enveloped(kind.kind, message), content_type=PROTOBUF, accept=PROTOBUF)
    options = rest_pb2.DeleteOptions(gracePeriodSeconds=7)
    await rest.ask("DELETE", f"{MAPS}/m", enveloped("DeleteOptions", options), content_type=PROTOBUF)
    await rest.ask("POST", MAPS, b"k8s\0nonsense", content_type=PROTOBUF)
    log.close()
    text = (tmp_path / "audit.log").read_text()
    made, secret, gone, broken = (json.loads(line) for line in text.splitlines())
    for found in (made["requestObject"], made["responseObject"]):
        assert (found["kind"], found["apiVersion"], found["data"]) == ("ConfigMap", "v1", {"k": "shown"})
    assert gone["requestObject"] == {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 7}
    assert not [line for line in (secret, broken) if "requestObject" in line]
    assert ("hidden" in text, "aGlkZGVu" in text) == (False, False)


async def test_who_acts_as_another_is_recorded(rest: Rest, cluster: Cluster, tmp_path: Path) -> None:
    """With the user that they act as, as Kubernetes has it; an attempt that is refused too."""
    await grant(rest, user("bob"), "view")
    log = _recorded(rest, cluster, tmp_path)
    await rest.ask("GET", MAPS, impersonate_user="bob", impersonate_uid="u-1")
    await rest.ask("GET", MAPS, impersonate_group="system:masters")
    rest.anonymous()
    assert (await rest.ask("GET", MAPS, authorization=ALICE, impersonate_user="admin"))[0] == 403
    assert (await rest.ask("GET", MAPS, impersonate_user="admin"))[0] == 401
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(line["user"]["username"], line["responseStatus"]["code"], "impersonatedUser" in line) for line in lines] == [
        ("admin", 200, True), ("admin", 400, False), ("alice", 403, False), ("system:anonymous", 401, False),
    ]  # fmt: skip
    assert lines[0]["impersonatedUser"] == {"username": "bob", "groups": ["system:authenticated"], "uid": "u-1"}


async def test_what_is_sent_compressed_is_recorded_as_it_was(rest: Rest, cluster: Cluster, tmp_path: Path) -> None:
    """Answers of 128 KiB and more are compressed for clients that accept it, after they are recorded."""
    log = _recorded(rest, cluster, tmp_path)
    await rest.text("POST", MAPS, {"metadata": {"name": "m"}, "data": {"k": "x" * (150 << 10)}})
    answer = await rest.respond("GET", f"{MAPS}/m", accept_encoding="gzip")
    assert ("content-encoding", "gzip") in answer.headers
    log.close()
    made, found = (json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines())
    assert made["responseObject"]["data"] == found["responseObject"]["data"] == {"k": "x" * (150 << 10)}


async def test_why_a_token_is_refused_is_for_the_log_alone(
    rest: Rest, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """An expired one, and one for another audience, are Unauthorized as any other, as in Kubernetes."""
    rest.anonymous()
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    _, other = await _as_administrator(rest, "POST", path, {"spec": {"audiences": ["vault"]}})
    _, short = await _as_administrator(rest, "POST", path, {"spec": {"expirationSeconds": 600}})
    await cluster.clock.advance(601)
    caplog.set_level("INFO", "pinnace.rest")
    for made, cause in ((other, "is invalid for the target audiences"), (short, "service account token has expired")):
        caplog.clear()
        status, found = await rest.ask("GET", MAPS, authorization=f"Bearer {made['status']['token']}")
        assert (status, found) == (401, {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
            "reason": "Unauthorized", "code": 401,
        })  # fmt: skip
        assert cause in caplog.text
        assert made["status"]["token"] not in caplog.text


async def test_service_accounts_may_read_how_their_tokens_are_verified(rest: Rest) -> None:
    """The issuer's documents, by the role that Kubernetes has for them; other users may not, and strangers have to say who they are."""
    rest.anonymous()
    _, made = await _as_administrator(rest, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
    token = made["status"]["token"]
    headers = {"authorization": f"Bearer {token}"}
    answer = await rest.respond("GET", "/.well-known/openid-configuration", **headers)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert ("cache-control", "public, max-age=3600") in answer.headers
    assert isinstance(answer.body, bytes)
    document = json.loads(answer.body)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert document["issuer"] == claims["iss"]
    assert document["jwks_uri"] == "https://192.0.2.1:6444/openid/v1/jwks"
    answer = await rest.respond("GET", "/openid/v1/jwks", **headers)
    assert (answer.status, answer.content_type) == (200, "application/jwk-set+json")
    assert isinstance(answer.body, bytes)
    key = jwt.PyJWKSet.from_json(answer.body.decode())[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    assert jwt.decode(token, key, audience=claims["aud"], algorithms=["ES256"], options=options)["sub"] == claims["sub"]
    for path in (
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/",
        "/openid/v1/jwks",
        "/openid/v1/jwks/",
    ):
        assert (await rest.respond("GET", path, **headers)).status == 200, path
        assert (await rest.respond("GET", path, authorization=ALICE)).status == 403, path
        assert (await rest.respond("GET", path)).status == 401, path


async def _as_administrator(rest: Rest, method: str, path: str, body: Any) -> tuple[int, Any]:
    rest.anonymous(False)
    try:
        return await rest.ask(method, path, body)
    finally:
        rest.anonymous()

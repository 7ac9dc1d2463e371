"""Bearer tokens: those of service accounts, of a file, and join tokens; impersonation; the documents for verifiers."""

from __future__ import annotations

import base64
import hmac
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from controlplane import tokens as jointokens
from controlplane.access import control, discoverydocument, signingkey
from controlplane.access.accounttokens import ISSUER
from controlplane.access.authorizers import Authorizers
from controlplane.access.control import AccessControl, TokenSettings
from controlplane.access.identity import Identity
from controlplane.access.impersonation import Impersonation, impersonate
from controlplane.access.tokenfile import TokenFile
from pinnace import kinds
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import RandomIds
from pinnace.core.v1.serviceaccount_pb2 import ServiceAccount
from pinnace.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from tests.support import objects
from tests.support.access import role, role_binding, rule, user
from tests.support.cluster import Cluster, running

ADMIN = user("root", "system:masters")
FILE = 'secret-1,jane,7,"staff, ops"\nsecret-2,john,8\n'


class Door:
    def __init__(self, cluster: Cluster, keys: Path) -> None:
        self.cluster = cluster
        file = keys / "users.csv"
        file.write_text(FILE)
        self.control: AccessControl = control.build(
            cluster.store, RandomIds(seed=3), Authorizers(cluster.store), keys, TokenSettings(file=str(file))
        )

    def request(self, account: str = "builder", caller: Identity = ADMIN, **spec: Any) -> TokenRequest:
        made = TokenRequest(spec=spec)
        made.metadata.name, made.metadata.namespace = account, "default"
        return self.control.reviews.create(kinds.TOKEN_REQUEST, made, caller, now=self.cluster.clock.now())  # type: ignore[no-any-return]

    def token(self, **spec: Any) -> str:
        return self.request(**spec).status.token

    def whose(self, token: str, *audiences: str) -> Identity:
        return self.control.tokens.authenticate(token, audiences, now=self.cluster.clock.now()).identity

    def refusal(self, token: str, *audiences: str) -> str:
        with pytest.raises(Unauthenticated) as found:
            self.whose(token, *audiences)
        return found.value.message


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with running() as cluster:
        account = ServiceAccount()
        account.metadata.name, account.metadata.namespace = "builder", "default"
        await cluster.create(account)
        yield Door(cluster, tmp_path)


async def test_a_token_is_its_account(door: Door) -> None:
    """With Kubernetes' claims: issuer, subject, audience, times, and the account's UID."""
    answer = door.request(expirationSeconds=600)
    now, uid = door.cluster.clock.now(), door.cluster.get(kinds.SERVICE_ACCOUNT, "builder").metadata.uid
    claims = jwt.decode(answer.status.token, options={"verify_signature": False})
    assert claims == {
        "iss": ISSUER, "sub": "system:serviceaccount:default:builder", "aud": [ISSUER], "jti": claims["jti"],
        "iat": int(now), "nbf": int(now), "exp": int(now) + 600,
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "builder", "uid": uid}},
    }  # fmt: skip
    assert answer.status.expirationTimestamp.seconds == int(now) + 600
    found = door.whose(answer.status.token)
    assert (found.user, found.uid) == ("system:serviceaccount:default:builder", uid)
    assert found.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    assert found.extra == {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}


async def test_a_token_expires(door: Door) -> None:
    token = door.token(expirationSeconds=600)
    await door.cluster.advance(599)
    door.whose(token)
    await door.cluster.advance(1)
    assert door.refusal(token) == "service account token has expired"


async def test_a_token_ends_with_its_account(door: Door) -> None:
    """Also when another of the name follows."""
    token = door.token()
    old = door.cluster.get(kinds.SERVICE_ACCOUNT, "builder")
    await door.cluster.delete(kinds.SERVICE_ACCOUNT, "builder")
    assert "does not exist" in door.refusal(token)
    old.metadata.resourceVersion = old.metadata.uid = ""
    await door.cluster.create(old)
    assert "does not match claim" in door.refusal(token)


async def test_a_token_is_for_its_audiences(door: Door) -> None:
    """One of them at least; without a question, the API is the one who asks."""
    vault = door.token(audiences=["vault", "other"])
    assert "is invalid for the target audiences" in door.refusal(vault)
    found = door.control.tokens.authenticate(vault, ("x", "vault"), now=door.cluster.clock.now())
    assert found.audiences == ("vault",)
    assert "is invalid for" in door.refusal(door.token(), "vault")


async def a_pod(door: Door, *, account: str = "builder", node: str = "") -> Any:
    made = objects.pod("web")
    made.spec.serviceAccountName, made.spec.nodeName = account, node
    return await door.cluster.create(made)


async def test_a_bound_token_ends_with_its_pod(door: Door) -> None:
    """It names the pod and its node; a pod that is being deleted has it for its last minute."""
    await door.cluster.join("n1")
    pod = await a_pod(door, node="n1")
    token = door.token(boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": pod.metadata.uid})
    extra = door.whose(token).extra
    assert extra["authentication.kubernetes.io/pod-name"] == ("web",)
    assert extra["authentication.kubernetes.io/pod-uid"] == (pod.metadata.uid,)
    assert extra["authentication.kubernetes.io/node-name"] == ("n1",)
    await door.cluster.delete(kinds.POD, "web", grace=0)
    assert door.cluster.get(kinds.POD, "web") is None
    assert "its pod does not exist" in door.refusal(token)
    other = await a_pod(door)
    assert other.metadata.uid != pod.metadata.uid
    assert "its pod does not exist" in door.refusal(token)


async def test_a_bound_object_must_fit(door: Door) -> None:
    pod = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    with pytest.raises(NotFound):
        door.token(boundObjectRef=pod)
    await a_pod(door, account="default")
    with pytest.raises(BadRequest, match="different serviceaccount name"):
        door.token(boundObjectRef=pod)
    await door.cluster.delete(kinds.POD, "web", grace=0)
    await a_pod(door)
    with pytest.raises(Conflict, match="does not match the UID in record"):
        door.token(boundObjectRef={**pod, "uid": "x"})
    with pytest.raises(BadRequest, match="cannot bind token to object of type apps/v1, Kind=Deployment"):
        door.token(boundObjectRef={"kind": "Deployment", "apiVersion": "apps/v1", "name": "web"})


@pytest.mark.parametrize("seconds", [599, -1, (1 << 32) + 1])
async def test_a_lifetime_has_bounds(door: Door, seconds: int) -> None:
    with pytest.raises(Invalid, match="may not specify a duration"):
        door.token(expirationSeconds=seconds)


async def test_a_node_gets_tokens_of_its_own_pods(door: Door) -> None:
    """Bound to one of them, by UID."""
    await door.cluster.join("n1")
    pod = await a_pod(door, node="n1")
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": pod.metadata.uid}
    node = user("system:node:n1", "system:nodes")
    assert door.whose(door.request(caller=node, boundObjectRef=ref).status.token).account == ("default", "builder")
    with pytest.raises(Forbidden, match="not bound to a pod"):
        door.request(caller=node)
    with pytest.raises(Forbidden, match="without a uid"):
        door.request(caller=node, boundObjectRef={**ref, "uid": ""})
    with pytest.raises(Forbidden, match="no relationship found"):
        door.request(caller=user("system:node:n2", "system:nodes"), boundObjectRef=ref)


async def test_forged_tokens_are_refused(door: Door, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another key, no signature, another algorithm with the public key, another issuer, changed claims, and noise."""
    token = door.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    own, other = door.control.keys[0], signingkey.load(tmp_path_factory.mktemp("other"))
    from cryptography.hazmat.primitives import serialization

    public = own.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    named = {"kid": own.id}
    forged = [
        jwt.encode(claims, other.private, algorithm="ES256", headers=named),
        jwt.encode(claims, other.private, algorithm="ES256", headers={"kid": other.id}),
        jwt.encode(claims, own.private, algorithm="ES256"),
        jwt.encode(claims, "", algorithm="none"),
        _confused(claims, public),
        jwt.encode({**claims, "iss": "https://elsewhere"}, own.private, algorithm="ES256", headers=named),
        jwt.encode({**claims, "sub": "system:serviceaccount:kube-system:builder"}, own.private, algorithm="ES256", headers=named),
        jwt.encode({key: value for key, value in claims.items() if key != "exp"}, own.private, algorithm="ES256", headers=named),
        jwt.encode({**claims, "kubernetes.io": []}, own.private, algorithm="ES256", headers=named),
        _changed(token),
        "a.b.c", "..", "", "x" * 100_000 + ".y.z", "\udcff.\udcff.\udcff",
    ]  # fmt: skip
    for item in forged:
        door.refusal(item)
    door.whose(token)


def _confused(claims: dict[str, Any], public: bytes) -> str:
    """Signed with the public key as if it were a secret, which the library itself does not do."""
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), json.dumps(claims).encode()]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    signature = hmac.digest(public, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _changed(token: str) -> str:
    """The token with its payload changed."""
    head, body, signature = token.split(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=="))
    payload["exp"] += 1
    return ".".join((head, base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode(), signature))


async def test_a_key_that_was_rotated_still_verifies(tmp_path: Path) -> None:
    """Until its file is removed; the new one signs, and the key set has both."""
    async with running() as cluster:

        def build() -> AccessControl:
            return control.build(cluster.store, RandomIds(seed=3), Authorizers(cluster.store), tmp_path, TokenSettings())

        before = build()
        request = TokenRequest()
        request.metadata.name, request.metadata.namespace = "default", "default"
        now = cluster.clock.now()
        old = before.reviews.create_token(request, ADMIN, now=now).status.token
        (tmp_path / "sa.key").rename(tmp_path / "sa-2026.key")
        rotated = build()
        new = rotated.reviews.create_token(request, ADMIN, now=now).status.token
        for token in (old, new):
            assert rotated.tokens.authenticate(token, (), now=now).identity.account == ("default", "default")
        kids = [jwt.get_unverified_header(token)["kid"] for token in (new, old)]
        assert [item["kid"] for item in discoverydocument.jwks(rotated.keys)["keys"]] == kids
        (tmp_path / "sa-2026.key").unlink()
        with pytest.raises(Unauthenticated, match="invalid bearer token"):
            build().tokens.authenticate(old, (), now=now)


async def test_the_key_is_the_owner_s_and_stays(tmp_path: Path) -> None:
    """Of mode 0600; a file that is no key is refused."""
    made = signingkey.load(tmp_path)
    path = tmp_path / "sa.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signingkey.load(tmp_path).id == made.id
    path.write_text("x")
    with pytest.raises(Invalid, match=r"sa\.key: not a private key"):
        signingkey.load(tmp_path)


async def test_others_verify_tokens_by_the_documents(door: Door) -> None:
    """With the key set alone, which holds no private part."""
    keys = discoverydocument.jwks(door.control.keys)
    assert {name for key in keys["keys"] for name in key} == {"use", "alg", "kid", "kty", "crv", "x", "y"}  # type: ignore[attr-defined]
    token = door.token(audiences=["vault"])
    found = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    assert jwt.decode(token, found, audience="vault", algorithms=["ES256"], options=options)["sub"].endswith("builder")
    document = discoverydocument.configuration(ISSUER, "https://x/openid/v1/jwks")
    assert (document["issuer"], document["jwks_uri"]) == (ISSUER, "https://x/openid/v1/jwks")


async def test_tokens_of_the_file(door: Door) -> None:
    found = door.whose("secret-1")
    assert (found.user, found.uid, found.groups) == ("jane", "7", ("staff", "ops", "system:authenticated"))
    assert door.whose("secret-2").groups == ("system:authenticated",)
    assert door.refusal("secret-3") == "invalid bearer token"
    assert "not for these audiences" in door.refusal("secret-1", "vault")


@pytest.mark.parametrize(
    ("text", "error"),
    [("a,b", "line 1: expected"), ("a,b,1\na,c,2", "line 2: the token is that of an earlier line"), (",b,1", "line 1"), ('a,"b', "not a CSV file")],
)  # fmt: skip
def test_a_broken_file_is_refused(text: str, error: str) -> None:
    with pytest.raises(BadRequest, match=error):
        TokenFile(text)


async def test_a_join_token_is_a_bootstrapper(door: Door) -> None:
    """Until it is used or has expired."""
    token, now = "abcdef.0123456789abcdef", door.cluster.clock.now()
    await door.cluster.store.update(lambda tx: jointokens.keep(tx, token, now=now, ttl=60))
    found = door.whose(token)
    assert (found.user, found.groups) == ("system:bootstrap:abcdef", ("system:bootstrappers", "system:authenticated"))
    joining = jointokens.Joining("n1", "hash")
    await door.cluster.store.update(lambda tx: jointokens.spend(tx, token, joining, now=now))
    door.refusal(token)
    door.refusal("abcdef.0123456789abcdeX")


async def test_impersonation_takes_a_right_on_each_part(door: Door) -> None:
    """On the user or the service account, on each group, the UID and each value of extra."""
    authorizers, jane = door.control.authorizers, user("jane")
    await door.cluster.create(role("r", rule("impersonate", "serviceaccounts")))
    await door.cluster.create(role_binding("b", "Role/r", "User:jane"))
    account = impersonate(authorizers, jane, Impersonation("system:serviceaccount:default:builder"))
    assert account.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    for wanted, refused in (
        (Impersonation("john"), 'users "john" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope'),
        (Impersonation("system:serviceaccount:kube-system:builder"), 'serviceaccounts "builder" is forbidden'),
        (Impersonation("system:serviceaccount:default:builder", ("system:masters",)), 'groups "system:masters" is forbidden'),
        (Impersonation("system:serviceaccount:default:builder", uid="7"), 'uids.authentication.k8s.io "7" is forbidden'),
        (Impersonation("system:serviceaccount:default:builder", extra={"scopes": ("x",)}), 'resource "userextras/scopes"'),
    ):  # fmt: skip
        with pytest.raises(Forbidden) as found:
            impersonate(authorizers, jane, wanted)
        assert refused in found.value.message
    with pytest.raises(BadRequest, match="without impersonating a user"):
        impersonate(authorizers, ADMIN, Impersonation(groups=("x",)))
    made = impersonate(authorizers, ADMIN, Impersonation("john", ("a",), "7", {"k": ("v",)}))
    assert (made.user, made.groups, made.uid, made.extra) == ("john", ("a", "system:authenticated"), "7", {"k": ("v",)})
    assert impersonate(authorizers, jane, Impersonation()) is jane
    nobody = impersonate(authorizers, ADMIN, Impersonation("system:anonymous"))
    assert nobody.groups == ("system:unauthenticated",)


async def test_a_token_is_of_an_account_that_exists(door: Door) -> None:
    """And is made for those who may create it."""
    with pytest.raises(NotFound, match='serviceaccounts "absent" not found'):
        door.request("absent")
    with pytest.raises(Forbidden, match='cannot create resource "serviceaccounts/token"'):
        door.request(caller=user("jane"))

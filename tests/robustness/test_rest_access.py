"""Credentials and rights that are not there, over real sockets: each attempt is refused, and the log shows no secret of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from nodeagent.control.join import join
from pinnace.clock import SystemClock
from tests.support.attackers import Attacked
from tests.support.planes import plane

NAMESPACE = "/api/v1/namespaces/default"
MAPS, SECRETS, ACCOUNTS = f"{NAMESPACE}/configmaps", f"{NAMESPACE}/secrets", f"{NAMESPACE}/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES, BINDINGS = f"{RBAC}/namespaces/default/roles", f"{RBAC}/namespaces/default/rolebindings"
SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("access")
    with plane(folder, "--disable-controller", "scheduler", "--log-level", "DEBUG", store="memory") as found:
        made = Attacked(found)
        assert made.ask("POST", SECRETS, {"metadata": {"name": "hidden"}, "data": {"a": SECRET}}).status == 201
        yield made


def token(attacked: Attacked, account: str, *, role: str = "", **spec: Any) -> str:
    """Of a new service account, which has a cluster role in its namespace."""
    created(attacked, ACCOUNTS, {"metadata": {"name": account}})
    if role:
        subject = {"kind": "ServiceAccount", "name": account, "namespace": "default"}
        created(attacked, BINDINGS, {"metadata": {"name": account}, "subjects": [subject], "roleRef": reference(role)})
    answer = attacked.ask("POST", f"{ACCOUNTS}/{account}/token", {"spec": spec})
    assert answer.status == 201, answer
    return str(answer.json["status"]["token"])


def created(attacked: Attacked, path: str, body: dict[str, Any]) -> None:
    answer = attacked.ask("POST", path, body)
    assert answer.status == 201, answer


def reference(name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}


def resigned(attacked: Attacked, text: str, **claims: Any) -> str:
    """The token with other claims, signed as the control plane does."""
    key = serialization.load_pem_private_key((attacked.plane.folder / "pki" / "sa.key").read_bytes(), None)
    content = jwt.decode(text, options={"verify_signature": False})
    header = jwt.get_unverified_header(text)
    return jwt.encode({**content, **claims}, key, algorithm="ES256", headers={"kid": header["kid"]})


def test_tokens_that_do_not_hold(attacked: Attacked) -> None:
    """Expired, for another audience, with another signature or none, and changed: 401 for all, after one that holds."""
    good = token(attacked, "robot", role="view")
    now = int(time.time())
    key = jwt.decode(good, options={"verify_signature": False})
    assert attacked.ask("GET", MAPS, token=resigned(attacked, good, iat=now)).status == 200
    attempts = {
        "none": "",
        "expired": resigned(attacked, good, exp=now - 60),
        "of the future": resigned(attacked, good, nbf=now + 3600, iat=now + 3600),
        "of another issuer": resigned(attacked, good, iss="https://elsewhere"),
        "for another audience": token(attacked, "other", role="view", audiences=["elsewhere"]),
        "with another signature": good[:-8] + "AAAAAAAA",
        "unsigned": jwt.encode(key, None, algorithm="none"),
        "signed with a word": jwt.encode(key, "word" * 10, algorithm="HS256", headers=jwt.get_unverified_header(good) | {"alg": "HS256"}),
        "of 40,000 characters": "a." + "b" * 40_000 + ".c",
        "nonsense": "nonsense",
    }  # fmt: skip
    with attacked.unharmed():
        for name, attempt in attempts.items():
            answer = attacked.ask("GET", MAPS, token=attempt) if attempt else attacked.ask("GET", MAPS, tls=attacked.stranger)
            assert (answer.status, answer.json["reason"]) == (401, "Unauthorized"), (name, answer)


def test_a_token_ends_with_its_account_and_its_pod(attacked: Attacked) -> None:
    """Also on a connection that has used it, and although an account of the same name comes again."""
    created(attacked, ACCOUNTS, {"metadata": {"name": "bound"}})
    pod = {
        "metadata": {"name": "holder"},
        "spec": {"serviceAccountName": "bound", "containers": [{"name": "a", "image": "busybox"}]},
    }
    created(attacked, f"{NAMESPACE}/pods", pod)
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "holder"}
    answer = attacked.ask("POST", f"{ACCOUNTS}/bound/token", {"spec": {"boundObjectRef": bound}})
    whose, of_account = answer.json["status"]["token"], token(attacked, "brief")
    reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    for held in (whose, of_account):
        assert attacked.ask("POST", reviews, {}, token=held).status == 201
    assert attacked.ask("DELETE", f"{NAMESPACE}/pods/holder", {"gracePeriodSeconds": 0}).status == 200
    assert attacked.ask("DELETE", f"{ACCOUNTS}/brief").status == 200
    for held in (whose, of_account):
        assert attacked.ask("POST", reviews, {}, token=held).status == 401
    created(attacked, ACCOUNTS, {"metadata": {"name": "brief"}})
    assert attacked.ask("POST", reviews, {}, token=of_account).status == 401


def test_a_role_is_no_way_to_another(attacked: Attacked) -> None:
    """The holder of view writes nothing; the holder of admin grants nothing that they lack; no one acts as another."""
    viewer, admin = token(attacked, "viewer", role="view"), token(attacked, "chief", role="admin")
    all_rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    bind = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"], "verbs": ["bind", "escalate"]}
    subjects = [{"kind": "ServiceAccount", "name": "chief", "namespace": "default"}]
    to_admin = {"metadata": {"name": "up"}, "subjects": subjects, "roleRef": reference("cluster-admin")}
    merge = {"content_type": "application/merge-patch+json"}
    created(attacked, MAPS, {"metadata": {"name": "target"}})
    attempts: list[tuple[str, str, str, Any, dict[str, str]]] = [
        (viewer, "GET", f"{SECRETS}/hidden", b"", {}),
        (viewer, "GET", f"{SECRETS}?watch=1", b"", {}),
        (viewer, "POST", MAPS, {"metadata": {"name": "a"}}, {}),
        (viewer, "PUT", f"{MAPS}/target", {"metadata": {"name": "target"}}, {}),
        (viewer, "PATCH", f"{MAPS}/target", {"data": {"a": "b"}}, merge),
        (viewer, "PATCH", f"{MAPS}/target?fieldManager=a", {"data": {}}, {"content_type": "application/apply-patch+yaml"}),
        (viewer, "DELETE", f"{MAPS}/target", b"", {}),
        (viewer, "DELETE", MAPS, b"", {}),
        (viewer, "POST", f"{ACCOUNTS}/chief/token", {}, {}),
        (viewer, "GET", f"{NAMESPACE}/pods/none/exec?command=id&stdout=1", b"", {}),
        (viewer, "GET", "/metrics", b"", {}),
        (admin, "POST", ROLES, {"metadata": {"name": "all"}, "rules": all_rules}, {}),
        (admin, "POST", ROLES, {"metadata": {"name": "binder"}, "rules": [bind]}, {}),
        (admin, "POST", BINDINGS, to_admin, {}),
        (admin, "POST", f"{RBAC}/clusterrolebindings", to_admin, {}),
        (admin, "POST", "/api/v1/namespaces/kube-system/configmaps", {"metadata": {"name": "a"}}, {}),
        (admin, "GET", MAPS, b"", {"impersonate_user": "kubernetes-admin"}),
        (admin, "GET", MAPS, b"", {"impersonate_user": "a", "impersonate_group": "system:masters"}),
        (admin, "GET", MAPS, b"", {"Impersonate_User": "system:serviceaccount:kube-system:default"}),
    ]
    with attacked.unharmed():
        for held, method, path, body, headers in attempts:
            answer = attacked.ask(method, path, body, token=held, **headers)
            assert answer.status == 403, (method, path, answer)
            assert SECRET.encode() not in answer.body


def test_a_node_reads_no_secret_of_another(attacked: Attacked, tmp_path: Path) -> None:
    """By REST too it has those alone that its own pods name."""
    certificates = {}
    for node in ("near", "far"):
        made = attacked.plane.token()
        folder = tmp_path / node
        join(attacked.plane.endpoint, node=node, token=made.token, ca_hash=made.caHash, folder=folder, clock=SystemClock())
        certificates[node] = attacked.with_certificate(folder / "node.crt", folder / "node.key")
    reading = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "a"}}}]
    spec = {"nodeName": "near", "containers": [{"name": "a", "image": "busybox", "env": reading}]}
    created(attacked, f"{NAMESPACE}/pods", {"metadata": {"name": "reader"}, "spec": spec})
    assert attacked.ask("GET", f"{SECRETS}/hidden", tls=certificates["near"]).status == 200
    for method, path in (
        ("GET", f"{SECRETS}/hidden"), ("GET", SECRETS), ("GET", "/api/v1/secrets"), ("GET", f"{SECRETS}?watch=1"),
        ("DELETE", f"{NAMESPACE}/pods/reader"), ("POST", f"{ACCOUNTS}/default/token"), ("DELETE", "/api/v1/nodes/near"),
    ):  # fmt: skip
        answer = attacked.ask(method, path, {} if method == "POST" else b"", tls=certificates["far"])
        assert answer.status == 403, (method, path, answer)
        assert SECRET.encode() not in answer.body


def test_only_the_two_ports_are_open(attacked: Attacked) -> None:
    """Of the control plane's process, as docs/security.md has it; one socket is for each."""
    assert attacked.plane.process is not None
    listening = listeners(attacked.plane.process.pid)
    assert listening == {attacked.plane.port, attacked.plane.web}


def listeners(pid: int) -> set[int]:
    """TCP and UDP ports at which a process takes what comes."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # The process opens and closes files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            own.add(str(link.readlink()))
    found = set()
    for table, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == state and f"socket:[{columns[9]}]" in own:
                found.add(int(columns[1].rpartition(":")[2], 16))
    return found


def test_the_log_shows_no_secret(attacked: Attacked) -> None:
    """Neither of an object nor of a request that was served or refused, at the level that shows most."""
    good = token(attacked, "quiet", role="view")
    attacked.ask("GET", MAPS, token=good)
    attacked.ask("GET", MAPS, token=good[:-4] + "AAAA")
    attacked.ask("POST", SECRETS, {"metadata": {"name": "UPPER"}, "data": {"a": SECRET}})
    attacked.ask("POST", SECRETS, {"metadata": {"name": "b"}, "data": {"a": SECRET + "!"}})
    log = attacked.plane.log
    assert log
    for secret in (SECRET, good, good[:-4], "PRIVATE KEY"):
        assert secret not in log

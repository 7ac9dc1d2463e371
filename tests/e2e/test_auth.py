"""kctl auth and kctl create token, in a lab."""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPSConnection

import jwt
import pytest

from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "view"},
    "roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "name": "jane"}],
}  # fmt: skip
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder"}}
ACCOUNTS_VIEW = BINDING | {
    "metadata": {"name": "accounts-view"},
    "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
}  # fmt: skip


def listed(lab: LabUnderTest, token: str) -> tuple[int, str]:
    """What a list of pods is answered with: status and body."""
    ca = f"/var/lib/pinnace/labs/{lab.name}/control/pki/ca.crt"
    connection = HTTPSConnection("127.0.0.1", lab.record["rest_port"], context=ssl.create_default_context(cafile=ca))
    connection.request("GET", "/api/v1/namespaces/default/pods", headers={"Authorization": f"Bearer {token}"})
    with closing(connection), connection.getresponse() as response:
        return response.status, response.read().decode()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("auth", tmp_path_factory.mktemp("auth"), nodes=1) as lab:
        lab.apply(BINDING, ACCOUNT)
        yield lab


def test_whoami_shows_the_user(lab: LabUnderTest) -> None:
    """The administrator, or the user that is impersonated."""
    assert "kubernetes-admin" in lab.kctl("auth", "whoami")
    found = json.loads(lab.kctl("auth", "whoami", "--as", "jane", "--as-group", "staff", "-o", "json"))
    assert found["status"]["userInfo"] == {"username": "jane", "groups": ["staff", "system:authenticated"]}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (["list", "pods"], "yes"),
        (["get", "po/web"], "yes"),
        (["get", "pods", "--subresource", "log"], "yes"),
        (["create", "pods"], "no"),
        (["get", "secrets"], "no"),
        (["list", "pods", "-A"], "no"),
        (["get", "/version"], "yes"),
        (["get", "/metrics"], "no"),
    ],
)
def test_can_i_asks_for_another_user(lab: LabUnderTest, question: list[str], answer: str) -> None:
    """By a role that a default ClusterRole aggregates; the exit code says it too."""
    done = lab.run("auth", "can-i", *question, "--as", "jane")
    assert done.stdout.decode().split()[0] == answer, done.stderr
    assert done.returncode == (0 if answer == "yes" else 1)
    assert lab.kctl("auth", "can-i", *question).strip() == "yes"


def test_all_rights_are_listed(lab: LabUnderTest) -> None:
    listed = lab.kctl("auth", "can-i", "--list", "--as", "jane")
    assert "pods " in listed
    assert "secrets " not in listed
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed


def test_a_token_is_printed(lab: LabUnderTest) -> None:
    """For the time and audience that were asked for."""
    token = lab.kctl("create", "token", "builder", "--duration", "15m", "--audience", "vault").strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"]) == ("system:serviceaccount:default:builder", ["vault"])
    assert claims["exp"] - claims["iat"] == 900
    assert b'serviceaccounts "absent" not found' in lab.run("create", "token", "absent").stderr


@pytest.mark.shows("spec.automountServiceAccountToken")
def test_a_pod_asks_the_api_with_the_token_of_its_account(lab: LabUnderTest) -> None:
    """It is mounted unless the pod does not want it, names the pod and its account, and ends with the pod."""
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    command = f"cat {place}/token {place}/namespace; echo; touch {place}/x; sleep 1000"
    without = pod("bare", "sh", "-c", "ls -d /var/run/secrets; sleep 1000")
    without["spec"]["automountServiceAccountToken"] = False
    lab.apply(pod("holder", "sh", "-c", command), without)
    eventually(lambda: lab.all_running(["holder", "bare"]))
    shown = eventually(lambda: text if "Read-only" in (text := lab.kctl("logs", "holder")) else "")
    token = shown.split("default\n")[0]
    assert "No such file" in eventually(lambda: lab.kctl("logs", "bare"))
    status, text = listed(lab, token)
    assert (status, "system:serviceaccount:default:default" in text) == (403, True)
    lab.apply(ACCOUNTS_VIEW)
    assert listed(lab, token)[0] == 200
    lab.kctl("delete", "pod", "holder", "--grace-period", "1")
    assert listed(lab, token)[0] == 401


# What a client's in-cluster configuration does, with nothing but the standard library.
IN_CLUSTER = """
import os, ssl, urllib.error, urllib.request
place = "/var/run/secrets/kubernetes.io/serviceaccount/"
token, namespace = open(place + "token").read(), open(place + "namespace").read()
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=place + "ca.crt"))
server = os.environ["KUBERNETES_SERVICE_HOST"] + ":" + os.environ["KUBERNETES_SERVICE_PORT"]
print(server)
for resource in ("pods", "secrets"):
    url = f"https://{server}/api/v1/namespaces/{namespace}/{resource}"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
    try:
        print(resource, urllib.request.build_opener(urllib.request.ProxyHandler({}), trust).open(request).status)
    except urllib.error.HTTPError as error:
        print(resource, error.code)
"""


def test_a_program_in_a_pod_reaches_the_api(lab: LabUnderTest) -> None:
    """At the address of its Service, which the environment has, trusting the CA that is mounted; RBAC decides. It runs this
    machine's Python."""
    subject = pod("program", os.path.realpath(sys.executable), "-c", IN_CLUSTER, restartPolicy="Never")
    paths = [path for path in dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix)) if os.path.exists(path)]
    volumes = [{"name": f"v{n}", "hostPath": {"path": path}} for n, path in enumerate(paths)]
    mounts = [{"name": f"v{n}", "mountPath": path, "readOnly": True} for n, path in enumerate(paths)]
    subject["spec"]["volumes"], subject["spec"]["containers"][0]["volumeMounts"] = volumes, mounts
    lab.apply(ACCOUNTS_VIEW, subject)
    eventually(lambda: lab.get("pod", "program")["status"]["phase"] in ("Succeeded", "Failed"))
    address = lab.get("service", "kubernetes")["spec"]["clusterIP"]
    assert lab.kctl("logs", "program").splitlines() == [f"{address}:443", "pods 200", "secrets 403"]


@pytest.mark.shows("spec.volumes[].projected.sources[].serviceAccountToken.{path,audience,expirationSeconds}")
def test_a_pod_reads_its_token(lab: LabUnderTest) -> None:
    """Bound to the pod and its node; a token for another audience lies next to it, and no static pod may have one."""
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    subject = pod("reader", "sh", "-c", "cat /run/t/token; echo; cat /run/t/vault; echo; cat /run/t/ca.crt; sleep 1000")
    subject["spec"] |= {"serviceAccountName": "builder", "volumes": [{"name": "t", "projected": {"sources": sources}}]}
    subject["spec"]["containers"][0]["volumeMounts"] = [{"name": "t", "mountPath": "/run/t", "readOnly": True}]
    lab.apply(subject)
    eventually(lambda: lab.all_running(["reader"]))
    shown = eventually(lambda: lines if "END CERTIFICATE" in (lines := lab.kctl("logs", "reader")) else "")
    token, vault, *ca = shown.splitlines()
    found = json.loads(lab.kctl("get", "pod", "reader", "-o", "json"))
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == "system:serviceaccount:default:builder"
    assert claims["kubernetes.io"]["pod"] == {"name": "reader", "uid": found["metadata"]["uid"]}
    assert claims["kubernetes.io"]["node"]["name"] == found["spec"]["nodeName"]
    assert claims["exp"] - claims["iat"] == 3600
    other = jwt.decode(vault, options={"verify_signature": False})
    assert (other["aud"], other["exp"] - other["iat"]) == (["vault"], 600)
    assert ca[0] == "-----BEGIN CERTIFICATE-----"

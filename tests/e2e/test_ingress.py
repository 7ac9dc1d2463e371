"""An ingress controller that runs as a pod: HAProxy and Python of Debian's packages, in an image that this test builds.

It watches Ingresses, IngressClasses, Services and EndpointSlices with the token of its service account
(tests/support/ingress/controller.py), and is reached at a port of every node.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support import debs
from tests.support.builds import BUILDER, context
from tests.support.labs import DEADLINE, ROOT, LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
NAMESPACE, IMAGE, CONTROLLER, PORT = "ingress", "t/ingress", "example.com/haproxy", 31808
DOCKERFILE = """
FROM scratch
COPY root/ /
COPY controller.py /controller.py
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1
ENTRYPOINT ["/usr/bin/python3.11", "/controller.py"]
"""
# What the controller may do, and no more.
RULES = [
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]
RBAC = "rbac.authorization.k8s.io"


def controller() -> list[dict[str, Any]]:
    """The controller's pod with its account, its role and the Service of its port."""
    account = {"kind": "ServiceAccount", "name": "controller", "namespace": NAMESPACE}
    container = {
        "image": IMAGE, "imagePullPolicy": "Never", "args": [CONTROLLER], "command": None,
        "env": [{"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
    }  # fmt: skip
    proxy = pod("controller", namespace=NAMESPACE, nodeName=BUILDER, serviceAccountName="controller", container=container)
    proxy["metadata"]["labels"] = {"app": "controller"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "controller", "namespace": NAMESPACE}},
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": "t-ingress"}, "rules": RULES},
        {
            "apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "t-ingress"}, "subjects": [account],
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "t-ingress"},
        },
        {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "t-haproxy"}, "spec": {"controller": CONTROLLER}},
        service("controller", type="NodePort", ports=[{"port": 80, "targetPort": "http", "nodePort": PORT}]), proxy,
    ]  # fmt: skip


def service(name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE}
    ports = [{"name": "web", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def page(name: str, node: str) -> list[dict[str, Any]]:
    """A Service, and a pod behind it that answers every path with the Service's name."""
    serve = (
        f"mkdir -p /www/x/y; for d in /www /www/x /www/x/y; do echo {name} > $d/index.html; done; exec httpd -f -p 8080 -h /www"
    )
    web = pod(name, "sh", "-c", serve, namespace=NAMESPACE, nodeName=node, terminationGracePeriodSeconds=0)
    web["metadata"]["labels"] = {"app": name}
    web["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    return [service(name), web]


def ingress(name: str, *paths: tuple[str, str, str, str], cls: str | None = "t-haproxy", **spec: Any) -> dict[str, Any]:
    """`paths`: host, path, pathType and Service; the Service's port is named."""
    rules = [
        {
            "host": host,
            "http": {"paths": [{"path": path, "pathType": how, "backend": {"service": {"name": to, "port": {"name": "web"}}}}]},
        }
        for host, path, how, to in paths
    ]
    named = {"ingressClassName": cls} if cls else {}
    meta = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta,
        "spec": {"rules": rules, **named, **spec},
    }


@dataclass(frozen=True)
class Site:
    lab: LabUnderTest
    addresses: dict[str, str]

    def get(self, host: str, path: str = "/", *, node: str = "node-2", by: str = "node-3") -> tuple[int, str]:
        """Status and text of a request from the node `by` to the controller's port of `node`."""
        program = (
            "import http.client, sys\n"
            f"connection = http.client.HTTPConnection({self.addresses[node]!r}, {PORT}, timeout=5)\n"
            f"connection.request('GET', {path!r}, headers={{'Host': {host!r}}})\n"
            "answer = connection.getresponse()\nprint(answer.status, answer.read().decode().strip())"
        )
        enter = ["nsenter", f"--net=/run/pinnace/labs/{self.lab.name}/ns/{by}.net", "python3", "-I", "-c", program]
        done = subprocess.run(enter, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 0, done.stderr
        status, _, text = done.stdout.strip().partition(" ")
        return int(status), text

    def address(self, name: str) -> list[str]:
        status = self.lab.get("ingress", name, "-n", NAMESPACE)["status"]
        return [item["ip"] for item in status["loadBalancer"].get("ingress", [])]


@pytest.fixture(scope="module")
def image(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """On the node that builds it."""
    folder = context(tmp_path_factory.mktemp("ingress") / "c", DOCKERFILE)
    shutil.copytree(debs.root("haproxy", *debs.PYTHON, *debs.HAPROXY), folder / "root", symlinks=True)
    shutil.copy(ROOT / "tests/support/ingress/controller.py", folder)
    lab.kctl("image", "build", "--node", BUILDER, "-t", IMAGE, str(folder))


@pytest.fixture(scope="module")
def site(lab: LabUnderTest, image: None) -> Iterator[Site]:
    lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        lab.apply(*controller(), *page("one", "node-2"), *page("two", "node-3"))
        lab.kctl("wait", "pod", "--all", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s")
        nodes = lab.get("nodes")["items"]
        yield Site(lab, {item["metadata"]["name"]: item["status"]["addresses"][0]["address"] for item in nodes})
    finally:
        print(lab.run("logs", "controller", "-n", NAMESPACE).stdout.decode())
        for kind, name in (
            ("ns", NAMESPACE),
            ("clusterrole", "t-ingress"),
            ("clusterrolebinding", "t-ingress"),
            ("ingressclass", "t-haproxy"),
        ):
            lab.kctl("delete", kind, name, "--ignore-not-found")


def test_hosts_and_paths_lead_to_their_services(site: Site) -> None:
    """From any node, at the port of any node; the status has the address; what no rule names is not found."""
    site.lab.apply(
        ingress("hosts", ("a.example", "/", "Prefix", "one"), ("b.example", "/", "Prefix", "two")),
        ingress("paths", ("c.example", "/x", "Prefix", "one"), ("c.example", "/x/y", "Prefix", "two"), ("*.d.example", "/", "Prefix", "two")),
    )  # fmt: skip
    eventually(lambda: site.get("a.example") == (200, "one"))
    eventually(lambda: site.get("x.d.example") == (200, "two"))
    for node in site.addresses:
        for by in site.addresses:
            assert site.get("b.example", node=node, by=by) == (200, "two")
    assert site.get("c.example", "/x/") == (200, "one")
    assert site.get("c.example", "/x/y/") == (200, "two")
    assert site.get("c.example", "/xy")[0] == 404
    assert site.get("unknown.example")[0] == 404
    eventually(lambda: site.address("hosts") + site.address("paths") == [site.addresses[BUILDER]] * 2)
    shown = site.lab.kctl("get", "ing", "hosts", "-n", NAMESPACE)
    assert shown.split()[:6] == ["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"]
    assert shown.split()[6:11] == ["hosts", "t-haproxy", "a.example,b.example", site.addresses[BUILDER], "80"]


def test_only_ingresses_of_its_class_are_served(site: Site) -> None:
    """That of another class is left alone, until its class is changed."""
    site.lab.apply(
        ingress("other", ("other.example", "/", "Prefix", "one"), cls="t-other"), ingress("mine", ("mine.example", "/", "Prefix", "one"))
    )  # fmt: skip
    eventually(lambda: site.get("mine.example") == (200, "one"))
    assert site.get("other.example")[0] == 404
    assert site.address("other") == []
    site.lab.kctl("patch", "ing", "other", "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"ingressClassName":"t-haproxy"}}')
    eventually(lambda: site.get("other.example") == (200, "one"))


def test_a_new_ingress_without_a_class_is_of_the_default_class(site: Site) -> None:
    site.lab.kctl("annotate", "ingressclass", "t-haproxy", "ingressclass.kubernetes.io/is-default-class=true")
    site.lab.apply(ingress("plain", ("plain.example", "/", "Prefix", "two"), cls=None))
    site.lab.kctl("annotate", "ingressclass", "t-haproxy", "ingressclass.kubernetes.io/is-default-class-")
    assert site.lab.get("ing", "plain", "-n", NAMESPACE)["spec"]["ingressClassName"] == "t-haproxy"
    eventually(lambda: site.get("plain.example") == (200, "two"))


def test_a_changed_rule_takes_effect(site: Site) -> None:
    """And one that is gone."""
    site.lab.apply(ingress("moving", ("moving.example", "/", "Prefix", "one")))
    eventually(lambda: site.get("moving.example") == (200, "one"))
    site.lab.apply(ingress("moving", ("moving.example", "/", "Prefix", "two")))
    eventually(lambda: site.get("moving.example") == (200, "two"))
    site.lab.kctl("delete", "ing", "moving", "-n", NAMESPACE)
    eventually(lambda: site.get("moving.example")[0] == 404)


def test_requests_follow_the_endpoints(site: Site) -> None:
    """A pod that is replaced has another address; without one, there is no answer."""
    site.lab.apply(ingress("following", ("following.example", "/", "Prefix", "gone")), *page("gone", "node-2"))
    eventually(lambda: site.get("following.example") == (200, "gone"))
    site.lab.kctl("delete", "pod", "gone", "-n", NAMESPACE, "--now")
    eventually(lambda: site.get("following.example")[0] == http.client.SERVICE_UNAVAILABLE)
    site.lab.apply(*page("gone", "node-3"))
    eventually(lambda: site.get("following.example") == (200, "gone"))

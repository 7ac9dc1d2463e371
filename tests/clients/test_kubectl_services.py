"""kubectl and Services on a lab: create service, expose, describe, set selector, port-forward and logs of a Service."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.clients.test_kubectl import Kubectl, check, cleaned
from tests.support import downloads
from tests.support.labs import DEADLINE, LabUnderTest, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, labels: {app: echo}}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: busybox
        imagePullPolicy: Never
        command: [sh, -c, 'echo ready; exec nc -ll -p 8080 -e echo hello']
        ports: [{name: web, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]
"""
LISTENING = """
apiVersion: v1
kind: Pod
metadata: {name: env}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "1000000"]}]
"""


@pytest.fixture(scope="module", params=(*downloads.LAYERS, downloads.NEWEST))
def kubectl(lab: LabUnderTest, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    found = Kubectl(downloads.kubectl(request.param), lab)
    found("apply", "-f", "-", stdin=WEB)
    found("wait", "--for=condition=Available", "deployment/echo", "--timeout=120s")
    yield found
    found("delete", "deployment/echo", "--wait=false")


def forwarded(client: list[str], lab: LabUnderTest, *words: str) -> bytes:
    """What the pod behind a port answers, over a port-forward of any local port."""
    call = subprocess.Popen(
        [*client, "port-forward", *words], env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert call.stdout is not None
        line = call.stdout.readline().decode()
        found = re.search(r"127\.0\.0\.1:(\d+) -> 8080", line)
        assert found, (line, call.stderr and call.stderr.read(4096))
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=DEADLINE) as sock:
            return b"".join(iter(lambda: sock.recv(4096), b""))
    finally:
        call.kill()
        call.communicate()


def test_services_from_create_to_delete(kubectl: Kubectl) -> None:
    """Each type, expose, columns, a changed selector, and what a Service stands for."""
    check(kubectl, [
        ("create service clusterip plain --tcp=80:8080", "service/plain created"),
        ("create service clusterip nohead --clusterip=None", "service/nohead created"),
        ("create service nodeport node --tcp=80 --node-port=30123", "service/node created"),
        ("create service loadbalancer lb --tcp=80", "service/lb created"),
        ("create service externalname alias --external-name=db.example", "service/alias created"),
        ("expose deployment echo --port=80 --target-port=web", "service/echo exposed"),
        ("expose deployment echo --name=many", "service/many exposed"),
        ("get svc", r"^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE$"),
        ("get svc alias nohead node", r"alias +ExternalName +<none> +db.example +<none>[\s\S]*nohead +ClusterIP +None +<none> +<none>[\s\S]*node +NodePort +10\.\d+\.\d+\.\d+ +<none> +80:30123/TCP"),
        ("get svc many -o wide", r"SELECTOR\nmany +ClusterIP +10\.\d+\.\d+\.\d+ +<none> +8080/TCP,53/UDP +\w+ +app=echo$"),
        ("get service -l app=echo -o name", "^service/echo$"),
        ("get svc --field-selector=spec.type=ExternalName -o name", "^service/alias$"),
        ("get all", r"service/echo +ClusterIP"),
        ("set selector svc/plain app=echo", "service/plain selector updated"),
        ("wait --for=jsonpath={.spec.selector.app}=echo svc/plain --timeout=10s", "service/plain condition met"),
        ("logs svc/echo", "^ready$"),
        ("exec svc/echo -- echo inside", "^inside$"),
        ("explain service.spec.externalTrafficPolicy", r"KIND: +Service"),
        ("explain endpointslice.endpoints.conditions", r"GROUP: +discovery.k8s.io"),
        ("patch svc echo -p {\"spec\":{\"type\":\"NodePort\"}}", "service/echo patched"),
        ("get svc echo", r"echo +NodePort .* 80:3\d{4}/TCP"),
        ("patch svc echo -p {\"spec\":{\"type\":\"ClusterIP\"}}", "service/echo patched"),
        ("get svc echo", r"echo +ClusterIP .* 80/TCP"),
    ])  # fmt: skip
    eventually(lambda: "8080" in kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=echo"))
    check(kubectl, [
        ("get endpointslices -l kubernetes.io/service-name=echo", r"^NAME +ADDRESSTYPE +PORTS +ENDPOINTS +AGE\necho-\w+ +IPv4 +8080 +10\.244\.\d+\.\d+,10\.244\.\d+\.\d+"),
        ("get endpoints echo", r"echo +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080"),
    ])  # fmt: skip
    check(kubectl, [
        ("create service clusterip other --tcp=80 --clusterip=1.2.3.4", "The range of valid IPs is"),
        ("create service nodeport other --tcp=80 --node-port=30123", "provided port is already allocated"),
        ("create service clusterip other", "at least one tcp port specifier must be provided"),
        ("patch svc echo -p {\"spec\":{\"clusterIP\":\"10.96.0.77\"}}", "may not change once set"),
        ("expose cm/kube-root-ca.crt --port=80", "cannot expose a"),
    ], code=1)  # fmt: skip
    for name in ("svc echo", "svc many", "svc node", "svc nohead", "svc alias", "endpoints echo"):
        described_alike(kubectl, name)
    described_alike(
        kubectl, kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=echo", "-o", "name").split()[-1]
    )
    kubectl("delete", "svc", "plain", "nohead", "node", "lb", "alias", "echo", "many")


def described_alike(kubectl: Kubectl, name: str) -> None:
    """Line by line down to the events, by the newest kubectl."""
    theirs, ours = (client("describe", *name.split()).partition("\nEvents:")[0] for client in (kubectl, kubectl.lab.kctl))
    assert "Name:" in theirs
    if kubectl.path == downloads.kubectl():
        lines = [line for line in theirs.splitlines() if not line.startswith("Warning:")]
        assert ours.splitlines() == lines, name


EXPOSED = (
    "deployment echo", "deployment echo --port=80", "deploy/echo --port=80 --target-port=web --name=front --type=NodePort",
    "deployment echo --cluster-ip=None", "deployment echo --port=1,2 --protocol=UDP -l a=b --selector=c=d",
    "deployment echo --port=80 --external-ip=192.0.2.9 --session-affinity=ClientIP",
    "deployment echo --port=80 --type=LoadBalancer --load-balancer-ip=192.0.2.9",
    'deployment echo --port=80 --overrides={"spec":{"publishNotReadyAddresses":true}}',
)  # fmt: skip
CREATED = (
    "clusterip s --tcp=80:8080,443 --tcp=90:http", "clusterip s --clusterip=None", "clusterip s --clusterip=10.96.0.9 --tcp=80",
    "nodeport s --tcp=80:8080 --node-port=30080", "loadbalancer s --tcp=80", "externalname s --external-name=a.b --tcp=80",
)  # fmt: skip


def test_kctl_makes_the_services_that_kubectl_makes(kubectl: Kubectl) -> None:
    """The same flags make the same object, without a write; and set selector of a file."""
    for command in (*(f"create service {words}" for words in CREATED), *(f"expose {words}" for words in EXPOSED)):
        words = [*command.split(), "--dry-run=client", "-o", "json"]
        theirs, ours = (json.loads(client(*words)) for client in (kubectl, kubectl.lab.kctl))
        theirs.pop("status", None)
        for item in (ours, theirs):
            item["metadata"].pop("namespace", None)
        assert cleaned(ours) == cleaned(theirs), command
    item = kubectl("create", "service", "clusterip", "s", "--tcp=80", "--dry-run=client", "-o", "json")
    command = ["set", "selector", "--local", "-f", "-", "a=b,c=d", "-o", "json"]
    theirs, ours = (json.loads(client(*command, stdin=item)) for client in (kubectl, kubectl.lab.kctl))
    theirs.pop("status", None)
    assert cleaned(ours) == cleaned(theirs)


def test_ports_of_a_service_are_forwarded(kubectl: Kubectl) -> None:
    """By number and by name, to a pod that it selects, by kubectl and by kctl."""
    kubectl("expose", "deployment", "echo", "--port=80", "--target-port=web", "--name=front")
    try:
        for client in ([kubectl.path], kubectl.lab.command()):
            assert forwarded(client, kubectl.lab, "svc/front", ":80") == b"hello\n"
            assert forwarded(client, kubectl.lab, "service/front", ":80", "--address=127.0.0.1") == b"hello\n"
        assert "does not have a service port 81" in kubectl("port-forward", "svc/front", ":81", code=1)
        assert "does not have a service port 81" in kubectl.lab.run("port-forward", "svc/front", ":81").stderr.decode()
    finally:
        kubectl("delete", "svc", "front")


def test_containers_find_services_in_their_environment(kubectl: Kubectl) -> None:
    """Those of the namespace that are there when the container is created, unless the pod does not want them."""
    kubectl("expose", "deployment", "echo", "--port=80", "--target-port=web", "--name=my-echo")
    address = kubectl("get", "svc", "my-echo", "-o", "jsonpath={.spec.clusterIP}")
    kubectl("apply", "-f", "-", stdin=LISTENING)
    without = LISTENING.replace("name: env", "name: noenv").replace(
        "  terminationGrace", "  enableServiceLinks: false\n  terminationGrace"
    )
    kubectl("apply", "-f", "-", stdin=without)
    try:
        kubectl("wait", "--for=condition=Ready", "pod/env", "pod/noenv", "--timeout=60s")
        found = kubectl("exec", "env", "--", "env").splitlines()
        assert {f"MY_ECHO_SERVICE_HOST={address}", "MY_ECHO_SERVICE_PORT=80", f"MY_ECHO_PORT=tcp://{address}:80"} <= set(found)
        assert not [line for line in kubectl("exec", "noenv", "--", "env").splitlines() if line.startswith("MY_ECHO")]
    finally:
        kubectl("delete", "pod/env", "pod/noenv", "svc/my-echo", "--now")

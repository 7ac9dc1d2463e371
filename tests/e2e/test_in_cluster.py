"""A client in a pod, without any configuration, finds the API as the Service `kubernetes`: client-go's in-cluster configuration."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import pytest

from cli.lab import layout
from cli.lab.netns import entered
from tests.support import kubectls
from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
# May read Services, as a binding of the lab's administrator says.
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "readers"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-incl", tmp_path_factory.mktemp("incl"), nodes=2) as found:
        yield found


@pytest.fixture(scope="module")
def kubectl() -> str:
    """The newest one, a static program."""
    found = list(kubectls.installed().values())
    if not found:
        pytest.skip("kubectl is not installed")
    return os.path.realpath(found[-1])


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_kubectl_in_a_pod_reaches_the_api_by_its_service(lab: LabUnderTest, kubectl: str, node: str) -> None:
    """At the cluster IP, whose certificate it verifies; from any node."""
    program = "/opt/kubectl"
    script = (
        f'echo "$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT"; HOME=/tmp exec {program} get services kubernetes -o name'
    )
    subject = pod(f"client-{node}", "sh", "-c", script, restartPolicy="Never", nodeName=node)
    subject["spec"]["volumes"] = [{"name": "kubectl", "hostPath": {"path": kubectl, "type": "File"}}]
    subject["spec"]["containers"][0]["volumeMounts"] = [{"name": "kubectl", "mountPath": program, "readOnly": True}]
    lab.apply(BINDING, subject)
    name = f"client-{node}"
    eventually(lambda: lab.get("pod", name)["status"]["phase"] in ("Succeeded", "Failed"))
    assert lab.kctl("logs", name).splitlines() == ["10.96.0.1:443", "service/kubernetes"]


def test_the_apis_certificate_has_the_names_of_its_service(lab: LabUnderTest) -> None:
    """Clients may use any of them; a node's own processes reach the Service too."""
    found = layout.load(lab.name)
    context = ssl.create_default_context(cadata=(found.control_dir / "pki/ca.crt").read_text())
    full = "kubernetes.default.svc.cluster.local"

    def connected() -> socket.socket | None:
        with contextlib.suppress(OSError):
            return socket.create_connection(("10.96.0.1", 443), timeout=10)
        return None

    for name in ("kubernetes", "kubernetes.default", "kubernetes.default.svc", full, "10.96.0.1"):
        # Processes of a node may be earlier than its Services.
        with entered(found.namespace("node-1", "net")):
            plain = eventually(connected)
        with plain, context.wrap_socket(plain, server_hostname=name) as secure:
            assert secure.version() in ("TLSv1.2", "TLSv1.3")

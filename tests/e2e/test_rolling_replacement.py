"""A Deployment behind a Service is replaced while clients in a pod and on a node send one request after another: none fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cli.lab import layout
from cli.lab.netns import entered
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.neighbours import get

pytestmark = pytest.mark.root
# Requests that each client makes at least in all, so that a run without load shows nothing.
LEAST = 100
# The server stops listening at once when it is told to end; as in Kubernetes, a preStop hook has it wait until nothing sends to it.
PRE_STOP = 2
SERVER = "busybox httpd -f -p 8080 -h /etc & child=$!; trap 'kill $child; exit 0' TERM; wait"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-roll", tmp_path_factory.mktemp("roll")) as found:
        yield found


def backend(marker: str) -> dict[str, Any]:
    """Three pods that answer with their name; one more during a rollout."""
    container = pod("x")["spec"]["containers"][0] | {
        "command": ["sh", "-c", SERVER],
        "env": [{"name": "MARKER", "value": marker}],
        "readinessProbe": {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP}}},
    }
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 10},
    }
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template, "strategy": strategy}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


class Client(threading.Thread):
    """Sends requests from a node, each on a connection of its own, until it is stopped."""

    def __init__(self, lab: LabUnderTest, node: str, url: str) -> None:
        super().__init__(daemon=True)
        self._namespace, self._url = layout.load(lab.name).namespace(node, "net"), url
        self.sent, self.failed = 0, list[float]()
        self.answers: set[str] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        with entered(self._namespace):
            while not self._ended.is_set():
                answer = get(self._url, within=5.0)
                self.sent += 1
                if answer is None:
                    self.failed.append(time.time())
                else:
                    self.answers.add(answer.strip())
                time.sleep(0.005)

    def end(self) -> None:
        self._ended.set()
        self.join(30)


# Counts requests and failures until /tmp/stop is there.
LOOP = """
sent=0; failed=0
while [ ! -e /tmp/stop ]; do
  busybox timeout 5 busybox wget -q -O /dev/null "$1" || failed=$((failed + 1))
  sent=$((sent + 1))
done
echo "$sent $failed" > /tmp/result
exec busybox sleep 600
"""


def test_a_rollout_under_load_loses_no_request(lab: LabUnderTest) -> None:
    """Every pod is replaced, twice; then all are restarted."""
    ports = [{"port": 80, "targetPort": 8080}]
    lab.apply(backend("one"), {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    })  # fmt: skip
    lab.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    url = f"http://{lab.get('service', 'web')['spec']['clusterIP']}/hostname"
    lab.apply(pod("client", "sh", "-c", LOOP, "loop", url, nodeName="node-1"))
    lab.kctl("wait", "pod/client", "--for=condition=Ready", "--timeout=60s")
    client = Client(lab, "node-2", url)
    client.start()
    try:
        eventually(lambda: len(client.answers) == 3)
        for marker in ("two", "three"):
            lab.apply(backend(marker))
            lab.kctl("rollout", "status", "deployment/web", "--timeout=120s")
        lab.kctl("rollout", "restart", "deployment/web")
        lab.kctl("rollout", "status", "deployment/web", "--timeout=120s")
        eventually(lambda: len(lab.get("pods", "-l", "app=web")["items"]) == 3)
    finally:
        client.end()
    lab.kctl("exec", "client", "--", "touch", "/tmp/stop")
    result = eventually(lambda: lab.kctl("exec", "client", "--", "sh", "-c", "cat /tmp/result 2>/dev/null || true"))
    sent, failed = map(int, result.split())
    assert (client.failed, failed) == ([], 0)
    assert min(client.sent, sent) > LEAST
    # Four generations of three pods; a client that met only some of them shows less.
    assert len(client.answers) >= 9


def test_the_only_pod_serves_while_it_terminates(lab: LabUnderTest) -> None:
    """Its endpoint is not ready, but serves until its containers have ended; then nothing answers."""
    subject = pod("solo", container=backend("solo")["spec"]["template"]["spec"]["containers"][0], nodeName="node-1")
    subject["spec"]["terminationGracePeriodSeconds"] = 300
    # It serves for as long as the test wants.
    wait = "while [ ! -e /tmp/end ]; do sleep 0.1; done"
    subject["spec"]["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", wait]}}}
    subject["metadata"]["labels"] = {"app": "solo"}
    ports = [{"port": 80, "targetPort": 8080}]
    lab.apply(subject, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "solo"},
        "spec": {"selector": {"app": "solo"}, "ports": ports},
    })  # fmt: skip
    lab.kctl("wait", "pod/solo", "--for=condition=Ready", "--timeout=60s")
    namespace = layout.load(lab.name).namespace("node-2", "net")
    url = f"http://{lab.get('service', 'solo')['spec']['clusterIP']}/hostname"

    def answer() -> str | None:
        with entered(namespace):
            return get(url, within=2.0)

    def state() -> list[dict[str, bool]]:
        every = lab.get("endpointslices", "-l", "kubernetes.io/service-name=solo")["items"]
        return [endpoint["conditions"] for item in every for endpoint in item.get("endpoints") or []]

    eventually(lambda: answer() == "solo\n")
    lab.kctl("delete", "pod", "solo", "--wait=false")
    leaving = {"ready": False, "serving": True, "terminating": True}
    eventually(lambda: state() == [leaving])
    assert [answer() for _ in range(20)] == ["solo\n"] * 20
    assert state() == [leaving]
    lab.kctl("exec", "solo", "--", "touch", "/tmp/end")
    eventually(lambda: state() == [] and "solo" not in lab.pods())
    eventually(lambda: answer() is None)

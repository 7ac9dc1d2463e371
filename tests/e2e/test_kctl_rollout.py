"""kctl's commands for workloads on a lab of one node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.breaking import IDLE
from tests.support.labs import ROOT, LabUnderTest, eventually, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-rollout", tmp_path_factory.mktemp("rollout"), nodes=1) as found:
        yield found


@pytest.fixture
def web(lab: LabUnderTest) -> Iterator[LabUnderTest]:
    """The example, rolled out; deleted with its pods in the end."""
    item: dict[str, Any] = yaml.safe_load((ROOT / "examples/deployment.yaml").read_text())
    item["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", f"echo started; {IDLE}"]
    lab.apply(item)
    lab.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    yield lab
    lab.kctl("delete", "deployment", "web")
    eventually(lambda: lab.pods() == {})


def test_a_rollout_is_followed_and_undone(web: LabUnderTest) -> None:
    """restart makes a revision, status waits for it, history has both, undo returns to the first."""
    before = set(web.pods())
    assert web.kctl("rollout", "restart", "deployment/web") == "deployment.apps/web restarted\n"
    said = web.kctl("rollout", "status", "deployment/web", "--timeout=60s").splitlines()
    assert said[-1] == 'deployment "web" successfully rolled out'
    eventually(lambda: not before & set(web.pods()))
    history = web.kctl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    assert "kubectl.kubernetes.io/restartedAt: " in web.kctl("rollout", "history", "deployment/web", "--revision=2")
    assert web.kctl("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    web.kctl("rollout", "status", "deployment/web", "--revision=3", "--timeout=60s")
    assert "restartedAt" not in str(web.get("deployment", "web")["spec"]["template"])
    described = web.kctl("describe", "deployment", "web")
    assert "3 desired | 3 updated | 3 total | 3 available | 0 unavailable" in described
    assert "ScalingReplicaSet" in described


def test_an_applied_workload_has_no_difference(web: LabUnderTest) -> None:
    """Defaults and the status are none; a changed image is one."""
    item = yaml.safe_load((ROOT / "examples/deployment.yaml").read_text())
    item["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", f"echo started; {IDLE}"]
    assert web.run("diff", "-f", "-", stdin=json.dumps(item)).returncode == 0
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "busybox:latest"
    changed = web.run("diff", "-f", "-", stdin=json.dumps(item))
    assert (changed.returncode, b"image: busybox:latest" in changed.stdout) == (1, True), changed.stdout


def test_a_paused_rollout_waits(web: LabUnderTest) -> None:
    """A changed template makes no pods until it is resumed."""
    web.kctl("rollout", "pause", "deployment/web")
    patch = '{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}'
    web.kctl("patch", "deployment", "web", "-p", patch)
    eventually(lambda: (item := web.get("deployment", "web"))["metadata"]["generation"] == item["status"]["observedGeneration"])
    assert len(web.get("replicasets")["items"]) == 1
    web.kctl("rollout", "resume", "deployment/web")
    web.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    assert len(web.get("replicasets")["items"]) == 2


def test_templates_are_changed(web: LabUnderTest) -> None:
    """Variables, resources and images roll out; nothing else changes."""
    assert web.kctl("set", "env", "deployment/web", "A=1", "B=2") == "deployment.apps/web env updated\n"
    web.kctl("set", "resources", "deployment/web", "--requests=cpu=10m", "--limits=memory=32Mi")
    web.kctl("set", "image", "deployment/web", "*=busybox:latest")
    web.kctl("set", "env", "deployment/web", "A-", "C=3")
    web.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    [container] = web.get("deployment", "web")["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]
    assert container["resources"] == {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}
    assert container["image"] == "busybox:latest"
    assert web.kctl("set", "env", "deployment/web", "--list") == "# Deployment web, container main\nB=2\nC=3\n"


def test_a_workload_stands_for_its_pods(web: LabUnderTest) -> None:
    """In logs, exec, wait and scale; one pod of several, or all."""
    assert web.kctl("logs", "deployment/web") == "started\n"
    lines = web.kctl("logs", "deploy/web", "--all-pods").splitlines()
    assert sorted(line.rpartition("] ")[0] + "]" for line in lines) == sorted(f"[pod/{name}/main]" for name in web.pods())
    assert web.kctl("exec", "deploy/web", "--", "hostname").strip() in web.pods()
    with subprocess.Popen(
        web.command("port-forward", "deploy/web", ":80"), stdout=subprocess.PIPE, env=web.environment
    ) as forward:
        assert forward.stdout is not None
        assert forward.stdout.readline().startswith(b"Forwarding from 127.0.0.1:")
        forward.terminate()
    assert web.kctl("wait", "--for=condition=Available", "deploy/web", "--timeout=60s") == "deployment.apps/web condition met\n"
    assert web.kctl("scale", "deployment/web", "--replicas", "1") == "deployment.apps/web scaled\n"
    web.kctl("rollout", "status", "deployment/web", "--timeout=60s")
    eventually(lambda: len(web.pods()) == 1)
    [name] = web.pods()
    assert web.kctl("exec", "deploy/web", "--", "hostname").strip() == name
    assert web.kctl("get", "all").count("/web") >= 3
    tree = [line.split()[1:3] for line in web.kctl("tree", "deployment/web").splitlines()]
    [replica_set] = web.get("replicasets")["items"]
    assert tree[1:3] == [["Deployment/web", "1/1"], [f"└─ReplicaSet/{replica_set['metadata']['name']}", "1/1"]]
    assert tree[3] == [f"└─Pod/{name}", "1/1"]


@pytest.mark.parametrize("kind", ["DaemonSet", "StatefulSet"])
def test_other_workloads_roll_out(lab: LabUnderTest, kind: str) -> None:
    """Their history are ControllerRevisions."""
    labels = {"app": kind.lower()}
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "Never", "command": ["sh", "-c", IDLE]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
    spec |= {"serviceName": "other"} if kind == "StatefulSet" else {}
    lab.apply({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "other"}, "spec": spec})
    word = f"{kind.lower()}.apps/other"
    lab.kctl("rollout", "status", word, "--timeout=60s")
    lab.kctl("set", "env", word, "A=1")
    lab.kctl("rollout", "status", word, "--timeout=60s")
    assert [line.split()[0] for line in lab.kctl("rollout", "history", word).splitlines()[2:] if line] == ["1", "2"]
    assert lab.kctl("rollout", "undo", word) == f"{word} rolled back\n"
    lab.kctl("rollout", "status", word, "--timeout=60s")
    assert "env" not in lab.get(word)["spec"]["template"]["spec"]["containers"][0]
    lab.kctl("delete", word)
    eventually(lambda: lab.pods() == {})

"""The life of pods, once for each runtime that a RuntimeClass can name: what users see is the same."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import DEADLINE, LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
# The class that a pod names, "" for none, and whether an OCI runtime is to know of its containers.
CLASSES = ("", "native", "runc", "crun")


def runtime_class(name: str, handler: str = "", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name},
        "handler": handler or name,
        **more,
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """One of our own: agents are killed in it."""
    with running("t-class", tmp_path_factory.mktemp("class"), nodes=2) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    lab.apply(*(runtime_class(name) for name in CLASSES if name))
    yield
    lab.run("delete", "pod,runtimeclass,configmap", "--all", "--now")


@pytest.fixture(params=CLASSES, ids=lambda name: name or "none")
def of_class(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Fields of a pod's spec."""
    return {"runtimeClassName": request.param} if request.param else {}


def known_to(lab: LabUnderTest, node: str, handler: str) -> list[dict[str, Any]]:
    """What an OCI runtime's own `list` says on a node."""
    root = lab.memory_dir(node) / "oci" / handler
    command = [handler, "--root", str(root), "list", "--format", "json"]
    result = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=True)
    return list(json.loads(result.stdout or b"[]") or [])


def phase(lab: LabUnderTest, name: str, wanted: str) -> dict[str, Any]:
    def check() -> Any:
        found = lab.get("pod", name)
        assert found["status"]["phase"] == wanted, found["status"]
        return found

    return dict(eventually(check))


def ready(lab: LabUnderTest, name: str) -> dict[str, Any]:
    return dict(eventually(lambda: lab.all_running([name]))[name])


def gone(lab: LabUnderTest, name: str) -> None:
    eventually(lambda: name not in lab.pods())


def test_a_pod_runs_to_its_end(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """Init container, exit code, log, termination message."""
    manifest = pod(
        "ends", "sh", "-c", "cat /work/made; echo why > /dev/termination-log; exit 3", restartPolicy="Never",
        volumes=[{"name": "work", "emptyDir": {}}], container={"volumeMounts": [{"name": "work", "mountPath": "/work"}]}, **of_class,
    )  # fmt: skip
    first = {**manifest["spec"]["containers"][0], "name": "first", "command": ["sh", "-c", "echo made > /work/made"]}
    manifest["spec"]["initContainers"] = [first]
    lab.apply(manifest)
    found = phase(lab, "ends", "Failed")
    ended = found["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "why\n")
    assert lab.kctl("logs", "ends") == "made\n"


@pytest.mark.shows("spec.runtimeClassName")
def test_a_container_runs_by_the_runtime_of_its_class(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """The runtime knows of it while it runs and not after; ours knows of none."""
    name = of_class.get("runtimeClassName", "")
    lab.apply(pod("runs", **of_class))
    found = ready(lab, "runs")
    node, pid = found["spec"]["nodeName"], lab.state(found)["pid"]
    for handler in ("runc", "crun"):
        assert [item["pid"] for item in known_to(lab, node, handler)] == ([pid] if handler == name else [])
    lab.kctl("delete", "pod", "runs")
    gone(lab, "runs")
    if name in ("runc", "crun"):
        assert known_to(lab, node, name) == []


def test_exec_and_config_and_network(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """A pod's ConfigMap, its address, its host name, and a command run in it."""
    lab.kctl("create", "configmap", "settings", "--from-literal=color=blue")
    mount = {"name": "settings", "mountPath": "/etc/settings"}
    lab.apply(
        pod(
            "serves", volumes=[{"name": "settings", "configMap": {"name": "settings"}}], container={"volumeMounts": [mount]},
            **of_class,
        )
    )  # fmt: skip
    found = ready(lab, "serves")
    script = "cat /etc/settings/color; echo; hostname; hostname -i; id -u; exit 4"
    result = lab.run("exec", "serves", "--", "sh", "-c", script)
    assert result.stdout.decode().split() == ["blue", "serves", found["status"]["podIP"], "0"], result
    assert result.returncode == 4


def test_a_stopped_pod_has_its_grace(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """SIGTERM first, SIGKILL when that does not end it."""
    lab.apply(
        pod("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.2; done", terminationGracePeriodSeconds=1, **of_class)
    )
    found = ready(lab, "stubborn")
    lab.kctl("delete", "pod", "stubborn")
    gone(lab, "stubborn")
    assert not (lab.node_dir(found["spec"]["nodeName"]) / "pods" / found["metadata"]["uid"]).exists()


def test_a_crashing_container_comes_back(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """Restart count, and the log of the run before."""
    script = "if [ -e /work/x ]; then exec sleep 1000; fi; touch /work/x; echo first; exit 1"
    mount = {"name": "work", "mountPath": "/work"}
    lab.apply(
        pod(
            "again",
            "sh",
            "-c",
            script,
            volumes=[{"name": "work", "emptyDir": {}}],
            container={"volumeMounts": [mount]},
            **of_class,
        )
    )
    status = eventually(lambda: restarted(lab, "again"))
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 1)
    assert lab.kctl("logs", "again", "--previous") == "first\n"


def test_a_command_that_is_not_there_is_told(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """By name, with the code that shells give."""
    lab.apply(pod("nope", "no-such-program", restartPolicy="Never", **of_class))
    ended = phase(lab, "nope", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 127
    assert "no-such-program" in ended["message"]


def test_running_out_of_memory_is_told(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """OOMKilled."""
    container = {"resources": {"limits": {"memory": "32Mi"}}}
    lab.apply(pod("big", "sh", "-c", "exec tail /dev/zero", restartPolicy="Never", container=container, **of_class))
    ended = phase(lab, "big", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_containers_outlive_the_agent_and_their_class(lab: LabUnderTest, of_class: dict[str, Any]) -> None:
    """A new agent takes them up, and ends them by the runtime that started them."""
    lab.apply(pod("stays", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done", **of_class))
    found = ready(lab, "stays")
    node, state = found["spec"]["nodeName"], lab.state(found)
    lab.run("delete", "runtimeclass", "--all")
    lab.kill(node)
    lab.start_agent(node)
    eventually(lambda: lab.run("exec", "stays", "--", "echo", "here").stdout == b"here\n")
    assert lab.state(ready(lab, "stays")) == state
    lab.kctl("delete", "pod", "stays")
    gone(lab, "stays")
    assert not Path(f"/proc/{state['pid']}").exists() or "\nState:\tZ" in Path(f"/proc/{state['pid']}/status").read_text()


@pytest.mark.parametrize("handler", ["native", "runc"])
def test_a_secret_is_in_no_file_on_a_nodes_disk(lab: LabUnderTest, handler: str) -> None:
    """In the environment and in volumes, of containers that run and have ended, under a new agent and after the pod."""
    value = f"opensesame-of-{handler}-4711"
    lab.kctl("create", "secret", "generic", "keys", f"--from-literal=password={value}")
    reference = {"secretKeyRef": {"name": "keys", "key": "password"}}
    uses = {
        "env": [{"name": "PASSWORD", "valueFrom": reference}, {"name": "URL", "value": "db://$(PASSWORD)@db"}],
        "volumeMounts": [
            {"name": "keys", "mountPath": "/keys"},
            {"name": "all", "mountPath": "/all"},
            {"name": "keys", "mountPath": "/one", "subPath": "password"},
        ],
    }
    probe = {"exec": {"command": ["sh", "-c", "test $(cat /keys/password) = $PASSWORD"]}, "periodSeconds": 1}
    sources = [{"secret": {"name": "keys"}}]
    made = pod(
        "holds", runtimeClassName=handler, container=uses | {"readinessProbe": probe},
        volumes=[{"name": "keys", "secret": {"secretName": "keys"}}, {"name": "all", "projected": {"sources": sources}}],
    )  # fmt: skip
    made["spec"]["initContainers"] = [{**made["spec"]["containers"][0], "name": "first", "command": ["true"]} | uses]
    del made["spec"]["initContainers"][0]["readinessProbe"]
    lab.apply(made)
    node = ready(lab, "holds")["spec"]["nodeName"]
    script = "cat /keys/password /all/password /one; echo $URL"
    assert lab.kctl("exec", "holds", "--", "sh", "-c", script) == f"{value * 3}db://{value}@db\n"
    assert holding(lab.memory_dir(node), value), "the search finds it where it may be"
    assert holding(lab.node_dir(node), value) == []
    lab.kill(node)
    lab.start_agent(node)
    eventually(lambda: lab.run("exec", "holds", "--", "true").returncode == 0)
    assert holding(lab.node_dir(node), value) == []
    lab.kctl("delete", "pod,secret", "--all")
    gone(lab, "holds")
    assert holding(lab.node_dir(node), value) == []
    assert eventually(lambda: not holding(lab.memory_dir(node), value))


def holding(directory: Path, value: str) -> list[str]:
    """Files of the directory's own file system that hold the value, as it is or in base64 (where it may begin at any of
    three places)."""
    coded = [base64.b64encode(b"x" * shift + value.encode()).decode().rstrip("=")[4:-1] for shift in range(3)]
    patterns = [word for text in (value, *coded) for word in ("-e", text)]
    command = ["find", str(directory), "-xdev", "-type", "f", "-exec", "grep", "-laF", *patterns, "{}", "+"]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False).stdout.split()


@pytest.mark.parametrize("handler", ["runc", "crun"])
def test_what_a_killed_monitor_leaves_is_cleaned_up(lab: LabUnderTest, handler: str) -> None:
    """Monitor, launcher and agent at once: the next agent ends the container, and starts it again as the pod says."""
    lab.apply(pod("lost", runtimeClassName=handler))
    found = ready(lab, "lost")
    node, state = found["spec"]["nodeName"], lab.state(found)
    lab.kill(node, signal.SIGSTOP)
    for pid in (state["monitor"], lab.launcher(node), lab.pid(node)):
        subprocess.run(["kill", "-9", str(pid)], timeout=DEADLINE, check=True)
    lab.start_agent(node)
    status = eventually(lambda: restarted(lab, "lost"))
    assert status["lastState"]["terminated"]["exitCode"] == 137
    assert len(known_to(lab, node, handler)) == 1


def restarted(lab: LabUnderTest, name: str) -> dict[str, Any]:
    status: dict[str, Any] = ready(lab, name)["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1, status
    return status


def test_a_handler_that_the_node_lacks_is_told(lab: LabUnderTest) -> None:
    """An event as kubelet's; the pod waits."""
    lab.apply(runtime_class("strange", "kata"), pod("waits", runtimeClassName="strange"))
    said = 'Failed to create pod sandbox: no runtime for "kata" is configured'
    eventually(lambda: said in lab.kctl("get", "events", "--field-selector", "involvedObject.name=waits"))
    assert lab.get("pod", "waits")["status"]["phase"] == "Pending"


def test_classes_are_listed_and_nodes_name_their_handlers(lab: LabUnderTest) -> None:
    """`kctl get runtimeclasses`, and the node's status."""
    assert lab.kctl("get", "runtimeclasses").splitlines()[0].split() == ["NAME", "HANDLER", "AGE"]
    handlers = lab.get("node", "node-1")["status"]["runtimeHandlers"]
    assert [item.get("name", "") for item in handlers] == ["", "crun", "native", "runc"]


def test_a_class_sends_its_pods_to_its_nodes(lab: LabUnderTest) -> None:
    """By the class's node selector; its overhead is in the pod."""
    scheduling = {"nodeSelector": {"kubernetes.io/hostname": "node-2"}}
    lab.apply(
        runtime_class("special", "runc", scheduling=scheduling, overhead={"podFixed": {"memory": "16Mi"}}),
        pod("chosen", runtimeClassName="special"),
    )
    found = ready(lab, "chosen")
    assert (found["spec"]["nodeName"], found["spec"]["overhead"]) == ("node-2", {"memory": "16Mi"})

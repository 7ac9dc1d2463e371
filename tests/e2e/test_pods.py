"""What a pod's manifest asks for, a pod gets: seen from inside real containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm,secret", "--all", "--now")


def finished(lab: LabUnderTest, name: str, phase: str) -> dict[str, Any]:
    def check() -> Any:
        found = lab.get("pod", name)
        assert found["status"]["phase"] == phase, found["status"]
        return found

    return dict(eventually(check))


def output(lab: LabUnderTest, manifest: dict[str, Any]) -> str:
    """What a pod that runs to its end prints."""
    manifest["spec"]["restartPolicy"] = "Never"
    lab.apply(manifest)
    finished(lab, manifest["metadata"]["name"], "Succeeded")
    return lab.kctl("logs", manifest["metadata"]["name"])


@pytest.mark.shows(
    "spec.containers[].env[].{name,value}",
    "spec.containers[].env[].valueFrom.fieldRef.fieldPath",
    "spec.containers[].env[].valueFrom.resourceFieldRef.{resource,divisor}",
    "spec.containers[].env[].valueFrom.configMapKeyRef.{name,key,optional}",
    "spec.containers[].env[].valueFrom.secretKeyRef.{name,key}",
    "spec.containers[].envFrom[].prefix",
    "spec.containers[].envFrom[].configMapRef.name",
)
def test_environment_comes_from_everywhere(lab: LabUnderTest) -> None:
    """Literal, expanded, field, resource, ConfigMap, Secret, and all keys of a map."""
    lab.kctl("create", "configmap", "settings", "--from-literal=color=blue", "--from-literal=SIZE=9")
    lab.kctl("create", "secret", "generic", "key", "--from-literal=token=s3cret")
    manifest = pod("env", "env")
    manifest["spec"]["containers"][0] |= {
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "P_"}],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(NOPE)-$$(A)"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
        ],
    }
    values = dict(line.split("=", 1) for line in output(lab, manifest).splitlines())
    found = lab.get("pod", "env")
    assert values["B"] == "1-$(NOPE)-$(A)"
    assert (values["NODE"], values["IP"]) == (found["spec"]["nodeName"], found["status"]["podIP"])
    assert (values["MEM"], values["COLOR"], values["TOKEN"]) == ("64", "blue", "s3cret")
    assert (values["P_color"], values["P_SIZE"]) == ("blue", "9")
    assert "MAYBE" not in values
    assert values["HOSTNAME"] == "env"


def test_missing_configmap_holds_the_container_until_it_comes(lab: LabUnderTest) -> None:
    """CreateContainerConfigError says what is missing, and the pod goes on once it is there."""
    manifest = pod("waits", container={"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]})
    lab.apply(manifest)

    def waiting() -> Any:
        state = lab.get("pod", "waits")["status"]["containerStatuses"][0]["state"]["waiting"]
        return state["reason"] == "CreateContainerConfigError" and 'configmap "late" not found' in state["message"]

    eventually(waiting)
    lab.kctl("create", "configmap", "late", "--from-literal=a=1")
    lab.kctl("wait", "pod/waits", "--for=condition=Ready")


@pytest.mark.shows(
    "spec.initContainers",
    "spec.volumes[].{name,emptyDir}",
    "spec.containers[].volumeMounts[].{name,mountPath}",
)
def test_init_containers_run_in_order_before_the_others(lab: LabUnderTest) -> None:
    """Each writes one word; the container reads the sentence."""
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}], "image": "busybox", "imagePullPolicy": "IfNotPresent"}
    steps = [{"name": f"i{n}", "command": ["sh", "-c", f"echo {n} >> /work/out"], **mount} for n in (1, 2, 3)]
    manifest = pod("inits", "cat", "/work/out", container={"volumeMounts": mount["volumeMounts"]}, initContainers=steps)
    manifest["spec"]["volumes"] = [{"name": "work", "emptyDir": {}}]
    assert output(lab, manifest) == "1\n2\n3\n"


def test_failed_init_container_fails_a_pod_that_never_restarts(lab: LabUnderTest) -> None:
    """The main container never starts."""
    init = {"name": "i", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["false"]}
    lab.apply(pod("broken", initContainers=[init], restartPolicy="Never"))
    found = finished(lab, "broken", "Failed")
    assert found["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 1
    assert "terminated" not in found["status"]["containerStatuses"][0]["state"]


@pytest.mark.parametrize(
    ("policy", "code", "restarts"), [("Never", 3, False), ("OnFailure", 3, True), ("OnFailure", 0, False), ("Always", 0, True)]
)
@pytest.mark.shows("spec.restartPolicy")
def test_restart_policy_decides_by_exit_code(lab: LabUnderTest, policy: str, code: int, restarts: bool) -> None:
    """Restarted when the policy says so, else finished with the code."""
    lab.apply(pod("runs", "sh", "-c", f"exit {code}", restartPolicy=policy))
    if restarts:
        eventually(lambda: lab.get("pod", "runs")["status"]["containerStatuses"][0]["restartCount"] >= 1)
    else:
        found = finished(lab, "runs", "Succeeded" if code == 0 else "Failed")
        assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == code


def test_crash_loop_is_named_and_previous_logs_are_kept(lab: LabUnderTest) -> None:
    """CrashLoopBackOff, and what the run before said."""
    lab.apply(pod("crash", "sh", "-c", "echo once; exit 1"))
    eventually(lambda: "CrashLoopBackOff" in lab.kctl("get", "pod", "crash"))
    assert lab.kctl("logs", "crash", "--previous") == "once\n"
    assert "BackOff" in lab.kctl("describe", "pod", "crash")


@pytest.mark.shows("spec.terminationGracePeriodSeconds")
def test_sigterm_first_and_sigkill_after_the_grace(lab: LabUnderTest) -> None:
    """A container that handles SIGTERM ends by itself; its last words are logged."""
    lab.apply(pod("polite", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"))
    lab.apply(pod("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=1))
    lab.kctl("wait", "pod", "polite", "stubborn", "--for=condition=Ready")
    lab.kctl("delete", "pod", "polite", "stubborn", "--timeout=20s")
    assert lab.run("get", "pod", "stubborn").returncode == 1


@pytest.mark.shows("spec.containers[].resources.limits")
def test_memory_limit_ends_as_oomkilled(lab: LabUnderTest) -> None:
    """The reason tells an out-of-memory kill from any other."""
    eater = {"resources": {"limits": {"memory": "16Mi"}}}
    lab.apply(pod("eater", "sh", "-c", "exec tail /dev/zero", container=eater, restartPolicy="Never"))
    ended = finished(lab, "eater", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.shows(
    "spec.volumes[].configMap.name",
    "spec.volumes[].configMap.items[].{key,path,mode}",
    "spec.volumes[].secret.{secretName,defaultMode}",
    "spec.containers[].volumeMounts[].readOnly",
)
def test_config_volumes_show_keys_and_follow_changes(lab: LabUnderTest) -> None:
    """Modes, item paths, and an update that arrives in the running container."""
    lab.kctl("create", "configmap", "conf", "--from-literal=a=one", "--from-literal=b=two")
    lab.kctl("create", "secret", "generic", "cert", "--from-literal=tls.key=hush")
    volumes = [
        {"name": "c", "configMap": {"name": "conf", "items": [{"key": "a", "path": "deep/a.txt", "mode": 0o600}]}},
        {"name": "s", "secret": {"secretName": "cert", "defaultMode": 0o400}},
    ]
    mounts = [{"name": "c", "mountPath": "/c"}, {"name": "s", "mountPath": "/s", "readOnly": True}]
    lab.apply(pod("vols", container={"volumeMounts": mounts}, volumes=volumes))
    lab.kctl("wait", "pod/vols", "--for=condition=Ready")
    assert lab.kctl("exec", "vols", "--", "sh", "-c", "cat /c/deep/a.txt; ls /c") == "onedeep\n"
    assert lab.kctl("exec", "vols", "--", "stat", "-Lc", "%a", "/s/tls.key", "/c/deep/a.txt") == "400\n600\n"
    assert "tmpfs" in lab.kctl("exec", "vols", "--", "grep", " /s ", "/proc/mounts")
    assert lab.run("exec", "vols", "--", "touch", "/s/x").returncode == 1
    changed = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "changed"}})
    lab.kctl("apply", "--force-conflicts", "-f", "-", stdin=changed)
    eventually(lambda: lab.kctl("exec", "vols", "--", "cat", "/c/deep/a.txt") == "changed")


@pytest.mark.shows("spec.volumes[].hostPath.path", "spec.volumes[].emptyDir.{medium,sizeLimit}")
def test_host_path_and_memory_volumes(lab: LabUnderTest, tmp_path: Path) -> None:
    """A file of the host is seen; a memory volume has its size."""
    (tmp_path / "file").write_text("from the host\n")
    volumes = [
        {"name": "h", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
        {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
    ]
    mounts = [{"name": "h", "mountPath": "/h", "readOnly": True}, {"name": "m", "mountPath": "/m"}]
    said = output(
        lab, pod("host", "sh", "-c", "cat /h/file; df -k /m | tail -1", container={"volumeMounts": mounts}, volumes=volumes)
    )
    assert said.startswith("from the host\n")
    assert " 8192 " in said


@pytest.mark.shows("spec.containers[].{name,command}")
def test_containers_of_a_pod_share_network_and_volumes_not_processes(lab: LabUnderTest) -> None:
    """One listens, the other talks to it over loopback; each is pid 1 of its own."""
    side = {
        "name": "side", "image": "busybox", "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "while :; do echo shared | nc -l -p 7000; done"],
    }  # fmt: skip
    manifest = pod("two")
    manifest["spec"]["containers"].append(side)
    lab.apply(manifest)
    lab.kctl("wait", "pod/two", "--for=condition=Ready")
    eventually(
        lambda: lab.run("exec", "two", "-c", "main", "--", "sh", "-c", "nc 127.0.0.1 7000 </dev/null").stdout == b"shared\n"
    )
    assert " nc " not in lab.kctl("exec", "two", "-c", "main", "--", "ps")


def test_isolation_is_on_by_default(lab: LabUnderTest) -> None:
    """Capabilities, seccomp, masked and read-only paths, no device nodes, a name of its own."""
    lab.apply(pod("caged"))
    lab.kctl("wait", "pod/caged", "--for=condition=Ready")

    def refused(*command: str) -> bool:
        return lab.run("exec", "caged", "--", *command).returncode != 0

    status = lab.kctl("exec", "caged", "--", "cat", "/proc/self/status")
    assert "CapEff:\t00000000a00425fb" in status
    assert "Seccomp:\t2" in status
    assert refused("mknod", "/tmp/sda", "b", "8", "0")
    assert refused("mount", "-t", "tmpfs", "none", "/tmp")
    assert refused("sh", "-c", "echo b > /proc/sysrq-trigger && cat /proc/sysrq-trigger | grep .")
    assert refused("sh", "-c", "echo 1 > /proc/sys/kernel/panic")
    assert refused("unshare", "-m", "true")
    assert refused("sh", "-c", "echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo 1 > /sys/fs/cgroup/memory.max")
    assert lab.kctl("exec", "caged", "--", "sh", "-c", "ls /proc/self/fd | wc -l").strip() in ("3", "4")
    assert lab.kctl("exec", "caged", "--", "hostname") == "caged\n"
    assert lab.kctl("exec", "caged", "--", "sh", "-c", "cat /proc/kcore | wc -c") == "0\n"


@pytest.mark.shows(
    "spec.containers[].securityContext.{runAsUser,runAsGroup,readOnlyRootFilesystem,allowPrivilegeEscalation}",
    "spec.containers[].securityContext.capabilities.drop",
)
def test_security_context_is_obeyed(lab: LabUnderTest) -> None:
    """User, group, read-only root, dropped capabilities, no new privileges."""
    security = {
        "runAsUser": 1000, "runAsGroup": 2000, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    script = "id -u; id -g; touch /x 2>&1; grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
    said = output(lab, pod("least", "sh", "-c", f"{script}; true", container={"securityContext": security}))
    assert said.splitlines()[:2] == ["1000", "2000"]
    assert "Read-only file system" in said
    assert "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said


@pytest.mark.shows("spec.containers[].securityContext.runAsNonRoot")
def test_run_as_non_root_refuses_root(lab: LabUnderTest) -> None:
    """The reason is the one that Kubernetes gives."""
    lab.apply(pod("root", container={"securityContext": {"runAsNonRoot": True}}))
    eventually(lambda: "CreateContainerConfigError" in lab.kctl("get", "pod", "root"))
    assert "runAsNonRoot" in lab.kctl("describe", "pod", "root")


def test_missing_image_and_missing_command_are_explained(lab: LabUnderTest) -> None:
    """ErrImagePull says what to do; a command that is not there ends with 127 and StartError."""
    missing = pod("noimage")
    missing["spec"]["containers"][0]["image"] = "nowhere:1"
    lab.apply(missing, pod("nocommand", "no-such-program", restartPolicy="Never"))
    eventually(lambda: "kctl image load" in lab.kctl("describe", "pod", "noimage"))
    ended = finished(lab, "nocommand", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (127, "StartError")
    assert "executable file not found in $PATH" in ended["message"]


@pytest.mark.shows("spec.activeDeadlineSeconds")
def test_termination_message_and_deadline(lab: LabUnderTest) -> None:
    """The message comes from the file; a pod past its deadline fails with DeadlineExceeded."""
    lab.apply(
        pod("message", "sh", "-c", "echo because > /dev/termination-log; exit 4", restartPolicy="Never"),
        pod("late", activeDeadlineSeconds=1),
    )
    ended = finished(lab, "message", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["message"] == "because\n"
    assert finished(lab, "late", "Failed")["status"]["reason"] == "DeadlineExceeded"


@pytest.mark.shows("spec.containers[].image")
def test_image_change_replaces_the_container(lab: LabUnderTest, tmp_path: Path) -> None:
    """The one thing of a running pod that may change: its image."""
    lab.apply(pod("swap"))
    lab.kctl("wait", "pod/swap", "--for=condition=Ready")
    root = tmp_path / "other"
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for name in ("sh", "sleep", "cat"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "marker").write_text("second\n")
    lab.kctl("image", "load", str(root), "--name", "other:2")
    changed = pod("swap")
    changed["spec"]["containers"][0]["image"] = "other:2"
    lab.apply(changed)
    eventually(lambda: lab.run("exec", "swap", "--", "cat", "/marker").stdout == b"second\n")
    assert lab.get("pod", "swap")["status"]["containerStatuses"][0]["restartCount"] == 1


def test_exec_passes_input_output_codes_and_many_at_once(lab: LabUnderTest) -> None:
    """stdin half-closes, stderr stays apart, the exit code is the command's, and a megabyte comes through whole."""
    lab.apply(pod("shell"))
    lab.kctl("wait", "pod/shell", "--for=condition=Ready")
    data = bytes(range(256)) * 4096
    assert lab.run("exec", "-i", "shell", "--", "cat", stdin=data).stdout == data
    result = lab.run("exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (result.stdout, result.stderr, result.returncode) == (b"out\n", b"err\n", 42)
    assert b"executable file not found" in lab.run("exec", "shell", "--", "nope").stderr


def test_logs_options(lab: LabUnderTest) -> None:
    """tail, since, timestamps, limit, and following to the end."""
    lab.apply(pod("talk", "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; sleep 1; echo last", restartPolicy="Never"))
    eventually(lambda: "line 5" in lab.run("logs", "talk").stdout.decode())
    assert lab.kctl("logs", "talk", "-f").splitlines()[-1] == "last"
    assert lab.kctl("logs", "talk", "--tail=2") == "line 5\nlast\n"
    assert lab.kctl("logs", "talk", "--limit-bytes=4") == "line"
    assert lab.kctl("logs", "talk", "--timestamps", "--tail=1").endswith("Z last\n")
    assert lab.kctl("logs", "talk", "--since=1h").count("\n") == 6


@pytest.mark.shows("spec.hostNetwork")
def test_host_network_sees_the_node(lab: LabUnderTest) -> None:
    """The pod has the node's address and devices."""
    said = output(lab, pod("hostnet", "ip", "-o", "link", hostNetwork=True))
    assert "pinnace-vx" in said
    found = lab.get("pod", "hostnet")
    assert json.dumps(found["status"]["podIP"]) == json.dumps(found["status"]["hostIP"])

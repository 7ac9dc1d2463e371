"""What a pod's security context asks for, its containers get; and what they may not have is refused where it is asked."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
STATUS = "grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status | cut -f2 | xargs; id -u; id -G"


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


def output(lab: LabUnderTest, name: str, script: str, *, context: dict[str, Any] | None = None, **spec: Any) -> str:
    """What a shell script prints in a pod of its own, which runs to its end."""
    manifest = pod(name, "sh", "-c", script, restartPolicy="Never", container={"securityContext": context or {}}, **spec)
    lab.apply(manifest)

    def ended() -> Any:
        status = lab.get("pod", name)["status"]
        assert status["phase"] == "Succeeded", status
        return True

    eventually(ended)
    return lab.kctl("logs", name)


def waiting(lab: LabUnderTest, name: str) -> dict[str, str]:
    """Why its container waits."""
    return dict(eventually(lambda: lab.get("pod", name)["status"]["containerStatuses"][0]["state"]["waiting"]))


def refused(lab: LabUnderTest, **spec: Any) -> str:
    result = lab.run("apply", "-f", "-", stdin=json.dumps(pod("refused", **spec)))
    assert result.returncode != 0
    return result.stderr.decode()


@pytest.mark.shows(
    "spec.containers[].securityContext.{allowPrivilegeEscalation,runAsNonRoot,runAsUser,readOnlyRootFilesystem}",
    "spec.containers[].securityContext.seccompProfile.type",
    "spec.securityContext.{runAsGroup,fsGroup,supplementalGroups}",
)
def test_a_restricted_container(lab: LabUnderTest) -> None:
    """The restricted profile of the pod security standards, seen from inside."""
    context = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"}, "readOnlyRootFilesystem": True,
    }  # fmt: skip
    shared = {"runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000], "runAsUser": 5}
    script = STATUS + "; touch /x 2>&1; touch /proc/sys/kernel/x 2>&1; true"
    lines = output(lab, "restricted", script, context=context, securityContext=shared).splitlines()
    assert lines[:2] == [f"{0:016x} {0:016x} 1 2", "1000"]
    assert set(lines[2].split()) == {"3000", "4000", "2000"}
    assert lines[3] == "touch: /x: Read-only file system"


@pytest.mark.shows("spec.containers[].securityContext.privileged")
def test_a_privileged_container(lab: LabUnderTest) -> None:
    """The node's devices, writable /sys and no filter."""
    script = (
        STATUS
        + "; [ -c /dev/kmsg ] && [ -w /sys/kernel ] && head -c1 /dev/kmsg | wc -c; mount -t tmpfs none /tmp && echo mounted"
    )
    lines = output(lab, "privileged", script, context={"privileged": True}).splitlines()
    assert lines[0].endswith(" 0 0")
    assert lines[-2:] == ["1", "mounted"]


def test_what_cannot_be_given_holds_the_container(lab: LabUnderTest) -> None:
    """AppArmor where the kernel has none, a seccomp profile that is not there, root where it is forbidden."""
    cases = {
        "armour": ({"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}, "CreateContainerError", "AppArmor"),
        "filter": (
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}},
            "CreateContainerError",
            "none.json",
        ),
        "rooted": ({"runAsNonRoot": True}, "CreateContainerConfigError", "image will run as root"),
        "flying": ({"capabilities": {"add": ["FLY"]}}, "CreateContainerConfigError", "unknown capability FLY"),
    }
    for name, (context, _, _) in cases.items():
        lab.apply(pod(name, container={"securityContext": context}))
    for name, (_, reason, said) in cases.items():
        state = waiting(lab, name)
        assert (state["reason"], said in state["message"]) == (reason, True), state


@pytest.mark.shows("spec.containers[].securityContext.seccompProfile.localhostProfile")
def test_a_profile_of_the_node_filters_system_calls(lab: LabUnderTest) -> None:
    """A Localhost profile in the node's folder: what it denies fails with the errno it says."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    for node in lab.record["nodes"]:
        folder = lab.node_dir(node if isinstance(node, str) else node["name"]) / "seccomp/profiles/team"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nodirs.json").write_text(json.dumps(profile))
    context = {"seccompProfile": {"type": "Localhost", "localhostProfile": "team/nodirs.json"}}
    said = output(lab, "filtered", "mkdir /tmp/x 2>&1; unshare -U true && echo unfiltered", context=context)
    assert said == "mkdir: can't create directory '/tmp/x': No space left on device\nunfiltered\n"


@pytest.mark.shows("spec.shareProcessNamespace")
def test_the_processes_of_a_pod_are_shared(lab: LabUnderTest) -> None:
    """shareProcessNamespace: containers see and signal each other, process 1 is nobody's, and orphans are reaped."""
    manifest = pod("shared", shareProcessNamespace=True)
    other = dict(manifest["spec"]["containers"][0], name="other")
    manifest["spec"]["containers"].append(other)
    lab.apply(manifest)
    lab.kctl("wait", "pod/shared", "--for=condition=Ready")

    def run(script: str) -> str:
        return lab.kctl("exec", "shared", "-c", "other", "--", "sh", "-c", script)

    listing = run("ps -o pid,user,args")
    assert listing.count("trap 'kill $!; exit 0' TERM") >= 2
    assert run("cat /proc/1/comm; ls /proc/1/root/ 2>&1; cat /proc/1/environ 2>&1; kill -9 1; cat /proc/1/comm").splitlines() == [
        "pause", "ls: /proc/1/root/: Permission denied", "cat: can't open '/proc/1/environ': Permission denied", "pause",
    ]  # fmt: skip
    run("(sleep 0.2 &) ; sleep 0.5")
    assert " Z " not in run("ps -o stat,args")
    lab.kctl("delete", "pod", "shared", "--now")


@pytest.mark.parametrize("agent_too", [False, True], ids=["alone", "with the agent"])
def test_a_lost_reaper_is_a_new_sandbox(lab: LabUnderTest, agent_too: bool) -> None:
    """The agent knows a whole sandbox from one whose process 1 has gone, and the pod runs again."""
    lab.apply(pod("reaped", shareProcessNamespace=True))
    lab.kctl("wait", "pod/reaped", "--for=condition=Ready")
    found = lab.get("pod", "reaped")
    node = found["spec"]["nodeName"]
    path = lab.node_dir(node) / "pods" / found["metadata"]["uid"] / "sandbox/reaper"

    def record() -> str:
        """Its pid and start time, as the agent sees the file: in a mount namespace of its own."""
        seen = Path(f"/proc/{lab.pid(node)}/root{path}")
        assert seen.exists()
        return seen.read_text()

    before = record()
    if agent_too:
        lab.kill(node)
    os.kill(int(before.split()[0]), signal.SIGKILL)
    if agent_too:
        lab.start_agent(node)

    def again() -> Any:
        assert record() != before
        status = lab.get("pod", "reaped")["status"]
        return status["containerStatuses"][0]["restartCount"] >= 1 and status["containerStatuses"][0]["ready"]

    eventually(again)
    assert lab.kctl("exec", "reaped", "--", "cat", "/proc/1/comm") == "pause\n"


@pytest.mark.shows("spec.{hostPID,hostIPC,hostNetwork}")
def test_host_namespaces(lab: LabUnderTest) -> None:
    """hostPID sees the node's processes, hostIPC its shared memory, hostNetwork its devices; each alone."""
    names = ("pid", "ipc", "net")
    script = "for n in pid ipc net; do readlink /proc/self/ns/$n; done"
    for index, field in enumerate(("hostPID", "hostIPC", "hostNetwork")):
        found = output(lab, field.lower(), script, **{field: True}).split()
        node = lab.get("pod", field.lower())["spec"]["nodeName"]
        hosts = [os.readlink(f"/proc/{lab.pid(node)}/ns/{name}") for name in names]
        assert [at for at in range(3) if found[at] == hosts[at]] == [index]


@pytest.mark.shows("spec.securityContext.sysctls[].{name,value}")
def test_sysctls_are_the_pods_own(lab: LabUnderTest) -> None:
    """A safe parameter is set in the pod; one that is not safe, or would be the node's, is refused by name."""
    port = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert output(lab, "ports", script, securityContext={"sysctls": [port]}) == "80\n"
    unsafe = {"name": "kernel.msgmax", "value": "1"}
    assert "kernel.msgmax" in refused(lab, securityContext={"sysctls": [unsafe]})
    assert "hostNetwork" in refused(lab, hostNetwork=True, securityContext={"sysctls": [port]})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"container": {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}}}, "`privileged` to true"),
        ({"container": {"securityContext": {"procMount": "Unmasked"}}}, "spec.containers[0].securityContext.procMount"),
        ({"hostUsers": False, "hostNetwork": True}, "spec.hostNetwork"),
        ({"hostPID": True, "shareProcessNamespace": True}, "spec.shareProcessNamespace"),
        ({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}}}, "must not contain '..'"),
        ({"hostUsers": False, "securityContext": {"runAsUser": 70000}}, "spec.securityContext.runAsUser"),
    ],
)
def test_what_contradicts_itself_is_refused(lab: LabUnderTest, spec: dict[str, Any], said: str) -> None:
    """With the field's name, before anything runs."""
    assert said in refused(lab, **spec)

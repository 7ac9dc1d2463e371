"""A pod's life as its manifest says: probes, hooks, sidecars, ephemeral containers, ends. Seen through the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import SLEEP, LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
BUSY = {"image": "busybox", "imagePullPolicy": "IfNotPresent"}
# Serves what is in /www, and is well while /www/index.html is there.
SERVE = "mkdir -p /www; echo ok > /www/index.html; trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait"
WORK: dict[str, Any] = {"volumes": [{"name": "work", "emptyDir": {}}]}
MOUNTED = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
FAST = {"periodSeconds": 1, "failureThreshold": 1}


# What differs by runtime: commands that enter a container, how one is stopped, who watches over it.
BOTH = pytest.mark.parametrize("runtime", [{}, {"runtimeClassName": "life-runc"}], ids=["native", "runc"])


@pytest.fixture(autouse=True, scope="module")
def _class(lab: LabUnderTest) -> Iterator[None]:
    item = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "life-runc"}, "handler": "runc"}
    lab.apply(item)
    yield
    lab.kctl("delete", "runtimeclass", "life-runc")


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


def until(path: str) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.1; done"


def shell(name: str, text: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **BUSY, "command": ["sh", "-c", text], **more}


def status(lab: LabUnderTest, name: str, container: str = "main") -> dict[str, Any]:
    """Raises KeyError while the node has said nothing of it."""
    found = lab.get("pod", name)["status"]
    fields = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return {item["name"]: item for field in fields for item in found.get(field, [])}[container]


def condition(lab: LabUnderTest, name: str, type_: str) -> dict[str, Any]:
    return {item["type"]: item for item in lab.get("pod", name)["status"]["conditions"]}[type_]


def events(lab: LabUnderTest, name: str) -> str:
    return lab.kctl("events", "--for", f"pod/{name}")


def has_event(lab: LabUnderTest, name: str, *words: str) -> bool:
    said = events(lab, name)
    assert all(word in said for word in words), said
    return True


# Probes


@pytest.mark.parametrize(
    "handler",
    [
        {"exec": {"command": ["cat", "/www/index.html"]}},
        {"httpGet": {"path": "/index.html", "port": "web"}},
        {"tcpSocket": {"port": 8080}},
    ],
    ids=["exec", "http", "tcp"],
)
@pytest.mark.shows("spec.containers[].readinessProbe.{exec.command,httpGet.port,tcpSocket.port}")
def test_readiness_follows_its_probe(lab: LabUnderTest, handler: dict[str, Any]) -> None:
    """Not ready before it passes, ready while it does, not ready when it fails; and never restarted for it."""
    spoil = "rm /www/index.html; kill $(pidof httpd)" if "tcpSocket" in handler else "rm /www/index.html"
    text = f"{until('/go')}; {SERVE.replace('& wait', '&')} {until('/spoil')}; {spoil}; {SLEEP}"
    probe = {**handler, **FAST}
    lab.apply(
        pod("probed", "sh", "-c", text, container={"readinessProbe": probe, "ports": [{"name": "web", "containerPort": 8080}]})
    )
    eventually(lambda: status(lab, "probed").get("started"))
    assert not status(lab, "probed")["ready"]
    assert condition(lab, "probed", "Ready")["reason"] == "ContainersNotReady"
    lab.kctl("exec", "probed", "--", "touch", "/go")
    lab.kctl("wait", "pod/probed", "--for=condition=Ready", "--timeout=20s")
    lab.kctl("exec", "probed", "--", "touch", "/spoil")
    eventually(lambda: not status(lab, "probed")["ready"])
    assert has_event(lab, "probed", "Unhealthy", "Readiness probe failed")
    assert status(lab, "probed").get("restartCount", 0) == 0


@pytest.mark.shows("spec.containers[].livenessProbe.terminationGracePeriodSeconds")
@BOTH
def test_a_failed_liveness_probe_restarts_the_container(lab: LabUnderTest, runtime: dict[str, Any]) -> None:
    """With the probe's own grace: this one does not listen to SIGTERM."""
    probe = {
        "exec": {"command": ["test", "-e", "/alive"]},
        **FAST,
        "initialDelaySeconds": 1,
        "terminationGracePeriodSeconds": 1,
    }
    container = {"livenessProbe": probe}
    lab.apply(
        pod(
            "sick",
            "sh",
            "-c",
            "trap '' TERM; while :; do sleep 0.1; done",
            container=container,
            terminationGracePeriodSeconds=600,
            **runtime,
        )
    )
    eventually(lambda: status(lab, "sick").get("restartCount", 0) >= 1)
    assert has_event(lab, "sick", "Liveness probe failed", "Container main failed liveness probe, will be restarted")
    assert status(lab, "sick")["lastState"]["terminated"]["exitCode"] == 137


@pytest.mark.shows("spec.containers[].startupProbe")
def test_other_probes_wait_for_the_startup_probe(lab: LabUnderTest) -> None:
    """A liveness probe that would fail at once does not, until the startup probe has passed."""
    container = {
        "startupProbe": {"exec": {"command": ["test", "-e", "/work/up"]}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"exec": {"command": ["test", "-e", "/work/up"]}, **FAST},
        **MOUNTED,
    }
    lab.apply(pod("slow", container=container, **WORK))
    eventually(lambda: "Startup probe failed" in events(lab, "slow"))
    found = status(lab, "slow")
    assert (found["started"], found["ready"], found.get("restartCount", 0)) == (False, False, 0)
    lab.kctl("exec", "slow", "--", "touch", "/work/up")
    eventually(lambda: status(lab, "slow")["ready"])
    assert status(lab, "slow").get("restartCount", 0) == 0


def test_a_startup_probe_that_never_passes_ends_the_container(lab: LabUnderTest) -> None:
    """After failureThreshold tries; with restartPolicy Never the pod has failed."""
    container = {"startupProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 2}}
    lab.apply(pod("never", container=container, restartPolicy="Never"))
    eventually(lambda: status(lab, "never")["state"].get("terminated"))
    assert has_event(lab, "never", "Startup probe failed", "failed startup probe")


@pytest.mark.shows("spec.containers[].livenessProbe.timeoutSeconds")
def test_a_probe_that_takes_too_long_has_failed(lab: LabUnderTest) -> None:
    """After timeoutSeconds, and what it started is gone."""
    probe = {"exec": {"command": ["sleep", "1000"]}, "timeoutSeconds": 1, **FAST}
    lab.apply(pod("hanging", container={"readinessProbe": probe}))
    eventually(lambda: has_event(lab, "hanging", "Readiness probe failed", "no answer within 1 s"))
    eventually(lambda: lab.kctl("exec", "hanging", "--", "ps").count("sleep 1000") <= 1)


# Hooks


@pytest.mark.shows("spec.containers[].lifecycle.postStart.exec.command")
@BOTH
def test_post_start_runs_beside_the_program_before_it_counts_as_started(lab: LabUnderTest, runtime: dict[str, Any]) -> None:
    """Not started, not ready, until the hook has ended."""
    hook = {"exec": {"command": ["sh", "-c", "echo hooked > /work/out; while [ ! -e /work/go ]; do sleep 0.1; done"]}}
    lab.apply(pod("hooked", container={"lifecycle": {"postStart": hook}, **MOUNTED}, **WORK, **runtime))
    eventually(lambda: lab.run("exec", "hooked", "--", "cat", "/work/out").stdout == b"hooked\n")
    assert not status(lab, "hooked")["started"]
    lab.kctl("exec", "hooked", "--", "touch", "/work/go")
    lab.kctl("wait", "pod/hooked", "--for=condition=Ready", "--timeout=20s")


def test_a_failed_post_start_hook_ends_the_container(lab: LabUnderTest) -> None:
    """FailedPostStartHook, and the restart policy decides."""
    hook = {"exec": {"command": ["sh", "-c", "echo no luck; exit 3"]}}
    lab.apply(pod("unlucky", container={"lifecycle": {"postStart": hook}}, restartPolicy="Never"))
    eventually(lambda: status(lab, "unlucky")["state"].get("terminated"))
    assert has_event(lab, "unlucky", "FailedPostStartHook", "no luck")


@pytest.mark.shows("spec.containers[].lifecycle.preStop.exec.command")
@BOTH
def test_pre_stop_runs_before_the_stop_signal(lab: LabUnderTest, runtime: dict[str, Any]) -> None:
    """In order, and within the grace period."""
    hook = {"exec": {"command": ["sh", "-c", "echo hook >> /proc/1/fd/1; sleep 0.5"]}}
    text = "trap 'echo signal; exit 0' TERM; while :; do sleep 0.1; done"
    lab.apply(pod("stops", "sh", "-c", text, container={"lifecycle": {"preStop": hook}}, **runtime))
    lab.kctl("wait", "pod/stops", "--for=condition=Ready", "--timeout=20s")
    item = lab.get("pod", "stops")
    log = lab.node_dir(item["spec"]["nodeName"]) / "logs" / f"default_stops_{item['metadata']['uid']}" / "main" / "0.log"
    reader = open(log)
    with reader:
        lab.kctl("delete", "pod", "stops")
        said = [line.split(" ", 3)[3] for line in reader.read().splitlines()]
    assert said == ["hook", "signal"]


@pytest.mark.shows("spec.containers[].lifecycle.{postStart.httpGet,preStop.sleep.seconds}")
def test_hooks_may_ask_the_program_or_sleep(lab: LabUnderTest) -> None:
    """httpGet to the pod's own port; sleep delays the signal."""
    lifecycle = {"postStart": {"httpGet": {"port": 8080, "path": "/index.html"}}, "preStop": {"sleep": {"seconds": 1}}}
    text = f"mkdir -p /www; echo ok > /www/index.html; httpd -p 8080 -h /www; {SLEEP}"
    container = {"lifecycle": lifecycle}
    lab.apply(pod("asked", "sh", "-c", text, container=container), pod("refused", container=container))
    eventually(lambda: has_event(lab, "refused", "FailedPostStartHook"))
    lab.run("delete", "pod", "refused", "--now")
    eventually(
        lambda: "asked" in lab.pods() and (status(lab, "asked")["started"] or "FailedPostStartHook" in events(lab, "asked"))
    )
    lab.kctl("delete", "pod", "asked", "--timeout", "20s")
    assert lab.pods() == {}


def test_a_pre_stop_hook_that_hangs_is_cut_off_by_the_grace(lab: LabUnderTest) -> None:
    """Then signal, two seconds, kill; and the pod goes."""
    hook = {"exec": {"command": ["sleep", "1000"]}}
    lab.apply(pod("hangs", container={"lifecycle": {"preStop": hook}}, terminationGracePeriodSeconds=1))
    lab.kctl("wait", "pod/hangs", "--for=condition=Ready", "--timeout=20s")
    lab.kctl("delete", "pod", "hangs", "--timeout", "20s")
    assert lab.pods() == {}


@pytest.mark.shows("spec.containers[].lifecycle.stopSignal")
@BOTH
def test_the_stop_signal_of_the_manifest_is_sent(lab: LabUnderTest, runtime: dict[str, Any]) -> None:
    """lifecycle.stopSignal instead of SIGTERM."""
    text = "trap '' TERM; trap 'exit 21' USR1; while :; do sleep 0.1; done"
    lab.apply(
        pod(
            "usr1",
            "sh",
            "-c",
            text,
            container={"lifecycle": {"stopSignal": "SIGUSR1"}},
            restartPolicy="Never",
            activeDeadlineSeconds=2,
            os={"name": "linux"},
            **runtime,
        )
    )
    eventually(lambda: status(lab, "usr1")["state"].get("terminated", {}).get("exitCode") == 21)
    assert lab.get("pod", "usr1")["status"]["reason"] == "DeadlineExceeded"


# Sidecars


@pytest.mark.shows("spec.initContainers[].restartPolicy")
@BOTH
def test_a_sidecar_starts_first_and_stays_and_stops_last(lab: LabUnderTest, tmp_path: Path, runtime: dict[str, Any]) -> None:
    """Started before the main container, counted in READY, told to stop after it."""
    sidecar = shell(
        "side",
        f"echo side-start >> /work/log; {SLEEP.replace('exit 0', 'echo side-end >> /work/log; exit 0')}",
        restartPolicy="Always",
        **MOUNTED,
    )
    setup = shell("setup", "echo setup >> /work/log", **MOUNTED)
    main = "echo main-start >> /work/log; until [ -e /work/go ]; do sleep 0.1; done; echo main-end >> /work/log"
    # The volumes of a pod that has ended are given back; a hostPath is not the pod's.
    kept = {"volumes": [{"name": "work", "hostPath": {"path": str(tmp_path)}}], **runtime}
    lab.apply(
        pod("served", "sh", "-c", main, container=MOUNTED, initContainers=[sidecar, setup], restartPolicy="Never", **kept)
    )
    eventually(lambda: "2/2" in lab.kctl("get", "pod", "served"))
    (tmp_path / "go").touch()
    eventually(lambda: lab.get("pod", "served")["status"]["phase"] == "Succeeded")
    assert (tmp_path / "log").read_text().split() == ["side-start", "setup", "main-start", "main-end", "side-end"]


def test_a_sidecar_that_crashes_restarts_alone(lab: LabUnderTest) -> None:
    """The main container is not touched, the pod is not ready meanwhile."""
    sidecar = shell("side", "sleep 0.3; exit 1", restartPolicy="Always")
    lab.apply(pod("crashing", initContainers=[sidecar], restartPolicy="Never"))
    eventually(lambda: status(lab, "crashing", "side").get("restartCount", 0) >= 1)
    assert status(lab, "crashing").get("restartCount", 0) == 0
    assert status(lab, "crashing")["ready"]


# Ephemeral containers


@pytest.mark.shows(
    "spec.ephemeralContainers[].{name,image,imagePullPolicy,command,args,env,envFrom,workingDir,targetContainerName,terminationMessagePath,terminationMessagePolicy,securityContext,volumeMounts}"
)
def test_a_restart_rule_restarts_all_containers_in_their_sandbox(lab: LabUnderTest) -> None:
    """Init containers first; address, network namespace and volumes stay; what does not end by itself is not waited for."""
    count = "echo x >> /work/setups; "
    ruled = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}
    watch = "echo 1 > /work/here; if [ ! -e /work/asked ]; then touch /work/asked; sleep 1; exit 88; fi; " + SLEEP
    main = "trap '' TERM; ip -o -4 addr show eth0 | awk '{print $4}'; cat /work/setups; while :; do sleep 0.1; done"
    lab.apply(pod(
        "anew", "sh", "-c", main, container=MOUNTED, restartPolicy="Never", terminationGracePeriodSeconds=120,
        initContainers=[
            shell("setup", count + "true", **MOUNTED),
            shell("watch", watch, restartPolicy="Always", restartPolicyRules=[ruled], **MOUNTED),
        ], **WORK,
    ))  # fmt: skip
    eventually(lambda: status(lab, "anew")["restartCount"] == 1 and "running" in status(lab, "anew")["state"], within=30)
    assert [status(lab, "anew", name)["restartCount"] for name in ("setup", "watch")] == [1, 1]
    assert status(lab, "anew")["lastState"]["terminated"]["exitCode"] == 137
    first, second = (lab.kctl("logs", "anew", "-c", "main", *flags).split() for flags in (["-p"], []))
    assert (first[0], first[1:], second[1:]) == (second[0], ["x"], ["x", "x"])
    assert condition(lab, "anew", "AllContainersRestarting")["status"] == "False"
    assert has_event(lab, "anew", "RestartAllContainers")


@BOTH
def test_an_ephemeral_container_joins_a_running_pod(lab: LabUnderTest, runtime: dict[str, Any]) -> None:
    """It sees the target's processes, and its end changes nothing of the pod."""
    lab.apply(pod("subject", **WORK, **runtime))
    lab.kctl("wait", "pod/subject", "--for=condition=Ready", "--timeout=20s")
    lab.kctl("create", "configmap", "words", "--from-literal=WORD=here")
    debug = {
        "name": "debug", **BUSY, "command": ["sh", "-c"], "args": ["ps; pwd; env; echo said > /said; exit 5"],
        "targetContainerName": "main", "workingDir": "/tmp", "env": [{"name": "A", "value": "1"}],
        "envFrom": [{"configMapRef": {"name": "words"}}], "securityContext": {"runAsUser": 0},
        "terminationMessagePath": "/said", "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
    }  # fmt: skip
    patch = json.dumps({"spec": {"ephemeralContainers": [debug]}})
    lab.kctl("patch", "pod", "subject", "--subresource", "ephemeralcontainers", "-p", patch)
    eventually(lambda: status(lab, "subject", "debug")["state"].get("terminated", {}).get("exitCode") == 5)
    said = lab.kctl("logs", "subject", "-c", "debug")
    assert all(word in said for word in ("sleep 987654", "/tmp\n", "A=1", "WORD=here")), said
    assert status(lab, "subject", "debug")["state"]["terminated"]["message"] == "said\n"
    found = lab.get("pod", "subject")["status"]
    assert found["phase"] == "Running"
    assert status(lab, "subject")["ready"]
    lab.kctl("delete", "configmap", "words")
    refused = lab.run(
        "patch", "pod", "subject", "--subresource", "ephemeralcontainers", "-p", patch.replace("exit 5", "exit 6")
    )
    assert b"may not be changed" in refused.stderr


# Readiness gates


@pytest.mark.shows("spec.readinessGates[].conditionType")
def test_a_readiness_gate_holds_the_pod_back_until_its_condition_is_true(lab: LabUnderTest) -> None:
    """ContainersReady, but not Ready, until somebody sets the condition."""
    lab.apply(pod("gated", readinessGates=[{"conditionType": "example.com/go"}]))
    eventually(lambda: condition(lab, "gated", "ContainersReady")["status"] == "True")
    found = condition(lab, "gated", "Ready")
    assert (found["status"], found["reason"]) == ("False", "ReadinessGatesNotReady")
    patch = '{"status":{"conditions":[{"type":"example.com/go","status":"True"}]}}'
    lab.kctl("patch", "pod", "gated", "--subresource=status", "-p", patch)
    lab.kctl("wait", "pod/gated", "--for=condition=Ready", "--timeout=20s")


# The agent may go at any moment


@BOTH
def test_a_new_agent_repeats_no_hook_and_forgets_no_readiness(lab: LabUnderTest, runtime: dict[str, Any]) -> None:
    """Killed and started again, the pod stays Ready and its postStart hook has run once."""
    container = {
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo once >> /work/hooks"]}}},
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 600},
        **MOUNTED,
    }
    lab.apply(pod("steady", container=container, **WORK, **runtime))
    lab.kctl("wait", "pod/steady", "--for=condition=Ready", "--timeout=20s")
    item = lab.get("pod", "steady")
    since = condition(lab, "steady", "Ready")["lastTransitionTime"]
    lab.kill(item["spec"]["nodeName"])
    lab.start_agent(item["spec"]["nodeName"])
    eventually(lambda: lab.kctl("exec", "steady", "--", "cat", "/work/hooks") == "once\n")
    found = condition(lab, "steady", "Ready")
    assert (found["status"], found["lastTransitionTime"]) == ("True", since)

"""READY, STATUS and RESTARTS of pods: kubectl's printPod, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import kinds, podstatus

RUNNING = {"running": {}}
COMPLETED = {"terminated": {"exitCode": 0, "reason": "Completed"}}


def container(
    name: str = "c", state: dict[str, Any] = RUNNING, *, ready: bool = False, started: bool = False, restarts: int = 0
) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": ready, "started": started, "restartCount": restarts}


def ended(code: int = 0, reason: str = "", signal: int = 0) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "signal": signal}}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def pod(
    *main: dict[str, Any], init: tuple[dict[str, Any], ...] = (), sidecars: tuple[str, ...] = (), phase: str = "Running",
    reason: str = "", conditions: tuple[str, ...] = (), deleted: bool = False, gated: bool = False,
) -> Any:  # fmt: skip
    """`conditions` are true ones."""
    made = kinds.POD.cls()
    made.metadata.deletionTimestamp.seconds = 5 if deleted else 0
    made.status.phase, made.status.reason = phase, reason
    for item in main:
        made.spec.containers.add(name=item["name"])
        made.status.containerStatuses.add(**item)
    for item in init:
        made.spec.initContainers.add(name=item["name"], restartPolicy="Always" if item["name"] in sidecars else "")
        made.status.initContainerStatuses.add(**item)
    for type_ in conditions:
        made.status.conditions.add(type=type_, status="True")
    if gated:
        made.status.conditions.add(type="PodScheduled", status="False", reason="SchedulingGated")
    return made


RULES: dict[str, tuple[Any, str, str]] = {
    "the phase": (pod(phase="Pending"), "Pending", "0/0"),
    "the reason of the pod": (pod(phase="Pending", reason="NodeAffinity"), "NodeAffinity", "0/0"),
    "gated": (pod(phase="Pending", gated=True), "SchedulingGated", "0/0"),
    "running": (pod(container(ready=True), conditions=("Ready",)), "Running", "1/1"),
    "running and not ready": (pod(container()), "Running", "0/1"),
    "being created": (pod(container(state=waiting("ContainerCreating")), phase="Pending"), "ContainerCreating", "0/1"),
    "crashing": (pod(container(state=waiting("CrashLoopBackOff"))), "CrashLoopBackOff", "0/1"),
    "waiting without a reason": (pod(container(state=waiting("")), phase="Pending"), "Pending", "0/1"),
    "waiting for init containers": (pod(container(state=waiting("PodInitializing")), phase="Pending"), "PodInitializing", "0/1"),
    "completed": (pod(container(state=COMPLETED), phase="Succeeded"), "Completed", "0/1"),
    "error": (pod(container(state=ended(1, "Error")), phase="Failed"), "Error", "0/1"),
    "an end without reason": (pod(container(state=ended(3)), phase="Failed"), "ExitCode:3", "0/1"),
    "a signal without reason": (pod(container(state=ended(137, signal=9)), phase="Failed"), "Signal:9", "0/1"),
    "the first container speaks": (pod(container("a", waiting("ImagePullBackOff")), container("b", waiting("CrashLoopBackOff"))), "ImagePullBackOff", "0/2"),
    "one completed, one ready, the pod ready": (pod(container("a", COMPLETED), container("b", ready=True), conditions=("Ready",)), "Running", "1/2"),
    "one completed, one ready, the pod not ready": (pod(container("a", COMPLETED), container("b", ready=True)), "NotReady", "1/2"),
    "one completed, none ready": (pod(container("a", COMPLETED), container("b")), "Completed", "0/2"),
    "one completed, one failed, none ready": (pod(container("a", COMPLETED), container("b", ended(1, "Error")), phase="Failed"), "Error", "0/2"),
    "one completed, one failed, one ready": (pod(container("a", COMPLETED), container("b", ended(1, "Error")), container("c", ready=True)), "Error", "1/3"),
    "one failed, one ready": (pod(container("a", ended(1, "Error")), container("b", ready=True)), "Error", "1/2"),
    "evicted": (pod(container(state=ended(137, "Error")), phase="Failed", reason="Evicted"), "Evicted", "0/1"),
    "past its deadline": (pod(container(state=ended(143, "Error")), phase="Failed", reason="DeadlineExceeded"), "DeadlineExceeded", "0/1"),
    "terminating": (pod(container(ready=True), deleted=True), "Terminating", "1/1"),
    "terminating after its end": (pod(container(state=COMPLETED), phase="Succeeded", deleted=True), "Completed", "0/1"),
    "on a lost node": (pod(container(ready=True), deleted=True, reason="NodeLost"), "Unknown", "1/1"),
    "nothing known": (pod(phase=""), "Unknown", "0/0"),
    # Init containers.
    "initializing": (pod(container(state=waiting("PodInitializing")), init=(container("i"),), phase="Pending"), "Init:0/1", "0/1"),
    "the second initializing": (pod(init=(container("i", COMPLETED), container("j")), phase="Pending"), "Init:1/2", "0/0"),
    "init waits for its turn": (pod(init=(container("i", waiting("PodInitializing")),), phase="Pending"), "Init:0/1", "0/0"),
    "init waits": (pod(init=(container("i", waiting("ImagePullBackOff")),), phase="Pending"), "Init:ImagePullBackOff", "0/0"),
    "init failed": (pod(init=(container("i", ended(1, "Error")),), phase="Pending"), "Init:Error", "0/0"),
    "init ended without reason": (pod(init=(container("i", ended(4)),), phase="Pending"), "Init:ExitCode:4", "0/0"),
    "init killed without reason": (pod(init=(container("i", ended(137, signal=9)),), phase="Pending"), "Init:Signal:9", "0/0"),
    "initialized": (pod(container(ready=True), init=(container("i", COMPLETED),), conditions=("Ready",)), "Running", "1/1"),
    "initialized before": (pod(container(ready=True), init=(container("i"),), conditions=("Initialized",)), "Init:0/1", "1/1"),
    # Sidecars.
    "a sidecar counts": (pod(container(ready=True), init=(container("s", ready=True, started=True),), sidecars=("s",)), "Running", "2/2"),
    "a sidecar that starts": (pod(container(state=waiting("PodInitializing")), init=(container("s"),), sidecars=("s",), phase="Pending"), "Init:0/1", "0/2"),
    "a sidecar after a completed pod": (pod(container(state=COMPLETED), init=(container("s", COMPLETED),), sidecars=("s",), phase="Succeeded"), "Completed", "0/2"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_status_and_ready_by_kubectls_rules(rule: str) -> None:
    """One pod for each rule of printPod."""
    subject, status, ready = RULES[rule]
    found = podstatus.summarize(subject)
    assert (found.status, f"{found.ready}/{found.total}") == (status, ready)


def test_restarts_of_init_containers_count_until_the_pod_is_initialized() -> None:
    """Afterwards only those of sidecars and containers."""
    init = (
        container("i", COMPLETED, restarts=4),
        container("s", ready=True, started=True, restarts=2),
        container("j", restarts=1),
    )
    assert podstatus.summarize(pod(init=init, sidecars=("s",))).restarts == 7
    assert (
        podstatus.summarize(pod(container(restarts=1), init=init, sidecars=("s",), conditions=("Initialized",))).restarts == 3
    )

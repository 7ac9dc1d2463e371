"""Whether every workload of a lab matches its spec, as its status and its pods have it. Read with kctl, not with the controllers' code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.labs import LabUnderTest

Item = dict[str, Any]


def check_settled(lab: LabUnderTest) -> bool:
    """True; AssertionError names the first object that does not match."""
    pods = [pod for pod in lab.get("pods")["items"] if pod["status"].get("phase") not in ("Succeeded", "Failed")]
    terminating = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]
    assert not terminating, f"terminating: {terminating}"
    nodes = [item["metadata"]["name"] for item in lab.get("nodes")["items"]]
    for kind, check in CHECKS.items():
        for item in lab.get(kind)["items"]:
            owned = [pod for pod in pods if _is_owned(pod, item)]
            unready = [pod["metadata"]["name"] for pod in owned if not _has_condition(pod, "Ready")]
            place = f"{kind}/{item['metadata']['name']}"
            assert not unready, f"{place}: not ready: {unready}"
            expected, found = check(item, [pod["metadata"]["name"] for pod in owned], len(nodes))
            assert expected == found, f"{place}: {found} instead of {expected}"
    return True


# Each returns what the spec demands and what is there, in the same shape.
Check = Callable[[Item, list[str], int], tuple[Any, Any]]


def _deployment(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    wanted, status = item["spec"]["replicas"], item["status"]
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return ([wanted] * 4, item["metadata"]["generation"]), (
        [status.get(name, 0) for name in names],
        status.get("observedGeneration"),
    )


def _replicas(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    wanted, status = item["spec"]["replicas"], item["status"]
    found = [status.get("replicas", 0), status.get("readyReplicas", 0), len(pods)]
    return ([wanted] * 3, item["metadata"]["generation"]), (found, status.get("observedGeneration"))


def _stateful_set(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    wanted, status, name = item["spec"]["replicas"], item["status"], item["metadata"]["name"]
    found = (status.get("readyReplicas", 0), status.get("currentRevision"), sorted(pods))
    return (wanted, status.get("updateRevision"), [f"{name}-{n}" for n in range(wanted)]), found


def _daemon_set(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    status = item["status"]
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    return [nodes] * 5, [*(status.get(name, 0) for name in names), len(pods)]


def _job(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    status = item["status"]
    counted = (
        status.get("succeeded", 0),
        status.get("active", 0),
        bool(status.get("uncountedTerminatedPods")),
        _has_condition(item, "Complete"),
    )
    return (item["spec"]["completions"], 0, False, True), counted


def _cron_job(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    return [], item["status"].get("active", [])


def _claim(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    return "Bound", item["status"].get("phase")


def _budget(item: Item, pods: list[str], nodes: int) -> tuple[Any, Any]:
    status = item["status"]
    return True, status["currentHealthy"] >= status["desiredHealthy"]


CHECKS: dict[str, Check] = {
    "deployments.apps": _deployment,
    "replicasets.apps": _replicas,
    "replicationcontrollers": _replicas,
    "statefulsets.apps": _stateful_set,
    "daemonsets.apps": _daemon_set,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "poddisruptionbudgets.policy": _budget,
    "persistentvolumeclaims": _claim,
}


def _is_owned(pod: Item, item: Item) -> bool:
    return any(owner["uid"] == item["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences", []))


def _has_condition(item: Item, name: str) -> bool:
    return any(each["type"] == name and each["status"] == "True" for each in item["status"].get("conditions", []))

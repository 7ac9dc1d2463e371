"""Which pods of a workload are deleted first: of a ReplicaSet (`podcontrol`) and of a Job (`jobpods`)."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers import jobpods, podcontrol
from controlplane.controllers.podcontrol import DELETION_COST
from pinnace import codec
from pinnace.core.v1.pod_pb2 import Pod

NOW = 10_000.0


def pod(name: str, *, ready: int = 1000, restarts: int = 0, sidecar: int = 0, cost: str = "0") -> Pod:
    """A running pod on a node, ready since `ready`."""
    value: dict[str, Any] = {
        "metadata": {"name": name, "uid": name, "annotations": {DELETION_COST: cost}},
        "spec": {"nodeName": "n1", "initContainers": [{"name": "proxy", "restartPolicy": "Always"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "restartCount": restarts}],
            "initContainerStatuses": [{"name": "proxy", "restartCount": sidecar}, {"name": "init", "restartCount": 9}],
        },
    }
    made: Pod = codec.decode(Pod, value)
    made.metadata.creationTimestamp.seconds = 900
    made.status.conditions[0].lastTransitionTime.seconds = ready
    return made


def of_replica_set(*pods: Pod) -> list[str]:
    return [each.metadata.name for each in podcontrol.deletion_order(pods, podcontrol.by_node(pods), NOW)]


def of_job(*pods: Pod) -> list[str]:
    return [each.metadata.name for each in jobpods.removal_order(pods)]


@pytest.mark.parametrize("order", [of_replica_set, of_job])
def test_restarts_of_sidecars_count_after_those_of_containers(order: Any) -> None:
    """Those of other init containers do not count."""
    assert order(pod("a"), pod("b", sidecar=2), pod("c", restarts=1)) == ["c", "b", "a"]


def test_a_job_deletes_the_pod_that_is_ready_for_the_shortest_time() -> None:
    """To the second, where a ReplicaSet compares orders of magnitude."""
    assert of_job(pod("a", ready=1000), pod("b", ready=1001)) == ["b", "a"]
    assert of_replica_set(pod("a", ready=1000), pod("b", ready=1001)) == ["a", "b"]


def test_the_cost_of_deletion_is_of_replica_sets() -> None:
    cheap, new = pod("cheap", cost="-5"), pod("new", ready=5000)
    assert of_replica_set(cheap, new) == ["cheap", "new"]
    assert of_job(cheap, new) == ["new", "cheap"]

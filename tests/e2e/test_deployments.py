"""Deployments, DaemonSets and StatefulSets on the nodes of a lab: real pods come, roll over to another template, and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.breaking import IDLE
from tests.support.labs import ROOT, LabUnderTest, eventually, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-deploy", tmp_path_factory.mktemp("deploy"), nodes=2) as found:
        yield found


def deployment(marker: str, replicas: int = 4) -> dict[str, Any]:
    """The example, with a variable that changes its template."""
    item: dict[str, Any] = yaml.safe_load((ROOT / "examples/deployment.yaml").read_text())
    item["spec"]["replicas"] = replicas
    [container] = item["spec"]["template"]["spec"]["containers"]
    container |= {"env": [{"name": "MARKER", "value": marker}], "command": ["sh", "-c", IDLE]}
    return item


def available(lab: LabUnderTest) -> tuple[int, int]:
    status = lab.get("deployment", "web")["status"]
    return status.get("availableReplicas", 0), status.get("updatedReplicas", 0)


def markers(lab: LabUnderTest) -> list[str]:
    items = [item for item in lab.pods().values() if "deletionTimestamp" not in item["metadata"]]
    return sorted(item["spec"]["containers"][0]["env"][0]["value"] for item in items)


def test_pods_run_roll_over_and_go(lab: LabUnderTest) -> None:
    """On every node, without a moment below the least number; deleted with all that it owns."""
    lab.apply(deployment("one"))
    eventually(lambda: available(lab) == (4, 4))
    assert len({item["spec"]["nodeName"] for item in lab.pods().values()}) == 2
    lab.apply(deployment("two"))
    least = [4]

    def rolled_over() -> bool:
        least.append(available(lab)[0])
        return available(lab) == (4, 4) and markers(lab) == ["two"] * 4

    eventually(rolled_over)
    assert min(least) == 4
    assert "4/4" in lab.kctl("get", "deployments")
    assert lab.kctl("get", "all").count("pod/web-") >= 4
    lab.kctl("scale", "deployment/web", "--replicas", "1")
    eventually(lambda: len(lab.pods()) == 1)
    lab.kctl("delete", "deployment", "web")
    eventually(lambda: lab.pods() == {} and not lab.get("replicasets")["items"])


def test_the_example_works_as_it_is(lab: LabUnderTest) -> None:
    """Three pods, ready."""
    lab.kctl("apply", "-f", str(ROOT / "examples/deployment.yaml"))
    lab.kctl("wait", "--for", "condition=Available", "deployment/web", "--timeout", "60s")
    lab.kctl("delete", "-f", str(ROOT / "examples/deployment.yaml"))
    eventually(lambda: lab.pods() == {})


def test_a_daemon_set_has_a_pod_on_each_node(lab: LabUnderTest) -> None:
    """And replaces them one after another."""
    item = {**deployment("one"), "kind": "DaemonSet"}
    for name in ("replicas", "strategy"):
        del item["spec"][name]
    lab.apply(item)
    eventually(lambda: lab.get("daemonset", "web")["status"].get("numberAvailable") == 2)
    assert {found["spec"]["nodeName"] for found in lab.pods().values()} == {"node-1", "node-2"}
    item["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "two"
    lab.apply(item)
    eventually(lambda: markers(lab) == ["two"] * 2 and lab.get("daemonset", "web")["status"].get("numberAvailable") == 2)
    assert "2         2         2" in lab.kctl("get", "ds")
    lab.kctl("delete", "ds", "web")
    eventually(lambda: lab.pods() == {} and not lab.get("controllerrevisions")["items"])


def test_a_stateful_set_has_pods_that_know_their_names(lab: LabUnderTest) -> None:
    """One is made again under its name, on whichever node."""
    item = {**deployment("one", replicas=2), "kind": "StatefulSet"}
    del item["spec"]["strategy"]
    item["spec"]["serviceName"] = "web"
    lab.apply(item)
    eventually(lambda: lab.get("statefulset", "web")["status"].get("availableReplicas") == 2)
    assert lab.kctl("exec", "web-1", "--", "hostname").strip() == "web-1"
    before = lab.pods()["web-0"]["metadata"]["uid"]
    lab.kctl("delete", "pod", "web-0", "--wait=false")
    eventually(lambda: lab.pods()["web-0"]["metadata"]["uid"] != before and lab.all_running(["web-0", "web-1"]))
    assert "2/2" in lab.kctl("get", "sts")
    lab.kctl("delete", "sts", "web")
    eventually(lambda: lab.pods() == {})


def test_a_drain_takes_no_more_than_the_budget_allows(lab: LabUnderTest) -> None:
    """It waits, and says why; without the budget it goes through, and the pods run elsewhere."""
    budget = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}},
    }  # fmt: skip
    lab.apply(deployment("one", replicas=2), budget)
    eventually(lambda: available(lab) == (2, 2))
    eventually(lambda: lab.get("pdb", "web").get("status", {}).get("currentHealthy") == 2)
    node = next(iter(lab.pods().values()))["spec"]["nodeName"]
    failed = lab.run("drain", node, "--timeout", "3s")
    assert failed.returncode == 1
    assert b"Cannot evict pod as it would violate the pod's disruption budget" in failed.stdout + failed.stderr
    assert all("deletionTimestamp" not in item["metadata"] for item in lab.pods().values())
    lab.kctl("delete", "pdb", "web")
    lab.kctl("drain", node, "--timeout", "60s")
    eventually(lambda: available(lab) == (2, 2) and all(i["spec"]["nodeName"] != node for i in lab.pods().values()))
    lab.kctl("uncordon", node)
    lab.kctl("delete", "deployment", "web")
    eventually(lambda: lab.pods() == {})

"""A HorizontalPodAutoscaler on a lab: pods that burn processor time become more, and fewer when they stop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, running

pytestmark = pytest.mark.root
# Burns what the limit allows until the file is there, for four minutes at most; then idles.
BURN = "trap 'exit 0' TERM; timeout 240 sh -c 'while [ ! -e /tmp/stop ]; do :; done'; sleep 100000 & wait"
MOST = 3


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-hpa", tmp_path_factory.mktemp("hpa"), nodes=2) as found:
        yield found


def workload() -> dict[str, Any]:
    """Its pods request little and may use five times as much: a tenth of a processor each."""
    amounts = {"requests": {"cpu": "20m"}, "limits": {"cpu": "100m"}}
    container = {"name": "main", "image": "busybox", "command": ["sh", "-c", BURN], "resources": amounts}
    template = {"metadata": {"labels": {"app": "burn"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "burn"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "burn"}, "spec": spec}


def autoscaler() -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "burn"}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 100}}}
    spec = {
        "scaleTargetRef": target, "minReplicas": 1, "maxReplicas": MOST, "metrics": [metric],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }  # fmt: skip
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "burn"}, "spec": spec}


def ready(lab: LabUnderTest) -> int:
    return int(lab.get("deployment", "burn")["status"].get("readyReplicas", 0))


def reasons(lab: LabUnderTest) -> dict[str, str]:
    """Of the autoscaler's conditions."""
    return {item["type"]: item["reason"] for item in lab.get("hpa", "burn").get("status", {}).get("conditions", [])}


def test_replicas_follow_the_load(lab: LabUnderTest) -> None:
    """Up to the most, and down to the least when it ends, by the statistics of real containers."""
    lab.apply(workload())
    eventually(lambda: ready(lab) == 1)
    lab.apply(autoscaler())
    eventually(lambda: ready(lab) == MOST, within=120, every=1)
    assert reasons(lab)["ScalingActive"] == "ValidMetricFound"
    [current] = lab.get("hpa", "burn")["status"]["currentMetrics"]
    assert current["resource"]["current"]["averageUtilization"] > 110
    # REPLICAS is the number before the last change, until the next look at it.
    assert re.search(r"burn +Deployment/burn +cpu: [0-9]+%/100% +1 +3 +[13] ", lab.kctl("get", "hpa"))
    for name in lab.pods():
        lab.kctl("exec", name, "--", "touch", "/tmp/stop")
    eventually(lambda: ready(lab) == 1, within=120, every=1)
    described = lab.kctl("describe", "hpa", "burn")
    assert "SuccessfulRescale" in described
    assert "All metrics below target" in described
    lab.kctl("delete", "hpa/burn", "deployment/burn")

"""`kctl autoscale` on a server in memory: the objects that kubectl makes, and its refusals; and the description of one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli import discovery, main
from cli.commands import describe
from cli.discovery import Served
from pinnace import kinds
from tests.support.kctlserver import Server, made

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """With a Deployment and a DaemonSet, of which the first can be scaled."""
    found = Server(made(kinds.DEPLOYMENT, "web"), made(kinds.DEPLOYMENT, "api"), made(kinds.DAEMON_SET, "log"))
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    served = [Served(kinds.DEPLOYMENT, (), (), ("scale", "status")), Served(kinds.DAEMON_SET, (), (), ("status",))]
    monkeypatch.setattr(discovery, "served", lambda: served)
    return found


def spec(server: Server, *words: str) -> dict[str, Any]:
    """Of the autoscaler that was sent."""
    assert main._exit_code(["autoscale", "deployment/web", *words]) == 0
    [(method, request)] = server.sent
    assert method == "Create"
    value: dict[str, Any] = json.loads(request.object.json)
    assert value["spec"]["scaleTargetRef"] == TARGET
    return value["spec"]


def utilization(name: str, percent: int) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": percent}}}


def average(name: str, amount: str) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": name, "target": {"type": "AverageValue", "averageValue": amount}}}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--max=5",), {"maxReplicas": 5}),
        (("--min=2", "--max=5", "--cpu=70%"), {"minReplicas": 2, "maxReplicas": 5, "metrics": [utilization("cpu", 70)]}),
        (("--max=5", "--cpu-percent=80"), {"maxReplicas": 5, "metrics": [utilization("cpu", 80)]}),
        (("--max=5", "--cpu=500m", "--memory=200Mi"), {"maxReplicas": 5, "metrics": [average("cpu", "500m"), average("memory", "200Mi")]}),
        (("--max=5", "--cpu=500", "--memory=0.5"), {"maxReplicas": 5, "metrics": [average("cpu", "500m"), average("memory", "0.5Mi")]}),
        (("--max=5", "--min=-1", "--cpu-percent=-1"), {"maxReplicas": 5}),
    ],
)  # fmt: skip
def test_the_object(server: Server, words: tuple[str, ...], expected: dict[str, Any]) -> None:
    """Numbers without a unit are thousandths of a processor, or mebibytes."""
    assert spec(server, *words) == {"scaleTargetRef": TARGET, **expected}


def test_names_and_output(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Several objects have one each, of their own name; a dry run of the client sends nothing."""
    assert main._exit_code(["autoscale", "deployment", "web", "api", "--max=3"]) == 0
    assert capsys.readouterr().out == "".join(
        f"horizontalpodautoscaler.autoscaling/{name} autoscaled\n" for name in ("web", "api")
    )
    assert main._exit_code(["autoscale", "deployment/web", "--max=3", "--name=other", "-o", "name", "--dry-run"]) == 0
    assert capsys.readouterr().out == "horizontalpodautoscaler.autoscaling/other\n"
    assert [request.dryRun for _, request in server.sent] == [False, False, True]
    assert main._exit_code(["autoscale", "deployment/web", "--max=3", "--dry-run=client"]) == 0
    assert capsys.readouterr().out == "horizontalpodautoscaler.autoscaling/web created (dry run)\n"
    assert len(server.sent) == 3
    assert main._exit_code(["autoscale", "deployment/web", "--max=3", "--cpu-percent=5"]) == 0
    assert "--cpu-percent has been deprecated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("deployment/web",), 'required flag(s) "max" not set'),
        (("deployment/web", "--max=0"), "--max=MAXPODS is required and must be at least 1, max: 0"),
        (("deployment/web", "--max=2", "--min=3"), "--max=MAXPODS must be larger or equal to --min=MINPODS, max: 2, min: 3"),
        (("deployment/web", "--max=2", "--cpu=1", "--cpu-percent=3"), "--cpu-percent and --cpu are mutually exclusive"),
        (("deployment/web", "--max=2", "--cpu=x%"), "invalid percentage value: x"),
        (("deployment/web", "--max=2", "--memory=much"), "invalid resource memory value: much"),
        (("--max=2",), "one or more resources must be specified"),
        (("ds/log", "--max=2"), "cannot autoscale a DaemonSet: could not find scale subresource for apps/v1, Resource=daemonsets in discovery information"),
        (("deployment/none", "--max=2"), 'deployments.apps "none" not found'),
    ],
)  # fmt: skip
def test_refusals(server: Server, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str) -> None:
    """In kubectl's words; nothing is sent."""
    assert main._exit_code(["autoscale", *words]) == 1
    assert error in capsys.readouterr().err
    assert server.sent == []


# With one space for several.
EXPECTED = """\
Name: web
Namespace: default
Labels: <none>
Annotations: <none>
CreationTimestamp: Tue, 14 Nov 2023 22:13:20 +0000
Reference: Deployment/web
Metrics: ( current / target )
resource cpu on pods (as a percentage of request): 12% (6m) / 50%
resource memory on pods: <unknown> / 64Mi
resource cpu of container "app" on pods (as a percentage of request): <unknown> / 9%
Min replicas: 1
Max replicas: 10
Behavior:
Scale Up:
Stabilization Window: 0 seconds
Select Policy: Max
Policies:
- Type: Pods Value: 4 Period: 15 seconds
Deployment pods: 2 current / 3 desired
Conditions:
Type Status Reason Message
---- ------ ------ -------
AbleToScale True ReadyForNewScale recommended
Events: <none>
"""


def test_a_description() -> None:
    """Metrics with their values, the behavior and conditions, aligned as by kubectl."""
    item = made(
        kinds.HORIZONTAL_POD_AUTOSCALER, "web",
        spec={
            "scaleTargetRef": TARGET, "minReplicas": 1, "maxReplicas": 10,
            "metrics": [utilization("cpu", 50), average("memory", "64Mi"), {
                "type": "ContainerResource",
                "containerResource": {"name": "cpu", "container": "app", "target": {"type": "Utilization", "averageUtilization": 9}},
            }],
            "behavior": {"scaleUp": {
                "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
            }},
        },
        status={
            "currentReplicas": 2, "desiredReplicas": 3,
            "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12, "averageValue": "6m"}}}],
            "conditions": [{"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": "recommended"}],
        },
    )  # fmt: skip
    item.metadata.creationTimestamp.seconds = 1_700_000_000

    class NoEvents:
        def list(self, *_: Any, **__: Any) -> list[Any]:
            return []

    found = describe.describe(NoEvents(), kinds.HORIZONTAL_POD_AUTOSCALER, item)
    assert [" ".join(line.split()) for line in found.splitlines()] == EXPECTED.splitlines()

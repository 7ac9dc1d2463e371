"""The script of a simulated node's pods."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nodeagent.simulated.__main__ import MAX_NODES, first_index, parse
from nodeagent.simulated.pods import PREFIX, ScriptedPods
from pinnace.api.v1 import nodes_pb2, objects_pb2
from tests.support.objects import container, pod

WALL = 1_700_000_000.0


def change(name: str = "web", uid: str = "u1", **meta: Any) -> nodes_pb2.Change:
    item = pod(name, meta={"uid": uid, **meta})
    return nodes_pb2.Change(key=f"Pod/default/{name}", object=objects_pb2.Object(protobuf=item.SerializeToString()))


def sized(cpu: str, generation: int) -> nodes_pb2.Change:
    item = pod("web", container(requests={"cpu": cpu}), meta={"uid": "u1", "generation": generation})
    item.status.phase = "Pending" if generation == 1 else "Running"
    return nodes_pb2.Change(key="Pod/default/web", object=objects_pb2.Object(protobuf=item.SerializeToString()))


def assign(pods: ScriptedPods, *changes: nodes_pb2.Change, now: float = 0.0, complete: bool = False) -> None:
    pods.apply(nodes_pb2.Assignment(complete=complete, changes=changes), now)


@pytest.fixture
def pods() -> ScriptedPods:
    made = ScriptedPods(2.0, "198.18.0.8")
    made.use(["10.244.7.0/24", "fd00:244:0:7::/64"])
    return made


def took(pods: ScriptedPods, now: float) -> list[tuple[str, str, bool]]:
    return [(report.name, report.status.phase, report.removed) for report in pods.take(now, WALL, 100)]


def test_a_pod_is_ready_after_the_delay_and_not_before(pods: ScriptedPods) -> None:
    """Once, whatever else changes in it; with an address of each of the node's ranges."""
    assign(pods, change(), now=10)
    assert (pods.due, took(pods, 11.9)) == (12.0, [])
    [report] = pods.take(12.0, WALL, 100)
    assert {c.type for c in report.status.conditions if c.status == "True"} >= {"Ready", "ContainersReady", "Initialized"}
    assert (report.uid, report.status.podIP, report.status.containerStatuses[0].ready) == ("u1", "10.244.7.2", True)
    assert [item.ip for item in report.status.podIPs] == ["10.244.7.2", "fd00:244:0:7::2"]
    assign(pods, change(labels={"a": "b"}), now=13)
    assert pods.due == math.inf


def test_a_resized_pod_has_its_resources_at_once(pods: ScriptedPods) -> None:
    """It reports them, and is as ready as before."""
    assign(pods, sized("1", 1), now=0)
    [report] = pods.take(2.0, WALL, 100)
    assert report.status.containerStatuses[0].allocatedResources["cpu"].string == "1"
    assign(pods, sized("2", 2), now=3)
    [report] = pods.take(3.0, WALL, 100)
    [own] = report.status.containerStatuses
    assert (own.allocatedResources["cpu"].string, own.resources.requests["cpu"].string, own.ready) == ("2", "2", True)
    assert report.status.observedGeneration == 2


def test_annotations_change_the_script(pods: ScriptedPods) -> None:
    """Junk in them counts as absent."""
    assign(pods, change(annotations={PREFIX + "ready-after": "5", PREFIX + "exit-after": "9", PREFIX + "exit-code": "3"}))
    assign(pods, change("junk", "u2", annotations={PREFIX + "ready-after": "-x"}))
    assert took(pods, 4) == [("junk", "Running", False)]
    assert took(pods, 5) == [("web", "Running", False)]
    [report] = pods.take(9, WALL, 100)
    assert (report.status.phase, report.status.containerStatuses[0].state.terminated.exitCode) == ("Failed", 3)


def test_a_deleted_pod_is_reported_as_gone(pods: ScriptedPods) -> None:
    """At once, also when it came deleted."""
    assign(pods, change())
    took(pods, 2)
    assign(pods, change(deletionTimestamp="2026-01-01T00:00:00Z"), now=3)
    assert took(pods, 3) == [("web", "Succeeded", True)]
    assign(pods, change(deletionTimestamp="2026-01-01T00:00:00Z"), now=4)
    assert took(pods, 4) == []


def test_nothing_is_reported_of_a_pod_that_left(pods: ScriptedPods) -> None:
    """By a removal, by a complete assignment without it, or because another pod has its name."""
    assign(pods, change("a"), change("b", "u2"), change("c", "u3"))
    assign(pods, nodes_pb2.Change(key="Pod/default/a"))
    assign(pods, change("c", "u4"), complete=True, now=1)
    assert took(pods, 10) == [("c", "Running", False)]


def test_what_could_not_be_sent_is_reported_again(pods: ScriptedPods) -> None:
    """As it was."""
    assign(pods, change())
    pods.retry(pods.take(2, WALL, 100), 5)
    assert took(pods, 5) == [("web", "Running", False)]


@pytest.mark.parametrize(
    "words",
    [
        ["--node", "1"],
        ["--nodes", "0"],
        ["--nodes", "9999999"],
        ["--ready-after", "nan"],
        ["--prefix", "No_Name"],
        ["--cpu", "x"],
    ],
)
def test_bad_flags_are_refused_by_name(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is dialled."""
    with pytest.raises(SystemExit):
        parse(words)
    assert words[0] in capsys.readouterr().err


def test_services_are_not_kept(pods: ScriptedPods) -> None:
    """Of what every node has, a simulated one takes nothing: it has pods alone."""
    other = nodes_pb2.Change(key="Service/default/web", object=objects_pb2.Object(protobuf=b"\xff"))
    assign(pods, other, change(), complete=True)
    assign(pods, nodes_pb2.Change(key="Service/default/web"))
    assert list(pods._pods) == ["Pod/default/web"]


def test_a_pod_in_the_node_s_network_has_the_node_s_address(pods: ScriptedPods) -> None:
    """As an agent reports it: the control plane rejects others."""
    item = pod("web", meta={"uid": "u1"}, hostNetwork=True)
    assign(pods, nodes_pb2.Change(key="Pod/default/web", object=objects_pb2.Object(protobuf=item.SerializeToString())))
    [report] = pods.take(2.0, WALL, 100)
    assert [entry.ip for entry in report.status.podIPs] == [report.status.podIP] == ["198.18.0.8"]


def test_nodes_of_two_prefixes_have_different_addresses() -> None:
    """A control plane rejects a node with the address of another."""
    assert abs(first_index("sim") - first_index("other")) >= MAX_NODES

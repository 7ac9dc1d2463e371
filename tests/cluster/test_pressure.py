"""Conditions that a node reports, and the taints that follow."""

from __future__ import annotations

import pytest

from controlplane import conditions
from controlplane.dispatcher import reports
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.wellknown import TAINT_BY_CONDITION as PRESSURE
from pinnace.wellknown import TAINT_UNREACHABLE
from tests.support.cluster import GRACE, Cluster
from tests.support.objects import pod


async def say(cluster: Cluster, **holds: str) -> None:
    """The agent of n1 reports these conditions."""
    request = nodes_pb2.ReportStatusRequest()
    for type_, status in holds.items():
        request.node.conditions.add(type=type_, status=status)
    request.node.allocatable["cpu"].string = request.node.allocatable["pods"].string = "4"
    request.node.allocatable["memory"].string = "1Gi"
    await cluster._done(lambda tx: reports.report(tx, "n1", request, now=cluster.clock.now()))


def taints(cluster: Cluster) -> set[tuple[str, str]]:
    return {(taint.key, taint.effect) for taint in cluster.get(kinds.NODE, "n1").spec.taints}


@pytest.mark.parametrize("type_", list(PRESSURE))
async def test_a_condition_taints_its_node_and_takes_the_taint_away(cluster: Cluster, type_: str) -> None:
    """New pods stay away meanwhile; what runs stays."""
    await cluster.join("n1")
    await say(cluster, **{type_: "True"})
    assert taints(cluster) == {(PRESSURE[type_], "NoSchedule")}
    await cluster.create(pod())
    waits = conditions.find(cluster.get(kinds.POD, "web").status, "PodScheduled")
    assert waits.message == f"0/1 nodes are available: 1 node(s) had untolerated taint {{{PRESSURE[type_]}: }}."
    await say(cluster, **{type_: "False"})
    assert taints(cluster) == set()
    assert cluster.get(kinds.POD, "web").spec.nodeName == "n1"


async def test_a_condition_has_its_time_from_when_it_changed(cluster: Cluster) -> None:
    """Also when an agent that has started again says it anew, with a time of its own."""
    await cluster.join("n1")
    for told, holds, expected in ((100, "False", 100), (200, "False", 100), (300, "True", 300)):
        request = nodes_pb2.ReportStatusRequest()
        condition = request.node.conditions.add(type="PIDPressure", status=holds)
        condition.lastTransitionTime.seconds = told
        await cluster._done(lambda tx, request=request: reports.report(tx, "n1", request, now=cluster.clock.now()))
        found = conditions.find(cluster.get(kinds.NODE, "n1").status, "PIDPressure")
        assert found.lastTransitionTime.seconds == expected


async def test_a_silent_node_keeps_what_was_last_known(cluster: Cluster) -> None:
    """And gets the taint of its silence alongside."""
    await cluster.join("n1")
    await say(cluster, MemoryPressure="True")
    await cluster.advance(GRACE + 1)
    assert taints(cluster) == {(PRESSURE["MemoryPressure"], "NoSchedule"), (TAINT_UNREACHABLE, "NoSchedule")}


async def test_a_node_that_registers_brings_its_conditions(cluster: Cluster) -> None:
    """Its first word on its pressure comes with its first word."""
    status = {"conditions": [{"type": "DiskPressure", "status": "True"}]}
    hello = nodes_pb2.Hello(node=kinds.NODE.cls(), vtepMac="0a:00:00:00:00:01")
    for item in status["conditions"]:
        hello.node.status.conditions.add(**item)
    await cluster.join("n1")
    await cluster._done(lambda tx: reports.register(tx, "n1", hello, now=cluster.clock.now()))
    found = cluster.get(kinds.NODE, "n1").status
    assert {item.type: item.status for item in found.conditions} == {"DiskPressure": "True", "Ready": "True"}

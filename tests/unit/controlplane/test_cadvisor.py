"""Container metrics: names and labels as cAdvisor has them, and nodes that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from controlplane import cadvisor
from controlplane.rest import statistics
from pinnace.api.v1 import streams_pb2
from pinnace.errors import Unavailable


def stats(node: str) -> Any:
    found = streams_pb2.NodeStats(node=node, cpuNanos=3_000_000_000, memoryWorkingSetBytes=77)
    pod = found.pods.add(namespace="default", name="web")
    pod.containers.add(name="main", cpuNanos=2_500_000_000, memoryWorkingSetBytes=1 << 20, processes=3, fsUsageBytes=4096)
    pod.interfaces.add(name="eth0", receiveBytes=1500, transmitDropped=2)
    return found


class Board:
    """A switchboard with one node that answers, one that is away, and one that says nothing."""

    async def client(self, node: str, opening: Any, frames: Any) -> AsyncIterator[Any]:
        if node == "away":
            raise Unavailable("not connected")
        if node == "slow":
            await asyncio.sleep(3600)
        yield streams_pb2.Frame(stats=stats(node))
        yield streams_pb2.Frame(exit=streams_pb2.Exit())


async def test_nodes_that_do_not_answer_are_missing_and_noted() -> None:
    """The others' metrics come within the deadline."""
    found = await statistics.ask(Board(), ["n1", "away", "slow"], within=0.2)
    assert {node for node, item in found.items() if item is not None} == {"n1"}
    text = cadvisor.render(found).decode()
    assert 'pinnace_node_stats_up{node="n1"} 1.0' in text
    assert 'pinnace_node_stats_up{node="slow"} 0.0' in text
    assert 'pinnace_node_stats_up{node="away"} 0.0' in text


def test_names_labels_and_units() -> None:
    """What Prometheus' own parser reads back."""
    text = cadvisor.render({"n1": stats("n1")}).decode()
    samples = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    labels = {"namespace": "default", "pod": "web", "container": "main", "node": "n1"}
    for name, value in (
        ("container_cpu_usage_seconds_total", 2.5),
        ("container_memory_working_set_bytes", 1 << 20),
        ("container_processes", 3),
        ("container_fs_usage_bytes", 4096),
    ):
        assert (samples[name].value, samples[name].labels) == (value, labels)
    network = samples["container_network_receive_bytes_total"]
    assert (network.value, network.labels["interface"], network.labels["pod"]) == (1500, "eth0", "web")
    assert samples["container_network_transmit_packets_dropped_total"].value == 2
    assert samples["node_cpu_usage_seconds_total"].value == 3

"""Rates and counters of a node, from texts of /proc."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from nodeagent.launcher import bundle as names
from nodeagent.node.pools import Pool
from nodeagent.node.stats import Collector, busy_nanos, interfaces
from nodeagent.pods.manager import PodManager
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.interface import Handle
from pinnace import usage
from pinnace.api.v1 import streams_pb2
from pinnace.clock import VirtualClock
from tests.support.objects import pod
from tests.support.opens import opens

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0: 1500 10 1 2 0 0 0 0 700 5 3 4 0 0 0 0
"""


def node(seconds: float, cpu: int, **containers: tuple[int, int]) -> Any:
    found = streams_pb2.NodeStats(timeNanos=int(seconds * 1e9), cpuNanos=cpu)
    pod = found.pods.add(uid="u")
    for name, (nanos, started) in containers.items():
        pod.containers.add(name=name, cpuNanos=nanos, startedNanos=started)
    return found


def test_interfaces_without_the_loopback() -> None:
    """Receive and transmit columns are not mixed up."""
    (found,) = interfaces(NET_DEV)
    assert found == streams_pb2.InterfaceStats(
        name="eth0", receiveBytes=1500, receivePackets=10, receiveErrors=1, receiveDropped=2,
        transmitBytes=700, transmitPackets=5, transmitErrors=3, transmitDropped=4,
    )  # fmt: skip
    assert interfaces("") == []


def test_busy_time_is_without_waiting() -> None:
    """Idle and iowait do not count, steal does."""
    assert busy_nanos("cpu  10 1 20 1000 500 2 3 4 9 9\ncpu0 1 1\n") == 40 * 10_000_000
    assert busy_nanos("") == 0


def test_rates_are_between_two_samples() -> None:
    """Of the node and each container; one that was restarted begins anew, one that is new counts whole."""
    first = node(10.0, 1_000, a=(500_000_000, 1), b=(900_000_000, 1))
    second = node(10.5, 1_001_000, a=(750_000_000, 1), b=(100_000_000, 2), c=(50_000_000, 3))
    usage.add_rates(first, second)
    assert second.cpuNanoCores == 2_000_000
    assert {c.name: c.cpuNanoCores for c in second.pods[0].containers} == {"a": 500_000_000, "b": 200_000_000, "c": 100_000_000}


@dataclass
class Running:
    """A worker whose container runs, and the manager that has it."""

    handles: dict[str, Handle]
    pod: Any = field(default_factory=lambda: pod("web"))

    @property
    def workers(self) -> dict[str, Running]:
        return {"u1": self}


async def test_cgroups_and_layers_are_read_off_the_event_loop(tmp_path: Path) -> None:
    """With and without a second sample."""
    bundle, root = tmp_path / "bundle", tmp_path / "cgroups"
    cgroup = root / "pinnace/podu1/main-0"
    for directory in (bundle / "upper", cgroup):
        directory.mkdir(parents=True)
    (root / "cgroup.controllers").touch()
    (cgroup / "memory.current").write_text("4096")
    Path(names.config(bundle)).write_text(json.dumps({"cgroups": [str(cgroup)]}))
    running = Running({"main": Handle(bundle, 1, 1, 1, 1, 1.0)})
    clock = VirtualClock()
    collector = Collector(
        cast(PodManager, running), Cgroups("pinnace", root), clock, Pool("walks", 2), node="n1", capacity=["memory"]
    )
    with opens(tmp_path) as found:
        stats = await collector.collect(0)
    assert stats.pods[0].containers[0].memoryUsageBytes == 4096
    assert found.on_loop == set()
    assert {"memory.current", "upper"} <= found.off_loop

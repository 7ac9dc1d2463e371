"""Two control planes on one etcd, the clock of one of which steps by an hour: no node is blamed, no pod is evicted, one leads.

Both run in this process, over real sockets, with simulated nodes and clocks of their own; the kernel's clock is not touched.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controlplane.config import Config
from controlplane.server import ControlPlane
from controlplane.store import Store
from controlplane.store.etcd import EtcdBackend
from nodeagent.simulated import __main__ as simnodes
from pinnace import kinds
from pinnace.clock import RandomIds, SystemClock
from pinnace.wellknown import LEADER_LEASE, SYSTEM_NAMESPACE, TAINT_NOT_READY, TAINT_UNREACHABLE
from tests.support.etcdcluster import Members
from tests.support.labs import PATIENCE
from tests.support.objects import pod
from tests.support.planes import free_port

HOUR, NODES, PODS = 3600.0, 4, 8
# Seconds. What a control plane does not see it counts as four seconds at most, which is less than the grace period; a step is
# watched for a grace period and more; and for a time in which the lease cannot change etcd does not answer.
HEARTBEAT, GRACE, FROZEN = 0.5, 8.0, 4.5
WATCHED = GRACE + 1


class SteppedClock(SystemClock):
    """The machine's, with a wall clock that can be set."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        return super().now() + self._offset

    def step(self, seconds: float) -> None:
        self._offset += seconds


class Member:
    """A control plane with its clock and its nodes."""

    def __init__(self, folder: Path, etcd: str) -> None:
        self.folder, self.clock = folder, SteppedClock()
        self._config = Config(
            state_dir=folder, store=f"etcd://{etcd}", listen=f"127.0.0.1:{free_port()}", web=f"127.0.0.1:{free_port()}",
            heartbeat=HEARTBEAT, node_grace=GRACE,
        )  # fmt: skip
        self._stop, self._stop_nodes = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        ready = asyncio.Event()
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self._tasks.append(asyncio.ensure_future(ControlPlane(self._config, self.clock, RandomIds()).run(ready, self._stop)))
        async with asyncio.timeout(30 * PATIENCE):
            await ready.wait()
        arguments = ["--config", str(self.folder / "admin.yaml"), "--nodes", str(NODES), "--prefix", self.folder.name]
        run = simnodes.run(simnodes.parse(arguments), SystemClock(), self._stop_nodes)
        self._tasks.append(asyncio.ensure_future(run))

    async def stop(self) -> None:
        """With its nodes."""
        self._stop_nodes.set()
        self._stop.set()
        await asyncio.gather(*self._tasks)


class Cluster:
    """Both control planes, and the store as a third one would see it."""

    def __init__(self, store: Store, members: list[Member], etcd: Members) -> None:
        self.store, self.members, self.etcd = store, members, etcd

    def leader(self) -> str:
        return self.store.get(kinds.LEASE, SYSTEM_NAMESPACE, LEADER_LEASE).spec.holderIdentity

    def transitions(self) -> int:
        return self.store.get(kinds.LEASE, SYSTEM_NAMESPACE, LEADER_LEASE).spec.leaseTransitions

    def ready(self) -> int:
        """How many nodes are Ready."""
        every = [row.message for row in self.store.rows(kinds.NODE)]
        return sum(any((c.type, c.status) == ("Ready", "True") for c in node.status.conditions) for node in every)

    def running(self) -> set[str]:
        """UIDs of the pods that run, and that nothing wants to end."""
        every = [row.message for row in self.store.rows(kinds.POD)]
        return {
            pod.metadata.uid for pod in every if pod.status.phase == "Running" and not pod.metadata.deletionTimestamp.seconds
        }

    def blamed(self) -> list[str]:
        """Nodes that are said not to report, by an event or a taint, and pods that are evicted for that."""
        told = {("NodeNotReady", "Node"), ("TaintManagerEviction", "Pod")}
        abouts = [(row.message.reason, row.message.involvedObject) for row in self.store.rows(kinds.EVENT)]
        named = [about.name for reason, about in abouts if (reason, about.kind) in told]
        tainted = [row.message.metadata.name for row in self.store.rows(kinds.NODE) if row.message.spec.taints]
        return sorted({*named, *tainted})

    async def until(self, check: Callable[[], object], wanted: object) -> None:
        """Wait until `check` returns `wanted`. Raises TimeoutError."""
        async with asyncio.timeout(40 * PATIENCE):
            while check() != wanted:
                await asyncio.sleep(0.1)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    address, peer = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with AsyncExitStack() as stack:
        etcd = Members(tmp_path / "etcd", [address], [peer])
        stack.callback(etcd.stop)
        etcd.start()
        await etcd.healthy()
        store = await Store.open(EtcdBackend([address]), SystemClock())
        stack.push_async_callback(store.close)
        serving = asyncio.ensure_future(store.serve())
        stack.callback(serving.cancel)
        first, second = (Member(tmp_path / name, address) for name in ("first", "second"))
        await first.start()
        stack.push_async_callback(first.stop)
        (second.folder / "pki").mkdir(parents=True)
        for name in ("ca.crt", "ca.key"):
            shutil.copy(first.folder / "pki" / name, second.folder / "pki" / name)
        await second.start()
        stack.push_async_callback(second.stop)
        yield Cluster(store, [first, second], etcd)


async def settled(cluster: Cluster) -> set[str]:
    """All nodes are Ready and all pods run; returns the pods."""
    await cluster.until(cluster.ready, 2 * NODES)
    await cluster.store.update_each(range(PODS), lambda tx, n: tx.put(kinds.POD, numbered(n)))
    await cluster.until(lambda: len(cluster.running()), PODS)
    return cluster.running()


def numbered(number: int) -> object:
    made = pod(f"web-{number}")
    # As on admission, which these have not passed.
    for key in (TAINT_NOT_READY, TAINT_UNREACHABLE):
        made.spec.tolerations.add(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=300)
    made.metadata.uid = f"uid-{number}"
    return made


@pytest.mark.parametrize("stepped", [0, 1], ids=["leader", "follower"])
async def test_a_clock_that_steps_by_an_hour_costs_no_node_and_no_leader(cluster: Cluster, stepped: int) -> None:
    """Forward, back below the other's, and right again, each time while nothing can be renewed."""
    pods = await settled(cluster)
    leader, transitions = cluster.leader(), cluster.transitions()
    for step in (HOUR, -2 * HOUR, HOUR):
        cluster.etcd.freeze(0)
        cluster.members[stepped].clock.step(step)
        await asyncio.sleep(FROZEN)
        cluster.etcd.thaw(0)
        for _ in range(int(WATCHED / 0.1)):
            await asyncio.sleep(0.1)
            assert (cluster.leader(), cluster.transitions()) == (leader, transitions)
        assert (cluster.ready(), cluster.blamed(), cluster.running()) == (2 * NODES, [], pods)


async def test_a_step_evicts_no_pod_of_a_node_that_was_just_lost(cluster: Cluster) -> None:
    """The other control plane takes over, and its pods tolerate a silent node for five minutes that it has seen pass."""
    pods = await settled(cluster)
    leader, second = cluster.leader(), cluster.members[1]
    await cluster.members[0].stop()
    await cluster.until(cluster.ready, NODES)
    assert cluster.leader() != leader
    for step in (HOUR, -2 * HOUR, 3 * HOUR):
        second.clock.step(step)
        await asyncio.sleep(WATCHED)
        assert (cluster.ready(), cluster.running()) == (NODES, pods)
        assert cluster.blamed() == [f"first-{number}" for number in range(NODES)]

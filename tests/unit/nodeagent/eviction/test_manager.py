"""The loop, with pods that use what a test says, on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nodeagent.eviction.manager import CLEANED_WITHIN, WALKED_WITHIN, EvictionManager, Surroundings
from nodeagent.eviction.thresholds import Config, parse
from nodeagent.eviction.usage import Place
from nodeagent.node.pools import InlinePool, Pool
from nodeagent.runtime.cgroups import Cgroups, Usage
from pinnace.clock import VirtualClock
from pinnace.podresources import CRITICAL_PRIORITY
from tests.support.objects import container, pod
from tests.support.opens import opens

MIB = 1 << 20
HARD = Config(parse("memory.available<100Mi,nodefs.available<10Mi"), transition=60.0, interval=10.0)


@dataclass
class FakePod:
    """A pod that gives back its memory as soon as it is evicted, unless it is stubborn. `deleting`: not yet its disk."""

    pod: Any
    folder: Path
    memory: int = 0
    stubborn: bool = False
    ended: bool = False
    deleting: bool = False
    # By an agent that was there before.
    told: bool = False
    evictions: list[tuple[str, str, float, bool]] = field(default_factory=list)

    @property
    def uid(self) -> str:
        return str(self.pod.metadata.name)

    def place(self) -> Place:
        return Place(self.folder / self.uid, self.folder / "logs", self.uid, (("main", 0),))

    def over(self) -> bool:
        return self.ended

    def evicted(self) -> bool:
        return self.told or bool(self.evictions)

    def cleaned(self) -> bool:
        return not self.deleting

    def evict(self, *, reason: str, message: str, grace: float, disruption: bool = True) -> None:
        self.evictions.append((reason, message, grace, disruption))
        self.ended = not self.stubborn


class FakeCgroups:
    def __init__(self, pods: list[FakePod]) -> None:
        self._pods = pods
        # Called before the node's own cgroup is read.
        self.on_node: Callable[[], None] = lambda: None

    def usage(self, path: str) -> Usage:
        name = path.partition("/")[0]
        if not name:
            self.on_node()
        return Usage(sum(item.memory for item in self._pods if not item.ended and name in ("", item.uid)), 1)


class Node:
    def __init__(self, folder: Path, config: Config, **capacity: int) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.pods: list[FakePod] = []
        self.events: list[str] = []
        self.changes = 0
        self.asked: list[int] = []
        self.images = 0
        self.cgroups = FakeCgroups(self.pods)
        self.config = config
        self.manager = self.managing(self.cgroups, InlinePool(), **capacity)

    def managing(self, cgroups: Any, walks: Pool, **capacity: int) -> EvictionManager:
        return EvictionManager(self.config, Surroundings(
            pods=lambda: list(self.pods), cgroups=cgroups, clock=self.clock, state=self.folder, images=self.folder,
            capacity=capacity, event=self._event, changed=self._changed, reclaim=self._reclaim,
            image_bytes=lambda: self.images, walks=walks,
        ))  # fmt: skip

    def _event(self, reason: str, message: str, warning: bool) -> None:
        self.events.append(reason)

    def _changed(self) -> None:
        self.changes += 1

    async def _reclaim(self, wanted: int) -> int:
        self.asked.append(wanted)
        freed, self.images = self.images, 0
        return freed

    def run(self, name: str, memory: int = 0, **spec: Any) -> FakePod:
        asks = spec.pop("asks", None)
        made = FakePod(pod(name, container("main", requests=asks), **spec), self.folder, memory * MIB)
        self.pods.append(made)
        return made

    def evicted(self) -> list[str]:
        return [item.uid for item in self.pods if item.evictions]

    @contextlib.asynccontextmanager
    async def looping(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.manager.run())
        try:
            await self.clock.advance(0)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, HARD, memory=300 * MIB)


def holds(node: Node) -> dict[str, str]:
    return {item.type: item.status for item in node.manager.conditions()}


async def test_a_calm_node_evicts_nobody(node: Node) -> None:
    """And says so in its conditions."""
    node.run("a", 100)
    assert await node.manager.look() == []
    assert holds(node) == {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
    assert (node.evicted(), node.events, node.changes) == ([], [], 0)


async def test_cgroups_and_disks_are_read_off_the_event_loop(tmp_path: Path) -> None:
    """A disk that hangs, and a cgroup with many processes, delay no other work of the agent."""
    node = Node(tmp_path / "pods", HARD)
    item = node.run("a", volumes=[{"name": "data", "emptyDir": {}}])
    (item.place().folder / "volumes/data").mkdir(parents=True)
    root = tmp_path / "cgroups"
    (root / "pinnace/a").mkdir(parents=True)
    (root / "cgroup.controllers").touch()
    for directory in ("pinnace", "pinnace/a"):
        (root / directory / "memory.current").write_text("4096")
    node.manager = node.managing(
        Cgroups("pinnace", root), Pool("walks", 2), memory=300 * MIB, **{"ephemeral-storage": 100 * MIB}
    )
    with opens(tmp_path) as found:
        await node.manager.look()
    assert found.on_loop == set()
    assert {"memory.current", "data"} <= found.off_loop


async def test_one_pod_at_a_time_until_enough_is_left(node: Node) -> None:
    """The one without requests first; the loop looks again at once when it has gone, and then is content."""
    node.run("asked", 90, asks={"memory": "95Mi"})
    node.run("greedy", 60)
    node.run("greedier", 80)
    async with node.looping():
        assert node.evicted() == ["greedier"]
        await node.clock.advance(100)
    assert node.evicted() == ["greedier"]
    [(reason, message, grace, disruption)] = node.pods[2].evictions
    assert (reason, grace, disruption) == ("Evicted", 0.0, True)
    assert message.startswith(
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 70Mi. Container main"
    )


async def test_the_files_of_an_evicted_pod_are_waited_for(node: Node) -> None:
    """It has ended, and its disk is not free yet: no other goes in the meantime. A bound of half a minute holds."""
    slow, other = node.run("slow", 260), node.run("other", 250)
    slow.deleting = True
    async with node.looping():
        assert node.evicted() == ["slow"]
        await node.clock.advance(20)
        assert node.evicted() == ["slow"]
        slow.deleting = False
        await node.clock.advance(1)
        assert node.evicted() == ["slow", "other"]
        other.deleting = True


async def test_a_pod_that_starts_between_two_measurements_is_a_candidate(node: Node) -> None:
    """It is what fills the node: an older pod that uses little does not go in its place."""
    node.run("calm", 1)

    def start_greedy() -> None:
        if len(node.pods) == 1:
            node.run("greedy", 230)

    node.cgroups.on_node = start_greedy
    assert [found.uid for found in await node.manager.look()] == ["greedy"]


async def test_a_pod_that_does_not_go_is_waited_for(node: Node) -> None:
    """Up to half a minute; then the next one follows."""
    node.run("a", 150).stubborn = True
    node.run("b", 140)
    async with node.looping():
        await node.clock.advance(29)
        assert node.evicted() == ["a"]
        await node.clock.advance(3)
        assert node.evicted() == ["a", "b"]
        await node.clock.advance(100)
    assert [len(item.evictions) for item in node.pods] == [1, 1]


async def test_what_an_earlier_agent_has_evicted_is_waited_for(node: Node) -> None:
    """It holds its memory until it is gone, so no other pod goes for that; if it resists, the next one follows after a while."""
    first, calm = node.run("first", 230), node.run("calm", 1)
    first.told = True
    async with node.looping():
        await node.clock.advance(CLEANED_WITHIN / 2)
        assert node.evicted() == []
        first.ended = True
        await node.clock.advance(CLEANED_WITHIN)
        assert node.evicted() == []
    first.ended = False
    async with node.looping():
        for _ in range(8):
            await node.clock.advance(CLEANED_WITHIN / 4)
    assert node.evicted() == ["calm"]
    assert calm.ended


async def test_critical_pods_stay_whatever_happens(node: Node) -> None:
    """The node says once that it is at a loss."""
    node.run("system", 250, priority=CRITICAL_PRIORITY)
    async with node.looping():
        await node.clock.advance(100)
    assert node.evicted() == []
    assert node.events.count("EvictionThresholdMet") == 2
    assert holds(node)["MemoryPressure"] == "True"


async def test_pressure_is_told_when_it_comes_and_when_it_goes(node: Node) -> None:
    """With an event and a status each time, and the time of the change."""
    hog = node.run("hog", 250)
    began = node.clock.now()
    async with node.looping():
        assert (holds(node)["MemoryPressure"], node.changes) == ("True", 1)
        await node.clock.advance(75)
        assert (holds(node)["MemoryPressure"], node.changes) == ("False", 2)
    assert hog.ended
    assert [event for event in node.events if event.startswith("Node")] == [
        "NodeHasInsufficientMemory", "NodeHasSufficientMemory",
    ]  # fmt: skip
    moved = next(item for item in node.manager.conditions() if item.type == "MemoryPressure").lastTransitionTime.seconds
    assert began + 60 <= moved <= began + 75


async def test_a_soft_threshold_lets_a_pod_end_by_itself(tmp_path: Path) -> None:
    """It has its own grace, or the node's when that is shorter."""
    soft = parse("", "memory.available<100Mi", "memory.available=30s")
    node = Node(tmp_path, Config(soft, max_pod_grace=20.0), memory=300 * MIB)
    node.run("patient", 130, terminationGracePeriodSeconds=60)
    node.run("quick", 120, terminationGracePeriodSeconds=5)
    async with node.looping():
        await node.clock.advance(25)
        assert node.evicted() == []
        await node.clock.advance(10)
    assert node.pods[0].evictions[0][2] == 20.0
    assert node.evicted() == ["patient"]


async def test_the_disk_is_cleaned_before_a_pod_is_evicted(tmp_path: Path) -> None:
    """What cannot be cleaned is made up for by the pod that uses most."""
    node = Node(tmp_path, HARD, **{"ephemeral-storage": 30 * MIB})
    for name, size in (("small", 4), ("big", 18)):
        folder = node.run(name).place().folder / "containers/main/0/upper"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * size * MIB)
    await node.manager.look()
    assert len(node.asked) == 1
    assert 0 < node.asked[0] < 3 * MIB
    assert node.evicted() == ["big"]
    assert "has larger consumption of ephemeral-storage. " in node.pods[1].evictions[0][1]
    assert holds(node)["DiskPressure"] == "True"


async def test_images_that_nothing_uses_go_before_any_pod(tmp_path: Path) -> None:
    """When that is enough, nobody is evicted; the condition stays for its period."""
    node = Node(tmp_path, HARD, **{"ephemeral-storage": 30 * MIB})
    node.images = 25 * MIB
    node.run("calm")
    assert await node.manager.look() == []
    assert (node.images, len(node.asked), holds(node)["DiskPressure"]) == (0, 1, "True")
    await node.clock.advance(59)
    assert await node.manager.look() == []
    assert (len(node.asked), holds(node)["DiskPressure"]) == (1, "True")
    await node.clock.advance(1)
    await node.manager.look()
    assert holds(node)["DiskPressure"] == "False"


async def test_a_pod_over_its_own_limit_goes_from_a_calm_node(node: Node) -> None:
    """It is no disruption: the pod's own doing."""
    subject = node.run("full", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}])
    folder = subject.place().folder / "volumes/v"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 2 * MIB)
    assert await node.manager.look() == [subject]
    assert subject.evictions == [("Evicted", 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ', 0.0, False)]
    assert holds(node)["DiskPressure"] == "False"


async def test_pods_that_have_ended_are_not_looked_at(node: Node) -> None:
    """Nor counted."""
    node.run("done", 290).ended = True
    assert await node.manager.look() == []


class SlowDisk(InlinePool):
    """Threads in which each walk of a pod's disk takes the rest of a look; nothing else does."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self.walked: list[str] = []

    async def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        result = work(*args, **kwargs)
        if args:
            self.walked.append(args[0].metadata.name)
            await self.clock.advance(WALKED_WITHIN)
        return result


async def test_a_pod_with_many_trees_delays_no_other_pods_eviction(node: Node) -> None:
    """A look walks disks for some seconds, by turns; what has been measured counts until the pod's next turn."""
    slow = SlowDisk(node.clock)
    node.manager = node.managing(node.cgroups, slow, memory=300 * MIB)
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]
    many, full = node.run("many", volumes=volumes), node.run("full", volumes=volumes)
    folder = full.place().folder / "volumes/v"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 2 * MIB)
    assert await node.manager.look() == []
    assert slow.walked == ["many"]
    node.run("greedy", 290)
    # By memory at once, though the disk of another is not measured yet; and by disk with the second turn.
    assert await node.manager.look() == [full]
    assert [item.uid for item in await node.manager.look()] == ["greedy"]
    assert slow.walked[:3] == ["many", "full", "many"]
    assert not many.evictions

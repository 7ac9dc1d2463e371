"""Three members of etcd and two control planes on a network of their own: each of them killed, frozen and cut off.

Whatever fails: no acknowledged write is lost, no node that reports is blamed, and while a majority of etcd is healthy writes
resume within ten seconds. Three sites, one for each kind of failure, are drilled side by side.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.labs import PATIENCE, eventually
from tests.support.site import NODES, HostedPlane, Site, longest_pause, now, site

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]
# Seconds that each failure lasts, and that writes may pause.
LASTS = {"killed": 12.0, "frozen": 20.0, "cut off": 30.0}
PAUSE = 10.0 * PATIENCE
# Seconds after a failure in which a node might still be blamed: more than the grace period would be the next failure's.
AFTER = 4.0
LATE = 60.0


@dataclass
class Episode:
    """One failure: what failed, the longest pause of writes that it should not have caused, and the nodes that it must not
    have made NotReady but did."""

    subject: str
    pause: float
    blamed: set[str]


@dataclass
class Report:
    episodes: list[Episode] = field(default_factory=list)
    # Names that were acknowledged and are not there, by control plane; and how many were acknowledged.
    lost: list[set[str]] = field(default_factory=list)
    acknowledged: int = 0


class Drill:
    """All failures of one kind, one after the other."""

    def __init__(self, found: Site, kind: str) -> None:
        self._site, self._kind = found, kind
        self.report = Report()

    def run(self) -> Report:
        self._site.run_nodes()
        self._site.run_writers()
        leader = self._site.members.find_leader()
        for index in (leader, (leader + 1) % 3, (leader + 2) % 3):
            self._episode(f"etcd member {index}", lambda index=index: self._member(index), self._site.planes)
        for plane in self._site.planes:
            [other] = [each for each in self._site.planes if each is not plane]
            self._episode(f"control plane {plane.number}", lambda plane=plane: self._plane(plane), [other])
        for plane in self._site.planes:
            names = {name for _, name in self._site.written(plane)}
            self.report.acknowledged += len(names)
            for reader in self._site.planes:
                there = set(reader.kctl("get", "configmaps", "-o", "name").split())
                self.report.lost.append({name for name in names if f"configmap/{name}" not in there})
        return self.report

    def _episode(self, subject: str, fail: Callable[[], None], spared: list[HostedPlane]) -> None:
        """`spared`: the control planes that must be able to write all the time, and to keep their nodes Ready."""
        site_, began = self._site, now()
        blamed = [site_.blamed(plane) for plane in spared[:1]]
        fail()
        time.sleep(AFTER)
        self._recovered(began)
        pauses = [longest_pause([moment for moment, _ in site_.written(plane)], began, now()) for plane in spared]
        after = site_.blamed(spared[0])
        own = tuple(f"of{plane.number}-" for plane in spared)
        more = {name for name, count in after.items() if count > blamed[0].get(name, 0) and name.startswith(own)}
        self.report.episodes.append(Episode(subject, max(pauses), more))

    def _recovered(self, began: float) -> None:
        """Everything is as before: members have a leader, both control planes write, all nodes are Ready."""
        after = now()
        eventually(lambda: all(self._site.members.is_healthy(n) for n in range(3)), within=LATE)
        for plane in self._site.planes:
            eventually(lambda plane=plane: self._site.written(plane)[-1][0] > after, within=LATE)
            eventually(lambda plane=plane: len(self._site.ready(plane)) == 2 * NODES, within=LATE)

    def _member(self, index: int) -> None:
        members = self._site.members
        if self._kind == "killed":
            members.kill(index)
            time.sleep(LASTS[self._kind])
            members.start_one(index)
        elif self._kind == "frozen":
            members.freeze(index)
            time.sleep(LASTS[self._kind])
            members.thaw(index)
        else:
            members.hosts[index].unplug()
            time.sleep(LASTS[self._kind])
            members.hosts[index].plug()

    def _plane(self, plane: HostedPlane) -> None:
        if self._kind == "killed":
            plane.signal(signal.SIGKILL)
            time.sleep(LASTS[self._kind])
            plane.start()
        elif self._kind == "frozen":
            plane.signal(signal.SIGSTOP)
            time.sleep(LASTS[self._kind])
            plane.signal(signal.SIGCONT)
        else:
            plane.host.drop()
            time.sleep(LASTS[self._kind])
            plane.host.pass_()


def drilled(folder: Path, kind: str) -> Report:
    with site(folder) as found:
        return Drill(found, kind).run()


@pytest.fixture(scope="module")
def drills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Report]]]:
    """All three, under way."""
    with ThreadPoolExecutor(len(LASTS)) as pool:
        yield {kind: pool.submit(drilled, tmp_path_factory.mktemp("site"), kind) for kind in LASTS}


@pytest.mark.parametrize("kind", LASTS)
def test_no_acknowledged_write_is_lost_and_no_node_is_blamed(drills: dict[str, Future[Report]], kind: str) -> None:
    """By each member of etcd, its leader first, and by each control plane."""
    report = drills[kind].result(timeout=420 * PATIENCE)
    # For -rP: the pauses are the figures of interest.
    print(report)
    assert [episode.subject for episode in report.episodes if episode.pause >= PAUSE] == [], report
    assert [episode.subject for episode in report.episodes if episode.blamed] == [], report
    assert report.lost == [set()] * 4
    assert (len(report.episodes), report.acknowledged > 500) == (5, True)

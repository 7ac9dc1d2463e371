"""A soak: pods of every awkward sort come and go while agents, launchers and monitors are killed at random.

`python -m tests.support.soak --seconds 1800` prints what happened as JSON and fails when something leaked, was lost, or
grew. The suite runs a short form of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.lab import processes
from tests.support.breaking import COUNT, counted, nothing_left, script, settle_in
from tests.support.labs import LabUnderTest, eventually, running
from tests.support.traces import traces

NODES = ("node-1", "node-2", "node-3")
# Its agent and launcher are never killed, so that their memory has a history.
STEADY = "node-1"
AT_ONCE = 24
# What a process may grow by from the second quarter to the last: a share, and some allowance for the allocator.
GROWTH, ALLOWANCE = 1.10, 3 << 20
BUSY = {"image": "busybox", "imagePullPolicy": "IfNotPresent"}
NEVER_READY = {"exec": {"command": ["false"]}, "periodSeconds": 1}


def sorts(name: str, number: int) -> dict[str, Any]:
    """One pod, of the sort that its number chooses."""
    side = {"name": "side", **BUSY, "restartPolicy": "Always", "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]}
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "30"]}}}}
    limited = {"resources": {"limits": {"memory": "16Mi"}}}
    made = [
        lambda: script(name, "echo once; exit 1"),
        lambda: script(name, "head -c 64M /dev/zero | tail", container=limited),
        lambda: script(name, "trap '' TERM; while :; do sleep 1; done", container=hook, terminationGracePeriodSeconds=1),
        lambda: script(name, "yes 'a line of a log that is much too long' | head -c 25000000; sleep 3600"),
        lambda: script(name, "sleep 3600", container={"livenessProbe": NEVER_READY | {"failureThreshold": 2}}),
        lambda: script(name, "sleep 3600", container={"readinessProbe": NEVER_READY}),
        lambda: script(name, "sleep 1; exit 0", restartPolicy="OnFailure", initContainers=[side]),
        lambda: script(name, "sleep 100000 & exit 0", restartPolicy="Never"),
        lambda: script(name, "sleep 3600", activeDeadlineSeconds=2),
    ]
    return made[number % len(made)]()


@dataclass(slots=True)
class Report:
    """What a soak did, and the memory of what was not killed: samples in bytes, by process."""

    seconds: float = 0.0
    pods: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    memory: dict[str, list[int]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        quarters = {name: self._quarters(values) for name, values in self.memory.items()}
        return {
            "seconds": round(self.seconds), "pods": self.pods, "killed": dict(self.killed),
            "memory_mb": {name: [round(value / 1e6, 1) for value in pair] for name, pair in quarters.items()},
        }  # fmt: skip

    def grown(self) -> list[str]:
        """Processes whose memory was not flat."""
        pairs = {name: self._quarters(values) for name, values in self.memory.items()}
        return [name for name, (early, late) in pairs.items() if late > early * GROWTH + ALLOWANCE]

    @staticmethod
    def _quarters(values: list[int]) -> tuple[float, float]:
        """Medians of the second quarter (warm by then) and of the last."""
        quarter = max(1, len(values) // 4)
        return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


def resident(pid: int) -> int:
    """Resident bytes, of which the end of a process that shares pages changes nothing; 0 when they cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:")), 0)


class Soak:
    def __init__(self, lab: LabUnderTest, seed: int) -> None:
        self._lab = lab
        self._random = random.Random(seed)
        self._number = 0
        self._live: list[str] = []
        self.report = Report()

    def run(self, seconds: float) -> Report:
        """Raises AssertionError when something is lost."""
        lab, start = self._lab, time.monotonic()
        canaries = [script(f"canary-{node}", COUNT, nodeName=node) for node in NODES]
        lab.apply(*canaries)
        eventually(lambda: lab.all_running([item["metadata"]["name"] for item in canaries]))
        turn = 0
        while time.monotonic() - start < seconds:
            self._turn(turn)
            turn += 1
        self._settle()
        self.report.seconds = time.monotonic() - start
        return self.report

    def _turn(self, turn: int) -> None:
        lab = self._lab
        names = [f"soak-{self._number + n}" for n in range(self._random.randrange(3, 9))]
        lab.apply(*(sorts(name, self._number + n) for n, name in enumerate(names)))
        self._number += len(names)
        self.report.pods += len(names)
        self._live += names
        time.sleep(self._random.uniform(0, 1.5))
        self._strike()
        if len(self._live) > AT_ONCE:
            self._random.shuffle(self._live)
            gone, self._live = self._live[: AT_ONCE // 2], self._live[AT_ONCE // 2 :]
            lab.kctl("delete", "pod", *gone, "--wait=false", *(["--now"] if turn % 3 == 0 else []))
        self._sample()
        self._nothing_lost()

    def _strike(self) -> None:
        """Kill one thing, and bring back what nothing else does."""
        lab, node = self._lab, self._random.choice(NODES[1:])
        target = self._random.choice(("agent", "launcher", "agent and launcher", "monitor", "monitor", "nothing"))
        self.report.killed[target] += 1
        if "launcher" in target and (launcher := lab.launcher(node)):
            self._kill(launcher)
        if "agent" in target:
            lab.kill(node)
            time.sleep(self._random.uniform(0, 0.5))
            lab.start_agent(node)
        if target == "monitor":
            self._kill_monitor()

    def _kill_monitor(self) -> None:
        """Of some container, never of a canary, whose log is to have no gap."""
        states = []
        for node in NODES:
            for path in lab_states(self._lab.node_dir(node)):
                with contextlib.suppress(OSError, ValueError):
                    states.append(json.loads(path.read_text()))
        live = [state for state in states if processes.start_time(state["monitor"]) == state["monitor_start"]]
        spared = {self._canary_monitor(node) for node in NODES}
        live = [state for state in live if state["monitor"] not in spared]
        if live:
            self._kill(self._random.choice(live)["monitor"])

    def _canary_monitor(self, node: str) -> int:
        item = self._lab.get("pod", f"canary-{node}")
        return int(self._lab.state(item)["monitor"])

    @staticmethod
    def _kill(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _sample(self) -> None:
        lab = self._lab
        for name, pid in (
            ("agent", lab.pid(STEADY)),
            ("launcher", lab.launcher(STEADY)),
            ("control plane", lab.pid("control")),
        ):
            if size := resident(pid):
                self.report.memory.setdefault(name, []).append(size)

    def _nothing_lost(self) -> None:
        """Every pod that was acknowledged is there, and no canary was touched."""
        found = self._lab.pods()
        missing = [name for name in self._live if name not in found]
        assert not missing, f"pods are lost: {missing}"
        for node in NODES:
            statuses = found[f"canary-{node}"]["status"].get("containerStatuses", [])
            assert [item.get("restartCount", 0) for item in statuses] == [0], f"the canary of {node}: {statuses}"

    def _settle(self) -> None:
        """What can end has ended as it should, and no line of a canary is missing."""

        def ended() -> bool:
            for name, item in self._lab.pods().items():
                sort = int(name.rpartition("-")[2]) % 9 if name.startswith("soak-") else -1
                phase = item["status"].get("phase")
                assert sort not in (6, 7) or phase == "Succeeded", (name, item["status"])
                assert sort != 8 or phase == "Failed", (name, item["status"])
            return True

        eventually(ended, within=60)
        for node in NODES:
            counted(self._lab, f"canary-{node}")


def lab_states(folder: Path) -> list[Path]:
    return list(folder.glob("pods/*/containers/*/*/state.json"))


def soak(folder: Path, seconds: float, seed: int) -> Report:
    """A lab, the soak, and the proof that nothing is left."""
    # Events are kept for an hour; what a soak makes of them is to be gone while it still looks.
    with running("t-soak", folder, nodes=len(NODES), arguments=("--event-ttl=60",)) as lab:
        settle_in(lab)
        before = traces(lab)
        report = Soak(lab, seed).run(seconds)
        nothing_left(lab, before)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), args.seconds, args.seed)
    print(json.dumps({**report.summary(), "grown": report.grown(), "leaked": [], "lost": []}, indent=2))
    return 1 if report.grown() else 0


if __name__ == "__main__":
    sys.exit(main())

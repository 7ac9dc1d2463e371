"""Containers to break, and what must hold of them afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any

from tests.support.labs import LabUnderTest, eventually, pod
from tests.support.traces import Traces, difference, traces

# Writes 0, 1, 2, ... a line each, and ends at once on SIGTERM.
COUNT = "trap 'exit 0' TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done"
# Does nothing, without waking up.
IDLE = "trap 'exit 0' TERM; sleep 100000 & wait"
# Ends with code 7 once the file is there; `signal_end` makes it.
GATED = "trap 'exit 0' TERM; while [ ! -e /gate/open ]; do usleep 50000; done; exit 7"
GATE: dict[str, Any] = {"volumes": [{"name": "gate", "emptyDir": {}}]}


class Moments:
    """Random moments, the same in every run of a test that names the same seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def wait(self, most: float) -> None:
        """Until some moment within the next `most` seconds."""
        time.sleep(self._random.uniform(0, most))

    def choose(self, items: list[Any]) -> Any:
        return self._random.choice(items)


def script(name: str, text: str, **spec: Any) -> dict[str, Any]:
    return pod(name, "sh", "-c", text, **spec)


def gated(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that ends with code 7 when `open_gate` says so."""
    mounts = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}
    return script(name, GATED, container=mounts, **GATE, **spec)


def open_gate(lab: LabUnderTest, item: dict[str, Any]) -> None:
    folder = lab.node_dir(item["spec"]["nodeName"]) / "pods" / item["metadata"]["uid"]
    (folder / "volumes" / "gate" / "open").touch()


def pids(lab: LabUnderTest, items: Iterable[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Pid and start time of each pod's first run."""
    return {item["metadata"]["name"]: (state["pid"], state["pid_start"]) for item in items for state in [lab.state(item)]}


def restarts(item: dict[str, Any]) -> int:
    return int(item["status"]["containerStatuses"][0].get("restartCount", 0))


def counted(lab: LabUnderTest, name: str) -> int:
    """Lines of a counting container so far; AssertionError when one is missing, or there twice."""
    numbers = [int(line) for line in lab.kctl("logs", name).split()]
    assert numbers == list(range(len(numbers))), f"{name}: {_first_fault(numbers)}"
    return len(numbers)


def _first_fault(numbers: list[int]) -> str:
    wrong = next(i for i, number in enumerate(numbers) if number != i)
    return f"line {wrong} is {numbers[max(0, wrong - 2) : wrong + 3]}"


def goes_on(lab: LabUnderTest, name: str) -> None:
    """The container still writes, and nothing it wrote is missing."""
    before = eventually(lambda: counted(lab, name))
    eventually(lambda: counted(lab, name) > before + 5)


def settle_in(lab: LabUnderTest) -> None:
    """One pod on every node, made and deleted: what a node makes once, with its first pod, is there from now on."""
    nodes = [item["metadata"]["name"] for item in lab.get("nodes")["items"]]
    lab.apply(*(script(f"first-{node}", IDLE, nodeName=node) for node in nodes))
    eventually(lambda: lab.all_running([f"first-{node}" for node in nodes]))
    lab.kctl("delete", "pods", "--all", "--timeout", "60s")


def nothing_left(lab: LabUnderTest, before: Traces) -> None:
    """Every pod deleted, the nodes are as they were."""
    lab.kctl("delete", "pods", "--all", "--timeout", "60s", "--ignore-not-found")
    assert lab.pods() == {}
    # A launcher that was killed comes back with the next pod.
    if not all(lab.launcher(node) for node in lab.record["nodes"]):
        settle_in(lab)

    def equal() -> bool:
        left = difference(before, traces(lab))
        assert not left, left
        return True

    eventually(equal, within=20)

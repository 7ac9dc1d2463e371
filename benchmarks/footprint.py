"""Proportional set size of every process: the control plane before its first pod and after one, which imports the scheduler; an agent
with its launcher; and what a container adds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from support import client, lab, remove_pods, start_pods

PODS = 50
MB = 1_000_000
# Seconds; `nodeagent.images.unpacking.IDLE` and some more.
UNPACKER_IDLE = 12.0
# Seconds after which the start has ended.
SETTLED = 5.0


def pss(pids: list[int]) -> int:
    from cli.lab import processes

    return sum(processes.memory(pid) for pid in pids)


def measure(record: Any) -> tuple[float, list[float], int]:
    """Bytes of the control plane, of each node's own processes, and of the programs in its containers."""
    from cli.lab import processes
    from cli.lab.layout import CONTROL

    programs = containers(record)
    nodes = [float(pss(processes.of_host(record, node))) for node in record.nodes]
    return float(pss(processes.of_host(record, CONTROL))), nodes, pss(programs)


def containers(record: Any) -> list[int]:
    """The pids of the containers' own first processes."""
    found = []
    for node in record.nodes:
        for state in Path(record.node_dir(node)).glob("pods/*/containers/*/*/state.json"):
            found.append(int(json.loads(state.read_text())["pid"]))
    return found


def main() -> None:
    with lab("bench-foot", 3) as (config, record):
        connection = client(config)
        time.sleep(SETTLED)
        control_new, _, _ = measure(record)
        start_pods(connection, ["warm"])
        remove_pods(connection, ["warm"])
        # The processes that unpack images end by themselves when there is nothing to unpack.
        time.sleep(UNPACKER_IDLE)
        control_idle, nodes_idle, _ = measure(record)
        names = [f"pod-{number}" for number in range(PODS)]
        start_pods(connection, names)
        control_busy, nodes_busy, programs = measure(record)
        remove_pods(connection, names)
    result = {
        "controlplane_mb": round(control_new / MB, 1),
        "controlplane_after_a_pod_mb": round(control_idle / MB, 1),
        "controlplane_with_50_pods_mb": round(control_busy / MB, 1),
        "agent_mb": round(max(nodes_idle) / MB, 1),
        "per_container_mb": round((sum(nodes_busy) - sum(nodes_idle)) / PODS / MB, 2),
        "per_container_program_mb": round(programs / PODS / MB, 2),
        "pods": PODS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

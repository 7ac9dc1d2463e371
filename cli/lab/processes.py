"""Starting, finding and ending what runs in a lab.

A node's processes are those in its pinned network and mount namespaces (agent, launcher, monitors); its containers end
with their monitors. So whatever happened before, everything of a lab can be found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cli.lab import cgroups, hosts
from cli.lab.layout import API_PORT, CONTROL, WEB_PORT, Lab, Process
from pinnace.errors import Timeout

ENDED_WITHIN = 15.0
# Nodes of a lab share the machine's disk with everything else on it: how full that is says nothing about their pods.
EVICTION = "memory.available<100Mi"


def start_time(pid: int) -> int:
    """Clock ticks since boot, 0 for no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def alive(process: Process | None) -> bool:
    return process is not None and start_time(process.pid) == process.start and _state(process.pid) != "Z"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def _spawn(lab: Lab, host: str, arguments: list[str]) -> None:
    log = lab.log(host)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [*hosts.inside(lab, host), sys.executable, "-P", "-m", *arguments],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd="/",
        )  # fmt: skip
    lab.processes[host] = Process(process.pid, start_time(process.pid))


def start_control(lab: Lab, tokens: Path | None) -> None:
    address = lab.address(CONTROL)
    arguments = [
        "controlplane", "--state-dir", str(lab.control_dir), "--socket", str(lab.socket), "--advertise", address,
        "--listen", f"{address}:{API_PORT}", "--web", f"{address}:{WEB_PORT}", *lab.control_args,
    ]  # fmt: skip
    _spawn(lab, CONTROL, [*arguments, "--join-tokens", str(tokens)] if tokens else arguments)


def start_agent(lab: Lab, node: str, joining: list[str]) -> None:
    """`joining` are the words of a join; without them the node uses the identity it has."""
    own = [
        "--state-dir", str(lab.node_dir(node)), "--cgroup", lab.cgroup(node), "--address", lab.address(node),
        "--eviction-hard", EVICTION, *lab.agent_args,
    ]  # fmt: skip
    lab.node_dir(node).mkdir(parents=True, exist_ok=True, mode=0o700)
    if joining:
        _spawn(lab, node, ["nodeagent", "join", *joining, "--node-name", node, "--run", "--wait", "30", *own])
    else:
        _spawn(lab, node, ["nodeagent", "run", *own])


def of_host(lab: Lab, host: str) -> list[int]:
    """Every process in the host's namespaces."""
    wanted = {kind: hosts.inode(lab.namespace(host, kind)) for kind in ("net", "mnt")}
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and any(number and _namespace(entry.name, kind) == number for kind, number in wanted.items()):
            found.append(int(entry.name))
    return found


def _namespace(pid: str, kind: str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except OSError:
        return 0


def end(lab: Lab, host: str) -> None:
    """End every process of a host. Raises Timeout when one resists."""
    deadline = time.monotonic() + ENDED_WITHIN
    # Containers too: the kernel does not always end them with their monitors (an AppArmor profile undoes that).
    while (left := [*of_host(lab, host), *cgroups.pids(lab, host)]) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    if left:
        raise Timeout(f"processes of {host} do not end: {left}")
    lab.processes.pop(host, None)


def memory(pid: int) -> int:
    """Proportional set size in bytes; 0 when it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)

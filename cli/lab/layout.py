"""A lab's files and its record.

/run/pinnace/labs/NAME/       namespaces (ns/HOST.net, ns/HOST.mnt), the API's socket; gone after a reboot
/var/lib/pinnace/labs/NAME/   state and logs of the control plane and of every node, and `lab.json`
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pinnace import pki
from pinnace.errors import BadRequest

RUN = Path("/run/pinnace/labs")
STATE = Path("/var/lib/pinnace/labs")
CONTROL = "control"
SWITCH = "switch"
# The underlay lies inside the lab's own namespaces, so every lab can have the same (TEST-NET-2, RFC 5737).
SUBNET = "198.51.100"
API_PORT, WEB_PORT = 6443, 6444
MAX_NODES = 50
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Process:
    """By pid and start time, so that a reused pid is not mistaken."""

    pid: int
    start: int


@dataclass(slots=True)
class Lab:
    """`nodes` maps a node's name to its number, which is the last byte of its address; `processes` by host name."""

    name: str
    nodes: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    # Extra arguments that were given to the control plane and to the agents, for a restart.
    control_args: list[str] = field(default_factory=list)
    agent_args: list[str] = field(default_factory=list)

    @property
    def run_dir(self) -> Path:
        return RUN / self.name

    @property
    def state_dir(self) -> Path:
        return STATE / self.name

    @property
    def control_dir(self) -> Path:
        return self.state_dir / "control"

    @property
    def socket(self) -> Path:
        return self.run_dir / "api.sock"

    @property
    def context(self) -> str:
        return f"lab-{self.name}"

    def node_dir(self, node: str) -> Path:
        return self.state_dir / "nodes" / node

    def namespace(self, host: str, kind: str) -> Path:
        return self.run_dir / "ns" / f"{host}.{kind}"

    def log(self, host: str) -> Path:
        return self.state_dir / "logs" / f"{host}.log"

    def cgroup(self, node: str) -> str:
        return f"pinnace-{self.name}-{node}"

    def address(self, host: str) -> str:
        return f"{SUBNET}.{1 if host == CONTROL else 10 + self.nodes[host]}"

    def save(self) -> None:
        pki.write_private(self.state_dir / "lab.json", json.dumps(asdict(self)).encode())


def check_name(name: str) -> str:
    """Raises BadRequest."""
    if not _NAME.match(name):
        raise BadRequest(f'"{name}" cannot name a lab: at most 16 of a-z, 0-9 and "-"')
    return name


def load(name: str) -> Lab:
    """Raises BadRequest."""
    try:
        record = json.loads((STATE / check_name(name) / "lab.json").read_text())
    except FileNotFoundError:
        there = f"--name says which: {', '.join(names())}" if names() else "`kctl lab up` makes one"
        raise BadRequest(f'there is no lab "{name}": {there}') from None
    processes = {host: Process(**item) for host, item in record["processes"].items()}
    return Lab(record["name"], record["nodes"], processes, record["control_args"], record.get("agent_args", []))


def names() -> list[str]:
    return sorted(path.parent.name for path in STATE.glob("*/lab.json"))

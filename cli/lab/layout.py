"""A lab's files and its record.

/run/pinnace/labs/NAME/       namespaces (ns/HOST.net, ns/HOST.mnt), the API's socket, resolv.conf; gone after a reboot
/var/lib/pinnace/labs/NAME/   state and logs of the control plane and of every node, and `lab.json`
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from cli.lab import links, locking
from pinnace import pki
from pinnace.errors import BadRequest

RUN = Path("/run/pinnace/labs")
STATE = Path("/var/lib/pinnace/labs")
CONTROL = "control"
SWITCH = "switch"
# The underlay lies inside the lab's own namespaces, so every lab can have the same (TEST-NET-2, RFC 5737).
SUBNET = "198.51.100"
# The switch's own address there, of labs with an uplink: the nodes' default gateway and name server.
GATEWAY = f"{SUBNET}.254"
# The same of IPv6, from the documentation's prefix (RFC 3849).
SUBNET6 = "2001:db8:c633:64:"
CLUSTER_CIDR = "10.244.0.0/16"
IPV4, IPV6, DUAL = "ipv4", "ipv6", "dual"
# Pod and Service ranges by IP family, of IPv6 as kind has them; the primary family first.
CLUSTER_CIDRS = {IPV4: CLUSTER_CIDR, IPV6: "fd00:10:244::/56", DUAL: f"{CLUSTER_CIDR},fd00:10:244::/56"}
SERVICE_CIDRS = {IPV4: "10.96.0.0/12", IPV6: "fd00:10:96::/112", DUAL: "10.96.0.0/12,fd00:10:96::/112"}
# Addresses of the underlay that Services of type LoadBalancer are given.
POOLS = {
    IPV4: f"{SUBNET}.192-{SUBNET}.223", IPV6: f"{SUBNET6}:c0-{SUBNET6}:df",
    DUAL: f"{SUBNET}.192-{SUBNET}.223,{SUBNET6}:c0-{SUBNET6}:df",
}  # fmt: skip
API_PORT, WEB_PORT = 6443, 6444
MAX_NODES = 50
# Seconds to wait for another kctl that changes the same lab.
LOCKED_WITHIN = 120.0
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Process:
    """By pid and start time, so that a reused pid is not mistaken."""

    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was injected: `kind` is stop, freeze, cut or fill, `hosts` one host, or the two ends of a cut.

    `until`: when it is reverted, in seconds since the epoch, 0 for never; `watchdog` is the process that reverts it then."""

    kind: str
    hosts: tuple[str, ...]
    until: float = 0.0
    watchdog: Process | None = None


@dataclass(slots=True)
class Lab:
    """`nodes` maps a node's name to its number, which is the end of its addresses less 10; `processes` by host name.

    `uplink`: the lab should reach this machine's networks, through a link network of `uplink_cidr` (empty: any that is
    free). `proxies` holds proxy variables for the agents; `created` is in seconds since the epoch, 0 when unknown.
    """

    name: str
    nodes: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    # Extra arguments that were given to the control plane and to the agents, for a restart.
    control_args: list[str] = field(default_factory=list)
    agent_args: list[str] = field(default_factory=list)
    uplink: bool = False
    uplink_cidr: str = ""
    proxies: dict[str, str] = field(default_factory=dict)
    created: float = 0.0
    # The REST API's port of this machine's loopback, 0 before there is one; and the kubeconfig that tells of it, or empty.
    rest_port: int = 0
    kubeconfig: str = ""
    faults: list[Fault] = field(default_factory=list)
    # Bytes of each node's own disk, 0: nodes share this machine's.
    disk_size: int = 0
    # This machine reaches its pods and Services through the uplink.
    reach: bool = False
    # Of the underlay, pods and Services.
    ip_family: str = IPV4

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
    def clock_file(self) -> Path:
        """How far the lab's clock was advanced, and when (`pinnace.labclock`)."""
        return self.state_dir / "clock.json"

    @property
    def socket(self) -> Path:
        return self.run_dir / "api.sock"

    @property
    def context(self) -> str:
        return f"lab-{self.name}"

    @property
    def resolv_conf(self) -> Path:
        return self.run_dir / "resolv.conf"

    @property
    def device(self) -> str:
        """This machine's side of the uplink."""
        return links.device(self.name)

    @property
    def cluster_cidr(self) -> str:
        """The IPv4 range of its pods, by the control plane's flags; empty for none."""
        return self._control_flag("--cluster-cidr", CLUSTER_CIDRS[self.ip_family])

    @property
    def service_cidr(self) -> str:
        """The IPv4 range of its Services; empty for none."""
        return self._control_flag("--service-cluster-ip-range", SERVICE_CIDRS[self.ip_family])

    def _control_flag(self, name: str, default: str) -> str:
        """The IPv4 range among the values of a flag of the control plane; empty for none."""
        words = [word for argument in self.control_args for word in argument.split("=", 1)]
        named = [words[at + 1] for at, word in enumerate(words[:-1]) if word == name]
        for part in (named[-1] if named else default).split(","):
            # Other text is IPv6, or an error that the control plane reports.
            with contextlib.suppress(ValueError):
                return str(IPv4Network(part.strip()))
        return ""

    def node_dir(self, node: str) -> Path:
        return self.state_dir / "nodes" / node

    def namespace(self, host: str, kind: str) -> Path:
        return self.run_dir / "ns" / f"{host}.{kind}"

    def disk(self, node: str) -> Path:
        """The file that holds a node's own disk."""
        return self.state_dir / "disks" / f"{node}.img"

    def log(self, host: str) -> Path:
        return self.state_dir / "logs" / f"{host}.log"

    def cgroup(self, node: str) -> str:
        return f"pinnace-{self.name}-{node}"

    def address(self, host: str) -> str:
        """Of the primary family."""
        return self.addresses(host)[0]

    def addresses(self, host: str) -> list[str]:
        """On the underlay, one of each of the lab's IP families."""
        if host == SWITCH:
            return [GATEWAY]
        number = 1 if host == CONTROL else 10 + self.nodes[host]
        ipv4 = [f"{SUBNET}.{number}"] if self.ip_family != IPV6 else []
        return [*ipv4, f"{SUBNET6}:{number:x}"] if self.ip_family != IPV4 else ipv4

    def save(self) -> None:
        pki.write_private(self.state_dir / "lab.json", json.dumps(asdict(self)).encode())


def check_name(name: str) -> str:
    """Raises BadRequest."""
    if not _NAME.match(name):
        raise BadRequest(f'"{name}" cannot name a lab: at most 16 of a-z, 0-9 and "-"')
    return name


def exclusive(name: str) -> contextlib.AbstractContextManager[None]:
    """One kctl at a time changes a lab; load its record inside. Raises BadRequest, and Timeout on entry."""
    return locking.held(lock(check_name(name)), within=LOCKED_WITHIN)


def lock(name: str) -> Path:
    return STATE / f".{name}.lock"


def load(name: str) -> Lab:
    """Raises BadRequest."""
    path = STATE / check_name(name) / "lab.json"
    try:
        record = json.loads(path.read_text())
        record["processes"] = {host: Process(**item) for host, item in record["processes"].items()}
        record["faults"] = [_fault(item) for item in record.get("faults", [])]
        known = {item.name for item in fields(Lab)}
        return Lab(**{key: value for key, value in record.items() if key in known})
    except FileNotFoundError:
        there = f"labs: {', '.join(names())}" if names() else "`kctl lab up` makes one"
        raise BadRequest(f'there is no lab "{name}" ({there})') from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadRequest(f"{path} is not a lab's record; remove the lab with `kctl lab down --name {name}`") from None


def _fault(item: dict[str, Any]) -> Fault:
    watchdog = Process(**item["watchdog"]) if item["watchdog"] else None
    return Fault(str(item["kind"]), tuple(item["hosts"]), float(item["until"]), watchdog)


def names() -> list[str]:
    return sorted(path.parent.name for path in STATE.glob("*/lab.json"))

"""The explanation of a stalled connection, or of a node that is not as wanted: all that its network has, and its agent's log.

For messages of failed tests: nothing here raises because something is missing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.lab import layout
from tests.support.labs import LabUnderTest

# Of each network namespace. Elements that packets have added are not listed (-t): there may be a hundred thousand.
COMMANDS = (
    "ip -s -d link", "ip address", "ip route show table all", "ip neigh", "bridge -s fdb", "nft -t list ruleset",
    "for set in peers_4 peers_6; do nft list set inet pinnace $set; done; nft list sets bridge", "cat /proc/net/nf_conntrack",
    "grep . /proc/sys/net/netfilter/nf_conntrack_tcp_* /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/ipv4/ip_forward",
    "cat /proc/net/stat/nf_conntrack /proc/net/stat/arp_cache /proc/net/netstat /proc/net/snmp /proc/net/softnet_stat",
)  # fmt: skip
# Characters of one command, and of a log.
MOST, MOST_OF_LOG = 20_000, 15_000


def namespace(netns: Path, commands: tuple[str, ...] = COMMANDS) -> str:
    return "\n".join(f"$ {command}\n{_output(['nsenter', f'--net={netns}', 'sh', '-c', command])}" for command in commands)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return repr(error)
    return (done.stdout + done.stderr)[:MOST]


def links(netns: Path) -> str:
    """Programs on devices: who holds them, and on which device. Of an agent that was killed there are none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.stat(entry / "ns/net").st_ino != os.stat(netns).st_ino:
                continue
            for path in (entry / "fdinfo").iterdir():
                if "link_type" in (text := path.read_text()):
                    found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}: {' '.join(text.split())}")
    return "\n".join(sorted(found)) or "no BPF links"


def node(lab: LabUnderTest, name: str) -> str:
    netns = Path(f"/run/pinnace/labs/{lab.name}/ns/{name}.net")
    return f"{namespace(netns)}\n$ BPF links\n{links(netns)}"


def log(lab: LabUnderTest, host: str) -> str:
    try:
        return layout.load(lab.name).log(host).read_text(errors="replace")[-MOST_OF_LOG:]
    except OSError as error:
        return repr(error)


def lab_report(lab: LabUnderTest, nodes: tuple[str, ...], pods: Mapping[str, Path]) -> str:
    """`pods`: network namespaces by name."""
    verified = lab.run("net", "verify")
    parts = {"kctl net verify": (verified.stdout + verified.stderr).decode(errors="replace")}
    for name in nodes:
        parts[name] = node(lab, name)
        metrics = lab.run("get", "--raw", f"/api/v1/nodes/{name}/proxy/metrics").stdout.decode(errors="replace")
        lines = [line for line in metrics.splitlines() if line.startswith("pinnace_network")]
        parts[f"metrics of {name}"] = "\n".join(lines)
    parts |= {f"pod {name}": namespace(path, (*COMMANDS[:4], "ss -tinoem", COMMANDS[-1])) for name, path in pods.items()}
    parts |= {f"log of {host}": log(lab, host) for host in (*nodes, "control")}
    return "".join(f"\n==== {title}\n{text}" for title, text in parts.items())


@contextlib.contextmanager
def explained(lab: LabUnderTest, *nodes: str, pods: Mapping[str, Path] | None = None, more: object = "") -> Iterator[None]:
    """A failure in here has the report with it; `more` as it is then."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"{more}\n{lab_report(lab, nodes, pods or {})}")
        raise

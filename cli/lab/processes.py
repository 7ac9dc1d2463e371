"""Start, find and end the processes of a lab.

A node's processes are found by its pinned network and mount namespaces (agent, launcher, monitors), whatever started them
and whatever has crashed since; containers end with their monitors.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cli.lab import cgroups, hosts, proxies, reach, resolvconf, restport
from cli.lab.layout import API_PORT, CLUSTER_CIDRS, CONTROL, POOLS, SERVICE_CIDRS, SWITCH, WEB_PORT, Lab, Process
from pinnace.errors import Timeout
from pinnace.ipfamilies import url_host

ENDED_WITHIN = 15.0
# Nodes of a lab share the machine's disk with everything else on it: how full that is says nothing about their pods.
EVICTION = "memory.available<100Mi"
# Of a node with a disk of its own: kubelet's.
OWN_DISK = f"{EVICTION},nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%"


def start_time(pid: int) -> int:
    """Clock ticks since boot, 0 for no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def alive(process: Process | None) -> bool:
    return process is not None and start_time(process.pid) == process.start and state(process.pid) != "Z"


def state(pid: int) -> str:
    """As /proc/PID/stat has it; Z for no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


@dataclass(frozen=True, slots=True)
class Joining:
    """What an agent needs to join: `endpoint` is host:port, `token` a secret."""

    endpoint: str
    token: str
    ca_hash: str


def _spawn(
    lab: Lab, host: str, arguments: list[str], *, into: list[str], pass_fds: tuple[int, ...] = (), stdin: str = ""
) -> None:
    """Start a module in a host, `into` being the words that enter it; recorded at once, so that a killed kctl loses none.

    `stdin`: at most a pipe's worth of text for it, such as a secret, which no command line may hold."""
    reader, writer = os.pipe()
    os.write(writer, stdin.encode())
    os.close(writer)
    log = lab.log(host)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [*into, sys.executable, "-P", "-m", *arguments], stdin=reader, stdout=file, stderr=file,
            start_new_session=True, cwd="/", pass_fds=pass_fds, env=proxies.environment(lab),
        )  # fmt: skip
    os.close(reader)
    record(lab, host, process.pid)


def record(lab: Lab, host: str, pid: int) -> None:
    """This process of a host has been started."""
    lab.processes[host] = Process(pid, start_time(pid))
    lab.save()


def start_control(lab: Lab, tokens: Path | None) -> None:
    address = lab.address(CONTROL)
    arguments = [
        "controlplane", "--state-dir", str(lab.control_dir), "--socket", str(lab.socket), "--advertise", address,
        "--listen", f"{url_host(address)}:{API_PORT}", "--web", f"{url_host(address)}:{WEB_PORT}",
        "--cluster-cidr", CLUSTER_CIDRS[lab.ip_family], "--service-cluster-ip-range", SERVICE_CIDRS[lab.ip_family],
        "--load-balancer-pool", POOLS[lab.ip_family], "--lab-clock", str(lab.clock_file), *lab.control_args,
    ]  # fmt: skip
    words = ["--join-tokens", str(tokens)] if tokens else []
    with restport.listen(lab) as outside, restport.listen_inside(lab) as inside:
        descriptors = (outside.fileno(), inside.fileno())
        words += [*(f"--web-fd={number}" for number in descriptors), "--rest-server", restport.server(lab)]
        _spawn(lab, CONTROL, [*arguments, *words], into=hosts.inside(lab, CONTROL), pass_fds=descriptors)


def start_agent(lab: Lab, node: str, joining: Joining | None = None) -> None:
    """Start a node's agent; without `joining` the node uses the identity it has."""
    words = agent_words(lab, node, joining)
    token = joining.token if joining else ""
    _spawn(lab, node, ["nodeagent", *words], into=hosts.inside(lab, node), stdin=token)


def agent_words(lab: Lab, node: str, joining: Joining | None) -> list[str]:
    """The arguments of a node's agent, which has the token on standard input; makes its directory."""
    eviction = OWN_DISK if lab.disk_size else EVICTION
    own = [
        "--state-dir", str(lab.node_dir(node)), "--cgroup", lab.cgroup(node), "--address", ",".join(lab.addresses(node)),
        "--eviction-hard", eviction, "--lab-clock", str(lab.clock_file), *reach.agent_arguments(lab),
        *lab.agent_args,
    ]  # fmt: skip
    lab.node_dir(node).mkdir(parents=True, exist_ok=True, mode=0o700)
    if not joining:
        return ["run", *own]
    words = ["join", joining.endpoint, "--token-file", "-", "--ca-hash", joining.ca_hash, "--node-name", node]
    return [*words, "--run", "--wait", "30", *own]


def start_forwarder(lab: Lab, udp: int, tcp: int, machine: str) -> None:
    """In this machine's network, whose address for pods is `machine`, with sockets of the switch's. It is found by the mount
    namespace of the switch."""
    into = ["nsenter", f"--mount={lab.namespace(SWITCH, 'mnt')}", "--wd=/"]
    arguments = ["cli.lab.dns", str(udp), str(tcp), str(resolvconf.PATH), machine]
    _spawn(lab, SWITCH, arguments, into=into, pass_fds=(udp, tcp))


def of_host(lab: Lab, host: str) -> list[int]:
    """Every process in the host's namespaces."""
    return _within(_namespaces(lab, host))


def _namespaces(lab: Lab, host: str) -> dict[str, int]:
    """By kind, the namespaces that are pinned, or where a pin is lost, those of the host's main process."""
    main, found = lab.processes.get(host), {}
    for kind in ("net", "mnt"):
        found[kind] = hosts.inode(lab.namespace(host, kind))
        if not found[kind] and main is not None and alive(main):
            own = _namespace(str(main.pid), kind)
            found[kind] = own if own != _namespace("self", kind) else 0
    return found


def _within(wanted: dict[str, int]) -> list[int]:
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
    # Once: with the main process its namespaces may be out of sight.
    wanted = _namespaces(lab, host)
    # Containers too: the kernel does not always end them with their monitors (an AppArmor profile undoes that).
    while (left := [*_within(wanted), *cgroups.pids(lab, host)]) and time.monotonic() < deadline:
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

"""Namespaces as hosts, and the underlay between them: a bridge in a namespace of its own, a veth pair for each host.

Nothing is made in the machine's own network namespace; that is `uplink`'s. Nodes of a lab that should have an uplink have
the switch as their default gateway and name server, whether or not the uplink exists: it can come later. Without one they
have no default route.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path

from cli.lab import resolvconf
from cli.lab.layout import CONTROL, GATEWAY, SWITCH, Lab
from cli.lab.netns import entered
from pinnace.errors import Internal

DEADLINE = 20.0


def command(arguments: list[str], *, stdin: str = "") -> str:
    """Run a tool to its end. Raises Internal with what it said."""
    try:
        result = subprocess.run(arguments, input=stdin, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Internal(f"{arguments[0]}: {error}") from None
    if result.returncode:
        raise Internal(f"{' '.join(arguments[:4])}: {result.stderr.strip() or result.returncode}")
    return result.stdout


def prepare(lab: Lab) -> None:
    """The folder for pins, on a mount of its own that is private: a mount namespace cannot be pinned on a shared one."""
    folder = lab.run_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.path.ismount(folder):
        command(["mount", "-t", "tmpfs", "-o", "mode=700,size=4m", "pinnace-lab", str(folder)])
        command(["mount", "--make-private", str(folder)])
    (folder / "ns").mkdir(exist_ok=True)
    if lab.uplink and not lab.resolv_conf.exists():
        lab.resolv_conf.write_text(resolvconf.PATH.read_text(errors="replace") if resolvconf.PATH.is_file() else "")
        # Pods' processes and the agent read it as /etc/resolv.conf.
        lab.resolv_conf.chmod(0o644)


def create(lab: Lab, names: list[str]) -> None:
    """Make and wire the named hosts; the switch is made with the first."""
    if not pinned(lab, SWITCH):
        _create_switch(lab)
    for host in names:
        _pin(lab, host, mount=host != CONTROL)
    plug: list[str] = []
    for host in names:
        port = port_of(lab, host)
        plug += [
            f"link add {port} type veth peer name eth0 netns {lab.namespace(host, 'net')}",
            f"link set {port} master br0 up",
        ]
    batch(lab, SWITCH, plug)
    for host in names:
        # No other host has them, and the next step uses them at once (RFC 4862: detection of a duplicate takes a second).
        addresses = [f"{item}/64 dev eth0 nodad" if ":" in item else f"{item}/24 dev eth0" for item in lab.addresses(host)]
        lines = ["link set lo up", *(f"addr add {item}" for item in addresses), "link set eth0 up"]
        if lab.uplink and host != CONTROL:
            lines.append(f"route add default via {GATEWAY}")
        batch(lab, host, lines)


def _create_switch(lab: Lab) -> None:
    _pin(lab, SWITCH, mount=lab.uplink)
    lines = ["link set lo up", "link add br0 type bridge", "link set br0 up"]
    if not lab.uplink:
        batch(lab, SWITCH, lines)
        return
    batch(lab, SWITCH, [*lines, f"addr add {GATEWAY}/24 dev br0"])
    with entered(lab.namespace(SWITCH, "net")):
        # Also while there is no way out: then the kernel says at once that the network is unreachable.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def missing(lab: Lab) -> list[str]:
    """Hosts without namespaces, or that are not plugged into the switch."""
    names = [CONTROL, *lab.nodes]
    if not pinned(lab, SWITCH):
        return names
    ports = devices(lab, SWITCH)
    return [host for host in names if not (pinned(lab, host) and port_of(lab, host) in ports)]


def devices(lab: Lab, host: str) -> set[str]:
    """Names of a host's network devices."""
    with entered(lab.namespace(host, "net")):
        return {name for _, name in socket.if_nameindex()}


def pinned(lab: Lab, host: str) -> bool:
    return inode(lab.namespace(host, "net")) != 0


def port_of(lab: Lab, host: str) -> str:
    """The switch's device that a host is plugged into."""
    return "port0" if host == CONTROL else f"port{lab.nodes[host]}"


def _pin(lab: Lab, host: str, *, mount: bool) -> None:
    """Make a host's namespaces and keep them under its name.

    Linux refuses to pin a mount namespace whose id is below that of ours, and since 6.18 each CPU hands out ids of its own:
    where kctl is in a container, a namespace of another CPU may do.
    """
    cpus = os.sched_getaffinity(0)
    try:
        for attempt, cpu in enumerate([None, *sorted(cpus)]):
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            try:
                return _unshare(lab, host, mount=mount)
            except Internal as error:
                remove(lab, host)
                if not mount or "Invalid argument" not in error.message or attempt == len(cpus):
                    raise
    finally:
        os.sched_setaffinity(0, cpus)


def _unshare(lab: Lab, host: str, *, mount: bool) -> None:
    arguments = ["unshare"]
    kinds = ["net", "mnt"] if mount else ["net"]
    for kind in kinds:
        path = lab.namespace(host, kind)
        path.touch(mode=0o600)
        arguments.append(f"--{'mount' if kind == 'mnt' else kind}={path}")
    first = ["true"]
    if lab.uplink and host in lab.nodes and resolvconf.PATH.is_file():
        first = ["mount", "--bind", str(lab.resolv_conf), str(resolvconf.PATH)]
    command([*arguments, *(["--propagation", "private"] if mount else []), *first])


def batch(lab: Lab, host: str, lines: list[str]) -> None:
    """Lines for `ip -batch` in a host's network. Raises Internal."""
    command(["nsenter", f"--net={lab.namespace(host, 'net')}", "ip", "-batch", "-"], stdin="\n".join(lines) + "\n")


def unplug(lab: Lab, host: str) -> None:
    """Remove a host's cable, which the kernel otherwise does some time after the host's last process has ended."""
    if pinned(lab, SWITCH) and port_of(lab, host) in devices(lab, SWITCH):
        batch(lab, SWITCH, [f"link delete {port_of(lab, host)}"])


def inside(lab: Lab, host: str) -> list[str]:
    """The words that run a command in a host."""
    words = ["nsenter", f"--net={lab.namespace(host, 'net')}"]
    mount = lab.namespace(host, "mnt")
    return [*words, f"--mount={mount}", "--wd=/"] if mount.exists() else words


def inode(path: Path) -> int:
    """What /proc/PID/ns/* of a process in this namespace has; 0 when it is not pinned."""
    try:
        return path.stat().st_ino if os.path.ismount(path) else 0
    except FileNotFoundError:
        return 0


def remove(lab: Lab, host: str) -> None:
    """Unpin a host. With its last process gone the kernel takes its devices, mounts and routes."""
    for kind in ("mnt", "net"):
        path = lab.namespace(host, kind)
        if path.exists():
            while os.path.ismount(path):
                command(["umount", "--lazy", str(path)])
            path.unlink()


def remove_all(lab: Lab) -> None:
    for host in (*lab.nodes, CONTROL, SWITCH):
        remove(lab, host)
    while os.path.ismount(lab.run_dir):
        command(["umount", "--lazy", str(lab.run_dir)])
    with contextlib.suppress(OSError):
        lab.run_dir.rmdir()

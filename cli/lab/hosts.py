"""Namespaces as hosts, and the underlay between them: a bridge in a namespace of its own, a veth pair for each host.

Nothing is made in the machine's own network namespace, and no host has a default route: what a lab sends stays in it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from cli.lab.layout import CONTROL, SWITCH, Lab
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


def create(lab: Lab, hosts: list[str]) -> None:
    """Make and wire the named hosts; the switch is made with the first."""
    if not lab.namespace(SWITCH, "net").exists():
        _pin(lab, SWITCH, mount=False)
        _batch(lab, SWITCH, ["link set lo up", "link add br0 type bridge", "link set br0 up"])
    for host in hosts:
        _pin(lab, host, mount=host != CONTROL)
    plug: list[str] = []
    for host in hosts:
        port = _port(lab, host)
        plug += [
            f"link add {port} type veth peer name eth0 netns {lab.namespace(host, 'net')}",
            f"link set {port} master br0 up",
        ]
    _batch(lab, SWITCH, plug)
    for host in hosts:
        lines = ["link set lo up", f"addr add {lab.address(host)}/24 dev eth0", "link set eth0 up"]
        _batch(lab, host, lines)


def _port(lab: Lab, host: str) -> str:
    return "port0" if host == CONTROL else f"port{lab.nodes[host]}"


def _pin(lab: Lab, host: str, *, mount: bool) -> None:
    arguments = ["unshare"]
    kinds = ["net", "mnt"] if mount else ["net"]
    for kind in kinds:
        path = lab.namespace(host, kind)
        path.touch(mode=0o600)
        arguments.append(f"--{'mount' if kind == 'mnt' else kind}={path}")
    command([*arguments, *(["--propagation", "private"] if mount else []), "true"])


def _batch(lab: Lab, host: str, lines: list[str]) -> None:
    command(["nsenter", f"--net={lab.namespace(host, 'net')}", "ip", "-batch", "-"], stdin="\n".join(lines) + "\n")


def link(lab: Lab, host: str, *, up: bool) -> None:
    """Plug or unplug a host's cable."""
    _batch(lab, SWITCH, [f"link set {_port(lab, host)} {'up' if up else 'down'}"])


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

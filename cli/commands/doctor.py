"""`kctl doctor`: whether this machine can run a node and the store of its cluster is sound, and how to fix what is not."""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cli import flags, storecheck
from cli.findings import Finding

DEADLINE = 10.0


def run(arguments: list[str]) -> int:
    parser = flags.Parser("doctor", "Check whether this machine can run a node, and print fixes")
    parser.add_argument(
        "--cluster-cidr",
        type=_networks,
        default="10.244.0.0/14",
        help="pod CIDR to check for overlaps with routes (default: %(default)s)",
    )
    args = parser.parse_args(arguments)
    checks: list[Callable[[], Finding]] = [
        _root, _kernel, _namespaces, _overlay, _vxlan, _nft, _user_namespaces, _cgroups, _memory_controller,
        _seccomp, _apparmor, _inotify, _tools,
        lambda: _clash(args.cluster_cidr), _oom, _uplink, lambda: storecheck.check(args),
    ]  # fmt: skip
    found = []
    for check in checks:
        try:
            found.append(check())
        except (OSError, subprocess.SubprocessError) as error:
            found.append(Finding(getattr(check, "__name__", "check").strip("_"), "fail", f"could not be checked: {error}"))
    marks = {"ok": "✓", "warn": "!", "fail": "✗"}
    for item in found:
        print(f"{marks[item.level]} {item.name}: {item.text}")
        if item.fix:
            print(f"    {item.fix}")
    bad = sum(item.level == "fail" for item in found)
    print(f"\n{bad} problem{'s' if bad != 1 else ''}" if bad else "\nThis machine can run Pinnace.")
    return 1 if bad else 0


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", "ok", "running as root")
    return Finding("root", "fail", "not root", "Namespaces, mounts and devices need it: sudo kctl doctor")


def _kernel() -> Finding:
    release = os.uname().release
    numbers = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in release.split(".")[:2])
    if numbers >= (6, 6):
        return Finding("kernel", "ok", release)
    if numbers >= (5, 12):
        return Finding("kernel", "warn", f"{release} has no fast path between pods (6.6)", "Slower, but nothing else differs.")
    return Finding(
        "kernel",
        "fail",
        f"{release} is older than 5.12 (mount_setattr)",
        "Install a newer kernel, such as Debian 12's.",
    )


def _namespaces() -> Finding:
    result = _try(["unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--cgroup", "--fork", "true"])
    if result.returncode == 0:
        return Finding("namespaces", "ok", "mount, net, ipc, uts, pid and cgroup")
    return Finding("namespaces", "fail", _said(result), "The kernel or a container around this shell forbids them.")


def _overlay() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{folder}/{name}")
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        script = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged"]
        result = _try(script)
    if result.returncode == 0:
        return Finding("overlayfs", "ok", "mounts")
    return Finding(
        "overlayfs", "fail", _said(result), "modprobe overlay; on an overlay root, keep the state directory elsewhere."
    )


def _vxlan() -> Finding:
    command = ["unshare", "--net", "ip", "link", "add", "t0", "type", "vxlan", "id", "1", "dstport", "4789"]
    result = _try(command)
    if result.returncode == 0:
        return Finding("vxlan", "ok", "devices can be made")
    return Finding("vxlan", "fail", _said(result), "modprobe vxlan; apt-get install iproute2")


def _nft() -> Finding:
    if not shutil.which("nft"):
        return Finding("nftables", "fail", "nft is missing", "apt-get install nftables")
    nat = "add table inet t; add chain inet t c { type nat hook postrouting priority 100; }"
    bridge = "add table bridge t; add chain bridge t c { type filter hook forward priority 0; }"
    result = _try(["unshare", "--net", "nft", f"{nat}; {bridge}"])
    if result.returncode == 0:
        return Finding("nftables", "ok", "tables with nat and bridge hooks can be made")
    return Finding("nftables", "fail", _said(result), "modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet")


_NO_USERS = "sysctl user.max_user_namespaces=15000 (for hostUsers: false)"


def _user_namespaces() -> Finding:
    result = _try(["unshare", "--user", "--map-root-user", "true"])
    if result.returncode == 0:
        return Finding("user ns", "ok", "can be made: hostUsers: false works")
    return Finding("user ns", "warn", _said(result), _NO_USERS)


def _cgroups() -> Finding:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return Finding("cgroups", "ok", "v2")
    if (root / "memory/cgroup.procs").exists():
        return Finding("cgroups", "ok", "hybrid" if (root / "unified").exists() else "v1")
    return Finding("cgroups", "fail", "nothing is mounted below /sys/fs/cgroup", "mount -t cgroup2 none /sys/fs/cgroup")


def _memory_controller() -> Finding:
    root = Path("/sys/fs/cgroup")
    controllers = root / "cgroup.controllers"
    if controllers.exists():
        missing = {"cpu", "memory", "pids"} - set(controllers.read_text().split())
        if missing:
            fix = "Boot with cgroup_enable=memory, or unmount the v1 hierarchies that use these controllers."
            return Finding("controllers", "fail", f"missing: {', '.join(sorted(missing))}", fix)
        return Finding("controllers", "ok", "cpu, memory and pids")
    missing = {name for name in ("cpu", "memory", "pids", "devices") if not (root / name).exists()}
    if missing:
        return Finding("controllers", "warn", f"not mounted: {', '.join(sorted(missing))}; their limits are not enforced")
    return Finding("controllers", "ok", "cpu, memory, pids and devices")


def _seccomp() -> Finding:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return Finding("seccomp", "fail", "libseccomp is missing", "apt-get install libseccomp2")
    return Finding("seccomp", "ok", "libseccomp is installed")


def _apparmor() -> Finding:
    profiles = Path("/sys/kernel/security/apparmor/profiles")
    if not profiles.exists():
        return Finding("apparmor", "ok", "not supported by this kernel; optional")
    if any(line.startswith("pinnace-default (") for line in profiles.read_text().splitlines()):
        return Finding("apparmor", "ok", "pinnace-default is loaded")
    fix = "apparmor_parser -r deploy/apparmor/pinnace-default (deploy/README.md, AppArmor)"
    return Finding("apparmor", "warn", "containers have no profile: pinnace-default is not loaded", fix)


def _inotify() -> Finding:
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if limit >= 128:
        return Finding("inotify", "ok", f"{limit} instances a user")
    return Finding("inotify", "warn", f"only {limit} instances a user", "sysctl fs.inotify.max_user_instances=512")


def _tools() -> Finding:
    missing = [name for name in ("ip", "nft", "nsenter", "unshare") if not shutil.which(name)]
    if missing:
        return Finding("tools", "fail", f"missing: {', '.join(missing)}", "apt-get install iproute2 nftables util-linux")
    return Finding("tools", "ok", "ip, nft, nsenter and unshare")


def _networks(text: str) -> list[str]:
    """Raises argparse.ArgumentTypeError."""
    import ipaddress

    try:
        return [str(ipaddress.ip_network(item.strip())) for item in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (expected ranges such as 10.244.0.0/16,fd00:10:244::/56)") from None


def _clash(cidrs: list[str]) -> Finding:
    for cidr in cidrs:
        if word := _overlapping(cidr):
            fix = "Give the control plane another --cluster-cidr. (In a lab: its pods do not reach that network.)"
            return Finding("subnets", "warn", f"{cidr} overlaps the route {word}", fix)
    return Finding("subnets", "ok", f"no route of this host overlaps {','.join(cidrs)}")


def _overlapping(cidr: str) -> str:
    """The destination of a route of this host that has addresses of the range; empty for none."""
    import ipaddress

    ours = ipaddress.ip_network(cidr)
    for line in _try(["ip", f"-{ours.version}", "route", "show"]).stdout.splitlines():
        word = line.split()[1] if line.startswith(("blackhole", "unreachable", "multicast")) else line.split()[0]
        if word == "default" or "pinnace" in line:
            continue
        try:
            other = ipaddress.ip_network(word, strict=False)
        except ValueError:
            continue
        if other.version == ours.version and other.overlaps(ours):
            return word
    return ""


def _oom() -> Finding:
    status = Path("/proc/self/status").read_text()
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff"))
    if effective >> 24 & 1:
        return Finding("oom scores", "ok", "can be lowered")
    return Finding(
        "oom scores", "warn", "cannot lower oom_score_adj: Guaranteed pods not protected on OOM (CAP_SYS_RESOURCE is missing)"
    )


def _uplink() -> Finding:
    """What would keep a lab's pods from the outside."""
    from cli.lab import forwarding, obstacles, resolvconf, uplink

    if not resolvconf.PATH.is_file():
        fix = f"Write `nameserver ADDRESS` to {resolvconf.PATH}, or start the service that does; labs are isolated without."
        return Finding("uplink", "warn", f"{resolvconf.PATH} is missing", fix)
    if reason := forwarding.why_not():
        return Finding("uplink", "warn", f"forwarding cannot be enabled: {reason}", "sysctl -w net.ipv4.ip_forward=1")
    if clash := uplink.clash():
        return Finding("uplink", "warn", f"no network is free for the link of a lab: {clash}", "kctl lab up --uplink-cidr CIDR")
    if blocked := obstacles.find():
        return Finding("uplink", "warn", f"the chain {blocked[0].name} drops packets of labs to outside", blocked[0].fix)
    return Finding("uplink", "ok", "labs can reach this machine's networks")


def _try(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def _said(result: subprocess.CompletedProcess[str]) -> str:
    return (result.stderr or result.stdout).strip().splitlines()[-1] if result.stderr or result.stdout else "failed"

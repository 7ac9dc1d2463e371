"""Everything that a lab's nodes have in the kernel and on disk, so that before and after can be compared.

Read from outside, with the tools of the machine, not with the agent's own code.
"""

from __future__ import annotations

import collections
import os
import re
import subprocess
from pathlib import Path

from cli.lab import hosts, layout, processes
from tests.support.labs import LabUnderTest, eventually

Traces = dict[str, list[str]]
CGROUPS = Path("/sys/fs/cgroup")
# Made with the first local volume; what is in it is a trace.
LOCAL_VOLUMES = "local-volumes"
# Of the lab itself, made once; images are loaded by name and stay.
KEPT = ("images", "launcher.log", "launcher.sock", "launcher.sock.lock")


def traces(lab: LabUnderTest) -> Traces:
    """By node and sort, sorted lines; equal values mean that nothing is left and nothing is missing."""
    found = layout.load(lab.name)
    result: Traces = {}
    for node in found.nodes:
        result[f"{node} mounts"] = _mounts(found, node)
        result[f"{node} cgroups"] = _cgroups(found, node)
        result[f"{node} files"] = _files(lab.node_dir(node))
        result[f"{node} processes"] = _processes(found, node)
        links = _inside(found, node, "ip", "-o", "link").splitlines()
        # Without the index of the other end, which is new after a power cut.
        result[f"{node} links"] = sorted(line.split()[1].rstrip(":").partition("@")[0] for line in links)
        # A bridge's own entries for its ports differ in nothing that matters; the overlay's are the ones we write.
        result[f"{node} fdb"] = sorted(_inside(found, node, "bridge", "fdb", "show", "dev", "pinnace-vx").splitlines())
        result[f"{node} neighbours"] = sorted(_inside(found, node, "ip", "neigh", "show", "nud", "permanent").splitlines())
        # A bridge without ports is down; whether it ever had one is no trace.
        routes = _inside(found, node, "ip", "route").replace(" linkdown", "").splitlines()
        result[f"{node} routes"] = sorted(line.strip() for line in routes)
        result[f"{node} nft"] = _inside(found, node, "nft", "list", "ruleset").splitlines()
    return result


def difference(before: Traces, after: Traces) -> dict[str, dict[str, list[str]]]:
    """What came and what went, by node and sort; empty when nothing did."""
    out = {}
    for sort, lines in before.items():
        came = list((collections.Counter(after[sort]) - collections.Counter(lines)).elements())
        went = list((collections.Counter(lines) - collections.Counter(after[sort])).elements())
        if came or went:
            out[sort] = {"came": came, "went": went}
    return out


def _inside(lab: layout.Lab, node: str, *command: str) -> str:
    words = [*hosts.inside(lab, node), *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout


def _mounts(lab: layout.Lab, node: str) -> list[str]:
    """Mount points below the node's folder, in its own mount namespace: pinned namespaces, shm, volumes, overlays."""
    text = _inside(lab, node, "cat", "/proc/self/mountinfo")
    return sorted(line.split()[4] for line in text.splitlines() if str(lab.node_dir(node)) in line)


def _cgroups(lab: layout.Lab, node: str) -> list[str]:
    """Without the agent's own top folder, which the first pod makes and which stays."""
    own = lab.cgroup(node)
    roots = [CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink())]
    return sorted(base for root in roots for base, _, _ in os.walk(root / own) if base != str(root / own))


def _files(folder: Path) -> list[str]:
    """Files and folders below the node's, without what grows with images."""
    found = []
    for base, folders, names in os.walk(folder):
        inside = Path(base).relative_to(folder)
        if base == str(folder):
            folders[:] = [name for name in folders if name not in KEPT]
            names = [name for name in names if name not in KEPT]
        found += [str(inside / name) for name in (*folders, *names) if str(inside / name) != LOCAL_VOLUMES]
    return sorted(found)


def _processes(lab: layout.Lab, node: str) -> list[str]:
    """What runs in the node's namespaces and in its cgroups, by what it is; once a process that unpacks images has ended, as it
    does by itself when there is nothing to unpack, and no process ended while it was looked at."""

    def settled() -> list[list[str]]:
        pids = set(processes.of_host(lab, node))
        pids |= {int(pid) for path in _cgroups(lab, node) for pid in _read(Path(path) / "cgroup.procs").split()}
        found = sorted(_what(pid) for pid in pids)
        return [] if any(not what or "/nodeagent/unpacker" in what for what in found) else [found]

    [found] = eventually(settled)
    return list(found)


def _what(pid: int) -> str:
    words = _read(Path(f"/proc/{pid}/cmdline")).split("\0")
    if any(word.endswith("/nodeagent/launcher") for word in words):
        return "launcher"
    return "nodeagent" if "nodeagent" in words else " ".join(words)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def descriptors(pid: int) -> collections.Counter[str]:
    """What a process has open: how many of each sort."""
    found: collections.Counter[str] = collections.Counter()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{entry}"))] += 1
        except FileNotFoundError:
            continue
    return found

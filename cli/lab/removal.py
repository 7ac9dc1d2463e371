"""Taking a lab apart: its processes, namespaces, cgroups and uplink, and for `down` its state too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cli import contexts
from cli.lab import cgroups, disks, faultrecord, hosts, layout, processes, restport, uplink
from cli.lab.layout import CONTROL, SWITCH, Lab
from pinnace.errors import BadRequest


def check_root() -> None:
    """Raises BadRequest."""
    if os.geteuid() != 0:
        raise BadRequest("a lab makes namespaces, which needs root: sudo kctl lab ...")


def stop(lab: Lab) -> None:
    """End every process of a lab and remove its namespaces and uplink; its state stays for `start`."""
    check_root()
    faultrecord.end_watchdogs(lab)
    for host in (*lab.nodes, CONTROL):
        processes.end(lab, host)
    cgroups.remove(lab, list(lab.nodes))
    # Also without a link: a kctl may have been killed between the removal of the link and that of its rules.
    if lab.uplink or uplink.exists(lab):
        uplink.disconnect(lab)
    hosts.remove_all(lab)
    for node in lab.nodes:
        disks.free(lab, node)
    disks.unmount(lab)
    lab.faults = []
    lab.save()


def remove_remains(name: str) -> list[str]:
    """Remove what a lab without a record left on this machine; returns the hosts that were found."""
    found = sorted({path.name.rpartition(".")[0] for path in (layout.RUN / name / "ns").glob("*.*")})
    nodes = {host: 0 for host in found if host not in (CONTROL, SWITCH)}
    lab = Lab(layout.check_name(name), nodes)
    if found or lab.run_dir.exists() or uplink.exists(lab):
        for host in (*nodes, CONTROL):
            processes.end(lab, host)
        cgroups.remove(lab, list(nodes))
        uplink.disconnect(lab)
        hosts.remove_all(lab)
    disks.unmount(lab)
    return found


def down(lab: Lab, *, config: Path, keep_logs: bool = False) -> list[str]:
    """Remove a lab; returns what is left of it, which should be nothing."""
    check_root()
    stop(lab)
    restport.withdraw(lab)
    merged = contexts.load(config)
    if any(item.get("name") == lab.context for item in merged.get("contexts") or []):
        contexts.drop(merged, lab.context)
        contexts.save(config, merged)
    # The record is removed last: while it exists, `lab down` can be repeated.
    for entry in sorted(lab.state_dir.iterdir(), key=lambda path: path.name == "lab.json"):
        if not (keep_logs and entry.name == "logs"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not keep_logs:
        shutil.rmtree(lab.state_dir)
    return leftovers(lab)


def mounts(lab: Lab, text: str) -> list[str]:
    """Mount points of a lab in `text`, the content of /proc/self/mounts. Another lab's name may begin with this one's. Pure."""
    own = f"/pinnace/labs/{lab.name}/"
    return [line.split()[1] for line in text.splitlines() if any(own in f"{field}/" for field in line.split()[:4])]


def leftovers(lab: Lab) -> list[str]:
    """What of a lab can still be found on this machine."""
    found = [f"process {pid}" for host in (*lab.nodes, CONTROL, SWITCH) for pid in processes.of_host(lab, host)]
    found += [f"cgroup {path}" for path in cgroups.folders(lab, list(lab.nodes))]
    found += [f"mount {path}" for path in mounts(lab, Path("/proc/self/mounts").read_text())]
    found += uplink.leftovers(lab)
    found += [f"disk {name}" for name in disks.loops(lab)]
    return found + [f"directory {path}" for path in (lab.run_dir,) if path.exists()]

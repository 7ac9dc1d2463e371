"""From our configuration of a container to the OCI runtime's. Pure.

All that `ContainerConfig` can say is either here or refused: nothing is dropped. Mounts are not resolved here: the
starter lays them out at `Layout.mounts`, each checked and with its attributes, and the runtime binds what it finds there.
Source: the OCI runtime specification 1.0.2, config and config-linux.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodeagent.launcher import rootfs
from nodeagent.runtime.interface import StartError

_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
_SAFE = ["nosuid", "noexec", "nodev"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the starter puts things for the runtime: the overlay, the numbered mounts, another container's pid namespace.
    `cgroup` is the container's, below the root of each hierarchy; empty: the runtime's own choice."""

    rootfs: str
    mounts: str
    pid_namespace: str
    cgroup: str = ""


def refuse(config: dict[str, Any]) -> None:
    """Raises StartError, naming the field, for what OCI runtimes of today cannot do here."""
    if config["ids"] is not None:
        raise StartError("hostUsers: false is not supported by an OCI runtime: use the native one (no runtimeClassName)")


def spec(
    config: dict[str, Any], layout: Layout, *,
    seccomp: dict[str, Any] | None, rlimits: dict[str, tuple[int, int]], devices: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """The OCI `config.json`. `devices` are the host's, for a privileged container."""
    made: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {**_process(config), "rlimits": [_rlimit(name, *limits) for name, limits in rlimits.items()]},
        "root": {"path": layout.rootfs, "readonly": config["read_only_root"]},
        "mounts": [*_file_systems(config), *_volumes(config, layout)],
        "linux": {"namespaces": _namespaces(config, layout), "resources": {"devices": _device_rules(config)}},
    }
    linux = made["linux"]
    if layout.cgroup:
        linux["cgroupsPath"] = layout.cgroup
    if seccomp is not None:
        linux["seccomp"] = seccomp
    if config["privileged"]:
        linux["devices"] = devices
    elif config["masked"]:
        linux["maskedPaths"] = [*(f"/proc/{name}" for name in rootfs.MASKED), *(f"/sys/{name}" for name in rootfs.MASKED_SYS)]
        linux["readonlyPaths"] = [f"/proc/{name}" for name in rootfs.READ_ONLY]
    if any(item["propagation"] == "Bidirectional" for item in config["mounts"]):
        linux["rootfsPropagation"] = "rshared"
    return made


def _process(config: dict[str, Any]) -> dict[str, Any]:
    held = [f"CAP_{name}" for name in config["capabilities"]]
    # As after setuid(2): who is not root holds nothing, and may get from a file what is in the bounding set.
    effective = held if config["user"] == 0 else []
    process = {
        "terminal": config["terminal"]["tty"],
        "user": {"uid": config["user"], "gid": config["group"], "additionalGids": config["groups"], "umask": 0o022},
        "args": config["args"],
        "env": config["env"],
        "cwd": config["cwd"],
        "capabilities": {"bounding": held, "effective": effective, "permitted": effective},
        "noNewPrivileges": config["no_new_privileges"],
    }
    if config["apparmor"]:
        process["apparmorProfile"] = config["apparmor"]
    return process


def _rlimit(name: str, soft: int, hard: int) -> dict[str, Any]:
    # RLIM_INFINITY is -1 in Python.
    return {"type": name, "soft": soft % 2**64, "hard": hard % 2**64}


def _namespaces(config: dict[str, Any], layout: Layout) -> list[dict[str, str]]:
    pins = f"{config['sandbox']}/ns"
    found = [{"type": "mount"}, {"type": "cgroup"}]
    if not config["host_network"]:
        found += [{"type": "network", "path": f"{pins}/net"}, {"type": "uts", "path": f"{pins}/uts"}]
    if not config["host_ipc"]:
        found.append({"type": "ipc", "path": f"{pins}/ipc"})
    match config["pid_namespace"]:
        case "own":
            found.append({"type": "pid"})
        case "pod":
            found.append({"type": "pid", "path": f"{pins}/pid"})
        case "container":
            found.append({"type": "pid", "path": layout.pid_namespace})
    return found


def _file_systems(config: dict[str, Any]) -> list[dict[str, Any]]:
    access = "rw" if config["privileged"] else "ro"
    shm = "/dev/shm" if config["host_ipc"] else f"{config['sandbox']}/shm"  # noqa: S108
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        _mount("/proc", "proc", "proc", _SAFE),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/mqueue", "mqueue", "mqueue", _SAFE),
        _mount("/dev/shm", "bind", shm, ["rbind", "rw", *_SAFE]),  # noqa: S108
        _mount("/sys", "sysfs", "sysfs", [*_SAFE, access]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*_SAFE, "relatime", access]),
    ]


def _volumes(config: dict[str, Any], layout: Layout) -> list[dict[str, Any]]:
    found = []
    for number, item in enumerate(config["mounts"]):
        options = ["rbind", "ro" if item["read_only"] else "rw", _PROPAGATION[item["propagation"]]]
        if not config["privileged"]:
            options += ["nosuid", "nodev"]
        found.append(_mount(item["target"], "bind", f"{layout.mounts}/{number}", options))
    return found


def _mount(target: str, fstype: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": fstype, "source": source, "options": options}


def _device_rules(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Nothing but what the runtime always allows (the container's own /dev), or everything."""
    return [{"allow": config["privileged"], "access": "rwm"}]

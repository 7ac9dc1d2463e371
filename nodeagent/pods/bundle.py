"""From a container in a manifest and an image to a bundle that the runtime starts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nodeagent.images.store import Image, ImageStore
from nodeagent.pods import security
from nodeagent.pods.environment import ConfigError, environment, expand
from nodeagent.runtime import apparmor, seccomp
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.native.capabilities import held
from nodeagent.runtime.seam import ContainerConfig, IdRange, Mount, Terminal
from nodeagent.volumes.manager import Lookup
from pinnace import pki, quantity

TERMINATION_LOG = "termination-log"
MAX_TERMINATION_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod lives on this node, and what is known of it."""

    folder: Path
    logs: Path
    volumes: dict[str, str]
    facts: dict[str, str]
    cgroup: str
    # The init and its start time of the container whose processes this one is to see (targetContainerName).
    target: tuple[int, int] = (0, 0)
    # With hostUsers: false.
    ids: IdRange | None = None


def sandbox_of(place: Place) -> Path:
    return place.folder / "sandbox"


def limits(container: Any) -> Limits:
    requests, caps = container.resources.requests, container.resources.limits
    return Limits(
        cpu_request=quantity.milli(requests["cpu"].string) if "cpu" in requests else 0,
        cpu_limit=quantity.milli(caps["cpu"].string) if "cpu" in caps else 0,
        memory_limit=quantity.units(caps["memory"].string) if "memory" in caps else 0,
    )


def write(
    bundle: Path, pod: Any, container: Any, image: Image, place: Place, *,
    images: ImageStore, cgroups: Cgroups, lookup: Lookup, seccomp_folder: Path, log: Path,
) -> None:  # fmt: skip
    """Make the bundle's config.json and cgroup. Raises ConfigError, OSError, SeccompUnavailable."""
    config = image.config
    env = environment(pod, container, config.get("Env") or [], lookup, place.facts)
    who = security.identity(pod, container, str(config.get("User") or ""), lambda name: images.read_file(image, name))
    may = security.privileges(pod, container, security.Host(held(), apparmor.loaded()))
    home = "/root" if who.user == 0 else "/"
    env.setdefault("HOME", home)
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    path = f"{place.cgroup}/{container.name}-{bundle.name}"
    bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
    folders = cgroups.create(path, limits(container), leaf=True, all_devices=may.privileged)
    value = ContainerConfig(
        args=tuple(_args(container, config, env)),
        env=tuple(f"{key}={text}" for key, text in env.items()),
        cwd=container.workingDir or config.get("WorkingDir") or "/",
        layers=images.lower_dirs(image),
        sandbox=str(sandbox_of(place)),
        log=str(log),
        user=who.user,
        group=who.group,
        groups=who.groups,
        mounts=tuple(_mounts(bundle, container, place)),
        cgroups=folders,
        hierarchies=tuple(cgroups.hierarchies),
        capabilities=may.capabilities,
        privileged=may.privileged,
        no_new_privileges=may.no_new_privileges,
        read_only_root=may.read_only_root,
        masked=may.masked,
        seccomp=_filter(seccomp_folder, may.seccomp, may.capabilities),
        apparmor=may.apparmor,
        pid_namespace=security.pid_namespace(pod, target=place.target != (0, 0)),
        host_network=pod.spec.hostNetwork,
        host_ipc=pod.spec.hostIPC,
        ids=place.ids,
        oom_score_adj=_oom_score(pod, container, place),
        pid_target=place.target,
        terminal=Terminal(container.stdin, container.stdinOnce, container.tty),
    )
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    # It may hold secrets (env).
    pki.write_private(bundle / "config.json", json.dumps(asdict(value)).encode())


def _args(container: Any, config: dict[str, Any], env: dict[str, str]) -> list[str]:
    """command replaces the image's entrypoint and then its cmd too; args replaces cmd alone."""
    entry = [expand(text, env) for text in container.command] or (config.get("Entrypoint") or [])
    if container.args:
        rest = [expand(text, env) for text in container.args]
    else:
        rest = [] if container.command else (config.get("Cmd") or [])
    if not [*entry, *rest]:
        raise ConfigError("no command specified, in the manifest or in the image")
    return [*entry, *rest]


def _mounts(bundle: Path, container: Any, place: Place) -> list[Mount]:
    message = bundle / TERMINATION_LOG
    message.touch(mode=0o666)
    os.chmod(message, 0o666)
    files = [("etc-hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname")]
    mounts = [Mount(str(place.folder / name), target) for name, target in files]
    # Shallow before deep, so that a mount below another one's target is not hidden by it.
    for item in sorted(container.volumeMounts, key=lambda mount: mount.mountPath.count("/")):
        target = item.mountPath if item.mountPath.startswith("/") else "/" + item.mountPath
        mounts.append(Mount(place.volumes[item.name], target, item.readOnly))
    taken = {item.mountPath.rstrip("/") for item in container.volumeMounts}
    path = container.terminationMessagePath or "/dev/termination-log"
    mounts = [mount for mount in mounts if mount.target not in taken or mount.source in place.volumes.values()]
    return [*mounts, Mount(str(message), path)]


def _filter(folder: Path, profile: security.Seccomp, capabilities: tuple[str, ...]) -> str:
    """The compiled seccomp filter; empty for none. Raises CreateError, SeccompUnavailable, OSError."""
    try:
        match profile.type:
            case "Unconfined":
                return ""
            case "Localhost":
                return str(seccomp.localhost(folder, profile.profile, capabilities))
        return str(seccomp.compiled(folder, capabilities))
    except seccomp.BadProfile as error:
        raise security.CreateError(str(error)) from None


def _oom_score(pod: Any, container: Any, place: Place) -> int:
    """As kubelet: guaranteed pods last, best effort first, burstable by their share of the node's memory."""
    qos = pod.status.qosClass
    if qos == "Guaranteed":
        return -997
    if qos != "Burstable":
        return 1000
    asked = container.resources.requests
    memory = quantity.units(asked["memory"].string) if "memory" in asked else 0
    return min(max(3, 1000 - 1000 * memory // int(place.facts["capacity.memory"])), 999)


def etc_files(pod: Any, hostname: str, address: str, host_resolv: str) -> dict[str, str]:
    """The pod's own /etc/hosts, /etc/hostname and /etc/resolv.conf."""
    hosts = ["# Written by Pinnace.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    if address:
        hosts.append(f"{address}\t{hostname}")
    hosts += [f"{alias.ip}\t{' '.join(alias.hostnames)}" for alias in pod.spec.hostAliases]
    config = pod.spec.dnsConfig
    lines = [] if pod.spec.dnsPolicy == "None" else host_resolv.splitlines()
    lines += [f"nameserver {server}" for server in config.nameservers]
    if config.searches:
        lines.append("search " + " ".join(config.searches))
    if config.options:
        lines.append("options " + " ".join(o.name + (f":{o.value}" if o.HasField("value") else "") for o in config.options))
    return {"etc-hosts": "\n".join(hosts) + "\n", "hostname": hostname + "\n", "resolv.conf": "\n".join(lines) + "\n"}

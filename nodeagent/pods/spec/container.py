"""From a container in a manifest and an image to a bundle that the runtime starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nodeagent.images import mountpointlayers
from nodeagent.images.store import Image, ImageStore
from nodeagent.launcher import bundle as names
from nodeagent.linux.capabilities import held
from nodeagent.pods import terminationmessage
from nodeagent.pods.spec import security
from nodeagent.pods.spec.environment import ConfigError, Environment, environment, expand
from nodeagent.pods.spec.mounts import mounts_of
from nodeagent.runtime import apparmor, bundles, seccomp
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.interface import ContainerConfig, IdRange, LogRotation, Terminal
from nodeagent.volumes.content import Lookup
from nodeagent.volumes.manager import Volume
from pinnace import quantity


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod lives on this node, and what is known of it."""

    folder: Path
    logs: Path
    volumes: dict[str, Volume]
    facts: dict[str, str]
    cgroup: str
    # The init and its start time of the container whose processes this one is to see (targetContainerName).
    target: tuple[int, int] = (0, 0)
    # With hostUsers: false.
    ids: IdRange | None = None
    # Where the configurations of its containers are kept.
    memory: Path = Path()
    # Variables that say where services are.
    services: Mapping[str, str] = field(default_factory=dict)


def sandbox_of(place: Place) -> Path:
    return Path(names.sandbox(place.folder))


def limits(container: Any) -> Limits:
    requests, caps = container.resources.requests, container.resources.limits
    return Limits(
        cpu_request=quantity.milli(requests["cpu"].string) if "cpu" in requests else 0,
        cpu_limit=quantity.milli(caps["cpu"].string) if "cpu" in caps else 0,
        memory_limit=quantity.units(caps["memory"].string) if "memory" in caps else 0,
    )


def write(
    bundle: Path, pod: Any, container: Any, image: Image, place: Place, *,
    images: ImageStore, cgroups: Cgroups, lookup: Lookup, seccomp_folder: Path, mount_points: Path, log: Path,
    rotation: LogRotation, host: security.Host | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Make the bundle's config.json and cgroup; returns which keys of `envFrom` were skipped, in words. `mount_points` holds
    the `mountpointlayers`; `host` is what the node can give; None: what this process finds.

    Raises ConfigError, OSError, SeccompUnavailable.
    """
    decided = _decide(
        pod, container, image, place, images=images, lookup=lookup, host=host or security.Host(held(), apparmor.loaded())
    )
    bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
    cgroup = f"{place.cgroup}/{container.name}-{bundle.name}"
    directories = cgroups.create(cgroup, limits(container), leaf=True, all_devices=decided.may.privileged)
    mounts = mounts_of(
        container,
        pod_folder=place.folder,
        message=terminationmessage.make(bundle),
        volumes=place.volumes,
        variables=decided.variables.own,
    )
    layers = images.lower_dirs(image)
    value = replace(
        _config(pod, container, image, place, decided),
        layers=(*layers, *mountpointlayers.below(mount_points, layers, [mount.target for mount in mounts])),
        mounts=tuple(mounts),
        cgroups=directories,
        hierarchies=tuple(cgroups.hierarchies),
        seccomp=_filter(seccomp_folder, decided.may.seccomp, decided.may.capabilities),
        log=str(log),
        log_max_bytes=rotation.max_bytes,
        log_max_files=rotation.max_files,
    )
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    bundles.write_config(bundle, value, place.memory)
    return decided.variables.skipped


@dataclass(frozen=True, slots=True)
class _Decided:
    env: tuple[str, ...]
    variables: Environment
    who: security.Identity
    may: security.Privileges


def _decide(
    pod: Any, container: Any, image: Image, place: Place, *, images: ImageStore, lookup: Lookup, host: security.Host
) -> _Decided:  # fmt: skip
    """Its environment, identity and privileges. Raises ConfigError, CreateError, OSError."""
    config = image.config
    variables = environment(pod, container, config.get("Env") or [], lookup, place.facts, place.services)
    who = security.identity(pod, container, str(config.get("User") or ""), lambda name: images.read_file(image, name))
    may = security.privileges(pod, container, host)
    env = _usual(container) | variables.all
    return _Decided(tuple(f"{key}={text}" for key, text in env.items()), variables, who, may)


def _config(pod: Any, container: Any, image: Image, place: Place, decided: _Decided) -> ContainerConfig:
    """What manifest and image say by themselves, without files of this node. Raises ConfigError."""
    who, may = decided.who, decided.may
    return ContainerConfig(
        args=tuple(_args(container, image.config, decided.variables)),
        env=decided.env,
        cwd=container.workingDir or image.config.get("WorkingDir") or "/",
        layers=(),
        sandbox=str(sandbox_of(place)),
        log="",
        user=who.user,
        group=who.group,
        groups=who.groups,
        capabilities=may.capabilities,
        privileged=may.privileged,
        no_new_privileges=may.no_new_privileges,
        read_only_root=may.read_only_root,
        masked=may.masked,
        apparmor=may.apparmor,
        pid_namespace=security.pid_namespace(pod, target=place.target != (0, 0)),
        host_network=pod.spec.hostNetwork,
        host_ipc=pod.spec.hostIPC,
        ids=place.ids,
        oom_score_adj=_oom_score(pod, container, place),
        pid_target=place.target,
        terminal=Terminal(container.stdin, container.stdinOnce, container.tty),
    )


def _usual(container: Any) -> dict[str, str]:
    """What a program has when neither manifest nor image says otherwise; HOME comes from the runtime."""
    terminal = {"TERM": "xterm"} if container.tty else {}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **terminal}


def _args(container: Any, config: dict[str, Any], variables: Environment) -> list[str]:
    """command replaces the image's entrypoint and then its cmd too; args replaces cmd alone."""
    entry = [expand(text, variables.own) for text in container.command] or (config.get("Entrypoint") or [])
    if container.args:
        rest = [expand(text, variables.own) for text in container.args]
    else:
        rest = [] if container.command else (config.get("Cmd") or [])
    if not [*entry, *rest]:
        raise ConfigError("no command specified, in the manifest or in the image")
    return [*entry, *rest]


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

"""From a container in a manifest and an image to a bundle that the runtime starts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nodeagent.images.store import Image, ImageStore
from nodeagent.pods.environment import ConfigError, Environment, environment, expand
from nodeagent.pods.mounts import mounts_of
from nodeagent.runtime import seccomp
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.native.capabilities import DEFAULT, NUMBERS
from nodeagent.runtime.seam import ContainerConfig, Terminal
from nodeagent.volumes.content import Lookup
from nodeagent.volumes.manager import Volume
from pinnace import pki, quantity

TERMINATION_LOG = "termination-log"
MAX_TERMINATION_MESSAGE = 4096


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
) -> tuple[str, ...]:  # fmt: skip
    """Make the bundle's config.json and cgroup; returns which keys of `envFrom` were skipped, in words.

    Raises ConfigError, OSError, SeccompUnavailable.
    """
    config = image.config
    variables = environment(pod, container, config.get("Env") or [], lookup, place.facts)
    env = variables.all
    user, group, groups = _user(pod, container, image, images)
    home = "/root" if user == 0 else "/"
    env.setdefault("HOME", home)
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    capabilities = _capabilities(container)
    security = container.securityContext
    path = f"{place.cgroup}/{container.name}-{bundle.name}"
    bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
    value = ContainerConfig(
        args=tuple(_args(container, config, variables)),
        env=tuple(f"{key}={text}" for key, text in env.items()),
        cwd=container.workingDir or config.get("WorkingDir") or "/",
        layers=images.lower_dirs(image),
        sandbox=str(sandbox_of(place)),
        log=str(log),
        user=user,
        group=group,
        groups=tuple(groups),
        mounts=tuple(
            mounts_of(
                container, pod_folder=place.folder, message=_message(bundle), volumes=place.volumes, variables=variables.own
            )
        ),
        cgroups=cgroups.create(path, limits(container), leaf=True),
        hierarchies=tuple(cgroups.hierarchies),
        capabilities=capabilities,
        no_new_privileges=security.HasField("allowPrivilegeEscalation") and not security.allowPrivilegeEscalation,
        read_only_root=security.readOnlyRootFilesystem,
        seccomp="" if _unconfined(pod, container) else str(seccomp.compiled(seccomp_folder, capabilities)),
        oom_score_adj=_oom_score(pod, container, place),
        host_network=pod.spec.hostNetwork,
        host_ipc=pod.spec.hostIPC,
        pid_namespace=_pid_namespace(pod, place),
        pid_target=place.target,
        terminal=Terminal(container.stdin, container.stdinOnce, container.tty),
    )
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    # It may hold secrets (env).
    pki.write_private(bundle / "config.json", json.dumps(asdict(value)).encode())
    return variables.skipped


def _message(bundle: Path) -> Path:
    """The file for the container's last words, whoever it runs as."""
    path = bundle / TERMINATION_LOG
    path.touch(mode=0o666)
    os.chmod(path, 0o666)
    return path


def _pid_namespace(pod: Any, place: Place) -> Literal["own", "pod", "host", "container"]:
    if pod.spec.hostPID:
        return "host"
    if pod.spec.shareProcessNamespace:
        return "pod"
    return "container" if place.target[0] else "own"


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


def _capabilities(container: Any) -> tuple[str, ...]:
    wanted = list(DEFAULT)
    changes = container.securityContext.capabilities
    dropped = {name.removeprefix("CAP_").upper() for name in changes.drop}
    added = [name.removeprefix("CAP_").upper() for name in changes.add]
    unknown = [name for name in (*dropped, *added) if name != "ALL" and name not in NUMBERS]
    if unknown:
        raise ConfigError(f"unknown capability {unknown[0]}")
    if "ALL" in dropped:
        wanted = []
    if "ALL" in added:
        wanted = list(NUMBERS)
    kept = [name for name in wanted if name not in dropped]
    return tuple(dict.fromkeys([*kept, *(name for name in added if name != "ALL")]))


def _unconfined(pod: Any, container: Any) -> bool:
    for context in (container.securityContext, pod.spec.securityContext):
        if context.HasField("seccompProfile"):
            return bool(context.seccompProfile.type == "Unconfined")
    return False


def _user(pod: Any, container: Any, image: Image, images: ImageStore) -> tuple[int, int, list[int]]:
    """Uid, gid and supplementary groups. Raises ConfigError, also for runAsNonRoot."""
    own, shared = container.securityContext, pod.spec.securityContext
    uid = _first(own, shared, "runAsUser")
    gid = _first(own, shared, "runAsGroup")
    name, _, group = str(image.config.get("User") or "").partition(":")
    found_uid, found_gid = _lookup_user(name, image, images) if uid is None else (uid, None)
    if gid is None:
        gid = _lookup_group(group, image, images) if group and uid is None else found_gid or 0
    if _first(own, shared, "runAsNonRoot") and found_uid == 0:
        raise ConfigError("container has runAsNonRoot and image will run as root")
    return found_uid, gid, list(shared.supplementalGroups)


def _first(own: Any, shared: Any, field: str) -> Any:
    for context in (own, shared):
        if context.HasField(field):
            return getattr(context, field)
    return None


def _lookup_user(name: str, image: Image, images: ImageStore) -> tuple[int, int | None]:
    if not name:
        return 0, 0
    for line in images.read_file(image, "etc/passwd").decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and name in (fields[0], fields[2]):
            return int(fields[2]), int(fields[3])
    if name.isdigit():
        return int(name), 0
    raise ConfigError(f'the image runs as user "{name}", which its /etc/passwd does not have')


def _lookup_group(name: str, image: Image, images: ImageStore) -> int:
    if name.isdigit():
        return int(name)
    for line in images.read_file(image, "etc/group").decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[0] == name:
            return int(fields[2])
    raise ConfigError(f'the image runs as group "{name}", which its /etc/group does not have')


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

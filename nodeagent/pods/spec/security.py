"""From a pod, a container and its image to the privileges of its processes. Pure: files of the image are asked for.

Sources: Kubernetes' API documentation, kubelet's kuberuntime security context, containerd's CRI for what they leave open
(the image's passwd and group files, the order of added and dropped capabilities).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nodeagent.linux.capabilities import DEFAULT, NUMBERS
from nodeagent.pods.spec import accounts
from nodeagent.pods.spec.environment import ConfigError

# A file of the image by its path below the root; empty when there is none.
ReadFile = Callable[[str], bytes]
PidNamespace = Literal["own", "pod", "host", "container"]
# The profile that AppArmor's RuntimeDefault means, where a node has it loaded.
APPARMOR_DEFAULT = "pinnace-default"


class CreateError(ConfigError):
    """The node cannot give the container what it asks for."""

    reason = "CreateContainerError"


@dataclass(frozen=True, slots=True)
class Host:
    """What the node can give: its capabilities, and the AppArmor profiles loaded on it (None: it has no AppArmor)."""

    capabilities: tuple[str, ...]
    apparmor: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the processes are. `groups` has the primary one too, so that leaving it needs a right (CVE-2023-25173)."""

    user: int
    group: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seccomp:
    """`RuntimeDefault`, `Unconfined`, or `Localhost` with a profile's name."""

    type: str
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Privileges:
    """What the processes may do; the names are those of ContainerConfig but for `seccomp`, which is to be compiled."""

    capabilities: tuple[str, ...]
    seccomp: Seccomp
    apparmor: str
    privileged: bool
    no_new_privileges: bool
    read_only_root: bool
    masked: bool


def identity(pod: Any, container: Any, image_user: str, read: ReadFile) -> Identity:
    """Raises ConfigError: an unknown name, or root where runAsNonRoot forbids it."""
    own, shared = container.securityContext, pod.spec.securityContext
    uid = _first(own, shared, "runAsUser")
    gid = _first(own, shared, "runAsGroup")
    name, _, group = image_user.partition(":")
    _check_non_root(own, shared, uid, name)
    if uid is not None:
        name, group = str(uid), ""
    try:
        user = accounts.user(name, read("etc/passwd"))
        if gid is None:
            gid = accounts.group(group, read("etc/group")) if group else user.gid
        given = [] if shared.supplementalGroupsPolicy == "Strict" else accounts.memberships(user.name, read("etc/group"))
    except accounts.AccountError as error:
        raise ConfigError(f"the image runs as {error}") from None
    asked = [*shared.supplementalGroups, *([shared.fsGroup] if shared.HasField("fsGroup") else [])]
    return Identity(user.uid, gid, tuple(dict.fromkeys([gid, *given, *asked])))


def _first(own: Any, shared: Any, field: str) -> Any:
    """A container's setting wins over its pod's."""
    for context in (own, shared):
        if context.HasField(field):
            return getattr(context, field)
    return None


def _check_non_root(own: Any, shared: Any, uid: int | None, name: str) -> None:
    """As kubelet: a name proves nothing, for the image says what it means."""
    if not _first(own, shared, "runAsNonRoot"):
        return
    if uid == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    if uid is None and name and not name.isdecimal():
        raise ConfigError(f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root")
    if uid is None and int(name or 0) == 0:
        raise ConfigError("container has runAsNonRoot and image will run as root")


def privileges(pod: Any, container: Any, host: Host) -> Privileges:
    """Raises ConfigError, CreateError."""
    context = container.securityContext
    privileged = context.privileged
    return Privileges(
        capabilities=host.capabilities if privileged else _capabilities(context.capabilities, host),
        seccomp=_seccomp(pod, container),
        apparmor="" if privileged else _apparmor(pod, container, host),
        privileged=privileged,
        no_new_privileges=context.HasField("allowPrivilegeEscalation") and not context.allowPrivilegeEscalation,
        read_only_root=context.readOnlyRootFilesystem,
        masked=not privileged and context.procMount != "Unmasked",
    )


def _capabilities(changes: Any, host: Host) -> tuple[str, ...]:
    """ALL first, then what is added, then what is dropped: a capability in both lists is dropped."""
    add, drop = ([_capability(name) for name in names] for names in (changes.add, changes.drop))
    wanted = [] if "ALL" in drop else list(host.capabilities if "ALL" in add else DEFAULT)
    wanted += [name for name in add if name != "ALL"]
    kept = tuple(dict.fromkeys(name for name in wanted if name not in drop))
    lacking = [name for name in kept if name not in host.capabilities]
    if lacking:
        raise CreateError(f"the node has no capability {lacking[0]} to give")
    return kept


def _capability(name: str) -> str:
    found = name.upper().removeprefix("CAP_")
    if found != "ALL" and found not in NUMBERS:
        raise ConfigError(f"unknown capability {name[:40]}")
    return found


def _seccomp(pod: Any, container: Any) -> Seccomp:
    """Without a word of the manifest: RuntimeDefault, as with kubelet's seccompDefault."""
    if container.securityContext.privileged:
        return Seccomp("Unconfined")
    profile = _first(container.securityContext, pod.spec.securityContext, "seccompProfile")
    return Seccomp("RuntimeDefault") if profile is None else Seccomp(profile.type, profile.localhostProfile)


def _apparmor(pod: Any, container: Any, host: Host) -> str:
    """The profile's name; empty: none. Without AppArmor, only a profile that is named is missed."""
    profile = _first(container.securityContext, pod.spec.securityContext, "appArmorProfile")
    type_ = "" if profile is None else profile.type
    if type_ == "Unconfined":
        return "unconfined" if host.apparmor is not None else ""
    if type_ == "Localhost":
        if host.apparmor is None:
            raise CreateError("AppArmor is not enabled on the host")
        if profile.localhostProfile not in host.apparmor:
            raise CreateError(f'AppArmor profile "{profile.localhostProfile}" is not loaded on the node')
        return str(profile.localhostProfile)
    if host.apparmor is None:
        return ""
    if APPARMOR_DEFAULT in host.apparmor:
        return APPARMOR_DEFAULT
    if type_ == "RuntimeDefault":
        raise CreateError(f'AppArmor profile "{APPARMOR_DEFAULT}" is not loaded on the node')
    return ""


def pid_namespace(pod: Any, *, target: bool = False) -> PidNamespace:
    """Whose processes a container sees; `target`: an ephemeral one that names another container."""
    if pod.spec.hostPID:
        return "host"
    if pod.spec.shareProcessNamespace:
        return "pod"
    return "container" if target else "own"


def needs_ids(pod: Any) -> bool:
    """Whether the pod has a user namespace of its own."""
    return bool(pod.spec.HasField("hostUsers") and not pod.spec.hostUsers)

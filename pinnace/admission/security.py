"""Rules between the fields that give a pod its privileges: security contexts, host namespaces, kernel parameters.

Source: Kubernetes' core/v1 validation, and kubelet's list of safe sysctls: what a node would refuse is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import podspec
from pinnace.errors import Cause

# Those whose effect ends with the pod's own namespaces.
SAFE_SYSCTLS = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
))  # fmt: skip
MAX_ID = (1 << 31) - 1
# Ids that a user namespace of a pod has.
MAX_MAPPED_ID = 65535
_MAX_PROFILE = 4095


def validate(pod: Any) -> list[Cause]:
    spec, path = pod.spec, "spec.securityContext"
    faults = [*_host_namespaces(spec), *_sysctls(spec), *_ids(path, spec.securityContext, pod)]
    faults += [*_profiles(path, spec.securityContext)]
    for here, container in podspec.containers(pod):
        context = container.securityContext
        where = f"{here}.securityContext"
        faults += [*_escalation(where, context), *_proc_mount(where, context, pod), *_profiles(where, context)]
        faults += _ids(where, context, pod)
    return faults


def own_users(pod: Any) -> bool:
    return bool(pod.spec.HasField("hostUsers") and not pod.spec.hostUsers)


def _host_namespaces(spec: Any) -> Iterator[Cause]:
    if spec.shareProcessNamespace and spec.hostPID:
        text = "Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"
        yield Cause("spec.shareProcessNamespace", text)
    if spec.HasField("hostUsers") and not spec.hostUsers:
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if getattr(spec, field):
                yield Cause(f"spec.{field}", "Forbidden: when `hostUsers` is false", "FieldValueForbidden")


def _sysctls(spec: Any) -> Iterator[Cause]:
    seen = set()
    for index, item in enumerate(spec.securityContext.sysctls):
        path = f"spec.securityContext.sysctls[{index}].name"
        # Both a/b and a.b name one parameter, as in sysctl(8).
        name = item.name.replace("/", ".")
        if name in seen:
            yield Cause(path, f'Duplicate value: "{item.name[:253]}"', "FieldValueDuplicate")
        seen.add(name)
        if name not in SAFE_SYSCTLS:
            text = f'Forbidden: sysctl "{item.name[:253]}" is not among the safe ones, which are all that Pinnace sets'
            yield Cause(path, text, "FieldValueForbidden")
        elif name.startswith("net.") and spec.hostNetwork:
            yield Cause(path, "Forbidden: sysctls of the network may not be set with hostNetwork", "FieldValueForbidden")
        elif name.startswith("kernel.shm") and spec.hostIPC:
            yield Cause(path, "Forbidden: sysctls of IPC may not be set with hostIPC", "FieldValueForbidden")


def _escalation(path: str, context: Any) -> Iterator[Cause]:
    if not context.HasField("allowPrivilegeEscalation") or context.allowPrivilegeEscalation:
        return
    begin = "Invalid value: cannot set `allowPrivilegeEscalation` to false and"
    if context.privileged:
        yield Cause(path, f"{begin} `privileged` to true")
    if "CAP_SYS_ADMIN" in context.capabilities.add:
        yield Cause(path, f"{begin} `capabilities.Add` CAP_SYS_ADMIN")


def _proc_mount(path: str, context: Any, pod: Any) -> Iterator[Cause]:
    if context.procMount == "Unmasked" and not own_users(pod):
        yield Cause(f"{path}.procMount", 'Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`')


def _profiles(path: str, context: Any) -> Iterator[Cause]:
    for field, check in (("seccompProfile", _descending), ("appArmorProfile", _plain)):
        profile, here = getattr(context, field), f"{path}.{field}.localhostProfile"
        if profile.type == "Localhost":
            if not profile.localhostProfile:
                yield Cause(here, "Required value: must be set when type is Localhost", "FieldValueRequired")
            elif fault := check(profile.localhostProfile):
                yield Cause(here, f"Invalid value: {fault}")
        elif profile.HasField("localhostProfile"):
            yield Cause(here, "Forbidden: may only be set when type is Localhost", "FieldValueForbidden")


def _descending(name: str) -> str:
    if name.startswith("/"):
        return "must be a relative path"
    if ".." in name.split("/"):
        return "must not contain '..'"
    return _plain(name)


def _plain(name: str) -> str:
    if name != name.strip():
        return "must not be padded with whitespace"
    if len(name) > _MAX_PROFILE or not name.isprintable():
        return f"must be at most {_MAX_PROFILE} printable characters"
    return ""


def _ids(path: str, context: Any, pod: Any) -> Iterator[Cause]:
    """Ids that a list has no option for, and, in a user namespace, all that it does not have."""
    for index, group in enumerate(getattr(context, "supplementalGroups", ())):
        if not 0 <= group <= MAX_ID:
            yield Cause(f"{path}.supplementalGroups[{index}]", f"Invalid value: {group}: must be between 0 and {MAX_ID}")
    if not own_users(pod):
        return
    asked = [(field, getattr(context, field, 0)) for field in ("runAsUser", "runAsGroup", "fsGroup")]
    asked += [(f"supplementalGroups[{at}]", group) for at, group in enumerate(getattr(context, "supplementalGroups", ()))]
    for field, value in asked:
        if MAX_MAPPED_ID < value <= MAX_ID:
            text = f"Invalid value: {value}: must be at most {MAX_MAPPED_ID} when `hostUsers` is false"
            yield Cause(f"{path}.{field}", text)

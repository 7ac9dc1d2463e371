"""Rules between the fields that give a pod its privileges: security contexts, host namespaces, kernel parameters.

Source: core/v1's validatePodSpecSecurityContext and ValidateSecurityContext, and kubelet's list of safe sysctls: what a node
would refuse is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.admission.podparts import PodParts
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
# Fields of which host namespaces depend.
_NAMESPACES = frozenset(("hostUsers", "hostPID", "shareProcessNamespace"))


def validate(parts: PodParts) -> list[Cause]:
    spec, path = parts.spec, "spec.securityContext"
    errors = [*_host_namespaces(spec)] if not _NAMESPACES.isdisjoint(parts.fields) else []
    # Defaults put an empty one there.
    if "securityContext" in parts.fields and spec.securityContext.ListFields():
        errors += [*_sysctls(spec), *_ids(path, spec.securityContext, spec), *_profiles(path, spec.securityContext)]
    for here, container, _ in parts.having("securityContext"):
        context = container.securityContext
        where = f"{here}.securityContext"
        errors += [*_escalation(where, context), *_proc_mount(where, context, spec), *_profiles(where, context)]
        errors += _ids(where, context, spec)
    return errors


def own_users(spec: Any) -> bool:
    return bool(spec.HasField("hostUsers") and not spec.hostUsers)


def _host_namespaces(spec: Any) -> Iterator[Cause]:
    if spec.shareProcessNamespace and spec.hostPID:
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield fielderrors.invalid("spec.shareProcessNamespace", True, text)
    if spec.HasField("hostUsers") and not spec.hostUsers:
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if getattr(spec, field):
                yield fielderrors.forbidden(f"spec.{field}", "when `hostUsers` is false")


def _sysctls(spec: Any) -> Iterator[Cause]:
    seen = set()
    for index, item in enumerate(spec.securityContext.sysctls):
        path = f"spec.securityContext.sysctls[{index}].name"
        # Both a/b and a.b name one parameter, as in sysctl(8).
        name = item.name.replace("/", ".")
        wrong = list(meta.each(path, item.name, formats.sysctl))
        yield from wrong
        if not wrong and name in seen:
            yield fielderrors.duplicate(path, item.name)
        seen.add(name)
        if name.startswith("net.") and spec.hostNetwork:
            yield fielderrors.invalid(path, item.name, "may not be specified when 'hostNetwork' is true")
        elif name.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")) and spec.hostIPC:
            yield fielderrors.invalid(path, item.name, "may not be specified when 'hostIPC' is true")
        elif not wrong and name not in SAFE_SYSCTLS:
            text = f'sysctl "{item.name}" is not among the safe ones, which are all that Pinnace sets'
            yield fielderrors.forbidden(path, text)


def _escalation(path: str, context: Any) -> Iterator[Cause]:
    if not context.HasField("allowPrivilegeEscalation") or context.allowPrivilegeEscalation:
        return
    begin = "cannot set `allowPrivilegeEscalation` to false and"
    if context.privileged:
        yield fielderrors.invalid(path, False, f"{begin} `privileged` to true")
    if "CAP_SYS_ADMIN" in context.capabilities.add:
        yield fielderrors.invalid(path, False, f"{begin} `capabilities.Add` CAP_SYS_ADMIN")


def _proc_mount(path: str, context: Any, spec: Any) -> Iterator[Cause]:
    if context.procMount == "Unmasked" and not own_users(spec):
        yield fielderrors.invalid(f"{path}.procMount", "Unmasked", "`hostUsers` must be false to use `Unmasked`")


def _profiles(path: str, context: Any) -> Iterator[Cause]:
    for field, label in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile, here = getattr(context, field), f"{path}.{field}.localhostProfile"
        name = profile.localhostProfile
        if profile.type != "Localhost" and profile.HasField("localhostProfile"):
            yield fielderrors.invalid(here, name, f"can only be set when {label} type is Localhost")
        elif profile.type == "Localhost" and not name:
            yield fielderrors.required(here, f"must be set when {label} type is Localhost")
        elif field == "seccompProfile":
            yield from meta.each(here, name, formats.descending_path)
        if name != name.strip():
            yield fielderrors.invalid(here, name, "must not be padded with whitespace")
        if len(name.encode()) > _MAX_PROFILE:
            yield fielderrors.too_long(here, _MAX_PROFILE)
        elif not name.isprintable() and "\0" not in name:
            yield fielderrors.invalid(here, name, "must not contain control characters")


def _ids(path: str, context: Any, spec: Any) -> Iterator[Cause]:
    """Ids that a list has no option for, and, in a user namespace, all that it does not have."""
    groups = getattr(context, "supplementalGroups", ())
    for index, group in enumerate(groups):
        if not 0 <= group <= MAX_ID:
            yield fielderrors.invalid(f"{path}.supplementalGroups[{index}]", group, formats.in_range(0, MAX_ID))
    if not own_users(spec):
        return
    asked = [(field, getattr(context, field, 0)) for field in ("runAsUser", "runAsGroup", "fsGroup")]
    asked += [(f"supplementalGroups[{at}]", group) for at, group in enumerate(groups)]
    for field, value in asked:
        if MAX_MAPPED_ID < value <= MAX_ID:
            text = f"must be at most {MAX_MAPPED_ID} when `hostUsers` is false"
            yield fielderrors.invalid(f"{path}.{field}", value, text)

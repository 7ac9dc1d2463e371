"""Which pods of a node a drain removes, and which it must not: a decision about each pod, and what is told of all. Pure.

Source: kubectl's pkg/drain (filters.go), with its words. As there, whether a pod's DaemonSet is there is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pinnace import podresources

DAEMON_SET = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"
DAEMON_SET_IGNORED = "ignoring DaemonSet-managed Pods"
LOCAL_STORAGE = "Pods with local storage (use --delete-emptydir-data to override)"
LOCAL_STORAGE_DELETED = "deleting Pods with local storage"
UNMANAGED = "cannot delete Pods that declare no controller (use --force to override)"
UNMANAGED_DELETED = "deleting Pods that declare no controller"
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Policy:
    """The flags of a drain. `skip_deleted` is in seconds; 0 waits for every terminating pod."""

    force: bool = False
    ignore_daemonsets: bool = False
    delete_emptydir_data: bool = False
    skip_deleted: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a pod is to be removed; a warning to print, or an error that stops the drain."""

    remove: bool = True
    warning: str = ""
    error: str = ""


KEEP, REMOVE = Verdict(remove=False), Verdict()


@dataclass(slots=True)
class Plan:
    """The pods to remove; messages with the pods that they are about, as NAMESPACE/NAME."""

    pods: list[Any] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)

    def warning(self) -> str:
        return "; ".join(f"{text}: {', '.join(names)}" for text, names in self.warnings.items())

    def error(self) -> str:
        """Empty when the node may be drained; several in brackets, as in kubectl."""
        found = [
            f"{text if text.startswith('cannot delete') else f'cannot delete {text}'}: {', '.join(names)}"
            for text, names in self.errors.items()
        ]
        return f"[{', '.join(found)}]" if len(found) > 1 else "".join(found)


def plan(pods: Iterable[Any], policy: Policy, now: float) -> Plan:
    """`now` in seconds since the epoch."""
    found = Plan()
    for pod in pods:
        verdict, name = judge(pod, policy, now), f"{pod.metadata.namespace}/{pod.metadata.name}"
        if verdict.warning:
            found.warnings.setdefault(verdict.warning, []).append(name)
        if verdict.error:
            found.errors.setdefault(verdict.error, []).append(name)
        if verdict.remove:
            found.pods.append(pod)
    return found


def judge(pod: Any, policy: Policy, now: float) -> Verdict:
    """The last check that a pod meets, or the first that keeps it, has the word."""
    verdict = REMOVE
    for check in _CHECKS:
        verdict = check(pod, policy, now)
        if not verdict.remove:
            break
    return verdict


def _terminating(pod: Any, policy: Policy, now: float) -> Verdict:
    deleted = pod.metadata.deletionTimestamp.seconds
    return KEEP if policy.skip_deleted > 0 and deleted and now - deleted > policy.skip_deleted else REMOVE


def _daemon_set(pod: Any, policy: Policy, now: float) -> Verdict:
    if _controller(pod) != "DaemonSet" or pod.status.phase in _FINISHED:
        return REMOVE
    if policy.ignore_daemonsets:
        return Verdict(remove=False, warning=DAEMON_SET_IGNORED)
    return Verdict(remove=False, error=DAEMON_SET)


def _mirror(pod: Any, policy: Policy, now: float) -> Verdict:
    return KEEP if podresources.MIRROR in pod.metadata.annotations else REMOVE


def _local_storage(pod: Any, policy: Policy, now: float) -> Verdict:
    if pod.status.phase in _FINISHED or not any(volume.volumeSource.HasField("emptyDir") for volume in pod.spec.volumes):
        return REMOVE
    if policy.delete_emptydir_data:
        return Verdict(warning=LOCAL_STORAGE_DELETED)
    return Verdict(remove=False, error=LOCAL_STORAGE)


def _unmanaged(pod: Any, policy: Policy, now: float) -> Verdict:
    if pod.status.phase in _FINISHED or _controller(pod):
        return REMOVE
    return Verdict(warning=UNMANAGED_DELETED) if policy.force else Verdict(remove=False, error=UNMANAGED)


_CHECKS: tuple[Callable[[Any, Policy, float], Verdict], ...] = (
    _terminating, _daemon_set, _mirror, _local_storage, _unmanaged
)  # fmt: skip


def _controller(pod: Any) -> str:
    """The kind of the pod's controller; empty without one."""
    return next((str(owner.kind) for owner in pod.metadata.ownerReferences if owner.controller), "")

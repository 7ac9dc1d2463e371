"""Puts a pod's allocated resources into force on its cgroups while its containers run.

Every write can be repeated: a container's record is changed after all of them, so an agent that was killed in between does all
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeagent.node.resources import pod_limits
from nodeagent.pods import resize
from nodeagent.pods.context import PodContext
from nodeagent.pods.model import PendingResize
from nodeagent.pods.resize import Limit
from nodeagent.pods.spec.container import limits
from nodeagent.runtime.cgroups import Cgroups, Limits
from pinnace.core.v1.pod_pb2 import PodStatus
from pinnace.heldresources import PENDING


@dataclass(frozen=True, slots=True)
class Target:
    """A cgroup and what it is to have; "" is the pod's own."""

    name: str
    path: str
    limits: Limits


class Resizer:
    def __init__(self, pod_ctx: PodContext) -> None:
        self._pod_ctx = pod_ctx

    def pends(self, pending: PendingResize | None, reported: PodStatus | None) -> None:
        """Record that the node does not allocate what the pod wants, or (None) that nothing is pending any more; an event for
        what the status that was last reported does not say."""
        pod_ctx = self._pod_ctx
        pod_ctx.state.resize_pending(pending)
        if pending is None or (reported is not None and _says(reported, pending, pod_ctx.pod.metadata.generation)):
            return
        text = resize.summary(pod_ctx.desired, pending.message)
        pod_ctx.event(f"Resize{pending.reason}", f"Pod resize {pending.reason}: {text}", warning=True)

    async def apply(self) -> None:
        """One attempt for all containers that need no restart. Records what fails."""
        pod_ctx = self._pod_ctx
        pod = pod_ctx.pod
        containers = resize.in_place(pod, pod_ctx.observed)
        path = pod_ctx.cgroup
        targets = [Target("", path, pod_limits(pod.spec, pod.status.qosClass, pod_ctx.deps.pod_max_pids))]
        for container, attempt in containers:
            targets.append(Target(container.name, f"{path}/{container.name}-{attempt.number}", limits(container)))
        try:
            # In a thread: the kernel may write out pages to meet a lower limit.
            wrong = await pod_ctx.deps.pools.bundles.run(write, pod_ctx.deps.cgroups, targets)
        except OSError as error:
            wrong = str(error)
        if wrong:
            pod_ctx.resize_failed(wrong)
            return
        pod_ctx.state.limits_set([(attempt, resize.text_of(container)) for container, attempt in containers])


def _says(status: PodStatus, pending: PendingResize, generation: int) -> bool:
    """Whether a status tells of this already: an agent that starts again decides again."""
    said = ((item.reason, item.message, item.observedGeneration) for item in status.conditions if item.type == PENDING)
    return (pending.reason, pending.message, generation) in said


def write(cgroups: Cgroups, targets: list[Target]) -> str:
    """Change memory, then cpu, of a pod (the first target) and its containers; returns why that cannot be now, or nothing.
    Raises OSError."""
    by_name = {target.name: target for target in targets}
    memory = [Limit(t.name, cgroups.memory_limit(t.path), t.limits.memory_limit) for t in targets]
    wrong = resize.below_usage(memory, {target.name: cgroups.usage(target.path).memory for target in targets})
    if wrong:
        return wrong
    for name in resize.order(memory[0], memory[1:]):
        cgroups.change_memory(by_name[name].path, by_name[name].limits)
    cpu = [Limit(t.name, cgroups.cpu_limit(t.path), t.limits.cpu_limit) for t in targets]
    for name in resize.order(cpu[0], cpu[1:]):
        cgroups.change_cpu(by_name[name].path, by_name[name].limits)
    return ""

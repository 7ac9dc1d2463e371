"""What is done to a pod by creating something below it: bindings of schedulers, and evictions. Neither is stored.

Source: registry/core/pod/storage (storage.go, eviction.go) of kube-apiserver.
"""

from __future__ import annotations

from controlplane import conditions
from controlplane.resources.poddisruptionbudget import charge
from controlplane.resources.resource import Action, Resource
from controlplane.store import Tx
from pinnace import fielderrors
from pinnace.core.v1.binding_pb2 import Binding
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import Conflict, Invalid
from pinnace.kinds import BINDING, EVICTION, POD
from pinnace.meta.v1.rest_pb2 import DeleteOptions
from pinnace.policy.v1.policy_pb2 import Eviction


class Bind(Action[Binding, Pod]):
    """Run the pod on a node."""

    form = Resource(BINDING)

    def perform(self, tx: Tx, stored: Pod, request: Binding, now: float) -> None:
        """Raises Invalid, Conflict."""
        _check_target(request)
        meta, name = stored.metadata, stored.metadata.name
        if request.metadata.uid and request.metadata.uid != meta.uid:
            raise Conflict(
                f'the uid in the request ({request.metadata.uid}) is not that of pods "{name}"', kind="pods", name=name
            )
        if meta.deletionTimestamp.seconds:
            raise Conflict(f"pod {name} is being deleted, cannot be assigned to a host", kind="pods", name=name)
        if stored.spec.nodeName:
            raise Conflict(f'pod {name} is already assigned to node "{stored.spec.nodeName}"', kind="pods", name=name)
        if stored.spec.schedulingGates:
            raise Conflict(f"pod {name} has non-empty .spec.schedulingGates", kind="pods", name=name)
        stored.spec.nodeName = request.target.name
        meta.annotations.update(request.metadata.annotations)
        conditions.put(stored.status, "PodScheduled", "True", now=now)
        tx.put(POD, stored)


def _check_target(request: Binding) -> None:
    target, errors = request.target, []
    if target.kind not in ("", "Node"):
        errors.append(fielderrors.not_supported("target.kind", target.kind, ("Node", "<empty>")))
    if not target.name:
        errors.append(fielderrors.required("target.name", ""))
    if errors:
        raise Invalid.of("Binding", request.metadata.name, tuple(errors))


class Evict(Action[Eviction, Pod]):
    """Delete the pod, if its disruption budget allows that, and say that it was evicted."""

    form = Resource(EVICTION)

    def perform(self, tx: Tx, stored: Pod, request: Eviction, now: float) -> DeleteOptions:
        """Raises TooManyRequests, Forbidden, Internal."""
        charge(tx, stored, now)
        text = "Eviction API: evicting"
        conditions.put(stored.status, "DisruptionTarget", "True", now=now, reason="EvictionByEvictionAPI", message=text)
        tx.put(POD, stored)
        return request.deleteOptions

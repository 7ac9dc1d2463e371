"""The nodes of a DaemonSet's pods: those that its template allows, and the one that each pod is for. Pure.

Source: kube-controller-manager's daemon controller (NodeShouldRunDaemonPod) and its util/daemonset_util.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinnace import nodeselectors
from pinnace.core.v1.node_pb2 import Node
from pinnace.core.v1.pod_pb2 import Pod, PodSpec
from pinnace.core.v1.podtemplate_pb2 import PodTemplateSpec
from pinnace.core.v1.scheduling_pb2 import Toleration
from pinnace.taints import tolerated

# Tolerations that every pod of a DaemonSet has: key and effect.
TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"), ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"), ("node.kubernetes.io/unschedulable", "NoSchedule"),
)  # fmt: skip
ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a node should get a pod, and whether one that it has may stay."""

    runs: bool
    stays: bool


class Eligibility:
    """The nodes that a template allows: by its node name and selector, its required node affinity, and their taints."""

    def __init__(self, template: PodTemplateSpec) -> None:
        self._spec = template.spec
        required = nodeselectors.required(template.spec)
        # Parsed once for all nodes.
        self._terms = None if required is None else nodeselectors.terms(required)
        self._tolerations = tolerations(template.spec)

    def fit(self, node: Node) -> Fit:
        if not self._selects(node):
            return Fit(False, False)
        hard = [taint for taint in node.spec.taints if taint.effect in ("NoSchedule", "NoExecute")]
        bad = [taint for taint in hard if not tolerated(self._tolerations, taint)]
        return Fit(not bad, all(taint.effect != "NoExecute" for taint in bad))

    def _selects(self, node: Node) -> bool:
        name, labels = node.metadata.name, dict(node.metadata.labels)
        if self._spec.nodeName not in ("", name):
            return False
        if any(labels.get(key) != value for key, value in self._spec.nodeSelector.items()):
            return False
        return self._terms is None or any(term.matches(name, labels) for term in self._terms)


def tolerations(spec: PodSpec) -> list[Toleration]:
    """Those of a DaemonSet's pods: the template's, and the added ones in place of equal ones that end after a time."""
    pairs = (*TOLERATED, ON_HOST_NETWORK) if spec.hostNetwork else TOLERATED
    added = {pair: Toleration(key=pair[0], operator="Exists", effect=pair[1]) for pair in pairs}
    own = [item for item in spec.tolerations if item.operator != "Exists" or (item.key, item.effect) not in added]
    return [*own, *added.values()]


def assign(spec: PodSpec, node: str) -> None:
    """Let a pod run on this node only, in place of the nodes that the template allows."""
    required = spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution
    del required.nodeSelectorTerms[:]
    required.nodeSelectorTerms.add().matchFields.add(key=nodeselectors.NAME, operator="In", values=[node])


def assigned(pod: Pod) -> str:
    """The node that a pod is bound to or assigned to; empty where it is neither."""
    required = nodeselectors.required(pod.spec)
    if pod.spec.nodeName or required is None:
        return pod.spec.nodeName
    fields = [item for term in required.nodeSelectorTerms for item in term.matchFields]
    names = [item.values[0] for item in fields if item.key == nodeselectors.NAME and item.operator == "In" and item.values]
    return names[0] if names else ""

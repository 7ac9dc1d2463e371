"""Nodes, and the owners of pod CIDRs. Their agents report the status; users cordon and taint."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from controlplane.podaddresses import IP_TYPES, canonical
from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age, wide
from controlplane.resources.plugin import DELETE, Attributes, BasePlugin
from controlplane.resources.resource import PROXIED, Resource, Stream
from controlplane.store import Tx
from pinnace import fielderrors, formats, humantime, kinds, nodenetwork
from pinnace.admission import nodes
from pinnace.core.v1.node_pb2 import Node
from pinnace.errors import Cause, Invalid
from pinnace.ipfamilies import Network
from pinnace.wellknown import ANNOTATION_WIREGUARD_KEY

# The index of nodes by what is each node's alone: its IP addresses, in canonical form, and its WireGuard key.
STATED = "stated"
_ROLE_PREFIX, _ROLE = "node-role.kubernetes.io/", "kubernetes.io/role"
_COLUMNS = (
    NAME,
    Column("Status", description="Whether the node is ready, and whether it takes new pods."),
    Column("Roles", description="Roles of the node, by its labels."),
    AGE,
    Column("Version", description="Version of the node's agent."),
    wide("Internal-IP", "First address of the type InternalIP."),
    wide("External-IP", "First address of the type ExternalIP."),
    wide("OS-Image", "Name of the operating system."),
    wide("Kernel-Version", "Version of the kernel."),
    wide("Container-Runtime", "Name and version of the runtime."),
)


def _cells(item: Node, now: float) -> tuple[Cell, ...]:
    info, unknown = item.status.nodeInfo, humantime.UNKNOWN
    return (
        item.metadata.name, _status(item), _roles(item), age(item, now), info.kubeletVersion,
        _address(item, "InternalIP"), _address(item, "ExternalIP"),
        info.osImage or unknown, info.kernelVersion or unknown, info.containerRuntimeVersion or unknown,
    )  # fmt: skip


def _status(item: Node) -> str:
    ready = next((found.status for found in reversed(item.status.conditions) if found.type == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if item.spec.unschedulable:
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(item: Node) -> str:
    labels = item.metadata.labels
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    return ",".join(sorted({*roles, labels.get(_ROLE, "")} - {""})) or NONE


def _address(item: Node, type_: str) -> str:
    return next((found.address for found in item.status.addresses if found.type == type_), NONE)


def _stated(item: Node) -> Sequence[str]:
    key = item.metadata.annotations.get(ANNOTATION_WIREGUARD_KEY, "")
    addresses = (found.address for found in item.status.addresses if found.type in IP_TYPES)
    return [*(canonical(text) or text for text in addresses), *([key] if key else [])]


NODE = Resource(
    kinds.NODE,
    rules=nodes.RULES,
    streams={"proxy": Stream(PROXIED, "NodeProxyOptions")},
    selectable={"spec.unschedulable": lambda item: "true" if item.spec.unschedulable else "false"},
    own_indexes={STATED: _stated},
    columns=Columns(_COLUMNS, _cells),
)


class NodePodCIDRs(BasePlugin):
    """No pod CIDR of two nodes: of those, other nodes program one only. Joining agents get free ones (`dispatcher.subnets`), so
    this is about Nodes that users and other controllers write. Those that are stored already stay as they are."""

    name = "NodePodCIDRs"

    def validate(self, tx: Tx, request: Attributes) -> None:
        """Raises Invalid. Compares with every Node, when a Node gets a pod CIDR."""
        if request.resource.kind is not kinds.NODE or request.operation == DELETE or request.subresource:
            return
        new, old = request.message, request.old
        before = nodenetwork.pod_cidrs(old) if old is not None else []
        path = "spec.podCIDRs[{}]" if new.spec.podCIDRs else "spec.podCIDR"
        stated = {path.format(at): cidr for at, cidr in enumerate(nodenetwork.pod_cidrs(new)) if cidr not in before}
        causes = tuple(cause for field, cidr in stated.items() for cause in _overlaps(tx, new, field, cidr))
        if causes:
            raise Invalid.of(kinds.NODE.group_kind, new.metadata.name[:253], causes)


def _overlaps(tx: Tx, node: Node, path: str, cidr: str) -> Iterator[Cause]:
    """The first Node with addresses of a pod CIDR. Without adding to the read set: reports of nodes would conflict."""
    own = ipaddress.ip_network(cidr, strict=False)
    for row in tx.list_untracked(kinds.NODE):
        other: Node = row.message
        if other.metadata.name == node.metadata.name:
            continue
        for taken in nodenetwork.pod_cidrs(other):
            if _has_common(own, taken):
                yield fielderrors.invalid(path, cidr, f'overlaps with the pod CIDR {taken} of node "{other.metadata.name}"')
                return


def _has_common(network: Network, cidr: str) -> bool:
    if formats.cidr(cidr):
        return False
    other = ipaddress.ip_network(cidr, strict=False)
    return network.version == other.version and network.overlaps(other)

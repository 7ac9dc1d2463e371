"""A node for people: what it has, how it is, what runs on it, and how much of it is taken."""

from __future__ import annotations

from typing import Any

from cli import tables
from cli.describing.lines import conditions, head, labels, line, when
from pinnace import heldresources, kinds, podresources, quantity
from pinnace.kinds import Kind
from pinnace.podresources import CPU, MEMORY, STORAGE, Amounts

_SHOWN = (CPU, MEMORY, STORAGE)
_ENDED = ("Succeeded", "Failed")


def describe(client: Any, kind: Kind, node: Any) -> list[str]:
    info = node.status.nodeInfo
    taints = [f"{t.key}{'=' + t.value if t.value else ''}:{t.effect}" for t in node.spec.taints]
    pods = client.list(kinds.POD, "", fields=f"spec.nodeName={node.metadata.name}")
    return [
        *head(kind, node), *labels(node), line("Created", when(node.metadata.creationTimestamp)),
        line("Taints", ", ".join(taints) or "<none>"), line("Unschedulable", str(node.spec.unschedulable).lower()),
        "Conditions:", *conditions(client, node),
        "Addresses:", *(line(a.type, a.address, 1) for a in node.status.addresses),
        "Capacity:", *_amounts(node.status.capacity), "Allocatable:", *_amounts(node.status.allocatable),
        "System Info:", line("Kernel", info.kernelVersion, 1), line("OS", info.osImage, 1),
        line("Runtime", info.containerRuntimeVersion, 1), line("PodCIDR", node.spec.podCIDR),
        line("PodCIDRs", ",".join(node.spec.podCIDRs)),
        *_pods([pod for pod in pods if pod.status.phase not in _ENDED], node),
    ]  # fmt: skip


def _amounts(items: Any) -> list[str]:
    return [f"  {key + ':':<19}{value.string}" for key, value in sorted(items.items())]


def _pods(pods: list[Any], node: Any) -> list[str]:
    """As kubectl: pods that have not ended, what each asks for and may use, and the sums."""
    allocatable = podresources.amounts(node.status.allocatable)
    rows = [["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits"]]
    asked: Amounts = {}
    capped: Amounts = {}
    for pod in sorted(pods, key=lambda item: (item.metadata.namespace, item.metadata.name)):
        requests, limits = heldresources.requests(pod), heldresources.limits(pod)
        cells = [_cell(name, some.get(name, 0), allocatable) for name in (CPU, MEMORY) for some in (requests, limits)]
        rows.append([pod.metadata.namespace, pod.metadata.name, *cells])
        for name in _SHOWN:
            asked[name] = asked.get(name, 0) + requests.get(name, 0)
            capped[name] = capped.get(name, 0) + limits.get(name, 0)
    sums = [["Resource", "Requests", "Limits"]]
    sums += [[name, *(_cell(name, some.get(name, 0), allocatable) for some in (asked, capped))] for name in _SHOWN]
    return [
        f"Non-terminated Pods: ({len(pods)} in total)", *_indented(rows if pods else []),
        "Allocated resources:", *_indented(sums),
    ]  # fmt: skip


def _indented(rows: list[list[str]]) -> list[str]:
    return ["  " + text for text in tables.render(rows).splitlines()] if rows else []


def _cell(name: str, value: int, allocatable: Amounts) -> str:
    share = value * 100 // allocatable[name] if allocatable.get(name) else 0
    shown = quantity.format_milli(value) if name == CPU else quantity.format_bytes(value)
    return f"{shown} ({share}%)"

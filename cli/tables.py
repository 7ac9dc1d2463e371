"""Rows for people: each kind's columns as kubectl prints them, NAME first, AGE last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pinnace.kinds import Kind
from pinnace.podspec import is_sidecar

Cell = Callable[[Any, float], str]


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    cell: Cell
    wide: bool = False


def duration(seconds: float) -> str:
    """`5s`, `3m20s`, `7h`, `2d4h`: two units while they matter, as kubectl writes ages."""
    total = max(int(seconds), 0)
    if total < 120:
        return f"{total}s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def age(item: Any, now: float) -> str:
    created = item.metadata.creationTimestamp.seconds
    return duration(now - created) if created else "<unknown>"


def pod_status(pod: Any) -> str:
    """The STATUS word of a pod: the most telling reason of its containers."""
    status = pod.status.reason or pod.status.phase or "Unknown"
    if pod.status.phase == "Failed" and pod.status.reason and not pod.metadata.deletionTimestamp.seconds:
        # Evicted, DeadlineExceeded: the pod was ended as a whole; what its containers then did says less.
        return str(status)
    sidecars = {container.name for container in pod.spec.initContainers if is_sidecar(container)}
    for index, item in enumerate(pod.status.initContainerStatuses):
        if item.name in sidecars and item.started:
            continue
        word = _init_status(item, index, len(pod.spec.initContainers))
        if word is not None:
            status = word
            break
    else:
        status = _main_status(pod, status)
    if pod.metadata.deletionTimestamp.seconds:
        return "Unknown" if pod.status.reason == "NodeLost" else "Terminating"
    return status


def _init_status(item: Any, index: int, total: int) -> str | None:
    """What an init container that holds the pod up says; None for one that does not."""
    state = item.state
    if state.HasField("terminated"):
        if state.terminated.exitCode == 0:
            return None
        return f"Init:{state.terminated.reason or 'ExitCode:' + str(state.terminated.exitCode)}"
    if state.waiting.reason not in ("", "PodInitializing", "ContainerCreating"):
        return f"Init:{state.waiting.reason}"
    return f"Init:{index}/{total}"


def _main_status(pod: Any, status: str) -> str:
    running = False
    for item in reversed(pod.status.containerStatuses):
        state = item.state
        if state.HasField("waiting") and state.waiting.reason:
            status = state.waiting.reason
        elif state.HasField("terminated"):
            status = state.terminated.reason or f"ExitCode:{state.terminated.exitCode}"
        elif item.ready and state.HasField("running"):
            running = True
    if pod.status.reason == "Evicted":
        return "Evicted"
    return "Running" if status == "Completed" and running else status


def _counted(pod: Any) -> list[Any]:
    """The statuses of containers that are to run for as long as the pod does: sidecars too."""
    sidecars = {container.name for container in pod.spec.initContainers if is_sidecar(container)}
    return [*(s for s in pod.status.initContainerStatuses if s.name in sidecars), *pod.status.containerStatuses]


def _ready(pod: Any, now: float) -> str:
    total = len(pod.spec.containers) + sum(1 for container in pod.spec.initContainers if is_sidecar(container))
    return f"{sum(1 for item in _counted(pod) if item.ready)}/{total}"


def _restarts(pod: Any, now: float) -> str:
    """Of the init containers while they hold the pod up, as kubectl counts; then of what is to run."""
    initialized = any(item.type == "Initialized" and item.status == "True" for item in pod.status.conditions)
    counted = _counted(pod) if initialized or not pod.spec.initContainers else pod.status.initContainerStatuses
    count = sum(item.restartCount for item in counted)
    ends = [item.lastState.terminated.finishedAt.seconds for item in counted]
    last = max(ends, default=0)
    return f"{count} ({duration(now - last)} ago)" if count and last else str(count)


def node_status(node: Any) -> str:
    ready = next((item.status for item in node.status.conditions if item.type == "Ready"), "Unknown")
    words = ["Ready" if ready == "True" else "NotReady"]
    if node.spec.unschedulable:
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Any, now: float) -> str:
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(key[len(prefix) :] for key in node.metadata.labels if key.startswith(prefix))) or "<none>"


def _address(node: Any, type_: str) -> str:
    return next((item.address for item in node.status.addresses if item.type == type_), "<none>")


def _last_seen(event: Any, now: float) -> str:
    last = event.lastTimestamp.seconds or event.metadata.creationTimestamp.seconds
    return duration(now - last)


def event_order(event: Any) -> tuple[int, int, int]:
    """Oldest first. Times are whole seconds; within one, the order in which the server learned of them."""
    return event.lastTimestamp.seconds, event.firstTimestamp.seconds, int(event.metadata.resourceVersion or 0)


def _info(name: str) -> Cell:
    return lambda node, now: str(getattr(node.status.nodeInfo, name)) or "<unknown>"


_NAME = Column("NAME", lambda item, now: item.metadata.name)
_AGE = Column("AGE", age)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pod": (
        _NAME, Column("READY", _ready), Column("STATUS", lambda pod, now: pod_status(pod)), Column("RESTARTS", _restarts),
        _AGE, Column("IP", lambda pod, now: pod.status.podIP or "<none>", wide=True),
        Column("NODE", lambda pod, now: pod.spec.nodeName or "<none>", wide=True),
    ),
    "Node": (
        _NAME, Column("STATUS", lambda node, now: node_status(node)), Column("ROLES", _roles), _AGE,
        Column("VERSION", _info("kubeletVersion")),
        Column("INTERNAL-IP", lambda node, now: _address(node, "InternalIP"), wide=True),
        Column("POD-CIDR", lambda node, now: node.spec.podCIDR or "<none>", wide=True),
        Column("OS-IMAGE", _info("osImage"), wide=True), Column("KERNEL-VERSION", _info("kernelVersion"), wide=True),
        Column("CONTAINER-RUNTIME", _info("containerRuntimeVersion"), wide=True),
    ),
    "Namespace": (_NAME, Column("STATUS", lambda item, now: item.status.phase or "Active"), _AGE),
    "ConfigMap": (_NAME, Column("DATA", lambda item, now: str(len(item.data) + len(item.binaryData))), _AGE),
    "Secret": (_NAME, Column("TYPE", lambda item, now: item.type), Column("DATA", lambda item, now: str(len(item.data))), _AGE),
    "RuntimeClass": (_NAME, Column("HANDLER", lambda item, now: item.handler), _AGE),
    "Lease": (_NAME, Column("HOLDER", lambda item, now: item.spec.holderIdentity), _AGE),
    "Event": (
        Column("LAST SEEN", _last_seen), Column("TYPE", lambda item, now: item.type),
        Column("REASON", lambda item, now: item.reason),
        Column("OBJECT", lambda item, now: f"{item.involvedObject.kind.lower()}/{item.involvedObject.name}"),
        Column("MESSAGE", lambda item, now: item.message.strip()),
        Column("COUNT", lambda item, now: str(item.count), wide=True), Column("NAME", _NAME.cell, wide=True),
    ),
}  # fmt: skip


def columns(kind: Kind, *, wide: bool, namespace: bool) -> list[Column]:
    chosen = [column for column in COLUMNS[kind.kind] if wide or not column.wide]
    return (
        [Column("NAMESPACE", lambda item, now: item.metadata.namespace), *chosen] if namespace and kind.namespaced else chosen
    )


def _label(name: str) -> Cell:
    return lambda item, now: str(item.metadata.labels.get(name, ""))


def _labels(item: Any, now: float) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(item.metadata.labels.items()))


def label_columns(names: list[str], *, everything: bool) -> tuple[Column, ...]:
    """-L's columns, titled by what follows the label's prefix, and --show-labels'."""
    chosen = [Column(name.rpartition("/")[2].upper(), _label(name)) for name in names]
    if everything:
        chosen.append(Column("LABELS", _labels))
    return tuple(chosen)


def grow(widths: list[int] | None, rows: list[list[str]]) -> list[int] | None:
    """The caller's memory of a table that is printed row by row: at least as wide as these rows, never narrower."""
    if widths is not None and rows:
        known = widths or [0] * len(rows[0])
        widths[:] = [max(before, *(len(row[at]) for row in rows)) for at, before in enumerate(known)]
    return widths


def render(rows: list[list[str]], widths: list[int] | None = None) -> str:
    """Columns three spaces apart, as kubectl sets them. Control characters of a hostile object are not printed."""
    clean = [["".join(c if c.isprintable() else "?" for c in cell) for cell in row] for row in rows]
    sizes = widths or [max(len(row[index]) for row in clean) for index in range(len(clean[0]))]
    lines = ["   ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in clean]
    return "\n".join(lines)

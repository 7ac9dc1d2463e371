"""The pieces of a description: a name and its value, a map, conditions, events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cli import tables
from pinnace import humantime, kinds
from pinnace.kinds import Kind

# The annotation of client-side apply: the object once more.
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def line(name: str, value: str, depth: int = 0) -> str:
    return f"{'  ' * depth}{name + ':':<{17 - 2 * depth}} {value}"


def map_lines(name: str, items: Any, depth: int = 0, sign: str = "=") -> list[str]:
    pairs = [f"{key}{sign}{value}" for key, value in sorted(items.items())]
    rest = [" " * 18 + pair for pair in pairs[1:]]
    return [line(name, pairs[0] if pairs else "<none>", depth), *rest]


def when(moment: Any) -> str:
    if not moment.seconds:
        return "<unset>"
    return datetime.fromtimestamp(moment.seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")


def head(kind: Kind, item: Any) -> list[str]:
    meta = item.metadata
    lines = [line("Name", meta.name)]
    if kind.namespaced:
        lines.append(line("Namespace", meta.namespace))
    return lines


def labels(item: Any) -> list[str]:
    """And annotations, without the manifest that client-side apply keeps."""
    annotated = {key: text for key, text in item.metadata.annotations.items() if key != APPLIED}
    return [*map_lines("Labels", item.metadata.labels), *map_lines("Annotations", annotated, sign=": ")]


def conditions(client: Any, item: Any) -> list[str]:
    """Raises ApiError."""
    rows = [["Type", "Status", "Since", "Reason", "Message"]]
    now = client.now()
    for c in item.status.conditions:
        since = humantime.duration(now - c.lastTransitionTime.seconds) if c.lastTransitionTime.seconds else ""
        rows.append([c.type, c.status, since, c.reason, c.message])
    return ["  " + line for line in tables.render(rows).splitlines()]


def events(client: Any, kind: Kind, item: Any) -> list[str]:
    rows = event_rows(client, kind, item)
    if not rows:
        return [line("Events", "<none>")]
    return ["Events:", *("  " + line for line in tables.render(rows).splitlines())]


def event_rows(client: Any, kind: Kind, item: Any) -> list[list[str]]:
    """A header and a row for each event of the object, oldest first; empty without events. Raises ApiError."""
    fields = f"involvedObject.kind={kind.kind},involvedObject.name={item.metadata.name}"
    found = client.list(kinds.EVENT, item.metadata.namespace if kind.namespaced else "", fields=fields)
    found = [event for event in found if event.involvedObject.uid in ("", item.metadata.uid)]
    if not found:
        return []
    found.sort(key=tables.event_order)
    now = client.now()
    rows = [["Type", "Reason", "Age", "From", "Message"], ["----", "------", "----", "----", "-------"]]
    for event in found:
        age = humantime.duration(now - event.lastTimestamp.seconds)
        if event.count > 1:
            age += f" (x{event.count} over {humantime.duration(now - event.firstTimestamp.seconds)})"
        source = event.source.component + (f", {event.source.host}" if event.source.host else "")
        rows.append([event.type, event.reason, age, source, event.message.strip()])
    return rows

"""A template of pods as kubectl describes it: lines whose cells end with tabs (`tabbed`).

Source: DescribePodTemplate of kubectl's pkg/describe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cli.describing import containers, pods, volumes
from cli.describing.lines import APPLIED

NONE = "<none>"
# Characters of an annotation that is shown on one line.
MAX_ANNOTATION = 140


def lines(template: Any) -> list[str]:
    """From `Pod Template:` to the tolerations."""
    spec, meta = template.spec, template.metadata
    found = ["Pod Template:", *pairs("  Labels", meta.labels)]
    if meta.annotations:
        found += annotation_lines("  Annotations", meta.annotations)
    if spec.serviceAccountName:
        found.append(f"  Service Account:\t{spec.serviceAccountName}")
    if spec.initContainers:
        found += _containers("Init Containers", spec.initContainers)
    found += _containers("Containers", spec.containers)
    found += _volumes(spec.volumes)
    if spec.topologySpreadConstraints:
        found += _listed(f"  {pods.SPREAD}", pods.spread(spec))
    if spec.priorityClassName:
        found.append(f"  Priority Class Name:\t{spec.priorityClassName}")
    found += pairs("  Node-Selectors", spec.nodeSelector)
    return [*found, *_listed("  Tolerations", [pods.toleration(item) for item in spec.tolerations])]


def pairs(title: str, items: Mapping[str, str], *, sign: str = "=") -> list[str]:
    """A map, one entry a line, sorted."""
    return _listed(title, [f"{key}{sign}{text}" for key, text in sorted(items.items())])


def annotation_lines(title: str, items: Mapping[str, str]) -> list[str]:
    """Without the manifest that client-side apply keeps; a long value, or one of several lines, begins on a line of its own."""
    found = list[str]()
    for key in sorted(items):
        value = items[key].removesuffix("\n")
        if key == APPLIED:
            continue
        if len(value) + len(key) + 2 > MAX_ANNOTATION or "\n" in value:
            found += [f"{key}:", *(f"  {_shortened(text)}" for text in value.split("\n"))]
        else:
            found.append(f"{key}: {value}")
    return _listed(title, found)


def _shortened(text: str) -> str:
    most = MAX_ANNOTATION - 2
    return text if len(text) <= most else f"{text[:most]}..."


def _listed(title: str, items: list[str]) -> list[str]:
    return [f"{title}:\t{items[0] if items else NONE}", *(f"\t{item}" for item in items[1:])]


def _containers(title: str, items: Iterable[Any]) -> list[str]:
    return [f"  {title}:", *(line for item in items for line in _container(item))]


def _container(item: Any) -> list[str]:
    ports = [f"{port.containerPort}/{port.protocol}{f' ({port.name})' if port.name else ''}" for port in item.ports]
    host = [f"{port.hostPort}/{port.protocol}{f' ({port.name})' if port.name else ''}" for port in item.ports]
    found = [f"   {item.name}:", f"    Image:\t{item.image}", _ports("Port", ports), _ports("Host Port", host)]
    for title, words in (("Command", item.command), ("Args", item.args)):
        if words:
            found += [f"    {title}:", *(f"      {text}" for word in words for text in word.split("\n"))]
    for title, amounts in (("Limits", item.resources.limits), ("Requests", item.resources.requests)):
        if amounts:
            found += [f"    {title}:", *(f"      {key}:\t{value.string}" for key, value in sorted(amounts.items()))]
    for title, field in (("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")):
        if item.HasField(field):
            found.append(f"    {title}:\t{containers.probe(getattr(item, field))}")
    return [*found, *_environment(item), *_mounts(item)]


def _ports(title: str, texts: list[str]) -> str:
    return f"    {title}s:\t{', '.join(texts)}" if len(texts) > 1 else f"    {title}:\t{texts[0] if texts else NONE}"


def _environment(item: Any) -> list[str]:
    found = []
    if item.envFrom:
        found = ["    Environment Variables from:", *(f"      {containers.env_from(each)}" for each in item.envFrom)]
    found.append("    Environment:" if item.env else f"    Environment:\t{NONE}")
    for each in item.env:
        first, *more = containers.env(each).split("\n")
        found += [f"      {each.name}:\t{first}", *(f"      \t{text}" for text in more)]
    return found


def _mounts(item: Any) -> list[str]:
    if not item.volumeMounts:
        return [f"    Mounts:\t{NONE}"]
    found = ["    Mounts:"]
    for mount in sorted(item.volumeMounts, key=lambda each: each.mountPath):
        path = f',path="{mount.subPath}"' if mount.subPath else ""
        found.append(f"      {mount.mountPath} from {mount.name} ({'ro' if mount.readOnly else 'rw'}{path})")
    return found


def _volumes(items: Any) -> list[str]:
    if not items:
        return [f"  Volumes:\t{NONE}"]
    found = ["  Volumes:"]
    for item in items:
        found += [f"   {item.name}:", *volumes.lines(item.volumeSource)]
    return found

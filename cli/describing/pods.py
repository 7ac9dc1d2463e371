"""A pod in detail."""

from __future__ import annotations

from typing import Any

from cli.describing.containers import container_lines
from cli.describing.lines import conditions, head, labels, line, map_lines, when
from pinnace import labelselectors, podspec, podstatus
from pinnace.kinds import Kind

SPREAD = "Topology Spread Constraints"


def describe(client: Any, kind: Kind, pod: Any) -> list[str]:
    status = pod.status
    lines = [
        *head(kind, pod), line("Node", f"{pod.spec.nodeName}/{status.hostIP}" if pod.spec.nodeName else "<none>"),
        line("Start Time", when(status.startTime)), *labels(pod), line("Status", podstatus.summarize(pod).status),
    ]  # fmt: skip
    if status.reason or status.message:
        lines += [line("Reason", status.reason), line("Message", status.message)]
    lines.append(line("IP", status.podIP or "<none>"))
    lines += ["IPs:", *(line("IP", item.ip, 1) for item in status.podIPs)] if status.podIPs else [line("IPs", "<none>")]
    for ref in pod.metadata.ownerReferences:
        if ref.controller:
            lines.append(line("Controlled By", f"{ref.kind}/{ref.name}"))
    if status.nominatedNodeName:
        lines.append(line("NominatedNodeName", status.nominatedNodeName))
    for title, containers, statuses in (
        ("Init Containers", pod.spec.initContainers, status.initContainerStatuses),
        ("Containers", pod.spec.containers, status.containerStatuses),
        ("Ephemeral Containers", podspec.ephemeral(pod), status.ephemeralContainerStatuses),
    ):
        if containers:
            known = {item.name: item for item in statuses}
            lines.append(f"{title}:")
            for container in containers:
                lines += container_lines(container, known.get(container.name))
    if pod.spec.readinessGates:
        kept = {item.type: item.status for item in status.conditions}
        gates = [f"  {gate.conditionType}  {kept.get(gate.conditionType, '<none>')}" for gate in pod.spec.readinessGates]
        lines += ["Readiness Gates:", *gates]
    lines += ["Conditions:", *conditions(client, pod), "Volumes:" + ("" if pod.spec.volumes else "          <none>")]
    for item in pod.spec.volumes:
        source = [field.name for field, _ in item.volumeSource.ListFields()]
        lines.append(line(item.name, volume(item.volumeSource, source[0] if source else ""), 1))
    lines.append(line("QoS Class", status.qosClass))
    lines += map_lines("Node-Selectors", pod.spec.nodeSelector)
    tolerations = [toleration(item) for item in pod.spec.tolerations]
    lines.append(line("Tolerations", tolerations[0] if tolerations else "<none>"))
    lines += [" " * 18 + text for text in tolerations[1:]]
    return [*lines, *(f"{SPREAD + ':' if not index else '':<28} {text}" for index, text in enumerate(spread(pod.spec)))]


def spread(spec: Any) -> list[str]:
    """The topology spread constraints of a pod, by topology key."""
    return [_constraint(item) for item in sorted(spec.topologySpreadConstraints, key=lambda item: str(item.topologyKey))]


def _constraint(item: Any) -> str:
    text = f"{item.topologyKey}:{item.whenUnsatisfiable} when max skew {item.maxSkew} is exceeded"
    return (
        f"{text} for selector {labelselectors.text(item.labelSelector) or '<none>'}" if item.HasField("labelSelector") else text
    )


def volume(source: Any, kind: str) -> str:
    match kind:
        case "configMap":
            name = source.configMap.localObjectReference.name
        case "secret":
            name = source.secret.secretName
        case "hostPath":
            name = source.hostPath.path
        case "persistentVolumeClaim":
            name = source.persistentVolumeClaim.claimName
        case "nfs":
            name = f"{source.nfs.server}:{source.nfs.path}"
        case "emptyDir":
            name = source.emptyDir.medium or "on disk"
        case _:
            return kind
    return f"{kind} ({name})"


def toleration(item: Any) -> str:
    text = str(item.key) + (f"={item.value}" if item.value else "") + (f":{item.effect}" if item.effect else "")
    # One without key and effect tolerates everything.
    text = f"{text} op=Exists".lstrip() if item.operator == "Exists" else text
    return text + (f" for {item.tolerationSeconds}s" if item.HasField("tolerationSeconds") else "")

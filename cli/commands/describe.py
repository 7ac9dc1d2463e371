"""`kctl describe`: an object in detail, with its events."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

from cli import flags, output, tables
from pinnace import kinds
from pinnace.errors import NotFound
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser("describe", "Show objects in detail: kctl describe pod web")
    parser.add_argument("what", nargs="*")
    flags.add_selectors(parser)
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    namespace = "" if args.all_namespaces else client.context.namespace
    blocks, failed = [], 0
    for kind, name in flags.targets(args.what):
        try:
            found = (
                [client.get(kind, namespace, name)]
                if name
                else client.list(kind, namespace, labels=args.selector, fields=args.field_selector)
            )
        except NotFound as error:
            failed += 1
            print(f"Error from server ({error.reason}): {error.message}", file=sys.stderr)
            continue
        blocks += [describe(client, kind, item) for item in found]
    print("\n\n".join(blocks)) if blocks else None
    return 1 if failed else 0


def describe(client: Any, kind: Kind, item: Any) -> str:
    lines = {"Pod": _pod, "Node": _node, "Secret": _secret, "ConfigMap": _config_map}.get(kind.kind, _any)(client, kind, item)
    return "\n".join([*lines, *_events(client, kind, item)])


def _line(name: str, value: str, depth: int = 0) -> str:
    return f"{'  ' * depth}{name + ':':<{18 - 2 * depth}}{value}"


def _map(name: str, items: Any, depth: int = 0, sign: str = "=") -> list[str]:
    pairs = [f"{key}{sign}{value}" for key, value in sorted(items.items())]
    rest = [" " * 18 + pair for pair in pairs[1:]]
    return [_line(name, pairs[0] if pairs else "<none>", depth), *rest]


def _when(moment: Any) -> str:
    if not moment.seconds:
        return "<unset>"
    return datetime.fromtimestamp(moment.seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")


def _head(kind: Kind, item: Any) -> list[str]:
    meta = item.metadata
    lines = [_line("Name", meta.name)]
    if kind.namespaced:
        lines.append(_line("Namespace", meta.namespace))
    return lines


def _labels(item: Any) -> list[str]:
    return [*_map("Labels", item.metadata.labels), *_map("Annotations", item.metadata.annotations, sign=": ")]


def _any(client: Any, kind: Kind, item: Any) -> list[str]:
    document = output.document(kind, item)
    body = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
    text = output.to_yaml(body).splitlines() if body else []
    return [*_head(kind, item), *_labels(item), _line("Created", _when(item.metadata.creationTimestamp)), *text]


def _secret(client: Any, kind: Kind, item: Any) -> list[str]:
    sizes = [f"{key}:  {len(value)} bytes" for key, value in sorted(item.data.items())]
    return [*_head(kind, item), *_labels(item), "", _line("Type", item.type), "", "Data", "====", *sizes]


def _config_map(client: Any, kind: Kind, item: Any) -> list[str]:
    lines = [*_head(kind, item), *_labels(item), "", "Data", "===="]
    for key, value in sorted(item.data.items()):
        lines += [f"{key}:", "----", value.rstrip("\n"), ""]
    if item.binaryData:
        lines += [
            "BinaryData",
            "====",
            *(f"{key}: {len(value)} bytes" for key, value in sorted(item.binaryData.items())),
        ]
    return lines


def _node(client: Any, kind: Kind, node: Any) -> list[str]:
    info = node.status.nodeInfo
    taints = [f"{t.key}{'=' + t.value if t.value else ''}:{t.effect}" for t in node.spec.taints]
    lines = [
        *_head(kind, node), *_labels(node), _line("Created", _when(node.metadata.creationTimestamp)),
        _line("Taints", ", ".join(taints) or "<none>"), _line("Unschedulable", str(node.spec.unschedulable).lower()),
        "Conditions:", *_conditions(node),
        "Addresses:", *(_line(a.type, a.address, 1) for a in node.status.addresses),
        "Capacity:", *(_line(key, value.string, 1) for key, value in sorted(node.status.capacity.items())),
        "Allocatable:", *(_line(key, value.string, 1) for key, value in sorted(node.status.allocatable.items())),
        "System Info:", _line("Kernel", info.kernelVersion, 1), _line("OS", info.osImage, 1),
        _line("Runtime", info.containerRuntimeVersion, 1), _line("PodCIDR", node.spec.podCIDR),
    ]  # fmt: skip
    pods = client.list(kinds.POD, "", fields=f"spec.nodeName={node.metadata.name}")
    lines.append(f"Pods:             ({len(pods)} in total)")
    if pods:
        text = output.table(kinds.POD, pods, wide=False, namespace=True)
        lines += ["  " + line for line in text.splitlines()]
    return lines


def _conditions(item: Any) -> list[str]:
    rows = [["Type", "Status", "Since", "Reason", "Message"]]
    now = time.time()
    for c in item.status.conditions:
        since = tables.duration(now - c.lastTransitionTime.seconds) if c.lastTransitionTime.seconds else ""
        rows.append([c.type, c.status, since, c.reason, c.message])
    return ["  " + line for line in tables.render(rows).splitlines()]


def _pod(client: Any, kind: Kind, pod: Any) -> list[str]:
    status = pod.status
    lines = [
        *_head(kind, pod), _line("Node", f"{pod.spec.nodeName}/{status.hostIP}" if pod.spec.nodeName else "<none>"),
        _line("Start Time", _when(status.startTime)), *_labels(pod), _line("Status", tables.pod_status(pod)),
    ]  # fmt: skip
    if status.reason or status.message:
        lines += [_line("Reason", status.reason), _line("Message", status.message)]
    lines.append(_line("IP", status.podIP or "<none>"))
    for ref in pod.metadata.ownerReferences:
        if ref.controller:
            lines.append(_line("Controlled By", f"{ref.kind}/{ref.name}"))
    for title, containers, statuses in (
        ("Init Containers", pod.spec.initContainers, status.initContainerStatuses),
        ("Containers", pod.spec.containers, status.containerStatuses),
    ):
        if containers:
            known = {item.name: item for item in statuses}
            lines.append(f"{title}:")
            for container in containers:
                lines += _container(container, known.get(container.name))
    lines += ["Conditions:", *_conditions(pod), "Volumes:" + ("" if pod.spec.volumes else "          <none>")]
    for volume in pod.spec.volumes:
        source = [field.name for field, _ in volume.volumeSource.ListFields()]
        lines.append(_line(volume.name, _volume(volume.volumeSource, source[0] if source else ""), 1))
    lines.append(_line("QoS Class", status.qosClass))
    lines += _map("Node-Selectors", pod.spec.nodeSelector)
    tolerations = [_toleration(item) for item in pod.spec.tolerations]
    lines.append(_line("Tolerations", tolerations[0] if tolerations else "<none>"))
    return [*lines, *(" " * 18 + text for text in tolerations[1:])]


def _volume(source: Any, kind: str) -> str:
    match kind:
        case "configMap":
            name = source.configMap.localObjectReference.name
        case "secret":
            name = source.secret.secretName
        case "hostPath":
            name = source.hostPath.path
        case _:
            name = source.emptyDir.medium or "on disk"
    return f"{kind} ({name})"


def _toleration(item: Any) -> str:
    text = str(item.key) + (f"={item.value}" if item.value else "") + (f":{item.effect}" if item.effect else "")
    text += " op=Exists" if item.operator == "Exists" else ""
    return text + (f" for {item.tolerationSeconds}s" if item.HasField("tolerationSeconds") else "")


def _container(container: Any, status: Any | None) -> list[str]:
    lines = [f"  {container.name}:", _line("Image", container.image, 2)]
    if status is not None:
        lines += [_line("Container ID", status.containerID, 2), _line("Image ID", status.imageID, 2)]
        lines += _state("State", status.state) + (
            _state("Last State", status.lastState) if status.lastState.ListFields() else []
        )
        lines += [_line("Ready", str(status.ready), 2), _line("Restart Count", str(status.restartCount), 2)]
    if container.command:
        lines.append(_line("Command", " ".join(container.command), 2))
    if container.args:
        lines.append(_line("Args", " ".join(container.args), 2))
    if container.ports:
        lines.append(_line("Ports", ", ".join(f"{p.containerPort}/{p.protocol}" for p in container.ports), 2))
    for title, amounts in (("Limits", container.resources.limits), ("Requests", container.resources.requests)):
        if amounts:
            lines.append(_line(title, ", ".join(f"{key}={value.string}" for key, value in sorted(amounts.items())), 2))
    if container.env:
        lines.append("    Environment:")
        lines += [f"      {env.name}:  {_env(env)}" for env in container.env]
    if container.volumeMounts:
        lines.append("    Mounts:")
        lines += [f"      {m.mountPath} from {m.name} ({'ro' if m.readOnly else 'rw'})" for m in container.volumeMounts]
    return lines


def _env(env: Any) -> str:
    if not env.HasField("valueFrom"):
        return str(env.value)
    source = env.valueFrom
    for field, word in (("secretKeyRef", "secret"), ("configMapKeyRef", "config map")):
        if source.HasField(field):
            ref = getattr(source, field)
            return f"<set to the key '{ref.key}' in {word} '{ref.localObjectReference.name}'>"
    return f"({source.fieldRef.fieldPath or source.resourceFieldRef.resource})"


def _state(title: str, state: Any) -> list[str]:
    if state.HasField("running"):
        return [_line(title, "Running", 2), _line("Started", _when(state.running.startedAt), 3)]
    if state.HasField("terminated"):
        ended = state.terminated
        lines = [_line(title, "Terminated", 2), _line("Reason", ended.reason, 3)]
        if ended.message:
            lines.append(_line("Message", ended.message.strip(), 3))
        lines.append(_line("Exit Code", str(ended.exitCode), 3))
        return [*lines, _line("Started", _when(ended.startedAt), 3), _line("Finished", _when(ended.finishedAt), 3)]
    lines = [_line(title, "Waiting", 2), _line("Reason", state.waiting.reason, 3)]
    return [*lines, _line("Message", state.waiting.message, 3)] if state.waiting.message else lines


def _events(client: Any, kind: Kind, item: Any) -> list[str]:
    fields = f"involvedObject.kind={kind.kind},involvedObject.name={item.metadata.name}"
    found = client.list(kinds.EVENT, item.metadata.namespace if kind.namespaced else "", fields=fields)
    found = [event for event in found if event.involvedObject.uid in ("", item.metadata.uid)]
    if not found:
        return [_line("Events", "<none>")]
    found.sort(key=lambda event: (event.lastTimestamp.seconds, event.firstTimestamp.seconds))
    now = time.time()
    rows = [["Type", "Reason", "Age", "From", "Message"], ["----", "------", "---", "----", "-------"]]
    for event in found:
        age = tables.duration(now - event.lastTimestamp.seconds)
        if event.count > 1:
            age += f" (x{event.count} over {tables.duration(now - event.firstTimestamp.seconds)})"
        source = event.source.component + (f", {event.source.host}" if event.source.host else "")
        rows.append([event.type, event.reason, age, source, event.message.strip()])
    return ["Events:", *("  " + line for line in tables.render(rows).splitlines())]

"""A container and its state, as a part of its pod's description."""

from __future__ import annotations

from typing import Any

from cli.describing.lines import line, when


def container_lines(container: Any, status: Any | None) -> list[str]:
    lines = [f"  {container.name}:", line("Image", container.image, 2)]
    if status is not None:
        lines += [line("Container ID", status.containerID, 2), line("Image ID", status.imageID, 2)]
        lines += _state("State", status.state) + (
            _state("Last State", status.lastState) if status.lastState.ListFields() else []
        )
        lines += [line("Ready", str(status.ready), 2), line("Restart Count", str(status.restartCount), 2)]
    if container.command:
        lines.append(line("Command", " ".join(container.command), 2))
    if container.args:
        lines.append(line("Args", " ".join(container.args), 2))
    if container.ports:
        lines.append(line("Ports", ", ".join(f"{p.containerPort}/{p.protocol}" for p in container.ports), 2))
    if any(port.hostPort for port in container.ports):
        lines.append(line("Host Ports", ", ".join(f"{p.hostPort}/{p.protocol}" for p in container.ports), 2))
    for title, amounts in (("Limits", container.resources.limits), ("Requests", container.resources.requests)):
        if amounts:
            lines.append(line(title, ", ".join(f"{key}={value.string}" for key, value in sorted(amounts.items())), 2))
    for title, name in (("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")):
        if container.HasField(name):
            lines.append(line(title, probe(getattr(container, name)), 2))
    if container.envFrom:
        lines.append("    Environment Variables from:")
        lines += [f"      {env_from(source)}" for source in container.envFrom]
    if container.env:
        lines.append("    Environment:")
        lines += [f"      {item.name}:  {env(item)}" for item in container.env]
    if container.volumeMounts:
        lines.append("    Mounts:")
        lines += [f"      {m.mountPath} from {m.name} ({'ro' if m.readOnly else 'rw'})" for m in container.volumeMounts]
    return lines


def probe(probe: Any) -> str:
    numbers = (
        f"delay={probe.initialDelaySeconds}s timeout={probe.timeoutSeconds}s period={probe.periodSeconds}s "
        f"#success={probe.successThreshold} #failure={probe.failureThreshold}"
    )
    return f"{_handler(probe.handler)} {numbers}"


def _handler(handler: Any) -> str:
    if handler.HasField("exec"):
        return f"exec [{' '.join(handler.exec.command)}]"
    if handler.HasField("httpGet"):
        asked = handler.httpGet
        return f"http-get {asked.scheme.lower()}://{asked.host}:{_port(asked.port)}{asked.path}"
    if handler.HasField("tcpSocket"):
        return f"tcp-socket {handler.tcpSocket.host}:{_port(handler.tcpSocket.port)}"
    return f"grpc <pod>:{handler.grpc.port} {handler.grpc.service}".rstrip()


def _port(port: Any) -> str:
    return str(port.intVal) if port.type == 0 else str(port.strVal)


def env(env: Any) -> str:
    if not env.HasField("valueFrom"):
        return str(env.value)
    source = env.valueFrom
    for field, word in (("secretKeyRef", "secret"), ("configMapKeyRef", "config map")):
        if source.HasField(field):
            ref = getattr(source, field)
            return f"<set to the key '{ref.key}' in {word} '{ref.localObjectReference.name}'>"
    return f"({source.fieldRef.fieldPath or source.resourceFieldRef.resource})"


def env_from(source: Any) -> str:
    kind, ref = ("Secret", source.secretRef) if source.HasField("secretRef") else ("ConfigMap", source.configMapRef)
    prefix = f" with prefix '{source.prefix}'" if source.prefix else ""
    return f"{ref.localObjectReference.name}  {kind}{prefix}  Optional: {str(ref.optional).lower()}"


def _state(title: str, state: Any) -> list[str]:
    if state.HasField("running"):
        return [line(title, "Running", 2), line("Started", when(state.running.startedAt), 3)]
    if state.HasField("terminated"):
        ended = state.terminated
        lines = [line(title, "Terminated", 2), line("Reason", ended.reason, 3)]
        if ended.message:
            lines.append(line("Message", ended.message.strip(), 3))
        lines.append(line("Exit Code", str(ended.exitCode), 3))
        # Of a container that could not be started only the end is known.
        started = [line("Started", when(ended.startedAt), 3)] if ended.startedAt.seconds else []
        return [*lines, *started, line("Finished", when(ended.finishedAt), 3)]
    lines = [line(title, "Waiting", 2), line("Reason", state.waiting.reason, 3)]
    return [*lines, line("Message", state.waiting.message, 3)] if state.waiting.message else lines

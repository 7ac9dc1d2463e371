"""Query parameters to streams of the node: PodExecOptions, PodAttachOptions, PodPortForwardOptions, PodLogOptions.

Parameters that are not known are ignored, as in Kubernetes.

Source: k8s.io/api/core/v1 and its validation (ValidatePodLogOptions).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from controlplane.rest.streams.interface import StreamRequest
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest, Cause, Invalid

MAX_INT64 = (1 << 63) - 1
_STREAMS = {"All": "", "Stdout": "stdout", "Stderr": "stderr"}
_SHOWN = ", ".join(f'"{name}"' for name in _STREAMS)
# Ports of one request; channels are numbered with one byte, two for each port.
MAX_PORTS = 64


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """Which streams of an exec or attach there are. A terminal has no standard error."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def command_options(request: StreamRequest) -> CommandOptions:
    """Raises BadRequest."""
    tty = request.flag("tty")
    options = CommandOptions(
        stdin=request.flag("stdin"), stdout=request.flag("stdout", absent=True),
        stderr=request.flag("stderr", absent=True) and not tty, tty=tty,
    )  # fmt: skip
    if not (options.stdin or options.stdout or options.stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    return options


def opening(request: StreamRequest) -> streams_pb2.OpenStream:
    """A stream of the pod's container. Without a kind."""
    return streams_pb2.OpenStream(namespace=request.namespace, pod=request.name, container=request.parameter("container"))


def exec_opening(request: StreamRequest, options: CommandOptions) -> streams_pb2.OpenStream:
    """Raises BadRequest."""
    command = request.parameters("command")
    if not command or not command[0]:
        raise BadRequest("you must specify at least one command for the container")
    found = opening(request)
    found.exec.command.extend(command)
    found.exec.stdin, found.exec.tty = options.stdin, options.tty
    return found


def attach_opening(request: StreamRequest, options: CommandOptions) -> streams_pb2.OpenStream:
    found = opening(request)
    found.attach.stdin = options.stdin
    return found


def ports(request: StreamRequest) -> list[int]:
    """Of `ports`, or `port` as older clients write it. Raises BadRequest."""
    words = [word for name in ("ports", "port") for value in request.parameters(name) for word in value.split(",")]
    found = [port_number(word) for word in words]
    if not found or len(found) > MAX_PORTS:
        raise BadRequest(f'query parameter "ports" needs 1 to {MAX_PORTS} ports')
    return found


def port_number(text: str) -> int:
    """Raises BadRequest."""
    if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 1 << 16:
        return int(text)
    raise BadRequest(f'"{text[:40]}" is not a port')


def log_opening(request: StreamRequest, now: float) -> streams_pb2.OpenStream:
    """`now` in seconds since the epoch. Raises BadRequest, Invalid."""
    found = opening(request)
    logs = found.logs
    logs.follow, logs.previous = request.flag("follow"), request.flag("previous")
    logs.timestamps = request.flag("timestamps")
    logs.untilExit = True
    causes: list[Cause] = []
    logs.stream = _stream(request, causes)
    if (tail := _number(request, "tailLines", 0, causes)) is not None:
        logs.tailLines = tail
    if (limit := _number(request, "limitBytes", 1, causes)) is not None:
        logs.limitBytes = limit
    seconds = _number(request, "sinceSeconds", 1, causes)
    since = request.parameter("sinceTime")
    if seconds is not None and since:
        causes.append(Cause("", "at most one of `sinceTime` or `sinceSeconds` may be specified", "FieldValueForbidden"))
    if causes:
        raise Invalid.of("PodLogOptions", request.name, tuple(causes))
    if seconds is not None:
        logs.sinceNanos = max(0, int((now - seconds) * 1e9))
    elif since:
        logs.sinceNanos = max(0, _nanoseconds(since))
    return found


def _stream(request: StreamRequest, causes: list[Cause]) -> str:
    """The name that the node has for a stream; empty: all."""
    chosen = request.parameter("stream") or "All"
    if chosen not in _STREAMS:
        text = f'Unsupported value: "{chosen[:40]}": supported values: {_SHOWN}'
        causes.append(Cause("stream", text, "FieldValueNotSupported"))
        return ""
    if chosen != "All" and request.parameter("tailLines"):
        text = "`tailLines` and specific `stream` are mutually exclusive for now"
        causes.append(Cause("stream", text, "FieldValueForbidden"))
    return _STREAMS[chosen]


def _number(request: StreamRequest, name: str, least: int, causes: list[Cause]) -> int | None:
    """Raises BadRequest for text that is no number of 64 bits."""
    text = request.parameter(name)
    if not text:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or abs(int(text)) > MAX_INT64:
        raise BadRequest(f'query parameter "{name}": "{text[:40]}" is not a number')
    if int(text) < least:
        causes.append(Cause(name, f"must be greater than or equal to {least}"))
    return int(text)


def _nanoseconds(text: str) -> int:
    """RFC 3339 as nanoseconds since the epoch. Raises BadRequest."""
    # Python keeps microseconds; the digits below are added apart.
    match = re.fullmatch(r"([0-9-]{10}[Tt][0-9:]{8})(?:[.,]([0-9]{1,9})[0-9]*)?(Z|z|[+-][0-9:]{5})", text)
    try:
        if match is None:
            raise ValueError(text)
        whole = datetime.fromisoformat(match[1].upper() + match[3].upper()).timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(f'query parameter "sinceTime": "{text[:40]}" is not a time of RFC 3339') from None
    return int(whole) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))

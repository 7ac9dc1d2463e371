"""Waiting for a container that was just created, and attaching to it: what `kctl debug` and `kctl run` share."""

from __future__ import annotations

import time
from typing import Any

from cli.commands.attach import attach
from cli.loglines import Printer, Source
from cli.logreader import LogReader
from cli.progress import Progress
from pinnace import kinds, podspec
from pinnace.errors import ApiError, BadRequest, NotFound, Timeout

# Seconds for a node to report that a container has ended.
REPORTED_WITHIN = 3.0
# Seconds for the container to start: its image may have to be pulled.
START_WITHIN = 300.0


def join(client: Any, pod: Any, name: str, *, stdin: bool, tty: bool, quiet: bool, within: float = START_WITHIN) -> int:
    """Attach to a container once it runs, within seconds, or follow its log if there is no input; returns its exit code.

    Of a container that is restarted whatever its end, the exit code is 0 without input. Raises ApiError."""
    state = _awaited(client, pod, name, "running", "terminated", within=within)
    if stdin and not state.HasField("terminated"):
        try:
            return attach(client, pod, podspec.find(pod, name), stdin=True, tty=tty, quiet=quiet)
        except BadRequest:
            # It ended in between, which its node may report a moment later, or it cannot be attached to.
            if not _ends(client, pod, name):
                raise
    return _follow(client, pod, name)


def _follow(client: Any, pod: Any, name: str) -> int:
    """From the beginning of the log, which has the output before now, too."""
    from pinnace.api.v1 import streams_pb2

    source = Source(pod.metadata.namespace, pod.metadata.name, name)
    LogReader(client, streams_pb2.LogOptions(follow=True), Printer(prefix=False)).read(source)
    if pod.spec.restartPolicy == "Always" and not any(item.name == name for item in podspec.ephemeral(pod)):
        return 0
    return int(_awaited(client, pod, name, "terminated").terminated.exitCode)


def _ends(client: Any, pod: Any, name: str) -> bool:
    """Whether the container has ended, or does within a moment."""
    deadline = time.monotonic() + REPORTED_WITHIN
    while time.monotonic() < deadline:
        state = _state(client.get(kinds.POD, pod.metadata.namespace, pod.metadata.name), name)
        if state is not None and state.HasField("terminated"):
            return True
        time.sleep(0.1)
    return False


def _awaited(client: Any, pod: Any, name: str, *wanted: str, within: float = START_WITHIN) -> Any:
    """The container's state once it is one of those wanted. Raises Timeout saying what it waits for, NotFound."""
    progress, reason = Progress(), "its node has not begun"
    deadline = time.monotonic() + within
    meta = pod.metadata
    try:
        for type_, found in client.watch(kinds.POD, meta.namespace, name=meta.name, timeout=within):
            if type_ == "DELETED":
                raise NotFound(f"pod {meta.name} was deleted")
            state = _state(found, name) if found is not None else None
            if state is not None and any(state.HasField(field) for field in wanted):
                return state
            if state is not None and state.HasField("waiting"):
                reason = f"{state.waiting.reason}: {state.waiting.message}".strip(": ")
            progress.show(f"waiting for container {name}: {reason}")
    except ApiError:
        if time.monotonic() < deadline:
            raise
    finally:
        progress.clear()
    raise Timeout(f"container {name} is not {wanted[0]} within {within:.0f} s ({reason})")


def _state(pod: Any, name: str) -> Any | None:
    """Of a container or an ephemeral one; None before its node has reported it."""
    found = (*pod.status.containerStatuses, *pod.status.ephemeralContainerStatuses)
    return next((item.state for item in found if item.name == name), None)

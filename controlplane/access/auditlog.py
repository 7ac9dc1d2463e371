"""The audit log: one JSON line for each request, at the level that the policy gives it.

Lines are written by a thread of their own. When it does not keep up, lines are dropped and counted; requests do not wait.

Source: audit.k8s.io/v1 Event of k8s.io/apiserver, and kube-apiserver's --audit-log flags.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane import metrics
from controlplane.access.auditpolicy import Body, Level, Policy, Record, read_policy
from pinnace import codec
from pinnace.errors import Invalid

log = logging.getLogger("pinnace.audit")
# Lines that wait for the disk, bytes of one line's object, and of a file before it is rotated.
QUEUE, MAX_OBJECT, MAX_FILE = 10_000, 256 << 10, 100 << 20
# Files that are kept besides the present one.
BACKUPS = 10


def event(record: Record, level: Level) -> dict[str, Any]:
    """An Event of audit.k8s.io/v1, in the stage ResponseComplete. Pure."""
    made: dict[str, Any] = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level.text, "auditID": record.id,
        "stage": "ResponseComplete", "requestURI": record.uri, "verb": record.verb,
        "user": {"username": record.user, "groups": list(record.groups)}, "userAgent": record.agent[:256],
        "responseStatus": {"metadata": {}, "code": record.code}, "requestReceivedTimestamp": _time(record.received),
        "stageTimestamp": _time(record.answered),
    }  # fmt: skip
    if record.impersonated is not None:
        other = record.impersonated
        made["impersonatedUser"] = {
            "username": other.user, "groups": list(other.groups), **({"uid": other.uid} if other.uid else {}),
            **({"extra": {key: list(values) for key, values in other.extra.items()}} if other.extra else {}),
        }  # fmt: skip
    if record.source:
        made["sourceIPs"] = [record.source]
    if record.resource:
        reference = {
            "resource": record.resource, "subresource": record.subresource, "namespace": record.namespace, "name": record.name,
            "apiGroup": record.group, "apiVersion": record.version,
        }  # fmt: skip
        made["objectRef"] = {key: value for key, value in reference.items() if value}
    if level >= Level.REQUEST and (found := _object(record.request)) is not None:
        made["requestObject"] = found
    if level >= Level.REQUEST_RESPONSE and (found := _object(record.response)) is not None:
        made["responseObject"] = found
    return made


def _object(body: Body) -> Any:
    """JSON that is not too large; protobuf and YAML are left out."""
    data = body() if callable(body) else body
    if not data.startswith((b"{", b"[")) or len(data) > MAX_OBJECT:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _time(seconds: float) -> str:
    return codec.format_time(int(seconds))[:-1] + f".{int(seconds % 1 * 1e6):06d}Z"


def open_log(path: str, policy: str, *, megabytes: int, backups: int) -> Log:
    """Raises Invalid for a policy or a file that cannot be used."""
    try:
        found = read_policy(Path(policy).read_bytes(), policy) if policy else Policy()
        made = Log(Path(path), found, max_size=max(1, megabytes) << 20, backups=backups)
        made.open()
    except OSError as error:
        raise Invalid(f"audit log: {error.filename}: {error.strerror}") from None
    return made


@dataclass(slots=True)
class Log:
    """A file of lines, mode 0600, rotated by size."""

    path: Path
    policy: Policy = field(default_factory=Policy)
    max_size: int = MAX_FILE
    backups: int = BACKUPS
    _lines: queue.Queue[bytes | None] = field(default_factory=lambda: queue.Queue(QUEUE), repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    def open(self) -> None:
        """Raises OSError when the file cannot be written."""
        os.close(self._descriptor())
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def _descriptor(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def put(self, record: Record) -> None:
        level = self.policy.level(record)
        if level is Level.NONE:
            return
        line = json.dumps(event(record, level), separators=(",", ":"), ensure_ascii=True).encode()
        try:
            self._lines.put_nowait(line + b"\n")
        except queue.Full:
            metrics.audit_dropped.inc()

    def close(self) -> None:
        """Write what waits, for five seconds at most."""
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join(5)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._append(line)
            except OSError as error:
                metrics.audit_dropped.inc()
                log.error("audit_not_written path=%s error=%s", self.path, error.strerror)

    def _append(self, line: bytes) -> None:
        descriptor = self._descriptor()
        try:
            if os.fstat(descriptor).st_size + len(line) > self.max_size:
                os.close(descriptor)
                self._rotate()
                descriptor = self._descriptor()
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        for number in range(self.backups, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                os.replace(newer, older)

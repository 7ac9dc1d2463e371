"""A pod's records on disk, one directory for each pod; `state` is the only writer.

    pod.pb                            the pod as last assigned, with the resources that are allocated to it
    resizing                          these may not be in force yet
    sandbox.json                      when it began, its addresses, whether they were given back, the handler of its runtime
    status.pb                         the pod's status as reported last: conditions keep their times
    sandbox-made                      nothing of the sandbox is missing
    eviction.json                     the node ends the pod, and why
    containers/NAME/NUMBER/           a bundle; of ours in it: attempt.json, life.json

Every file appears whole or not at all, whatever process is killed. After a power failure some may be torn, and count as absent:
nothing of the pod runs then, and to wait for the disk would delay every start.

Records that must be there before a container starts raise OSError when they cannot be written; the others are logged.
"""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from nodeagent.pods.model import Attempt, ContainerTermination, Eviction, Fault, LifecycleState, ObservedState
from nodeagent.runtime import jsonfields
from pinnace import pki
from pinnace.core.v1 import pod_pb2

log = logging.getLogger("pinnace.pods")
Record = TypeVar("Record", Attempt, Eviction, Fault, LifecycleState, ContainerTermination)


class PodCheckpoint:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # There once nothing of the sandbox is missing: network, address and files too.
        self.sandbox_made = folder / "sandbox-made"
        # There from before other resources are allocated until they are in force.
        self.resizing = folder / "resizing"
        self._sandbox = folder / "sandbox.json"
        self._eviction = folder / "eviction.json"

    def save_pod(self, pod: pod_pb2.Pod) -> None:
        _best_effort(self.folder / "pod.pb", pod.SerializeToString())

    def save_allocation(self, pod: pod_pb2.Pod) -> None:
        """Raises OSError."""
        self.resizing.touch()
        pki.write_private(self.folder / "pod.pb", pod.SerializeToString(), sync=False)

    def load_pod(self) -> pod_pb2.Pod:
        """As it was saved; an empty one when that is absent or torn."""
        with contextlib.suppress(FileNotFoundError, DecodeError):
            return pod_pb2.Pod.FromString((self.folder / "pod.pb").read_bytes())
        return pod_pb2.Pod()

    def save_status(self, status: pod_pb2.PodStatus) -> None:
        _best_effort(self.folder / "status.pb", status.SerializeToString())

    def load_status(self) -> pod_pb2.PodStatus | None:
        """As reported last; None when it is absent or torn."""
        with contextlib.suppress(FileNotFoundError, DecodeError):
            return pod_pb2.PodStatus.FromString((self.folder / "status.pb").read_bytes())
        return None

    def bundle(self, name: str, number: int) -> Path:
        return self.folder / "containers" / name / str(number)

    def bundles(self) -> list[Path]:
        """All bundles, a container's in the order of their numbers."""
        found = [path for path in (self.folder / "containers").glob("*/*") if path.name.isdigit()]
        return sorted(found, key=lambda path: (path.parent.name, int(path.name)))

    def save_sandbox(self, observed: ObservedState, handler: str) -> None:
        """The handler too: what runs is looked after when its RuntimeClass is gone. Raises OSError."""
        record = {
            "started_at": observed.started_at,
            "address": observed.address,
            "addresses": observed.addresses,
            "released": observed.released,
            "handler": handler,
            "epoch": observed.epoch,
            "finished": sorted(observed.finished),
        }
        _save(self._sandbox, record)

    def load_sandbox(self) -> dict[str, Any] | None:
        return load(self._sandbox)

    def save_eviction(self, eviction: Eviction) -> None:
        _best_effort(self._eviction, jsonfields.dumps(eviction))

    def load_eviction(self) -> Eviction | None:
        return _value(Eviction, load(self._eviction))

    def save_attempt(self, attempt: Attempt) -> None:
        """Raises OSError."""
        _save(self.bundle(attempt.name, attempt.number) / "attempt.json", attempt)

    @staticmethod
    def load_attempt(bundle: Path) -> Attempt | None:
        return _value(Attempt, load(bundle / "attempt.json"))

    def save_lifecycle(self, name: str, number: int, lifecycle: LifecycleState) -> None:
        folder = self.bundle(name, number)
        if folder.exists():
            _best_effort(folder / "life.json", jsonfields.dumps(lifecycle))

    @staticmethod
    def load_lifecycle(bundle: Path) -> LifecycleState:
        record = load(bundle / "life.json") or {}
        record |= {
            "fault": _value(Fault, record.get("fault")),
            "stopping": _value(ContainerTermination, record.get("stopping")),
        }
        return _value(LifecycleState, record) or LifecycleState()


def _save(path: Path, record: dict[str, Any] | Attempt) -> None:
    pki.write_private(path, jsonfields.dumps(record), sync=False)


def _best_effort(path: Path, data: bytes) -> None:
    try:
        pki.write_private(path, data, sync=False)
    except OSError as error:
        log.error("not_recorded path=%s error=%s", path, error)


def _value(cls: type[Record], record: dict[str, Any] | None) -> Record | None:
    """What a record says; None when there is none, or one that another version of the agent wrote and we do not know."""
    with contextlib.suppress(TypeError):
        return cls(**record) if record is not None else None
    return None


def load(path: Path) -> dict[str, Any] | None:
    """A record, None when it is not there or not whole."""
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None

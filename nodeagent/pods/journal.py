"""What a pod's worker must remember, on disk before it matters. One folder for each pod:

    pod.pb                            the pod as last assigned
    sandbox.json                      when it began, its address, whether it was given back, the handler of its runtime
    status.pb                         the pod's status as reported last: conditions keep their times
    sandbox-made                      nothing of the sandbox is missing
    eviction.json                     the node ends the pod, and why
    containers/NAME/NUMBER/           a bundle; of ours in it: attempt.json, life.json

Every file appears whole or not at all, whoever is killed. After a power failure some may be torn, and count as absent:
nothing of the pod runs then, and to wait for the disk would hold up every start.

What must be there before a container starts raises OSError when it cannot be written. What is booked of a pod that is
there already does not: on a full disk pods must come to their end, or it stays full. An agent that starts again then
knows a little less.
"""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from nodeagent.pods.model import Attempt, Eviction, Fault, Life, Seen, Stopping
from pinnace import pki

log = logging.getLogger("pinnace.pods")
Record = TypeVar("Record", Attempt, Eviction, Fault, Life, Stopping)


class Journal:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # There once nothing of the sandbox is missing: network, address and files too.
        self.sandbox_made = folder / "sandbox-made"
        self._sandbox = folder / "sandbox.json"
        self._eviction = folder / "eviction.json"

    def bundle(self, name: str, number: int) -> Path:
        return self.folder / "containers" / name / str(number)

    def bundles(self) -> list[Path]:
        """All bundles, a container's in the order of their numbers."""
        found = [path for path in (self.folder / "containers").glob("*/*") if path.name.isdigit()]
        return sorted(found, key=lambda path: (path.parent.name, int(path.name)))

    def save_sandbox(self, seen: Seen, handler: str) -> None:
        """The handler too: what runs is looked after when its RuntimeClass is gone. Raises OSError."""
        record = {"started_at": seen.started_at, "address": seen.address, "released": seen.released, "handler": handler}
        _save(self._sandbox, record)

    def load_sandbox(self) -> dict[str, Any] | None:
        return load(self._sandbox)

    def save_eviction(self, eviction: Eviction) -> None:
        _note(self._eviction, asdict(eviction))

    def load_eviction(self) -> Eviction | None:
        return _value(Eviction, load(self._eviction))

    def save_attempt(self, attempt: Attempt) -> None:
        """Raises OSError."""
        _save(self.bundle(attempt.name, attempt.number) / "attempt.json", asdict(attempt))

    @staticmethod
    def load_attempt(bundle: Path) -> Attempt | None:
        return _value(Attempt, load(bundle / "attempt.json"))

    def save_life(self, name: str, number: int, life: Life) -> None:
        folder = self.bundle(name, number)
        if folder.exists():
            _note(folder / "life.json", asdict(life))

    @staticmethod
    def load_life(bundle: Path) -> Life:
        record = load(bundle / "life.json") or {}
        record |= {"fault": _value(Fault, record.get("fault")), "stopping": _value(Stopping, record.get("stopping"))}
        return _value(Life, record) or Life()


def _save(path: Path, record: dict[str, Any]) -> None:
    pki.write_private(path, json.dumps(record).encode(), sync=False)


def _note(path: Path, record: dict[str, Any]) -> None:
    try:
        _save(path, record)
    except OSError as error:
        log.error("not_booked path=%s error=%s", path, error)


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

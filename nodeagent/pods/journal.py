"""What a pod's worker must remember, on disk before it matters. One folder for each pod:

    pod.pb                            the pod as last assigned
    sandbox.json                      when it began, its address, whether it was given back, the handler of its runtime
    sandbox-made                      nothing of the sandbox is missing
    eviction.json                     the node ends the pod, and why
    containers/NAME/NUMBER/           a bundle; of ours in it: attempt.json, life.json

Every file appears whole or not at all, whoever is killed. After a power failure some may be torn, and count as absent:
nothing of the pod runs then, and to wait for the disk would hold up every start.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodeagent.pods.model import Attempt, Eviction, Fault, Life, Seen, Stopping
from pinnace import pki


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
        """The handler too: what runs is looked after when its RuntimeClass is gone."""
        record = {"started_at": seen.started_at, "address": seen.address, "released": seen.released, "handler": handler}
        _save(self._sandbox, record)

    def load_sandbox(self) -> dict[str, Any] | None:
        return load(self._sandbox)

    def save_eviction(self, eviction: Eviction) -> None:
        _save(self._eviction, asdict(eviction))

    def load_eviction(self) -> Eviction | None:
        record = load(self._eviction)
        return Eviction(**record) if record is not None else None

    def save_attempt(self, attempt: Attempt) -> None:
        _save(self.bundle(attempt.name, attempt.number) / "attempt.json", asdict(attempt))

    @staticmethod
    def load_attempt(bundle: Path) -> Attempt | None:
        record = load(bundle / "attempt.json")
        return Attempt(**record) if record is not None else None

    def save_life(self, name: str, number: int, life: Life) -> None:
        folder = self.bundle(name, number)
        if folder.exists():
            _save(folder / "life.json", asdict(life))

    @staticmethod
    def load_life(bundle: Path) -> Life:
        record = load(bundle / "life.json")
        if record is None:
            return Life()
        if record["fault"] is not None:
            record["fault"] = Fault(**record["fault"])
        if record["stopping"] is not None:
            record["stopping"] = Stopping(**record["stopping"])
        return Life(**record)


def _save(path: Path, record: dict[str, Any]) -> None:
    pki.write_private(path, json.dumps(record).encode(), sync=False)


def load(path: Path) -> dict[str, Any] | None:
    """A record, None when it is not there or not whole."""
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return value

"""The layer cache: which layer a step made, by the step's key. Records only; the layers are the image store's.

    build-cache/<key>.json    {"layer": digest, "created": RFC 3339}; an empty digest: the step wrote nothing

The store keeps the layers that are named here, even if no image has them, until the disk fills or images are pruned.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pinnace import pki

log = logging.getLogger("pinnace.building")
# The least recently used are deleted first.
MAX_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class Record:
    layer: str
    created: str


class BuildCache:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        pki.remove_torn(directory)
        # In the order of their last use.
        by_use = sorted(directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        self._records = {path.stem: record for path in by_use if (record := _read(path)) is not None}

    def layers(self) -> frozenset[str]:
        """The layers that records name."""
        return frozenset(record.layer for record in self._records.values() if record.layer)

    def find(self, key: str) -> Record | None:
        record = self._records.pop(key, None)
        if record is not None:
            self._records[key] = record
            os.utime(self._path(key))
        return record

    def keep(self, key: str, record: Record) -> None:
        pki.write_private(self._path(key), json.dumps(asdict(record)).encode())
        self._records.pop(key, None)
        self._records[key] = record
        while len(self._records) > MAX_RECORDS:
            self._delete(next(iter(self._records)))

    def clear(self) -> None:
        for key in list(self._records):
            self._delete(key)

    def _delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)
        del self._records[key]

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.json"


def _read(path: Path) -> Record | None:
    """None for one that is damaged: the step is made again."""
    try:
        return Record(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        log.error("cache_record_damaged path=%s error=%r", path, error)
        return None

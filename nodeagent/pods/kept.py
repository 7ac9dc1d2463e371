"""What an agent keeps on disk of what it was told, for one that starts without its control plane."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from pinnace import kinds, pki
from pinnace.core.v1 import pod_pb2

log = logging.getLogger("pinnace.pods")


def write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """As `pki.write_private`; on a full disk the next agent has to do without, for deletions must come in to this one."""
    try:
        pki.write_private(path, data, sync=sync)
    except OSError as error:
        log.error("not_kept path=%s error=%s", path, error)


def status(path: Path) -> Any | None:
    """The pod status in a file; None when it is absent or torn."""
    with contextlib.suppress(FileNotFoundError, DecodeError):
        return pod_pb2.PodStatus.FromString(path.read_bytes())
    return None


def pod(path: Path) -> Any:
    """The pod in a file; an empty one when the file is absent or torn."""
    with contextlib.suppress(FileNotFoundError, DecodeError):
        return kinds.POD.cls.FromString(path.read_bytes())
    return kinds.POD.cls()

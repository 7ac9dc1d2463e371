"""Frames of a node's answer; an error that it ends with is raised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import errors
from pinnace.errors import Internal


def frames(client: Any, method: Any, opening: Any, *, timeout: float | None) -> Iterator[Any]:
    """Raises ApiError."""
    for frame in client.stream(method, opening, timeout=timeout):
        if frame.WhichOneof("frame") == "exit":
            if frame.exit.message:
                raise errors.BY_REASON.get(frame.exit.reason, Internal)(frame.exit.message)
            return
        yield frame

"""IPv4 forwarding of this machine's devices: switched on for as long as a lab has an uplink, then back to what it was.

Only by device, never by net.ipv4.ip_forward, which would make a router of every device, future ones too. The devices that
were switched on are recorded in /run (lost with a reboot, like the switches themselves), by network namespace. Callers
hold the lock.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from cli.lab import layout, locking
from pinnace.errors import Internal

_CONF = Path("/proc/sys/net/ipv4/conf")
LOCKED_WITHIN = 20.0


def locked() -> contextlib.AbstractContextManager[None]:
    """One kctl at a time changes this machine's side of uplinks. Raises Timeout on entry."""
    return locking.held(layout.RUN.parent / "uplinks.lock", within=LOCKED_WITHIN)


def opened() -> list[str]:
    """The devices that forward because of labs."""
    try:
        return [str(name) for name in json.loads(_record().read_text())["opened"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def open_devices(names: Sequence[str]) -> None:
    """Have the devices forward; those that did not are recorded. Raises Internal, and changes nothing then."""
    closed = [name for name in names if not _forwards(name)]
    if not closed:
        return
    _save([*opened(), *closed])
    for name in closed:
        _write(name, "1")


def open_link(name: str) -> None:
    """Have a lab's own link forward; its setting ends with the device. Raises Internal."""
    if not _forwards(name):
        _write(name, "1")


def restore() -> None:
    """Undo `open_devices`, except where the machine has become a router by another's doing."""
    for name in opened():
        if not _forwards("all"):
            with contextlib.suppress(Internal):
                _write(name, "0")
    _record().unlink(missing_ok=True)


def why_not() -> str:
    """Why forwarding cannot be switched on here; empty when it can, or need not be."""
    if _forwards("all"):
        return ""
    # Asking, by writing what is there already.
    try:
        (_CONF / "lo/forwarding").write_text("1" if _forwards("lo") else "0")
    except OSError as error:
        return f"{_CONF}/*/forwarding: {error.strerror}"
    return ""


def _forwards(name: str) -> bool:
    try:
        return (_CONF / name / "forwarding").read_text().strip() == "1"
    except OSError:
        # A device that has gone needs nothing.
        return name != "all"


def _write(name: str, value: str) -> None:
    path = _CONF / name / "forwarding"
    try:
        path.write_text(value)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Internal(f"{path}: {error.strerror}") from None


def _save(names: list[str]) -> None:
    path = _record()
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"opened": sorted(set(names))}))
    os.replace(temporary, path)


def _record() -> Path:
    return layout.RUN.parent / f"uplinks-{os.stat('/proc/self/ns/net').st_ino}.json"

"""Who a process is, by its pid and when it started: a pid alone may be another's by now. Source: proc_pid_stat(5)."""

from __future__ import annotations

from nodeagent.linux import smallfiles


def start_time(pid: int) -> int:
    """Clock ticks since boot; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def runs(pid: int, started: int) -> bool:
    """Whether it is this process and not only its remains, which its parent has yet to reap."""
    fields = _stat(pid)
    return bool(fields) and int(fields[19]) == started and fields[0] != b"Z"


def parent(pid: int) -> int:
    """The pid of its parent; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on, after the name, which may contain anything."""
    try:
        return smallfiles.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []

"""The time of a lab, which its control plane and agents share and `kctl lab clock advance` moves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.lab import naming, waiting
from cli.lab.layout import Lab
from pinnace import durations, labclock
from pinnace.clock import SystemClock
from pinnace.errors import ApiError, BadRequest

# Seconds: agents that do not answer are waited for until their nodes count as lost.
ADVANCED_WITHIN = 600.0


def show(lab: Lab, config: Path) -> str:
    """Raises ApiError."""
    from pinnace.api.v1 import cluster_pb2

    connection = waiting.client(lab, config)
    return _line(lab, connection.call(_stub(connection).Version, cluster_pb2.VersionRequest()).clock)


def advance(lab: Lab, config: Path, seconds: float) -> tuple[str, list[str]]:
    """A line about the new time, and the nodes that gave no sign of life. Raises ApiError."""
    from pinnace.api.v1 import cluster_pb2

    connection = waiting.client(lab, config)
    stub = _stub(connection)
    if not connection.call(stub.Version, cluster_pb2.VersionRequest()).clock.adjustable:
        again = f"`{naming.command('stop', lab.name)}` and `{naming.command('start', lab.name)}`"
        raise BadRequest(f'lab "{lab.name}" was started by an earlier kctl, without a clock of its own: {again} give it one')
    answer = connection.call(stub.AdvanceClock, cluster_pb2.AdvanceClockRequest(seconds=seconds), timeout=ADVANCED_WITHIN)
    return _line(lab, answer.clock), list(answer.silent)


def _stub(connection: Any) -> Any:
    from pinnace.api.v1 import cluster_pb2_grpc

    return cluster_pb2_grpc.ClusterStub(connection.channel)


def _line(lab: Lab, clock: Any) -> str:
    at = datetime.fromtimestamp(int(clock.now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'lab "{lab.name}": {at}, {ahead(clock.offset)}'


def ahead(offset: float) -> str:
    """An offset in words."""
    return f"{durations.render(round(offset * 1e9))} ahead of this machine" if offset else "the time of this machine"


def recorded(lab: Lab) -> str:
    """The same from the lab's file, whether the lab runs or not."""
    try:
        return ahead(labclock.LabClock(SystemClock(), lab.clock_file).offset)
    except (ApiError, OSError) as error:
        return str(error)

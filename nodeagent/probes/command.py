"""A command in a container for the agent's own use: exec probes and lifecycle hooks. A deadline, and bounded output."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from nodeagent.runtime.interface import ExecConfig, Execs, Handle

# Bytes of output that are kept (kubelet's bound for exec probes).
LIMIT = 10_240
# Seconds to go on reading after the end: a child that the command left may hold the pipe open.
DRAIN = 0.1
# What coreutils' timeout(1) exits with.
TIMED_OUT = 124
_CHUNK = 32 << 10


@dataclass(frozen=True, slots=True)
class ProbeOutput:
    """`output` is standard output and error as they came, decoded; `timed_out` sets the code to `TIMED_OUT`."""

    code: int
    output: str
    timed_out: bool = False


async def run_in(
    runtime: Execs,
    handle: Handle,
    command: tuple[str, ...],
    *,
    timeout: float,  # noqa: ASYNC109 - a manifest's number, and its end is an answer and no failure
    limit: int = LIMIT,
) -> ProbeOutput:
    """Run `command` for at most `timeout` seconds; then it and all that it started is killed. Raises StartError."""
    collected = _Output(limit)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        running = runtime.exec(handle, ExecConfig(command), (null, collected.write_end, collected.write_end))
        async with asyncio.timeout(timeout):
            code, timed_out = await running, False
    except TimeoutError:
        code, timed_out = TIMED_OUT, True
    finally:
        os.close(null)
        text = await collected.close()
    return ProbeOutput(code, text, timed_out)


class _Output:
    """A pipe that is read to its end, of which the first `limit` bytes are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = b""
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_end, False)
        self._dry = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._read_end, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._read_end, _CHUNK)
        except BlockingIOError:
            return
        self._kept += data[: self._limit - len(self._kept)]
        if not data:
            asyncio.get_running_loop().remove_reader(self._read_end)
            self._dry.set()

    async def close(self) -> str:
        """What was written. Safe to cancel: nothing stays open."""
        os.close(self.write_end)
        try:
            async with asyncio.timeout(DRAIN):
                await self._dry.wait()
        except TimeoutError:
            pass
        finally:
            asyncio.get_running_loop().remove_reader(self._read_end)
            os.close(self._read_end)
        return self._kept.decode(errors="replace")

"""The agents of a new lab, forked from one process that imports the agent once, while the hosts are made.

`nodeagent/prefork.py` is its other side. An agent that is started later, alone, is imported anew (`processes.start_agent`).
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from types import TracebackType
from typing import Self

from cli.lab import processes, proxies
from cli.lab.layout import Lab
from cli.lab.processes import Joining
from pinnace.errors import Internal

# Seconds: for the import and a fork, also on an emulated machine, and for the process to end by itself.
FORKED_WITHIN, ENDED_WITHIN = 120.0, 5.0
_LOG = "agents"


class Agents:
    """A context, in which agents can be started; the process ends with it, the agents stay."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        log = lab.log(_LOG)
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nodeagent", "prefork"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=file, start_new_session=True, cwd="/", env=proxies.environment(lab), bufsize=0,
            )  # fmt: skip

    def start(self, node: str, joining: Joining) -> None:
        """Start a node's agent. Raises Internal."""
        lab = self._lab
        order = {
            "name": node,
            "arguments": processes.agent_words(lab, node, joining),
            "stdin": joining.token,
            "log": str(lab.log(node)),
            "namespaces": [str(lab.namespace(node, kind)) for kind in ("net", "mnt")],
        }
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
        processes.record(lab, node, self._pid(node))

    def _pid(self, node: str) -> int:
        """Raises Internal."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], FORKED_WITHIN)
        line = self._process.stdout.readline() if ready else b""
        if not line.strip().isdigit():
            raise Internal(f"the agent of {node} was not started; see {self._lab.log(_LOG)}")
        return int(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

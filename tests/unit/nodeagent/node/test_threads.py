"""Threads of the agent's parts: named, bounded, and none of asyncio's own."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import nodeagent
from nodeagent.node.threads import Threads


def _calls(path: Path) -> Iterator[str]:
    """Calls in a file that use asyncio's default executor."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ("to_thread", "getaddrinfo", "getnameinfo"):
            # socket's own block, and are called in a thread.
            if not (isinstance(node.value, ast.Name) and node.value.id == "socket"):
                yield f"{path.name}:{node.lineno} {node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "run_in_executor":
            if isinstance(node.args[0], ast.Constant):
                yield f"{path.name}:{node.lineno} run_in_executor"


def test_nothing_uses_the_default_executor() -> None:
    """It has a handful of threads for everything: six calls that hang stop all parts of the agent."""
    [root] = nodeagent.__path__
    assert [call for path in sorted(Path(root).rglob("*.py")) for call in _calls(path)] == []


def test_such_calls_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "asyncio.to_thread(f)\nloop.run_in_executor(None, f)\nloop.getaddrinfo('x', 1)\nsocket.getaddrinfo('x', 1)\n"
    )
    assert sorted(_calls(path)) == ["a.py:1 to_thread", "a.py:2 run_in_executor", "a.py:3 getaddrinfo"]


def test_each_event_loop_has_threads_of_its_own() -> None:
    """One that ended while its calls hung leaves nothing to the next."""
    work, gate = Threads("work", 1), threading.Event()

    async def hang() -> None:
        waiting = asyncio.ensure_future(work.run(gate.wait, 30))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(hang())
    assert asyncio.run(work.run_within(10, int, "7")) == 7
    gate.set()

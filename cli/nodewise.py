"""The same work on several nodes at once: a thread for each, one line of progress for all, failures by node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from cli.complaints import report
from cli.progress import Progress, Say
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Internal

T = TypeVar("T")


def add_flag(parser: Any) -> None:
    parser.add_argument("--node", action="append", default=[], help="only this node (repeatable; default: all nodes)")


def names(client: Any, chosen: list[str]) -> list[str]:
    """The chosen nodes, or all. Raises BadRequest when there is none."""
    found = chosen or [node.metadata.name for node in client.list(kinds.NODE, "")]
    if not found:
        raise BadRequest("the cluster has no node")
    return found


class Results(Generic[T]):
    """`done` and `failed` by node."""

    def __init__(self) -> None:
        self.done: dict[str, T] = {}
        self.failed: dict[str, ApiError] = {}

    def report(self) -> int:
        """Say what failed where; returns the exit code."""
        for node, error in sorted(self.failed.items()):
            report(f"error: node {node}: {error.message}")
        return 1 if self.failed else 0

    def holders(self, things: Callable[[T], Iterable[str]]) -> list[tuple[str, list[str]]]:
        """Every thing that was done, with the nodes where it was."""
        found: dict[str, list[str]] = {}
        for node, value in sorted(self.done.items()):
            for thing in things(value):
                found.setdefault(thing, []).append(node)
        return sorted(found.items())


def everywhere(nodes: list[str], title: str, work: Callable[[str, Say], T]) -> Results[T]:
    """`work` gets a node and may say how far it is there."""
    results: Results[T] = Results()
    said: dict[str, str] = {}

    def one(node: str) -> None:
        try:
            results.done[node] = work(node, lambda text: said.__setitem__(node, text))
        except ApiError as error:
            results.failed[node] = error
        except Exception as error:
            results.failed[node] = Internal(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=one, args=(node,), daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    progress = Progress()
    while (running := [thread for thread in threads if thread.is_alive()]) and threads:
        ended = results.done.keys() | results.failed.keys()
        far = ", ".join(f"{node} {text}" for node, text in sorted(said.items()) if node not in ended)
        progress.show(f"{title}: {len(ended)} of {len(nodes)} nodes done" + (f" ({far})" if far else ""))
        running[0].join(0.1)
    progress.clear()
    return results

"""Waits for rollouts by watching their objects."""

from __future__ import annotations

import sys
import time
from typing import Any

from cli.changing import Target
from cli.progress import Progress
from cli.rollouts import table
from pinnace.errors import BadRequest, Expired, Internal, NotFound, Timeout

TIMED_OUT = "timed out waiting for the condition"
# Seconds until a watch that has ended begins again.
AGAIN = 0.5


class Report:
    """Lines on stdout; on a terminal one line that changes, and the last sentence on stdout."""

    def __init__(self) -> None:
        self._line = Progress() if sys.stdout.isatty() and sys.stderr.isatty() else None
        self._said = ""

    def show(self, text: str, *, last: bool) -> None:
        if text == self._said and not last:
            return
        self._said = text
        if self._line is None:
            print(text, flush=True)
        elif last:
            self._line.clear()
            print(text, flush=True)
        else:
            self._line.show(text)

    def clear(self) -> None:
        if self._line is not None:
            self._line.clear()


def wait(client: Any, target: Target, args: Any) -> None:
    """Until the rollout is complete, or once without --watch. Raises Timeout, NotFound, BadRequest."""
    found = table.of_kind(target.kind, f"no status viewer has been implemented for {target.kind.group_kind}")
    deadline = time.monotonic() + args.timeout if args.timeout else None
    report = Report()
    try:
        while not _watch(client, target, found, args, deadline=deadline, report=report):
            time.sleep(AGAIN)
    finally:
        report.clear()


def _watch(client: Any, target: Target, rollout: Any, args: Any, *, deadline: float | None, report: Report) -> bool:
    """False when the watch has to begin again. Raises Timeout, NotFound, BadRequest, Internal."""
    kind, namespace, name = target
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise Timeout(TIMED_OUT)
    seen, began = "", False
    try:
        for type_, item in client.watch(kind, namespace, name=name, timeout=left):
            began = True
            if item is None:
                if not seen:
                    raise NotFound.of(kind.resource, name)
                continue
            if type_ == "DELETED" or seen not in ("", item.metadata.uid):
                raise BadRequest("object has been deleted")
            seen = item.metadata.uid
            state = rollout.progress(item, args.revision)
            report.show(state.text, last=state.done or not args.watch)
            if state.done or not args.watch:
                return True
    except Expired:
        return False
    except Timeout:
        raise Timeout(TIMED_OUT) from None
    if not began:
        raise Internal("the control plane ended a watch that it had not begun")
    return False

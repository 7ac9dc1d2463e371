"""The cost of one authorization check, with bindings of other users without number: one JSON object on standard output.

Usage: python benchmarks/authorization.py [BINDINGS]
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import checkout  # noqa: F401

from controlplane import resources
from controlplane.access import bootstraproles
from controlplane.access.attributes import on
from controlplane.access.authorizers import Authorizers
from controlplane.requests import verbs
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import RandomIds, SystemClock
from tests.support.access import role_binding, user

BATCH, ROUNDS, CHECKS = 500, 20, 2_000


def timed(authorizers: Authorizers, request: Any) -> float:
    """Microseconds of CPU time of one check, so that other load does not count: the median of rounds."""
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CHECKS):
            authorizers.authorize(request)
        found.append((time.process_time() - start) / CHECKS * 1e6)
    return round(statistics.median(found), 2)


async def main(bindings: int) -> None:
    clock, ids = SystemClock(), RandomIds()
    store = await Store.open(MemoryBackend(), clock, resources.built_in())
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(store.serve())
        await store.update(lambda tx: bootstraproles.reconcile(tx, verbs.Call(clock.now(), ids)))
        view, jane = "ClusterRole/system:aggregate-to-view", user("jane", "staff")
        await store.update(lambda tx: tx.put(kinds.ROLE_BINDING, role_binding("jane", view, "User:jane")))
        authorizers = Authorizers(store)
        get = on(jane, "get", kinds.POD, namespace="default", name="x")
        delete = on(jane, "delete", kinds.POD, namespace="default", name="x")
        result: dict[str, Any] = {"bindings": bindings}
        for label in ("alone", "with_others"):
            result[label] = {"allowed_us": timed(authorizers, get), "refused_us": timed(authorizers, delete)}
            if label == "alone":
                await _fill(store, bindings, view)
        print(json.dumps(result))
        serving.cancel()


async def _fill(store: Store, count: int, role: str) -> None:
    for start in range(0, count, BATCH):

        def fill(tx: Any, start: int = start) -> None:
            for number in range(start, min(start + BATCH, count)):
                tx.put(kinds.ROLE_BINDING, role_binding(f"b{number}", role, f"User:u{number}", f"Group:g{number}"))

        await store.update(fill)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))

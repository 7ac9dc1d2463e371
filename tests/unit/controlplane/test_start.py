"""The control plane is small and fast to start: what only some clusters need, or need later, is imported later."""

from __future__ import annotations

from tests.support.imports import imported_by

# The scheduler's, certificates', streams', those of custom resources, CronJobs and YAML.
LATER = {
    "numpy", "controlplane.scheduler.service", "cryptography", "wsproto", "cel_expr_python", "re2", "pinnace.jsonpath",
    "controlplane.resources.custom", "controlplane.customresources.definition", "controlplane.customresources.celenv",
    "importlib.metadata", "yaml", "zoneinfo", "cronsim", "csv", "google.protobuf.json_format",
}  # fmt: skip
# A pod that waits, with so many nodes, until it is placed. Prints by which thread numpy is imported, as a module's name.
PLACING = """
import asyncio, threading
from controlplane import resources
from controlplane.scheduler.deferred import DeferredScheduler
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import SystemClock
from tests.support.objects import node, pod

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            sys.modules[f"numpy-in-{'main' if threading.current_thread() is threading.main_thread() else 'another'}"] = None

sys.meta_path.insert(0, Finder())
NODES = int(sys.argv[1])

async def main():
    clock = SystemClock()
    store = await Store.open(MemoryBackend(), clock, resources.built_in())
    tasks = [asyncio.ensure_future(store.serve()), asyncio.ensure_future(DeferredScheduler(store, clock).run())]
    await store.update(lambda tx: [tx.put(kinds.NODE, node(f"n{number}")) for number in range(NODES)])
    await store.update(lambda tx: tx.put(kinds.POD, pod("p")))
    async with asyncio.timeout(60):
        while not store.get(kinds.POD, "default", "p").spec.nodeName:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()

asyncio.run(main())
"""


def test_it_imports_what_every_cluster_needs_at_once() -> None:
    """The rest takes half as much time and memory again."""
    imported = imported_by("import controlplane.__main__, controlplane.server")
    assert "controlplane.scheduler.deferred" in imported
    assert imported & LATER == set()


def test_few_nodes_need_no_numpy() -> None:
    """Placing pods on them takes small arrays."""
    imported = imported_by(PLACING, "3")
    assert "controlplane.scheduler.service" in imported
    assert "numpy" not in imported


def test_many_nodes_import_numpy_in_a_thread() -> None:
    """Meanwhile the event loop serves requests."""
    imported = imported_by(PLACING, "200")
    assert "numpy" in imported
    assert "numpy-in-another" in imported
    assert "numpy-in-main" not in imported

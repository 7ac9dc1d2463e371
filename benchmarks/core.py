"""The control plane's core in one process, without sockets: one function per figure, one JSON object.

Usage: core.py [FIGURE...]. Times are CPU time of this process, so that other load on the machine does not count; the backend is
memory. `_us` is microseconds, `_ms` milliseconds, `_s` per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from controlplane import bootstrap, resources
from controlplane.controllers.customresources import accept
from controlplane.customresources import definition
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.router import Router
from controlplane.podranges import Range
from controlplane.requests import decoding, verbs
from controlplane.resources import Registry
from controlplane.resources.indexes import LABEL
from controlplane.scheduler import nodeinfo, placement, podinfo
from controlplane.scheduler.chunks import chunks
from controlplane.scheduler.plugins import default_profile
from controlplane.scheduler.service import Scheduler
from controlplane.scheduler.table import NodeTable
from controlplane.store import Committed, Narrow, Query, Store, Txn, Watcher, Write
from controlplane.store.memory import MemoryBackend
from controlplane.store.sqlite import SQLiteBackend
from pinnace import codec, kinds, memory, rules
from pinnace.clock import RandomIds, SystemClock

NODES = 5000
# Pods written in one transaction while a benchmark is prepared, and clients that create at the same time while it runs.
PREPARED, CLIENTS = 50, 20
# Pods that the figures of one verb are the mean of.
WRITTEN = 2000


def manifest(number: int, *, app: int = 0) -> dict[str, Any]:
    """A pod as users write it, in JSON; `app` is the group of pods that it is spread with."""
    container = {
        "name": "main",
        "image": "registry.example.com/app:1",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    meta = {"name": f"p{number}", "namespace": "default", "labels": {"app": f"app-{app}"}}
    spec = {"containers": [container], "tolerations": [{"key": "dedicated", "operator": "Exists"}]}
    return {"metadata": meta, "spec": spec}


def pod(number: int, *, app: int = 0) -> Any:
    """The same, with the defaults of the schema."""
    message = codec.decode(kinds.POD.cls, manifest(number, app=app))
    rules.apply_defaults(message)
    return message


def node(number: int) -> Any:
    """A node with four labels; every hundredth has a taint."""
    amounts = {"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    labels = {"kubernetes.io/hostname": f"n{number}", "kubernetes.io/os": "linux", "zone": f"z{number % 3}", "disk": "ssd"}
    spec = {} if number % 100 else {"taints": [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]}
    status = {"capacity": amounts, "allocatable": amounts}
    message = codec.decode(
        kinds.NODE.cls, {"metadata": {"name": f"n{number}", "labels": labels}, "spec": spec, "status": status}
    )
    rules.apply_defaults(message)
    return message


def running_status() -> Any:
    """As an agent reports it: five conditions, one container."""
    state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    container = {
        "name": "main",
        "state": state,
        "ready": True,
        "started": True,
        "restartCount": 0,
        "containerID": "pinnace://1",
    }
    names = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    conditions = [{"type": name, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"} for name in names]
    where = {"hostIP": "10.0.0.1", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}], "startTime": "2026-01-01T00:00:00Z"}
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container], **where}
    return codec.decode(kinds.POD.cls, {"status": status}).status


RUNNING = running_status()


@contextlib.asynccontextmanager
async def running(nodes: int = 0) -> AsyncIterator[Store]:
    """A store with the first namespaces and this many nodes."""
    clock = SystemClock()
    store = await Store.open(MemoryBackend(), clock, resources.built_in())
    serving = asyncio.ensure_future(store.serve())
    try:
        await store.update(lambda tx: bootstrap.objects(tx, call()))
        for start in range(0, nodes, PREPARED):
            await store.update(
                lambda tx, start=start: [tx.put(kinds.NODE, node(n)) for n in range(start, min(start + PREPARED, nodes))]
            )
        yield store
    finally:
        await stopped(serving)
        await store.close()


async def stopped(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


IDS = RandomIds(seed=1)


def call() -> verbs.Call:
    return verbs.Call(SystemClock().now(), IDS, "bench")


async def create(store: Store, message: Any) -> None:
    await store.update(lambda tx: verbs.create(tx, kinds.POD, message, call()))


async def create_all(store: Store, messages: list[Any]) -> None:
    """Several clients at once, each with one pod at a time."""
    waiting = iter(messages)

    async def client() -> None:
        for message in waiting:
            await create(store, message)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def bound(store: Store, count: int) -> None:
    """Returns when this many pods have a node."""
    stored, watcher = store.view_and_watch(kinds.POD)
    left = {kinds.POD.key("default", f"p{number}") for number in range(count)}
    for part in chunks(stored, size=lambda _: 1, count=PREPARED, total=PREPARED):
        left -= {item.key for item in part if item.message.spec.nodeName}
        # A client's reading is no part of the event loop's longest turn.
        await asyncio.sleep(0)
    async for events in watcher:
        left -= {event.row.key for event in events if event.new is not None and event.new.message.spec.nodeName}
        if not left:
            watcher.close()
            return


def create_us() -> float:
    """Create a pod, from its message to the watch cache; all pods have the same spec, as those of one controller."""
    pods = [pod(number) for number in range(WRITTEN)]
    return asyncio.run(verb_us(lambda tx, number: verbs.create(tx, kinds.POD, pods[number], call()), prepared=False))


def create_unlike_us() -> float:
    """The same of pods of which no two have the same spec."""
    pods = [pod(number) for number in range(WRITTEN)]
    for number, message in enumerate(pods):
        message.spec.containers[0].image = f"registry.example.com/app:{number}"
    return asyncio.run(verb_us(lambda tx, number: verbs.create(tx, kinds.POD, pods[number], call()), prepared=False))


def apply_us() -> float:
    """Apply a pod's manifest with another label and another image than the stored pod's."""

    def change(tx: Any, number: int) -> Any:
        changed = manifest(number, app=1)
        changed["spec"]["containers"][0]["image"] = "registry.example.com/app:2"
        return verbs.apply(tx, kinds.POD, changed, call())

    return asyncio.run(verb_us(change, prepared=True))


def update_status_us() -> float:
    """Replace a pod's status by that of a running pod."""

    pods = [pod(number) for number in range(WRITTEN)]
    for message in pods:
        message.status.CopyFrom(RUNNING)
    return asyncio.run(verb_us(lambda tx, number: verbs.update_status(tx, kinds.POD, pods[number], call()), prepared=True))


async def verb_us(verb: Callable[[Any, int], Any], *, prepared: bool) -> float:
    """One verb for each of WRITTEN pods, `prepared` by apply; one transaction each, CLIENTS at the same time."""
    async with running() as store:
        numbers = range(WRITTEN)
        if prepared:
            await each(store, numbers, lambda tx, number: verbs.apply(tx, kinds.POD, manifest(number), call()))
        begun = time.process_time()
        await each(store, numbers, verb)
        return (time.process_time() - begun) / WRITTEN * 1e6


async def each(store: Store, numbers: Iterable[int], verb: Callable[[Any, int], Any]) -> None:
    waiting = iter(numbers)

    async def client() -> None:
        for number in waiting:
            await store.update(functools.partial(swapped, verb, number))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def swapped(verb: Callable[[Any, int], Any], number: int, tx: Any) -> Any:
    return verb(tx, number)


def place_us_at_5000_nodes() -> float:
    """Placement of one pod, with 50,000 pods on 5,000 nodes in 100 groups."""
    table, profile, tries = NodeTable(), default_profile(), 500
    for number in range(NODES):
        table.set_node(nodeinfo.read(node(number)))
    infos = [podinfo.read(pod(0, app=app)) for app in range(100)]
    for number in range(10 * NODES):
        info = infos[number % 100]
        table.add_pod(dataclasses.replace(info, key=f"default/there-{number}", node=f"n{number % NODES}"))
    waiting = [podinfo.read(pod(number, app=number % 100)) for number in range(tries)]
    begun = time.process_time()
    for info in waiting:
        decision = placement.place_one(info, table, profile)
        table.add_pod(decision.pod)
    return (time.process_time() - begun) / tries * 1e6


def bind_pods_per_s(nodes: int, count: int = 2000) -> float:
    """From create to bound."""

    async def measure() -> float:
        async with running(nodes) as store:
            scheduling = asyncio.ensure_future(Scheduler(store, SystemClock()).run())
            await asyncio.sleep(0.5)
            messages = [pod(number, app=number % 20) for number in range(count)]
            begun = time.process_time()
            await asyncio.gather(create_all(store, messages), bound(store, count))
            seconds = time.process_time() - begun
            await stopped(scheduling)
            return count / seconds

    return asyncio.run(measure())


def bind_pods_per_s_at_100_nodes() -> float:
    return bind_pods_per_s(100)


def bind_pods_per_s_at_1000_nodes() -> float:
    return bind_pods_per_s(1000)


def bind_pods_per_s_at_5000_nodes() -> float:
    return bind_pods_per_s(5000)


def largest_loop_stall_ms() -> float:
    """The most CPU time between two turns of the event loop, while 5,000 pods are placed on 5,000 nodes; garbage is collected as
    in a control plane."""

    async def measure() -> float:
        largest = 0.0

        async def turn() -> None:
            nonlocal largest
            last = time.thread_time()
            while True:
                await asyncio.sleep(0)
                now = time.thread_time()
                largest, last = max(largest, now - last), now

        async with running(NODES) as store:
            for start in range(0, NODES, PREPARED):
                messages = [pod(number, app=number % 20) for number in range(start, start + PREPARED)]
                await store.update(lambda tx, some=messages: [verbs.create(tx, kinds.POD, item, call()) for item in some])
            collecting = asyncio.ensure_future(memory.keep_collecting(SystemClock()))
            turning = asyncio.ensure_future(turn())
            await asyncio.sleep(0)
            scheduling = asyncio.ensure_future(Scheduler(store, SystemClock()).run())
            await bound(store, NODES)
            for task in (turning, scheduling, collecting):
                await stopped(task)
        return largest * 1e3

    return asyncio.run(measure())


def event_us_at_5000_sessions() -> float:
    """A changed pod status: from the transaction to the message that the session of its node sends."""
    return asyncio.run(event_us(NODES))


async def event_us(sessions: int, events: int = 1000) -> float:
    async with running(sessions) as store:
        router, sent = Router(store, PodCIDRs(Range("10.0.0.0/8", 24))), asyncio.Semaphore(0)

        async def serve(name: str) -> None:
            wake = asyncio.Event()
            assignment = router.open(name, wake.set)
            while True:
                wake.clear()
                while assignment.next() is not None:
                    sent.release()
                await wake.wait()

        routing = asyncio.ensure_future(router.run(store, SystemClock()))
        for number in range(events):
            message = pod(number)
            message.spec.nodeName = f"n{number}"
            await create(store, message)
        serving = [asyncio.ensure_future(serve(f"n{number}")) for number in range(sessions)]
        for _ in range(sessions):
            await sent.acquire()
        began = time.process_time()
        for number in range(events):
            await store.update(functools.partial(run_pod, name=f"p{number}"))
            await sent.acquire()
        spent = time.process_time() - began
        for task in (routing, *serving):
            await stopped(task)
    return spent / events * 1e6


def run_pod(tx: Any, name: str) -> None:
    found = tx.get(kinds.POD, "default", name)
    found.status.phase = "Running"
    tx.put(kinds.POD, found)


def sqlite_txns_per_s(count: int = 20_000, waiting: int = 1000) -> float:
    """Durable, in wall-clock time: so many creations wait at a time and share a sync of the disk."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_sqlite(SQLiteBackend(Path(folder) / "store.db"), count, waiting))


async def _sqlite(backend: SQLiteBackend, count: int, waiting: int) -> float:
    value, keys = pod(0).SerializeToString(), [kinds.POD.key("default", f"p{number}") for number in range(count)]
    begun = time.perf_counter()
    for start in range(0, count, waiting):
        results = await backend.commit([Txn((Write(key, value),), {key: 0}) for key in keys[start : start + waiting]])
        assert all(isinstance(result, Committed) for result in results)
    spent = time.perf_counter() - begun
    await backend.close()
    return count / spent


def watch_events_per_s(watchers: int = 100, events: int = 2000) -> float:
    """Events received, summed over the watchers, which share them."""
    return asyncio.run(_watch_events(watchers, events))


async def _watch_events(watchers: int, events: int) -> float:
    async with running() as store:

        async def read(watcher: Watcher) -> None:
            left = events
            async for received in watcher:
                left -= len(received)
                if not left:
                    return

        begun = time.process_time()
        reading = [asyncio.ensure_future(read(store.view_and_watch(kinds.POD)[1])) for _ in range(watchers)]
        await create_all(store, [pod(number) for number in range(events)])
        await asyncio.gather(*reading)
        return watchers * events / (time.process_time() - begun)


def list_10000_pods_ms() -> float:
    """In pages of 500, unparsed."""
    return asyncio.run(_list("", 10_000))


def list_100_of_10000_pods_by_label_ms() -> float:
    """Through the index of labels."""
    return asyncio.run(_list("app=app-7", 100))


async def _list(label: str, expected: int) -> float:
    async with running() as store:
        await _fill(store, 10_000)
        matches = (lambda row: row.message.metadata.labels["app"] == "app-7") if label else None
        query = Query(kinds.POD, "default", matches, Narrow(indexed=((LABEL, label),) if label else ()), limit=500)
        # The first builds the index.
        await store.page(query)
        begun, listed, token = time.process_time(), 0, ""
        while True:
            page = await store.page(query, token)
            listed += len(page.rows)
            token = page.token
            if not token:
                break
        assert listed == expected
        return (time.process_time() - begun) * 1e3


async def _fill(store: Store, count: int) -> None:
    for start in range(0, count, PREPARED):
        pods = [pod(number, app=number % 100) for number in range(start, start + PREPARED)]
        await store.update(lambda tx, pods=pods: [tx.put(kinds.POD, item) for item in pods])


def cache_kb_per_pod(count: int = 10_000) -> float:
    """Memory that Python allocates for each object of the watch cache and of the SQLite backend, with its value."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_cache_kb(Path(folder) / "store.db", count))


async def _cache_kb(path: Path, count: int) -> float:
    backend, value = SQLiteBackend(path), pod(0).SerializeToString()
    txns = [Txn((Write(kinds.POD.key("default", f"p{number}"), value),)) for number in range(count)]
    await backend.commit(txns)
    await backend.close()
    tracemalloc.start()
    store = await Store.open(SQLiteBackend(path), SystemClock(), resources.built_in())
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(store.rows(kinds.POD)) == count
    await store.close()
    return used / count / 1024


def custom_create_us(count: int = 2_000) -> float:
    """One custom object by the verb, with a schema of a dozen fields and one rule in CEL, committed one after another."""
    return asyncio.run(_custom_create(count))


async def _custom_create(count: int) -> float:
    async with running() as store:
        made = codec.decode(kinds.CUSTOM_RESOURCE_DEFINITION.cls, _definition())
        definition.default(made)
        accept(made, now=0)
        await store.update(lambda tx: tx.put(kinds.CUSTOM_RESOURCE_DEFINITION, made))
        kind = store.kinds.find("stable.example.com/v1", "CronTab")
        bodies = [json.dumps(_crontab(number)).encode() for number in range(count)]
        resource = Registry.of(store).resource(kind)
        before = time.process_time()
        for body in bodies:
            message = decoding.from_json(resource, body, "default")
            await store.update(lambda tx, message=message: verbs.create(tx, kind, message, call()))
        return (time.process_time() - before) / count * 1e6


def _definition() -> dict[str, Any]:
    text = {"type": "string", "maxLength": 253}
    env = {"type": "object", "required": ["name"], "properties": {"name": text, "value": text}}
    spec = {
        "type": "object",
        "required": ["schedule"],
        "properties": {
            "schedule": {"type": "string", "pattern": r"^[0-9*/, -]+$"}, "image": text, "mode": {"type": "string", "enum": ["A", "B"]},
            "replicas": {"type": "integer", "minimum": 0, "default": 1}, "most": {"type": "integer"},
            "env": {"type": "array", "items": env, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        },
        "x-kubernetes-validations": [{"rule": "!has(self.most) || self.replicas <= self.most"}],
    }  # fmt: skip
    schema = {
        "type": "object",
        "properties": {"spec": spec, "status": {"type": "object", "properties": {"ready": {"type": "integer"}}}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": "crontabs", "kind": "CronTab"}
    meta = {"name": "crontabs.stable.example.com"}
    return {
        "metadata": meta,
        "spec": {"group": "stable.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _crontab(number: int) -> dict[str, Any]:
    env = [{"name": f"KEY{at}", "value": "value"} for at in range(3)]
    spec = {"schedule": "*/5 * * * *", "image": "registry.example.com/app:1", "mode": "A", "most": 5, "env": env}
    return {"metadata": {"name": f"c{number}", "labels": {"app": "x"}}, "spec": spec}


FIGURES: tuple[Callable[[], float], ...] = (
    create_us, create_unlike_us, apply_us, update_status_us,
    place_us_at_5000_nodes, bind_pods_per_s_at_100_nodes, bind_pods_per_s_at_1000_nodes, bind_pods_per_s_at_5000_nodes,
    largest_loop_stall_ms, event_us_at_5000_sessions,
    sqlite_txns_per_s, watch_events_per_s, list_10000_pods_ms, list_100_of_10000_pods_by_label_ms, cache_kb_per_pod,
    custom_create_us,
)  # fmt: skip


def main() -> None:
    wanted = sys.argv[1:]
    known = {figure.__name__ for figure in FIGURES}
    if not known.issuperset(wanted):
        raise SystemExit(f"unknown figure (there are: {', '.join(sorted(known))})")
    print(json.dumps({figure.__name__: round(figure(), 1) for figure in FIGURES if not wanted or figure.__name__ in wanted}))


if __name__ == "__main__":
    main()

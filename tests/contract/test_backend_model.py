"""Random operations on every backend, against a model: a dict, and a list of what it was before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.store.backend import Backend, Committed, Txn, Write
from tests.contract.conftest import Opener
from tests.contract.steps import NODES, PODS, ROOT, watched

LEASES = "/registry/coordination.k8s.io/leases/"
TABLES = (PODS, NODES, LEASES)
KEYS = (PODS + "default/a", PODS + "default/b", PODS + "kube-system/a", NODES + "a", NODES + "b", LEASES + "default/a")


@dataclass(frozen=True)
class Step:
    """A transaction before it knows revisions: how many writes ago each thing that it read was read."""

    writes: dict[str, bytes | None]
    reads: dict[str, int]
    ranges: dict[str, int]


@dataclass(frozen=True)
class Compact:
    ago: int


class Reopen:
    pass


@dataclass(frozen=True)
class State:
    revision: int
    items: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    touched: frozenset[str] = frozenset()
    told: list[tuple[int, str, bytes | None]] = field(default_factory=list)

    def revision_of(self, key: str) -> int:
        return self.items[key][1] if key in self.items else 0


class Model:
    """Every state that the backend had, oldest first, as far as its history goes."""

    def __init__(self, revision: int) -> None:
        self.states = [State(revision)]
        self.floor = 0

    @property
    def now(self) -> State:
        return self.states[-1]

    def past(self, ago: int) -> State:
        """At most as old as history goes: what a listing from before it answers is each backend's own affair."""
        return self.states[max(self.floor, len(self.states) - 1 - ago)]

    def txn(self, step: Step) -> Txn:
        # A deletion is always of something read, as in the store.
        reads = {key: 0 for key, value in step.writes.items() if value is None} | step.reads
        return Txn(
            tuple(Write(key, value) for key, value in step.writes.items()),
            {key: self.past(ago).revision_of(key) for key, ago in reads.items()},
            {table: self.past(ago).revision for table, ago in step.ranges.items()},
        )

    def allows(self, txn: Txn) -> bool:
        if any(self.now.revision_of(key) != revision for key, revision in txn.reads.items()):
            return False
        return not any(
            key.startswith(table)
            for table, revision in txn.ranges.items()
            for state in self.states
            if state.revision > revision
            for key in state.touched
        )

    def apply(self, txn: Txn, committed: Committed) -> None:
        effective = [w.value is not None or w.key in self.now.items for w in txn.writes]
        assert [revision > 0 for revision in committed.revisions] == effective
        told = sorted((r, w.key, w.value) for w, r in zip(txn.writes, committed.revisions, strict=True) if r)
        if not told:
            return
        assert len({revision for revision, _, _ in told}) == len(told)
        self.append(committed.revision, told)

    def append(self, revision: int, told: list[tuple[int, str, bytes | None]]) -> None:
        changed = {key for _, key, _ in told}
        kept = {key: item for key, item in self.now.items.items() if key not in changed}
        kept |= {key: (value, at) for at, key, value in told if value is not None}
        self.states.append(State(revision, kept, frozenset(changed), told))

    def sort(self, count: int) -> None:
        """Put the states after the first `count` in the order of their revisions: a backend may commit the transactions of
        one group in any order, as far as they touch nothing of each other."""
        items = self.now.items
        group = sorted(self.states[count:], key=lambda state: state.revision)
        del self.states[count:]
        for state in group:
            assert self.now.revision < state.told[0][0]
            self.append(state.revision, state.told)
        assert self.now.items == items, "transactions that touch each other were committed in another order"

    def history(self, prefix: str) -> list[list[tuple[int, str, bytes | None]]]:
        """What a watch from the oldest state that is left must tell."""
        narrowed = [
            [change for change in state.told if change[1].startswith(prefix)] for state in self.states[self.floor + 1 :]
        ]
        return [changes for changes in narrowed if changes]


ages = st.integers(0, 3)
steps = st.builds(
    Step,
    writes=st.dictionaries(st.sampled_from(KEYS), st.none() | st.binary(max_size=2), max_size=3),
    reads=st.dictionaries(st.sampled_from(KEYS), ages, max_size=2),
    ranges=st.dictionaries(st.sampled_from((*TABLES, ROOT)), ages, max_size=2),
)
operations = st.lists(st.lists(steps, min_size=1, max_size=4) | st.builds(Compact, ages) | st.builds(Reopen), max_size=12)


async def commit(backend: Backend, model: Model, group: list[Step]) -> None:
    txns = [model.txn(step) for step in group]
    before = len(model.states)
    for txn, result in zip(txns, await backend.commit(txns), strict=True):
        assert (result is not None) == model.allows(txn), txn
        if result is not None:
            assert isinstance(result, Committed), result
            model.apply(txn, result)
    model.sort(before)


async def compact(backend: Backend, model: Model, ago: int) -> None:
    oldest = max(model.floor, len(model.states) - 1 - ago)
    await backend.compact(model.states[oldest].revision + 1)
    model.floor = oldest


async def agree(backend: Backend, model: Model) -> None:
    """Items and history, of everything and of each table."""
    for prefix in (ROOT, *TABLES):
        items = (await backend.load(prefix)).items
        expected = {key: item for key, item in sorted(model.now.items.items()) if key.startswith(prefix)}
        assert [(item.key, (item.value, item.revision)) for item in items] == list(expected.items())
    # All at once: etcd looks for new watchers of history only every 100 ms.
    start = model.states[model.floor].revision
    watches = await asyncio.gather(*(watched(backend, prefix, after=start) for prefix in (ROOT, *TABLES)))
    for prefix, batches in zip((ROOT, *TABLES), watches, strict=True):
        told = [[(change.revision, change.key, change.value) for change in batch.changes] for batch in batches]
        assert told == model.history(prefix)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=operations)
async def test_a_backend_does_what_the_model_does(
    fresh: Callable[[], Opener], operations: list[list[Step] | Compact | Reopen]
) -> None:
    """Each result, all items and the whole history."""
    opener = fresh()
    backend = opener()
    try:
        model = Model((await backend.load(ROOT)).revision)
        for operation in operations:
            if isinstance(operation, Compact):
                await compact(backend, model, operation.ago)
            elif isinstance(operation, Reopen):
                await backend.close()
                backend = opener()
            else:
                await commit(backend, model, operation)
        await agree(backend, model)
    finally:
        await backend.close()

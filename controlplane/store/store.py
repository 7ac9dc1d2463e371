"""The mirror: all state in memory, read synchronously, changed only by optimistic transactions.

`update(fn)` runs a plain function over the mirror, records what it read, and commits. When something it read has changed
meanwhile, the mirror catches up and the function runs again. Transactions that wait at the same time share one durable
commit. The mirror changes only through the backend's watch, so every reader sees one order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from controlplane.store.backend import Backend, Batch, Compacted, Item, Txn, Write
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.errors import AlreadyExists, Conflict, Expired, NotFound, Timeout, Unavailable
from pinnace.kinds import Kind

T = TypeVar("T")
ROOT = "/registry/"
_SYNC_KEY = ROOT + "sync"
MAX_ATTEMPTS = 50
# How long a writer waits for the mirror before it gives up, in seconds.
PATIENCE = 10.0
# History that watchers may start from, in events: a kilobyte or two each; and what a single watcher may be behind.
HISTORY = 5_000
MAX_BEHIND = 5_000
COMPACT_EVERY = 1_000
MAX_GROUP = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One stored object, unparsed."""

    kind: Kind
    key: str
    value: bytes
    revision: int

    def parse(self) -> Any:
        """A message of its own, with its resourceVersion filled in."""
        message: Any = self.kind.cls.FromString(self.value)
        message.metadata.resourceVersion = str(self.revision)
        return message

    def sealed(self) -> bytes:
        """The stored bytes with the resourceVersion, without parsing: protobuf merges what is appended.

        metadata is field 1 and resourceVersion field 6, both length-delimited, in every kind."""
        version = str(self.revision).encode()
        return b"%s\x0a%c\x32%c%s" % (self.value, len(version) + 2, len(version), version)


@dataclass(frozen=True, slots=True)
class Event:
    """One object changed: created (`old` None), deleted (`new` None) or modified."""

    old: Row | None
    new: Row | None
    revision: int

    @property
    def row(self) -> Row:
        row = self.new or self.old
        assert row is not None
        return row


class Subscription:
    """Events of one kind after a snapshot. Iterate over lists of events; slow readers get Expired."""

    def __init__(self, store: Store, kind: Kind | None, *, after: int = 0) -> None:
        self._store = store
        self._kind = kind
        self._after = after
        self._pending: list[Event] = []
        self._wake = asyncio.Event()
        self._lost = False
        self.revision = store.revision

    def offer(self, events: list[Event], revision: int) -> None:
        kind, after = self._kind, self._after
        wanted = [event for event in events if event.revision > after and (kind is None or event.row.kind is kind)]
        self.revision = revision
        # Once something was left out, nothing that came after it may follow.
        if not wanted or self._lost:
            return
        if len(self._pending) + len(wanted) > MAX_BEHIND:
            self._lost = True
        else:
            self._pending += wanted
        self._wake.set()

    def lose(self) -> None:
        self._lost = True
        self._wake.set()

    async def next(self) -> list[Event]:
        """The events since the last call, waiting for one. Raises Expired when this reader fell behind."""
        while not self._pending:
            if self._lost:
                raise Expired("too old resource version: the watcher fell behind")
            self._wake.clear()
            await self._wake.wait()
        events, self._pending = self._pending, []
        return events

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        while True:
            yield await self.next()

    def close(self) -> None:
        self._store._subscriptions.discard(self)


class Tx:
    """A transaction: reads the mirror under its own writes, and remembers what it read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.base = store.revision
        self._reads: dict[str, int] = {}
        self._ranges: dict[str, int] = {}
        self._writes: dict[str, tuple[Kind, Any]] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Any | None:
        """The object, the caller's own to change, or None."""
        key = kind.key(namespace, name)
        if key in self._writes:
            message = self._writes[key][1]
            return None if message is None else _copy(message)
        row = self._store.row(kind, key)
        self._reads[key] = row.revision if row else 0
        return row.parse() if row else None

    def require(self, kind: Kind, namespace: str, name: str) -> Any:
        """Like get. Raises NotFound."""
        message = self.get(kind, namespace, name)
        if message is None:
            raise NotFound.of(kind.resource, name)
        return message

    def list(self, kind: Kind, namespace: str = "") -> list[Any]:
        """All objects of a kind, of one namespace or of all. A later change to any of them is a conflict."""
        prefix = kind.key(namespace, "") if namespace and kind.namespaced else kind.prefix
        self._ranges.setdefault(prefix, self.base)
        found = {row.key: row.parse() for row in self._store.rows(kind, namespace)}
        for key, (_, message) in self._writes.items():
            if key.startswith(prefix):
                found.pop(key, None)
                if message is not None:
                    found[key] = _copy(message)
        return [found[key] for key in sorted(found)]

    def peek(self, kind: Kind, namespace: str = "") -> Iterable[Row]:
        """Rows read without a claim that they stay: for decisions that someone will make again."""
        return self._store.rows(kind, namespace)

    def create(self, kind: Kind, message: Any) -> None:
        """Raises AlreadyExists."""
        if self.get(kind, message.metadata.namespace, message.metadata.name) is not None:
            raise AlreadyExists.of(kind.resource, message.metadata.name)
        self.put(kind, message)

    def put(self, kind: Kind, message: Any) -> None:
        """Write the object. After the commit its resourceVersion is the new one."""
        self._writes[kind.key(message.metadata.namespace, message.metadata.name)] = (kind, message)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Deleting what is absent writes nothing, and is no error."""
        key = kind.key(namespace, name)
        row = self._store.row(kind, key)
        self._reads[key] = row.revision if row else 0
        if row is None:
            self._writes.pop(key, None)
        else:
            self._writes[key] = (kind, None)

    def txn(self) -> Txn:
        writes = tuple(Write(key, _stored(message)) for key, (_, message) in self._writes.items())
        return Txn(writes, self._reads, self._ranges)

    def stamp(self, revision: int) -> None:
        for _, message in self._writes.values():
            if message is not None:
                message.metadata.resourceVersion = str(revision)

    @property
    def wrote(self) -> bool:
        return bool(self._writes)


def _copy(message: Message) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _stored(message: Any) -> bytes | None:
    if message is None:
        return None
    message.metadata.ClearField("resourceVersion")
    value: bytes = message.SerializeToString(deterministic=True)
    return value


class Store:
    """Open with `await Store.open(backend, clock)`, run `serve()` in a task group, close at the end."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self.backend = backend
        self.revision = 0
        self._clock = clock
        self._tables: dict[str, dict[str, Row]] = {kind.prefix: {} for kind in kinds.ALL}
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._oldest = 0
        self._subscriptions: set[Subscription] = set()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._queue: asyncio.Queue[tuple[Txn, asyncio.Future[int | None]]] = asyncio.Queue(10_000)
        self._compacted = 0

    @classmethod
    async def open(cls, backend: Backend, clock: Clock) -> Store:
        """Raises Unavailable when the backend cannot be read."""
        store = cls(backend, clock)
        await store._reload()
        return store

    async def serve(self) -> None:
        """Follow the backend and commit transactions, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._commit_groups())

    async def close(self) -> None:
        await self.backend.close()

    # Reading

    def row(self, kind: Kind, key: str) -> Row | None:
        return self._tables[kind.prefix].get(key)

    def rows(self, kind: Kind, namespace: str = "") -> list[Row]:
        table = self._tables[kind.prefix]
        if not namespace or not kind.namespaced:
            return list(table.values())
        prefix = kind.key(namespace, "")
        return [row for key, row in table.items() if key.startswith(prefix)]

    def view(self, fn: Callable[[Tx], T]) -> T:
        """Run a function that only reads."""
        return fn(Tx(self))

    def get(self, kind: Kind, namespace: str, name: str) -> Any:
        """The object. Raises NotFound."""
        return Tx(self).require(kind, namespace, name)

    def view_and_watch(self, kind: Kind | None) -> tuple[list[Row], Subscription]:
        """What there is now, and the events after it."""
        subscription = Subscription(self, kind)
        self._subscriptions.add(subscription)
        rows = self.rows(kind) if kind else [row for table in self._tables.values() for row in table.values()]
        return rows, subscription

    def watch_from(self, kind: Kind, after: int) -> Subscription:
        """Events after revision `after`, which another control plane may have reached before this one. Raises Expired
        when history does not reach back that far."""
        if after < self._oldest:
            raise Expired(f"too old resource version: {after} ({self._oldest})")
        subscription = Subscription(self, kind, after=after)
        subscription.offer(list(self._history), self.revision)
        self._subscriptions.add(subscription)
        return subscription

    async def sync(self) -> None:
        """After this, reads see everything that was committed before the call, by any control plane."""
        if not self.backend.exclusive:
            await self._submit(Txn((Write(_SYNC_KEY, b""),)))

    # Writing

    async def update(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` and commit what it wrote; `fn` may run several times. Returns what it returned.

        Raises whatever `fn` raises, Conflict when it never got through, Unavailable when the backend failed."""
        for _ in range(MAX_ATTEMPTS):
            tx = Tx(self)
            result = fn(tx)
            if not tx.wrote:
                return result
            revision = await self._submit(tx.txn())
            if revision is not None:
                tx.stamp(revision)
                return result
            await self._reached(tx.base + 1)
        raise Conflict(f"the objects changed {MAX_ATTEMPTS} times while this update was tried")

    async def _submit(self, txn: Txn) -> int | None:
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        await self._queue.put((txn, done))
        revision = await done
        if revision is not None:
            await self._reached(revision)
        return revision

    async def _commit_groups(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            try:
                results = await self.backend.commit([txn for txn, _ in group])
            except Unavailable as error:
                for _, done in group:
                    if not done.done():
                        done.set_exception(Unavailable(error.message))
                continue
            for (_, done), revision in zip(group, results, strict=True):
                if not done.done():
                    done.set_result(revision)
            await self._compact()

    async def _compact(self) -> None:
        floor = self.revision - HISTORY
        if floor - self._compacted >= COMPACT_EVERY:
            try:
                await self.backend.compact(floor)
            except Unavailable:
                # After a later commit it is tried again.
                return
            self._compacted = floor

    async def _reached(self, revision: int) -> None:
        """Wait until the mirror is at `revision`. Raises Timeout."""
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        try:
            async with asyncio.timeout(PATIENCE):
                await waiter
        except TimeoutError:
            raise Timeout("the store did not catch up in time") from None

    # Following

    async def _reload(self) -> None:
        snapshot = await self.backend.load(ROOT)
        tables: dict[str, dict[str, Row]] = {kind.prefix: {} for kind in kinds.ALL}
        for item in snapshot.items:
            row = _row(item)
            if row is not None:
                tables[row.kind.prefix][row.key] = row
        self._tables = tables
        self._history.clear()
        self._oldest = self.revision = snapshot.revision
        self._wake_waiters()
        # Whoever watched has a gap and must list again.
        for subscription in tuple(self._subscriptions):
            subscription.lose()
        self._subscriptions.clear()

    async def _follow(self) -> None:
        backoff, lost = 0.1, False
        while True:
            try:
                if lost:
                    await self._reload()
                    lost = False
                async for batch in self.backend.watch(ROOT, after=self.revision):
                    self._take(batch)
                    backoff = 0.1
            except Compacted:
                lost = True
            except Unavailable:
                pass
            await self._clock.sleep(backoff)
            backoff = min(backoff * 2, 5.0)

    def _take(self, batch: Batch) -> None:
        events: list[Event] = []
        for change in batch.changes:
            kind = _kind_of(change.key)
            if kind is None:
                continue
            table = self._tables[kind.prefix]
            old = table.pop(change.key, None)
            new = None if change.value is None else Row(kind, change.key, change.value, batch.revision)
            if new is not None:
                table[change.key] = new
            if old is not None or new is not None:
                events.append(Event(old, new, batch.revision))
        self.revision = batch.revision
        for event in events:
            if len(self._history) == HISTORY:
                self._oldest = self._history[0].revision
            self._history.append(event)
        for subscription in self._subscriptions:
            subscription.offer(events, batch.revision)
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        waiting = []
        for revision, waiter in self._waiters:
            if revision > self.revision and not waiter.done():
                waiting.append((revision, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = waiting


def _row(item: Item) -> Row | None:
    kind = _kind_of(item.key)
    return Row(kind, item.key, item.value, item.revision) if kind else None


_BY_PREFIX = {kind.prefix: kind for kind in kinds.ALL}


def _kind_of(key: str) -> Kind | None:
    parts = key.split("/", 4)
    # "", "registry", plural | group, ...: a group always has a dot, a plural never.
    depth = 4 if len(parts) > 3 and "." in parts[2] else 3
    return _BY_PREFIX.get("/".join(parts[:depth]) + "/")

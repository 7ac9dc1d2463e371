"""All state in memory, as the backend's watch tells it: tables, some history, and who watches.

It changes only by `replace` and `take`, so every reader sees one order of events.
"""

from __future__ import annotations

import asyncio
from collections import deque

from controlplane.store.backend import Batch, Snapshot
from controlplane.store.rows import Event, Row, kind_of, row_of
from controlplane.store.subscription import Subscription
from pinnace import kinds
from pinnace.errors import Expired, Timeout
from pinnace.kinds import Kind

# How long a writer waits for the mirror before it gives up, in seconds.
PATIENCE = 10.0
# History that watchers may start from, in events: a kilobyte or two each.
HISTORY = 5_000


class Mirror:
    def __init__(self) -> None:
        self.revision = 0
        self._tables: dict[str, dict[str, Row]] = {kind.prefix: {} for kind in kinds.ALL}
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._oldest = 0
        self._subscriptions: set[Subscription] = set()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def watchers(self) -> int:
        return len(self._subscriptions)

    # Reading

    def row(self, kind: Kind, key: str) -> Row | None:
        return self._tables[kind.prefix].get(key)

    def rows(self, kind: Kind, namespace: str = "") -> list[Row]:
        table = self._tables[kind.prefix]
        if not namespace or not kind.namespaced:
            return list(table.values())
        prefix = kind.key(namespace, "")
        return [row for key, row in table.items() if key.startswith(prefix)]

    def view_and_watch(self, kind: Kind | None) -> tuple[list[Row], Subscription]:
        """What there is now, and the events after it."""
        subscription = Subscription(kind, revision=self.revision, left=self._subscriptions.discard)
        self._subscriptions.add(subscription)
        rows = self.rows(kind) if kind else [row for table in self._tables.values() for row in table.values()]
        return rows, subscription

    def watch_from(self, kind: Kind, after: int) -> Subscription:
        """Events after revision `after`, which another control plane may have reached before this one. Raises Expired
        when history does not reach back that far."""
        if after < self._oldest:
            raise Expired(f"too old resource version: {after} ({self._oldest})")
        subscription = Subscription(kind, revision=self.revision, after=after, left=self._subscriptions.discard)
        subscription.offer(list(self._history), self.revision)
        self._subscriptions.add(subscription)
        return subscription

    # Following

    async def reached(self, revision: int) -> None:
        """Wait until it is at `revision`. Raises Timeout."""
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        try:
            async with asyncio.timeout(PATIENCE):
                await waiter
        except TimeoutError:
            raise Timeout("the store did not catch up in time") from None

    def replace(self, snapshot: Snapshot) -> None:
        """Start over from what the backend has now. Whoever watched has a gap and must list again."""
        tables: dict[str, dict[str, Row]] = {kind.prefix: {} for kind in kinds.ALL}
        for item in snapshot.items:
            row = row_of(item)
            if row is not None:
                tables[row.kind.prefix][row.key] = row
        self._tables = tables
        self._history.clear()
        self._oldest = self.revision = snapshot.revision
        self._wake()
        for subscription in tuple(self._subscriptions):
            subscription.lose()
        self._subscriptions.clear()

    def take(self, batch: Batch) -> None:
        """Follow one commit of the backend."""
        events: list[Event] = []
        for change in batch.changes:
            kind = kind_of(change.key)
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
        self._wake()

    def _wake(self) -> None:
        waiting = []
        for revision, waiter in self._waiters:
            if revision > self.revision and not waiter.done():
                waiting.append((revision, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = waiting

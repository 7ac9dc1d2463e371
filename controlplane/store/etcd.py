"""The distributed backend: etcd v3, for several control planes over one state.

etcd's compares see a key's present revision but not deletions inside a range. So every transaction also puts a *tick*
for each table it writes, a key outside the watched prefix, and a transaction that listed a table compares that tick.
Two things are therefore coarser than elsewhere: a listing of one namespace conflicts with writes to another, and with the
deletion of an absent key that the transaction did not read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

import grpc
from etcd3aio import Etcd3Client
from etcd3aio._protobuf import Compare
from etcd3aio.errors import EtcdError
from etcd3aio.kv import KVService, prefix_range_end

from controlplane.store.backend import Batch, Change, Compacted, Item, Snapshot, Txn, Write
from pinnace.errors import Unavailable

# No etcd call takes longer on a healthy cluster; an election takes about one second.
TIMEOUT = 5.0
PAGE = 1000
# etcd refuses transactions of more than 128 operations (--max-txn-ops).
MAX_OPS = 120
# A call whose deadline passes raises either the one or the other.
_FAILURES = (EtcdError, grpc.aio.AioRpcError, TimeoutError)
_TICKS = "/ticks"
_TABLE = re.compile(r"/registry/(?:[^/]*\.[^/]*/)?[^/]+/")


class EtcdBackend:
    exclusive = False

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        root: str = "/pinnace",
        tls: Mapping[str, bytes] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._root = root
        self._timeout = timeout
        self._client = Etcd3Client(list(endpoints), **cast(Any, tls or {}))
        # A page of items or of history may be any size; gRPC's default of 4 MiB would make it unreadable for ever.
        self._client._manager.grpc_options.append(("grpc.max_receive_message_length", -1))
        self._closed = False

    async def _kv(self) -> KVService:
        if self._client.kv is None:
            await self._client.connect()
        assert self._client.kv is not None
        return self._client.kv

    async def load(self, prefix: str) -> Snapshot:
        kv = await self._kv()
        key, end, revision = self._root + prefix, prefix_range_end(self._root + prefix), 0
        items: list[Item] = []
        try:
            while True:
                page = await kv.get(key, end, revision=revision, limit=PAGE, timeout=self._timeout)
                revision = revision or page.header.revision
                items += [Item(self._strip(kv_.key), kv_.value, kv_.mod_revision) for kv_ in page.kvs]
                if not page.more:
                    return Snapshot(tuple(items), revision)
                key = page.kvs[-1].key.decode() + "\0"
        except _FAILURES as error:
            raise Unavailable(f"etcd: {error or 'no answer in time'}") from error

    def _strip(self, key: bytes) -> str:
        return key.decode()[len(self._root) :]

    async def commit(self, txns: Sequence[Txn]) -> list[int | None]:
        return [await self._commit(txn) for txn in txns]

    async def _commit(self, txn: Txn) -> int | None:
        kv = await self._kv()
        compares = [self._compare(key, revision) for key, revision in txn.reads.items()]
        compares += [self._unticked(prefix, revision) for prefix, revision in txn.ranges.items()]
        # Deleting what was read as absent writes nothing, so it must not tick either.
        writes = [write for write in txn.writes if write.value is not None or txn.reads.get(write.key) != 0]
        operations = [self._operation(write) for write in writes]
        operations += [KVService.txn_op_put(self._tick(table), b"") for table in sorted(_tables(writes))]
        if len(operations) > MAX_OPS:
            raise Unavailable(f"a transaction of {len(operations)} writes is more than etcd takes ({MAX_OPS})")
        try:
            # One attempt: a repeated transaction would conflict with its own first try.
            response = await kv.txn(compares, operations, timeout=self._timeout, max_attempts=1)
        except _FAILURES as error:
            raise Unavailable(f"etcd: {error or 'no answer in time'}") from error
        return int(response.header.revision) if response.succeeded else None

    def _compare(self, key: str, revision: int) -> Compare:
        full = (self._root + key).encode()
        return Compare(result=Compare.EQUAL, target=Compare.MOD, key=full, mod_revision=revision)

    def _tick(self, table: str) -> str:
        return f"{self._root}{_TICKS}{table}"

    def _unticked(self, prefix: str, revision: int) -> Compare:
        """True while no table under `prefix`, or no table that holds it, was written after `revision`."""
        match = _TABLE.match(prefix)
        key = self._tick(match.group() if match else prefix)
        compare = Compare(result=Compare.LESS, target=Compare.MOD, key=key.encode(), mod_revision=revision + 1)
        compare.range_end = prefix_range_end(key)
        return compare

    def _operation(self, write: Write) -> Any:
        key = self._root + write.key
        return KVService.txn_op_delete(key) if write.value is None else KVService.txn_op_put(key, write.value)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        try:
            while not self._closed:
                async with aclosing(self._stream(prefix, after)) as batches:
                    async for batch in batches:
                        after = batch.revision
                        yield batch
        except _FAILURES as error:
            if not self._closed:
                raise Unavailable(f"etcd: {error or 'no answer in time'}") from error
        except asyncio.CancelledError:
            # Closing the channel ends its calls this way too.
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise

    async def _stream(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """Batches until the connection breaks. The client would resume after the revision of the last header, which is
        the server's and may be ahead of the events that came; so its first message after that ends this."""
        kv = await self._kv()
        assert self._client.watch is not None
        key, created = self._root + prefix, False
        start = after + 1
        stream = self._client.watch.watch(key, prefix_range_end(key), start_revision=start, progress_notify=True)
        async with aclosing(cast("AsyncGenerator[Any, None]", stream)) as responses:
            async for response in responses:
                if response.compact_revision > start:
                    raise Compacted(f"revision {after} is compacted")
                if response.created:
                    if created:
                        return
                    created = True
                    await self._demand(kv, key, after)
                for batch in self._batches(response.events):
                    yield batch

    async def _demand(self, kv: KVService, key: str, revision: int) -> None:
        """Raises Compacted when `revision` is. etcd lets a watch start at the compacted revision, whose deletions may be
        gone (etcd-io/etcd#19179), but refuses to read below it."""
        try:
            await kv.get(key, revision=revision, keys_only=True, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            if "compacted" not in str(error):
                raise
            raise Compacted(f"revision {revision} is compacted") from error

    def _batches(self, events: Iterable[Any]) -> list[Batch]:
        grouped: dict[int, list[Change]] = {}
        for event in events:
            value = event.kv.value if event.type == event.PUT else None
            grouped.setdefault(event.kv.mod_revision, []).append(Change(self._strip(event.kv.key), value))
        return [Batch(revision, tuple(changes)) for revision, changes in grouped.items()]

    async def compact(self, before: int) -> None:
        kv = await self._kv()
        try:
            # etcd forgets the deletions of the revision that it compacts at, too.
            await kv.compact(before - 1, timeout=self._timeout, max_attempts=1)
        except _FAILURES as error:
            # Another control plane compacted as far already.
            if "compacted" not in str(error):
                raise Unavailable(f"etcd: {error or 'no answer in time'}") from error

    async def close(self) -> None:
        self._closed = True
        await self._client.close()


def _tables(writes: Sequence[Write]) -> set[str]:
    return {match.group() if (match := _TABLE.match(write.key)) else write.key for write in writes}

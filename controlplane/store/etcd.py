"""The distributed backend: etcd v3, for several control planes over one state.

etcd's compares see a key's present revision but not deletions inside a range. So every transaction also puts a *tick*
for each table it writes, a key outside the watched prefix, and a transaction that listed a table compares that tick.
The value of a tick is the origin of its transaction, so that every control plane learns who wrote.
Two things are therefore coarser than elsewhere: a listing of one namespace conflicts with writes to another, and with the
deletion of an absent key that the transaction did not read. The newest tick also tells which revision the state has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import grpc

from controlplane.store import envelope
from controlplane.store import etcd_messages_pb2 as pb
from controlplane.store.backend import Batch, Committed, Compacted, Item, Limits, Result, Snapshot, Txn, Write
from controlplane.store.broadcaster import narrow, resumed
from controlplane.store.envelope import Envelope
from controlplane.store.etcdbatch import REGISTRY, TICKS, batches
from controlplane.store.etcdclient import EtcdClient
from controlplane.store.etcdtls import Credentials
from controlplane.store.etcdtxn import encoded, places, waves
from pinnace.errors import ApiError, TooLarge, Unavailable

# No etcd call takes longer on a healthy cluster; an election takes about one second.
TIMEOUT = 5.0
# Keys in one page of a listing, and bytes that it should not exceed by much.
PAGE, PAGE_SIZE = 1000, 4 << 20
_TABLE = re.compile(r"/registry/(?:[^/]*\.[^/]*/)?[^/]+/")


class EtcdBackend:
    exclusive = False
    # etcd refuses transactions of more than 128 operations (--max-txn-ops), ticks included, and requests of more than
    # 1.5 MiB (--max-request-bytes), of which keys, compares and ticks need some.
    limits = Limits(operations=100, size=1400 << 10, group=1, commits=64)

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        root: str = "/pinnace",
        credentials: Credentials | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._root = root
        self._client = EtcdClient(endpoints, timeout=timeout, credentials=credentials)

    # Reading

    async def load(self, prefix: str) -> Snapshot:
        key, end = self._range(prefix)
        items, revision, limit = list[Item](), 0, PAGE
        while True:
            request = pb.RangeRequest(key=key, range_end=end, revision=revision, limit=limit)
            page = await self._read(request)
            revision = revision or page.header.revision
            items += [self._item(pair) for pair in page.kvs]
            if not page.more:
                return Snapshot(tuple(items), envelope.last(revision))
            key = page.kvs[-1].key + b"\0"
            limit = max(1, min(PAGE, limit * PAGE_SIZE // max(1, page.ByteSize())))

    def _item(self, pair: pb.KeyValue) -> Item:
        key = self._strip(pair.key)
        found = Envelope.read(key, pair.value)
        return Item(key, found.value, envelope.first(pair.mod_revision) + found.place)

    async def current(self) -> int:
        key, end = self._range(TICKS)
        newest = pb.RangeRequest(key=key, range_end=end, limit=1, keys_only=True)
        newest.sort_order, newest.sort_target = pb.RangeRequest.DESCEND, pb.RangeRequest.MOD
        page = await self._read(newest)
        return envelope.first(page.kvs[0].mod_revision) if page.kvs else 0

    async def _read(self, request: pb.RangeRequest) -> pb.RangeResponse:
        try:
            return await self._client.call("KV/Range", request, pb.RangeResponse, reads=True)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"etcd: {error.details()}") from error

    def _strip(self, key: bytes) -> str:
        return key.decode()[len(self._root) :]

    def _range(self, prefix: str) -> tuple[bytes, bytes]:
        key = (self._root + prefix).encode()
        return key, _end(key)

    # Writing

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        results: list[Result] = []
        # Those of one wave do not touch each other, so their order does not matter.
        for wave in waves(txns):
            results += await asyncio.gather(*(self._commit(txn) for txn in wave))
        return results

    async def _commit(self, txn: Txn) -> Result:
        refusal = self.limits.refusal(txn)
        if refusal is not None:
            return refusal
        request = self._request(txn)
        try:
            response = await self._client.call("KV/Txn", request, pb.TxnResponse, reads=False)
        except ApiError as error:
            return error
        except grpc.aio.AioRpcError as error:
            return Unavailable(f"etcd: {error.details()}")
        if not response.succeeded:
            return None
        at = envelope.first(response.header.revision)
        revisions = tuple(at + place if place is not None else 0 for place in places(txn.writes, response.responses))
        return Committed(revisions, envelope.last(response.header.revision))

    def _request(self, txn: Txn) -> pb.TxnRequest:
        compares = [self._compare(key, revision) for key, revision in txn.reads.items()]
        compares += [self._unticked(prefix, revision) for prefix, revision in self._ranges(txn).items()]
        # Deleting what was read as absent writes nothing, so it must not tick either.
        writes = [write for write in txn.writes if write.value is not None or txn.reads.get(write.key) != 0]
        origin = b"" if txn.origin is None else txn.origin.encode()
        ticks = [pb.PutRequest(key=self._tick(table), value=origin) for table in sorted(_tables(writes))]
        operations = [*encoded(self._root, txn.writes), *(pb.RequestOp(request_put=tick) for tick in ticks)]
        return pb.TxnRequest(compare=compares, success=operations)

    def _ranges(self, txn: Txn) -> Mapping[str, int]:
        """One range over everything in place of more than the limits leave room for: coarser, and never wrong."""
        if len(txn.reads) + len(txn.ranges) <= self.limits.operations:
            return txn.ranges
        return {REGISTRY: min(txn.ranges.values())}

    def _compare(self, key: str, revision: int) -> pb.Compare:
        full, at = (self._root + key).encode(), envelope.mod_revision(revision)
        return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=full, mod_revision=at)

    def _tick(self, table: str) -> bytes:
        return f"{self._root}{TICKS}{table}".encode()

    def _unticked(self, prefix: str, revision: int) -> pb.Compare:
        """True while no table under `prefix`, or no table that holds it, was written after `revision`."""
        match = _TABLE.match(prefix)
        key, at = self._tick(match.group() if match else prefix), envelope.mod_revision(revision)
        compare = pb.Compare(result=pb.Compare.LESS, target=pb.Compare.MOD, key=key, mod_revision=at + 1)
        compare.range_end = _end(key)
        return compare

    # Watching

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        progress = True
        while progress and not self._client.closed:
            progress = False
            try:
                async with aclosing(self._stream(after)) as stream:
                    async for batch in stream:
                        narrowed, progress = _narrowed(batch, prefix, after), True
                        after = max(after, batch.revision)
                        if narrowed is not None:
                            yield narrowed
            except Unavailable:
                # A connection that broke is made again, after what was told; one that cannot be made is an error.
                if not progress and not self._client.closed:
                    raise

    async def _stream(self, after: int) -> AsyncGenerator[Batch, None]:
        """An empty batch once the watch exists, then batches that end above `after`, of everything under the root: places of
        deletions count all of a transaction's."""
        key, end = self._range("/")
        start = envelope.mod_revision(after + 1)
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=max(start, 1))
        async with aclosing(self._client.stream(pb.WatchRequest(create_request=create))) as responses:
            async for response in responses:
                if response.compact_revision:
                    raise Compacted(f"revision {after} is compacted")
                if response.canceled:
                    raise Unavailable(f"etcd: the watch was cancelled: {response.cancel_reason}")
                if response.created:
                    await self._demand(key, start - 1)
                    yield Batch(after, ())
                for batch in batches(response.events, self._root):
                    yield batch

    async def _demand(self, key: bytes, revision: int) -> None:
        """Raises Compacted when etcd's `revision` is. etcd lets a watch start at the compacted revision, whose deletions may
        be gone (etcd-io/etcd#19179), but refuses to read below it."""
        if revision < 1:
            return
        try:
            request = pb.RangeRequest(key=key, revision=revision, keys_only=True)
            await self._client.call("KV/Range", request, pb.RangeResponse, reads=True)
        except grpc.aio.AioRpcError as error:
            # A revision that is still to come is refused with the same code; nothing of it can be missing.
            if "compacted" in str(error.details()):
                raise Compacted(f"revision {revision} is compacted") from error

    async def compact(self, before: int) -> None:
        # etcd forgets the deletions of the revision that it compacts at, too.
        request = pb.CompactionRequest(revision=envelope.mod_revision(before) - 1)
        if request.revision < 1:
            return
        try:
            await self._client.call("KV/Compact", request, pb.CompactionResponse, reads=False)
        except TooLarge as error:
            raise Unavailable(error.message) from error
        except grpc.aio.AioRpcError as error:
            # Another control plane compacted as far already.
            if "compacted" not in str(error.details()):
                raise Unavailable(f"etcd: {error.details()}") from error

    async def close(self) -> None:
        await self._client.close()


def _narrowed(batch: Batch, prefix: str, after: int) -> Batch | None:
    """What a watcher of `prefix` is told. One of everything also learns of transactions that changed nothing."""
    if batch.revision <= after:
        return None
    rest = resumed(batch, after)
    return narrow(rest, prefix) if rest.changes or prefix != REGISTRY else rest


def _tables(writes: Sequence[Write]) -> set[str]:
    return {match.group() if (match := _TABLE.match(write.key)) else write.key for write in writes}


def _end(key: bytes) -> bytes:
    """The first key after all that start with `key`, which does not end with 0xff."""
    return key[:-1] + bytes([key[-1] + 1])

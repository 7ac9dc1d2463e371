"""Transactions as etcd takes them, and the places that their writes get. Pure.

etcd refuses two operations on one key, so a deletion followed by a put of the same key is one put that is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controlplane.store import etcd_messages_pb2 as pb
from controlplane.store.backend import Txn, Write
from controlplane.store.envelope import Envelope


def _replaced(writes: Sequence[Write]) -> set[str]:
    """Keys that are deleted and then put."""
    put = {write.key for write in writes if write.value is not None}
    return {write.key for write in writes if write.value is None and write.key in put}


def encoded(root: str, writes: Sequence[Write]) -> list[pb.RequestOp]:
    """The operations: puts of one key each and deletions of what is not put."""
    replaced, operations = _replaced(writes), list[pb.RequestOp]()
    place = sum(1 for write in writes if write.value is None)
    for write in writes:
        key = (root + write.key).encode()
        if write.value is not None:
            replaces = write.key in replaced
            value = Envelope(write.value, place, replaces).encode(write.key)
            operations.append(pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, prev_kv=replaces)))
            place += 1
        elif write.key not in replaced:
            operations.append(pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key)))
    return operations


def places(writes: Sequence[Write], responses: Sequence[pb.ResponseOp]) -> list[int | None]:
    """The place of each write, given the responses to `encoded`; None for the deletion of an absent key."""
    replaced, answers = _replaced(writes), iter(responses)
    gone = set[str]()
    for write in writes:
        if write.value is None and write.key in replaced:
            continue
        answer = next(answers)
        if answer.response_delete_range.deleted or answer.response_put.HasField("prev_kv"):
            gone.add(write.key)
    ranks = {key: rank for rank, key in enumerate(sorted(gone))}
    puts = iter(range(sum(1 for write in writes if write.value is None), len(writes)))
    return [ranks.get(write.key) if write.value is None else next(puts) for write in writes]


def waves(txns: Sequence[Txn]) -> Iterable[list[Txn]]:
    """Runs of transactions of which none reads or writes what another one writes."""
    wave, written, read = list[Txn](), set[str](), set[str]()
    for txn in txns:
        writes, reads = {write.key for write in txn.writes}, {*txn.reads, *txn.ranges}
        if _touch(writes, written) or _touch(reads, written) or _touch(read, writes):
            yield wave
            wave, written, read = [], set(), set()
        wave.append(txn)
        written |= writes
        read |= reads
    if wave:
        yield wave


def _touch(keys: set[str], written: set[str]) -> bool:
    """Whether a key, or a prefix of keys, covers what is written. Ranges are coarse: all of a table."""
    return any(key in written or (key.endswith("/") and written) for key in keys)

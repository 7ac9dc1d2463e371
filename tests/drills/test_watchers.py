"""Five hundred watchers that never read, over real connections: memory stays bounded and everyone else is served."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.client import ref
from controlplane.requests.unsent import LIMIT, STALLED
from nodeagent.simulated.administrator import Context
from pinnace import kinds, pki
from pinnace.api.v1 import objects_pb2, objects_pb2_grpc
from tests.support.labs import PATIENCE
from tests.support.planes import Plane, plane

WATCHERS, CONNECTIONS = 500, 20
# So few that their batches of small objects fit into the share of one user.
FEW = 60
# Bytes of all ConfigMaps, and of one of them: many in a batch, one in a batch, and as large as one may be.
TOTAL = 24_000_000
SIZES = [10_000, 900_000]
# Bytes of memory above what the control plane had, but for one object of each watcher: each byte that a watcher holds is held up to
# five times (unsent.py), and 100 KiB for each of the calls themselves; then the changes, and their history. The object: a call
# that was broken keeps its message until Python collects it.
BOUND = 5 * LIMIT + WATCHERS * (100 << 10) + 3 * TOTAL + (64 << 20)
# Seconds for a call meanwhile. One that waits for a stalled watcher takes STALLED at least.
PROMPT = min(2.0 * PATIENCE, 0.8 * STALLED)
pytestmark = pytest.mark.timeout(600)
# Seconds of a watch at most.
CALL = 180.0 * PATIENCE
_OPTIONS = (("grpc.ssl_target_name_override", pki.SERVER_NAME), ("grpc.use_local_subchannel_pool", 1))


class Crowd:
    """Watchers that have sent their request and do nothing more."""

    def __init__(self, found: Plane, stack: ExitStack, watchers: int) -> None:
        context = Context.read(found.folder / "admin.yaml")
        credentials = grpc.ssl_channel_credentials(context.ca, context.pair.key, context.pair.certificate)
        self.calls: list[Any] = []
        for _ in range(CONNECTIONS):
            channel = stack.enter_context(grpc.secure_channel(context.server, credentials, options=_OPTIONS))
            watch = objects_pb2_grpc.ObjectsStub(channel).Watch
            request = objects_pb2.WatchRequest(ref=ref(kinds.CONFIG_MAP, "default"))
            self.calls += [watch(request, timeout=CALL) for _ in range(watchers // CONNECTIONS)]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Plane]:
    with plane(tmp_path, store="memory") as found:
        yield found


def memory(found: Plane) -> int:
    """Resident bytes of the control plane."""
    assert found.process is not None
    status = Path(f"/proc/{found.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10


def write(found: Plane, size: int, letter: str) -> list[float]:
    """Every ConfigMap with this letter; the seconds that each call took, of thirty small ones or a large one."""
    took, many = list[float](), max(1, 300_000 // size)
    with found.client() as client:
        for start in range(0, TOTAL // size, many):
            request = objects_pb2.ApplyRequest(namespace="default", fieldManager="test")
            for number in range(start, min(start + many, TOTAL // size)):
                body = {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": f"c{number}"},
                    "data": {"x": letter * size},
                }
                request.objects.add(apiVersion="v1", kind="ConfigMap", json=json.dumps(body).encode())
            began = time.monotonic()
            results = client.call(client.objects.Apply, request).results
            took.append(time.monotonic() - began)
            assert [result for result in results if result.HasField("error")] == []
    return took


def told(call: Any, letter: str, count: int) -> str:
    """Read a watch until all `count` ConfigMaps have the letter: "complete"; or the reason for which it ends before. An event
    that is missing, repeated or out of order fails the test."""
    state, last = dict[str, str](), 0
    try:
        for response in call:
            for event in response.events:
                if event.type == objects_pb2.WatchEvent.BOOKMARK:
                    last = max(last, int(event.resourceVersion))
                    continue
                item = kinds.CONFIG_MAP.cls.FromString(event.object.protobuf)
                if "x" not in item.data:
                    # The CA's, which every namespace has.
                    continue
                added = event.type == objects_pb2.WatchEvent.ADDED
                assert added == (item.metadata.name not in state)
                assert added or int(event.resourceVersion) > last
                last = last if added else int(event.resourceVersion)
                state[item.metadata.name] = item.data["x"][:1]
            if len(state) == count and set(state.values()) == {letter}:
                return "complete"
    except grpc.RpcError as error:
        ended: Any = error
        return str(ended.code().name)
    return "ended"


@pytest.mark.parametrize(("size", "watchers"), [*((size, WATCHERS) for size in SIZES), (SIZES[0], FEW)])
def test_watchers_that_never_read_hold_a_bounded_amount(watched: Plane, size: int, watchers: int) -> None:
    """Others read and write at once; those that are behind are disconnected, or served later without a gap."""
    write(watched, size, "a")
    before, most, asked = memory(watched), 0, list[float]()
    with ExitStack() as stack:
        crowd = Crowd(watched, stack, watchers)
        until = time.monotonic() + 2 * STALLED
        while time.monotonic() < until:
            began = time.monotonic()
            watched.version()
            asked.append(time.monotonic() - began)
            most = max(most, memory(watched))
            time.sleep(0.1)
        took = write(watched, size, "b")
        most = max(most, memory(watched))
        assert (max(asked) < PROMPT, max(took) < PROMPT) == (True, True), (asked, took)
        ends = [told(call, "b", TOTAL // size) for call in crowd.calls[:: watchers // CONNECTIONS]]
        # For -rP: the figures of interest.
        print(f"memory {before >> 20} -> {most >> 20} MiB, longest write {max(took):.3f} s, {ends}")
    assert most - before < BOUND + WATCHERS * size
    assert set(ends) <= {"complete", "UNAVAILABLE", "CANCELLED", "OUT_OF_RANGE"}
    if watchers == FEW:
        # Together they hold less than the share of their user: no other watcher of this user needs their room.
        assert "UNAVAILABLE" not in ends

"""An agent that sends whatever it likes: one clear error each, and neither the control plane nor other nodes notice."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeagent.control.credentials import Credentials
from nodeagent.control.join import join
from pinnace import codec, kinds, pki
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc, objects_pb2
from pinnace.clock import SystemClock
from pinnace.protowire import varint
from tests.support.labs import eventually
from tests.support.objects import pod
from tests.support.planes import Plane, plane

CLEAR = {
    grpc.StatusCode.OK, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.PERMISSION_DENIED,
}  # fmt: skip
numbers = st.sampled_from(["1e300", "-1", "16Ei", "9" * 64, "1n", "NaN", "", "\x00", "1e-300", "0x10", "٣"])
seconds = st.sampled_from([0, -1, 1 << 62, -(1 << 62), 253_402_300_800])
texts = st.sampled_from(["", "\x00", "\ufffd" * 3, "../../etc", "a/b", "x" * 70_000, "default"])


class Agent:
    """A node that has joined, with calls of its own making."""

    def __init__(self, found: Plane, folder: Path, name: str) -> None:
        token = found.token()
        join(found.endpoint, node=name, token=token.token, ca_hash=token.caHash, folder=folder / name, clock=SystemClock())
        pair = Credentials(folder / name).load()
        credentials = grpc.ssl_channel_credentials(pair.ca, pair.key, pair.certificate)
        options = (("grpc.ssl_target_name_override", pki.SERVER_NAME), ("grpc.use_local_subchannel_pool", 1))
        self.channel = grpc.secure_channel(f"127.0.0.1:{found.port}", credentials, options=options)
        self.stub = nodes_pb2_grpc.NodesStub(self.channel)
        self.keys: list[str] = []
        self._quiet = threading.Event()

    def send(self, method: str, data: bytes) -> grpc.StatusCode:
        """A unary call with these bytes."""
        try:
            self.channel.unary_unary(f"/pinnace.api.v1.Nodes/{method}")(data, timeout=20)
        except grpc.RpcError as error:
            call: Any = error
            return call.code()  # type: ignore[no-any-return]
        return grpc.StatusCode.OK

    def session(self, *messages: bytes) -> grpc.StatusCode:
        """A session that says these bytes and ends."""
        call = self.channel.stream_stream("/pinnace.api.v1.Nodes/Session")(iter(messages), timeout=20)
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        return call.code()  # type: ignore[no-any-return]

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A session that stays, and remembers what it is assigned."""

        def speak() -> Iterator[nodes_pb2.NodeMessage]:
            yield nodes_pb2.NodeMessage(hello=nodes_pb2.Hello())
            while not self._quiet.wait(1):
                yield nodes_pb2.NodeMessage(heartbeat=nodes_pb2.Heartbeat())

        def listen() -> None:
            try:
                for message in call:
                    self.keys += [change.key for change in message.assignment.changes]
            except grpc.RpcError:
                pass

        call = self.stub.Session(speak())
        thread = threading.Thread(target=listen)
        thread.start()
        yield
        self._quiet.set()
        call.cancel()
        thread.join(10)


class Stage:
    """A control plane with a hostile node, which has a pod, and a good one."""

    def __init__(self, found: Plane, folder: Path) -> None:
        self.plane = found
        self.hostile, self.good = Agent(found, folder, "hostile"), Agent(found, folder, "good")
        self.create("theirs", "hostile")
        self.create("ours", "good")
        self.uids = {item.metadata.name: item.metadata.uid for item in self.list()}

    def create(self, name: str, node: str) -> None:
        with self.plane.client() as client:
            request = objects_pb2.ApplyRequest(namespace="default", fieldManager="test")
            request.objects.add(apiVersion="v1", kind="Pod", json=json.dumps(codec.encode(pod(name, nodeName=node))).encode())
            assert not client.call(client.objects.Apply, request).results[0].HasField("error")

    def list(self) -> list[Any]:
        with self.plane.client() as client:
            return client.list(kinds.POD, "")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("hostile")
    with plane(folder) as found:
        made = Stage(found, folder)
        with made.good.serving():
            yield made
            # After all of it: every object can be read and written as JSON, and a change still arrives at the other node.
            for kind in (kinds.POD, kinds.NODE, kinds.EVENT):
                with found.client() as client:
                    for item in client.list(kind, ""):
                        json.dumps(codec.encode(item))
            made.create("later", "good")
            eventually(lambda: "Pod/default/later" in made.good.keys, within=10)
        assert "Traceback" not in found.log
        made.hostile.channel.close()
        made.good.channel.close()


def peak(stage: Stage) -> int:
    """Most MiB of memory that the control plane has had at once."""
    assert stage.plane.process is not None
    status = Path(f"/proc/{stage.plane.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) >> 10


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(method=st.sampled_from(["ReportStatus", "SyncMirrors", "RenewCertificate"]), data=st.binary(max_size=200))
def test_bytes_that_are_no_message_get_one_clear_error(stage: Stage, method: str, data: bytes) -> None:
    """Broken protobuf, and text that is not UTF-8."""
    assert stage.hostile.send(method, data) in CLEAR


def test_text_that_is_not_utf8_and_messages_without_end_are_refused(stage: Stage) -> None:
    """A surrogate, half a character, and nine megabytes."""
    for data in (b"\x0a\x05\x0a\x03\xed\xa0\x80", b"\x0a\x03\x0a\x01\xe2", b"\x0a\x80\x80\x80\x04" + b"x" * (9 << 20)):
        assert stage.hostile.send("ReportStatus", data) in CLEAR - {grpc.StatusCode.OK}


@pytest.mark.parametrize("field", [1, 2, 4])
def test_millions_of_messages_in_one_are_refused_unread(stage: Stage, field: int) -> None:
    """In a report and in a session, each of eight megabytes: decoding one took seconds and hundreds of megabytes."""
    many = bytes([field << 3 | 2, 0]) * ((4 << 20) - 100)
    before = peak(stage)
    assert stage.hostile.send("ReportStatus", many) is grpc.StatusCode.FAILED_PRECONDITION
    assert stage.hostile.session(b"\x0a" + varint(len(many)) + many) in CLEAR - {grpc.StatusCode.OK}
    assert peak(stage) < before + 96


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=st.lists(st.binary(max_size=50), max_size=3))
def test_a_session_of_junk_ends_with_a_clear_error(stage: Stage, messages: list[bytes]) -> None:
    """And ends no other."""
    assert stage.hostile.session(*messages) in CLEAR


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(amount=numbers, moment=seconds, text=texts, name=st.sampled_from(["theirs", "ours", "none", "a/b", "\x00"]))
def test_a_report_changes_nothing_that_is_not_the_nodes_own(
    stage: Stage, amount: str, moment: int, text: str, name: str
) -> None:
    """Absurd quantities, times and texts, in statuses of its own pod, of another's and of none, in its node and in events."""
    request = nodes_pb2.ReportStatusRequest()
    item = request.pods.add(namespace="default", name=name, uid=stage.uids.get(name, "u"), removed=True)
    item.status.phase, item.status.message, item.status.startTime.seconds = "Failed", text, moment
    item.status.containerStatuses.add(name=text[:100]).allocatedResources["memory"].string = amount
    request.node.allocatable["memory"].string = amount
    request.node.conditions.add(type=text[:100] or "x", status="True").lastHeartbeatTime.seconds = moment
    event = request.events.add(reason=text, message=text)
    event.involvedObject.kind, event.involvedObject.name, event.involvedObject.namespace = "Node", "hostile", text[:100]
    event.firstTimestamp.seconds = moment
    assert stage.hostile.send("ReportStatus", request.SerializeToString()) in CLEAR
    [ours] = [item for item in stage.list() if item.metadata.name == "ours"]
    assert ours.status.phase == "Pending"


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(amount=numbers, text=texts, moment=seconds)
def test_an_absurd_hello_is_refused_or_harmless(stage: Stage, amount: str, text: str, moment: int) -> None:
    """The scheduler and the other node's overlay go on."""
    hello = nodes_pb2.Hello(vtepMac=text[:1000])
    hello.node.status.allocatable["cpu"].string = amount
    hello.node.status.addresses.add(type="InternalIP", address=text[:1000])
    hello.node.metadata.labels["kubernetes.io/hostname"] = text
    hello.node.status.conditions.add(type="Ready", status="True").lastTransitionTime.seconds = moment
    assert stage.hostile.session(nodes_pb2.NodeMessage(hello=hello).SerializeToString()) in CLEAR

"""The audit log of the gRPC API: each call with what it is about, and with its objects at the levels that have them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.access import control
from controlplane.access.auditlog import MAX_OBJECT, Log
from controlplane.access.auditpolicy import Level, Policy, Record, Rule
from controlplane.access.authorizers import Authorizers
from controlplane.access.identity import Identity
from controlplane.resources import Registry
from controlplane.rpc import auditing
from controlplane.rpc.access import Access
from controlplane.rpc.auditing import Auditor
from controlplane.rpc.guard import Guard
from controlplane.rpc.objects import Objects
from controlplane.rpc.permissions import Permissions
from controlplane.rpc.streams import Streams
from pinnace import kinds
from pinnace.api.v1 import access_pb2, access_pb2_grpc, objects_pb2, objects_pb2_grpc, streams_pb2, streams_pb2_grpc
from pinnace.kinds import Kind
from tests.support import objects
from tests.support.access import user
from tests.support.cluster import Cluster

ADMIN = user("root", "system:masters")
_PATCH = objects_pb2.PatchRequest


class _Anyone:
    """Takes every call as one user's."""

    def __init__(self) -> None:
        self.user: Identity = ADMIN

    def of_call(self, context: Any) -> Identity:
        return self.user

    def open(self, caller: Identity) -> AbstractAsyncContextManager[None]:
        return nullcontext()


class Audit:
    """A server with an audit log, and clients of it."""

    def __init__(self, channel: grpc.aio.Channel, log: Log, caller: _Anyone) -> None:
        self.objects: Any = objects_pb2_grpc.ObjectsStub(channel)
        self.access: Any = access_pb2_grpc.AccessStub(channel)
        self.streams: Any = streams_pb2_grpc.StreamsStub(channel)
        self.caller = caller
        self.log = log

    def level(self, level: Level, *resources: tuple[str, str]) -> None:
        """Of some resources, or of everything; others are written with their metadata."""
        named = tuple((group, frozenset((name,))) for group, name in resources)
        self.log.policy = Policy((Rule(level, resources=named), Rule(Level.METADATA)))

    def lines(self) -> list[dict[str, Any]]:
        self.log.close()
        return [json.loads(line) for line in self.text().splitlines()]

    def text(self) -> str:
        return self.log.path.read_text()


@pytest.fixture
async def audit(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Audit]:
    authorizers, registry = Authorizers(cluster.store), Registry.of(cluster.store)
    permissions, caller = Permissions(authorizers), _Anyone()
    reviews = control.build(cluster.store, cluster.ids, authorizers, tmp_path, control.TokenSettings()).reviews
    log = Log(tmp_path / "audit.log", Policy((Rule(Level.REQUEST_RESPONSE),)))
    log.open()
    server = grpc.aio.server(interceptors=[Guard(caller, Auditor(log, registry, cluster.clock, cluster.ids))])
    service = Objects(cluster.store, cluster.clock, cluster.ids, permissions=permissions)
    objects_pb2_grpc.add_ObjectsServicer_to_server(service, server)
    access_pb2_grpc.add_AccessServicer_to_server(Access(reviews, authorizers, permissions, cluster.clock), server)
    streams_pb2_grpc.add_StreamsServicer_to_server(Streams(cluster.store, None, permissions), server)
    server.add_insecure_port(f"unix:{tmp_path}/socket")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/socket") as channel:
        yield Audit(channel, log, caller)
    await server.stop(None)


def item(kind: Kind, name: str, **fields: Any) -> objects_pb2.Object:
    """A manifest, as kctl sends it."""
    value = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, "namespace": "default"}, **fields}
    return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, json=json.dumps(value).encode())


def binary(kind: Kind, message: Any) -> objects_pb2.Object:
    return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=message.SerializeToString())


def ref(kind: Kind, name: str = "") -> objects_pb2.Reference:
    return objects_pb2.Reference(apiVersion=kind.api_version, kind=kind.kind, namespace="default", name=name)


def shown(lines: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, int]]:
    """Verb, resource, name and code of each line."""
    found = []
    for line in lines:
        about = line.get("objectRef", {})
        resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
        found.append((line["verb"], resource, about.get("name", ""), line["responseStatus"]["code"]))
    return found


async def test_a_call_is_about_a_resource(audit: Audit) -> None:
    """With Kubernetes' verbs, in the form of a request over REST: also one that is refused, and one of another service."""
    await audit.objects.Create(objects_pb2.WriteRequest(object=item(kinds.CONFIG_MAP, "m", data={"k": "1"})))
    await audit.objects.Get(objects_pb2.GetRequest(ref=ref(kinds.CONFIG_MAP, "m")))
    await audit.objects.Patch(_PATCH(ref=ref(kinds.CONFIG_MAP, "m"), type=_PATCH.MERGE, patch=b'{"data": {"k": "2"}}'))
    await audit.objects.List(objects_pb2.ListRequest(ref=ref(kinds.CONFIG_MAP)))
    await audit.objects.Delete(objects_pb2.DeleteRequest(ref=ref(kinds.CONFIG_MAP, "m"), gracePeriodSeconds=3, uid=""))
    audit.caller.user = user("jane")
    opening = streams_pb2.OpenStream(namespace="default", pod="web", logs=streams_pb2.LogOptions())
    with pytest.raises(grpc.aio.AioRpcError):
        await audit.objects.List(objects_pb2.ListRequest(ref=ref(kinds.CONFIG_MAP)))
    with pytest.raises(grpc.aio.AioRpcError):
        await _drained(audit.streams.Logs(opening))
    lines = audit.lines()
    assert shown(lines) == [
        ("create", "configmaps", "", 200), ("get", "configmaps", "m", 200), ("patch", "configmaps", "m", 200),
        ("list", "configmaps", "", 200), ("delete", "configmaps", "m", 200), ("list", "configmaps", "", 403),
        ("get", "pods/log", "web", 403),
    ]  # fmt: skip
    assert [line["user"]["username"] for line in lines] == ["root"] * 5 + ["jane"] * 2
    assert {line["objectRef"]["namespace"] for line in lines} == {"default"}
    requests = [line.get("requestObject") for line in lines[:5]]
    assert (requests[0]["data"], requests[1:4]) == ({"k": "1"}, [None, {"data": {"k": "2"}}, None])
    assert requests[4] == {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 3}
    responses = [line["responseObject"] for line in lines[:5]]
    assert [found["kind"] for found in responses] == ["ConfigMap", "ConfigMap", "ConfigMap", "ConfigMapList", "ConfigMap"]
    assert responses[3]["items"][0]["data"] == responses[2]["data"] == {"k": "2"}


async def _drained(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize(
    ("level", "found"),
    [(Level.NONE, None), (Level.METADATA, set()), (Level.REQUEST, {"requestObject"}), (Level.REQUEST_RESPONSE, {"requestObject", "responseObject"})],
)  # fmt: skip
async def test_the_policy_decides_how_much_is_written(audit: Audit, level: Level, found: set[str] | None) -> None:
    """Of the resource that it names; objects that were sent in protobuf are JSON there too."""
    audit.level(level, ("", "configmaps"))
    message = kinds.CONFIG_MAP.cls(data={"k": "shown"})
    message.metadata.name, message.metadata.namespace = "m", "default"
    await audit.objects.Create(objects_pb2.WriteRequest(object=binary(kinds.CONFIG_MAP, message)))
    await audit.objects.Create(objects_pb2.WriteRequest(object=item(kinds.LEASE, "l")))
    lines = audit.lines()
    leases = lines.pop()
    assert (leases["level"], "requestObject" in leases) == ("Metadata", False)
    assert [{"requestObject", "responseObject"} & set(line) for line in lines] == ([] if found is None else [found])
    for line in lines:
        assert all(line[name]["data"] == {"k": "shown"} for name in found or ())


async def test_credentials_are_in_no_line(audit: Audit) -> None:
    """Secrets, tokens and reviews of tokens, whatever the policy says and by whichever method."""
    secret = item(kinds.SECRET, "s", stringData={"k": "hidden"})
    await audit.objects.Create(objects_pb2.WriteRequest(object=secret))
    await audit.objects.Patch(_PATCH(ref=ref(kinds.SECRET, "s"), type=_PATCH.MERGE, patch=b'{"stringData": {"k": "hidden"}}'))
    await audit.objects.Apply(objects_pb2.ApplyRequest(objects=[secret], fieldManager="t", force=True))
    await audit.objects.List(objects_pb2.ListRequest(ref=ref(kinds.SECRET)))
    await audit.objects.List(objects_pb2.ListRequest(ref=ref(kinds.SECRET), table=objects_pb2.TableOptions(includeObject=2)))
    review = kinds.TOKEN_REVIEW.cls()
    review.spec.token = "hidden"
    await audit.access.Review(access_pb2.ReviewRequest(object=binary(kinds.TOKEN_REVIEW, review)))
    account = kinds.SERVICE_ACCOUNT.cls()
    account.metadata.name, account.metadata.namespace = "robot", "default"
    await audit.objects.Create(objects_pb2.WriteRequest(object=binary(kinds.SERVICE_ACCOUNT, account)))
    request = kinds.TOKEN_REQUEST.cls(metadata=account.metadata)
    answer = await audit.access.Review(access_pb2.ReviewRequest(object=binary(kinds.TOKEN_REQUEST, request)))
    token = kinds.TOKEN_REQUEST.cls.FromString(answer.protobuf).status.token
    unknown = objects_pb2.Object(apiVersion="v1", kind="Secrets", json=secret.json)
    await audit.objects.Apply(objects_pb2.ApplyRequest(objects=[unknown], fieldManager="t"))
    with pytest.raises(grpc.aio.AioRpcError):
        await audit.objects.Create(objects_pb2.WriteRequest(object=unknown))
    lines = audit.lines()
    assert len(token) > 100
    # aGlkZGVu: hidden in base64.
    assert not [word for word in ("hidden", "aGlkZGVu", token) if word in audit.text()]
    assert [resource for _, resource, _, _ in shown(lines)] == [
        "secrets", "secrets", "secrets", "secrets", "secrets", "tokenreviews", "serviceaccounts", "serviceaccounts/token", "", "",
    ]  # fmt: skip


async def test_a_review_has_its_objects(audit: Audit) -> None:
    """But for those of tokens."""
    review = kinds.SELF_SUBJECT_ACCESS_REVIEW.cls()
    review.spec.resourceAttributes.verb, review.spec.resourceAttributes.resource = "get", "pods"
    await audit.access.Review(access_pb2.ReviewRequest(object=binary(kinds.SELF_SUBJECT_ACCESS_REVIEW, review)))
    [line] = audit.lines()
    assert shown([line]) == [("create", "selfsubjectaccessreviews", "", 200)]
    assert line["requestObject"]["spec"]["resourceAttributes"]["resource"] == "pods"
    assert line["responseObject"]["status"]["allowed"] is True


async def test_an_apply_is_a_request_for_each_object(audit: Audit) -> None:
    """Each at its own level, and with its own result; one that is refused, too."""
    audit.level(Level.REQUEST_RESPONSE, ("", "configmaps"))
    wanted = [
        item(kinds.CONFIG_MAP, "m", data={"k": "shown"}), item(kinds.LEASE, "l", spec={"holderIdentity": "unseen"}),
        item(kinds.CONFIG_MAP, "n", data={"k": 7}), objects_pb2.Object(apiVersion="v1", kind="Unknown", json=b"{}"),
    ]  # fmt: skip
    await audit.objects.Apply(objects_pb2.ApplyRequest(objects=wanted, fieldManager="t"))
    lines = audit.lines()
    assert shown(lines) == [
        ("patch", "configmaps", "m", 200), ("patch", "leases", "l", 200), ("patch", "configmaps", "n", 422), ("apply", "", "", 404),
    ]  # fmt: skip
    assert len({line["auditID"] for line in lines}) == 1
    assert lines[0]["requestObject"]["data"] == lines[0]["responseObject"]["data"] == {"k": "shown"}
    assert (lines[2]["requestObject"]["data"], "responseObject" in lines[2]) == ({"k": 7}, False)
    assert "unseen" not in audit.text()


async def test_an_action_and_a_part_have_their_own_form(cluster: Cluster, audit: Audit) -> None:
    """An Eviction, and the status of a node."""
    await cluster.create(objects.pod("web"))
    eviction = kinds.EVICTION.cls()
    await audit.objects.Create(
        objects_pb2.WriteRequest(subresource="eviction", ref=ref(kinds.POD, "web"), object=binary(kinds.EVICTION, eviction))
    )
    [line] = audit.lines()
    assert shown([line]) == [("create", "pods/eviction", "web", 200)]
    assert (line["requestObject"]["kind"], line["responseObject"]["kind"]) == ("Eviction", "Eviction")


async def test_a_table_has_its_cells(audit: Audit) -> None:
    """As clients that show tables ask for them."""
    await audit.objects.Create(objects_pb2.WriteRequest(object=item(kinds.CONFIG_MAP, "m")))
    await audit.objects.List(objects_pb2.ListRequest(ref=ref(kinds.CONFIG_MAP), table=objects_pb2.TableOptions()))
    await audit.objects.Get(objects_pb2.GetRequest(ref=ref(kinds.CONFIG_MAP, "m"), table=objects_pb2.TableOptions()))
    for line in audit.lines()[1:]:
        found = line["responseObject"]
        assert (found["kind"], found["rows"][0]["cells"][:2]) == ("Table", ["m", 0])


async def test_what_is_too_large_for_a_line_is_left_out(audit: Audit) -> None:
    """An object, and a list of some; no message of them is read for it."""
    half = "x" * (MAX_OBJECT // 2 + 1)
    for name in ("a", "b"):
        await audit.objects.Create(objects_pb2.WriteRequest(object=item(kinds.CONFIG_MAP, name, data={"k": half})))
    await audit.objects.List(objects_pb2.ListRequest(ref=ref(kinds.CONFIG_MAP)))
    lines = audit.lines()
    assert ["responseObject" in line for line in lines] == [True, True, False]


class _Broken(Policy):
    def level(self, record: Record) -> Level:
        raise RuntimeError


async def test_a_record_that_cannot_be_made_does_not_fail_the_call(audit: Audit) -> None:
    """It is counted as one that was dropped."""
    audit.log.policy = _Broken()
    await audit.objects.Create(objects_pb2.WriteRequest(object=item(kinds.CONFIG_MAP, "m")))
    assert audit.lines() == []


@pytest.mark.parametrize(
    ("peer", "address"),
    [("ipv4:192.0.2.1:5000", "192.0.2.1"), ("ipv6:%5B2001:db8::1%5D:5000", "2001:db8::1"), ("unix:", ""), ("", "")],
)
def test_the_address_of_a_peer(peer: str, address: str) -> None:
    assert auditing.source(peer) == address

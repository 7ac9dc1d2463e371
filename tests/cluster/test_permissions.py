"""The gRPC services ask for permission: each method of each service, and what users may grant each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.access import bootstraproles, control
from controlplane.access.authorizers import Authorizers
from controlplane.access.identity import Identity
from controlplane.labtime import LabTime
from controlplane.resources import Registry
from controlplane.rpc.access import Access
from controlplane.rpc.cluster import Cluster as ClusterService
from controlplane.rpc.cluster import Signer
from controlplane.rpc.objects import Objects
from controlplane.rpc.permissions import Permissions, calling
from controlplane.rpc.streams import Streams
from controlplane.rpc.timeline import Timeline
from pinnace import kinds, pki
from pinnace.api.v1 import access_pb2, cluster_pb2, objects_pb2, streams_pb2, timeline_pb2
from pinnace.errors import ApiError, Forbidden, Unauthenticated
from pinnace.kinds import Kind
from tests.support import objects
from tests.support.access import cluster_role, cluster_role_binding, role, role_binding, rule, user
from tests.support.api import sealed
from tests.support.cluster import Cluster, running

JANE = user("jane", "staff")
ADMIN = user("root", "system:masters")


class Door:
    """The services as the server has them, called by users."""

    def __init__(self, cluster: Cluster, keys: Path) -> None:
        authorizers = Authorizers(cluster.store)
        Registry.of(cluster.store).plugins += (authorizers.plugin(),)
        permissions = Permissions(authorizers)
        self.cluster = cluster
        self.objects = Objects(cluster.store, cluster.clock, cluster.ids, permissions=permissions)
        signer = Signer(pki.new_ca(cluster.clock.now()), 60.0)
        reviews = control.build(cluster.store, cluster.ids, authorizers, keys, control.TokenSettings()).reviews
        time = LabTime(cluster.clock, lambda: asyncio.sleep(0, []))
        self.services: dict[str, Any] = {
            "Objects": self.objects,
            "Access": Access(reviews, authorizers, permissions, cluster.clock),
            "Streams": Streams(cluster.store, None, permissions),
            "Timeline": Timeline(cluster.store, permissions, None),
            "Cluster": ClusterService(cluster.store, cluster.clock, cluster.scheduler, permissions, time=time, signer=signer, join="", backend="memory"),
        }  # fmt: skip

    async def create(self, who: Identity, message: Any) -> Any:
        kind = next(kind for kind in kinds.ALL if kind.cls is type(message))
        item = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=message.SerializeToString())
        with calling(who):
            return await self.objects.Create(objects_pb2.WriteRequest(object=item), None)

    async def patch(self, who: Identity, kind: Kind, name: str, patch: Any) -> Any:
        ref = objects_pb2.Reference(
            apiVersion=kind.api_version, kind=kind.kind, namespace="default" if kind.namespaced else "", name=name
        )
        request = objects_pb2.PatchRequest(ref=ref, type=objects_pb2.PatchRequest.MERGE, patch=json.dumps(patch).encode())
        with calling(who):
            return await self.objects.Patch(request, None)

    async def apply(self, who: Identity, kind: Kind, manifest: Any) -> objects_pb2.ApplyResult:
        with calling(who):
            found = await self.objects.Apply(objects_pb2.ApplyRequest(objects=[sealed(kind, manifest)], fieldManager="t"), None)
        return found.results[0]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with running() as cluster:
        yield Door(cluster, tmp_path)


REF = objects_pb2.Reference(apiVersion="v1", kind="Secret", namespace="default", name="s")
SECRET = objects_pb2.Object(apiVersion="v1", kind="Secret", json=b'{"metadata": {"name": "s", "namespace": "default"}}')
NODE = streams_pb2.OpenStream(node="n1")
POD = streams_pb2.OpenStream(pod="web", namespace="default")


def opened(base: streams_pb2.OpenStream, kind: str, **fields: Any) -> streams_pb2.OpenStream:
    out = streams_pb2.OpenStream()
    out.CopyFrom(base)
    part = getattr(out, kind)
    part.SetInParent()
    for name, value in fields.items():
        getattr(part, name).extend(value) if isinstance(value, list) else setattr(part, name, value)
    return out


# A request of each method, good enough to be refused for its caller alone.
REQUESTS: dict[str, Callable[[], Any]] = {
    "Objects.Get": lambda: objects_pb2.GetRequest(ref=REF),
    "Objects.List": lambda: objects_pb2.ListRequest(ref=REF),
    "Objects.Watch": lambda: objects_pb2.WatchRequest(ref=REF),
    "Objects.Create": lambda: objects_pb2.WriteRequest(object=SECRET),
    "Objects.Update": lambda: objects_pb2.WriteRequest(object=SECRET),
    "Objects.UpdateStatus": lambda: objects_pb2.WriteRequest(object=SECRET),
    "Objects.Patch": lambda: objects_pb2.PatchRequest(ref=REF, type=objects_pb2.PatchRequest.MERGE, patch=b"{}"),
    "Objects.Apply": lambda: objects_pb2.ApplyRequest(objects=[SECRET], fieldManager="t"),
    "Objects.Delete": lambda: objects_pb2.DeleteRequest(ref=REF),
    "Objects.Discover": objects_pb2.DiscoverRequest,
    "Streams.Exec": lambda: opened(POD, "exec", command=["sh"]),
    "Streams.Attach": lambda: opened(POD, "attach"),
    "Streams.Copy": lambda: opened(POD, "copy", path="/x"),
    "Streams.PortForward": lambda: opened(POD, "portForward", port=80),
    "Streams.Logs": lambda: opened(POD, "logs"),
    "Streams.Stats": lambda: opened(NODE, "stats"),
    "Streams.LoadImage": lambda: opened(NODE, "loadImage"),
    "Streams.ListImages": lambda: opened(NODE, "listImages"),
    "Streams.PullImage": lambda: opened(NODE, "pullImage"),
    "Streams.RemoveImage": lambda: opened(NODE, "removeImage"),
    "Streams.PruneImages": lambda: opened(NODE, "pruneImages"),
    "Streams.TagImage": lambda: opened(NODE, "tagImage"),
    "Streams.PushImage": lambda: opened(NODE, "pushImage"),
    "Streams.BuildImage": lambda: opened(NODE, "buildImage"),
    "Streams.VerifyNetwork": lambda: opened(NODE, "verifyNetwork"),
    "Streams.TraceNetwork": lambda: opened(NODE, "traceNetwork"),
    "Streams.Capture": lambda: opened(POD, "capture"),
    "Streams.ExportImage": lambda: opened(NODE, "exportImage"),
    "Access.Review": lambda: access_pb2.ReviewRequest(
        object=objects_pb2.Object(apiVersion="authentication.k8s.io/v1", kind="TokenReview", json=b'{"spec": {"token": "x"}}')
    ),
    "Cluster.Version": cluster_pb2.VersionRequest,
    "Cluster.CheckStore": cluster_pb2.CheckStoreRequest,
    "Cluster.CreateJoinToken": cluster_pb2.JoinTokenRequest,
    "Cluster.RenewClientCertificate": cluster_pb2.RenewClientCertificateRequest,
    "Cluster.AdvanceClock": lambda: cluster_pb2.AdvanceClockRequest(seconds=1.0),
    "Timeline.Read": lambda: timeline_pb2.TimelineRequest(ref=REF),
    "Cluster.Why": lambda: cluster_pb2.WhyRequest(namespace="default", pod="web"),
}
METHODS = [
    method
    for file in (objects_pb2, streams_pb2, cluster_pb2, access_pb2, timeline_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


async def answered(door: Door, method: Any) -> Any:
    """Call a method with its request; the first answer. Raises ApiError."""
    request = REQUESTS[f"{method.containing_service.name}.{method.name}"]()
    behavior = getattr(door.services[method.containing_service.name], method.name)
    argument = _frames(streams_pb2.Frame(open=request)) if method.client_streaming else request
    result = behavior(argument, None)
    return await anext(result) if hasattr(result, "__aiter__") else await result


async def _frames(*frames: Any) -> AsyncIterator[Any]:
    for frame in frames:
        yield frame


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("pinnace.api.v1."))
async def test_every_method_refuses_a_user_without_rights(door: Door, method: Any) -> None:
    """In kube-apiserver's words, before anything is read or written; and any call without a caller."""
    with calling(JANE):
        if method.name == "Apply":
            answer = await answered(door, method)
            message = answer.results[0].error.message
            assert answer.results[0].outcome == objects_pb2.ApplyResult.FAILED
        else:
            with pytest.raises(Forbidden) as refused:
                await answered(door, method)
            message = refused.value.message
    assert 'User "jane" cannot ' in message
    if method.name != "Apply":
        with pytest.raises(Unauthenticated):
            await answered(door, method)
    assert door.cluster.get(kinds.SECRET, "s") is None


async def test_requests_are_allowed_by_their_attributes(door: Door) -> None:
    """A role with verbs on Secrets of one name."""
    await door.cluster.create(role("r", rule("patch", "secrets", names="s")))
    await door.cluster.create(role_binding("b", "Role/r", "User:jane"))
    manifest = {"metadata": {"name": "s"}, "data": {"a": "YQ=="}}
    result = await door.apply(JANE, kinds.SECRET, manifest)
    assert 'User "jane" cannot create resource "secrets"' in result.error.message
    assert (await door.apply(ADMIN, kinds.SECRET, manifest)).outcome == objects_pb2.ApplyResult.CREATED
    assert (await door.apply(JANE, kinds.SECRET, manifest)).outcome == objects_pb2.ApplyResult.UNCHANGED
    assert 'secrets "t" is forbidden' in (await door.apply(JANE, kinds.SECRET, {"metadata": {"name": "t"}})).error.message
    await door.patch(JANE, kinds.SECRET, "s", {"data": {"b": "Yg=="}})
    assert sorted(door.cluster.get(kinds.SECRET, "s").data) == ["a", "b"]


@pytest.mark.parametrize("verb", ["get", "update", "patch"])
async def test_parts_of_objects_are_resources_of_their_own(door: Door, verb: str) -> None:
    """Who may read and write pods may not do so with their status, and the other way round."""
    await door.cluster.create(objects.pod("web"))
    await door.cluster.create(role("whole", rule(verb, "pods")))
    await door.cluster.create(role("part", rule(verb, "pods/status")))
    ref = objects_pb2.Reference(apiVersion="v1", kind="Pod", namespace="default", name="web")
    body = objects_pb2.Object(apiVersion="v1", kind="Pod", json=b'{"metadata": {"name": "web"}}')
    request = {
        "get": lambda part: door.objects.Get(objects_pb2.GetRequest(ref=ref, subresource=part), None),
        "update": lambda part: door.objects.Update(objects_pb2.WriteRequest(object=body, ref=ref, subresource=part), None),
        "patch": lambda part: door.objects.Patch(
            objects_pb2.PatchRequest(ref=ref, type=objects_pb2.PatchRequest.MERGE, patch=b"{}", subresource=part), None
        ),
    }[verb]
    await door.cluster.create(role_binding("b", "Role/whole", "User:jane"))
    with calling(JANE), pytest.raises(Forbidden, match=f'cannot {verb} resource "pods/status"'):
        await request("status")
    await door.cluster.delete(kinds.ROLE_BINDING, "b")
    await door.cluster.create(role_binding("c", "Role/part", "User:jane"))
    with calling(JANE):
        await request("status")
        if verb != "update":
            with pytest.raises(Forbidden, match=f'cannot {verb} resource "pods"'):
                await request("")


async def granting(door: Door, *more: Any) -> None:
    """Jane may write roles and bindings of namespace default, and get pods."""
    await door.cluster.create(
        role(
            "granter",
            rule("get create patch", "roles rolebindings", group="rbac.authorization.k8s.io"),
            rule("get", "pods"),
            *more,
        )
    )
    await door.cluster.create(role_binding("granter", "Role/granter", "User:jane"))


async def test_a_user_grants_what_the_user_has(door: Door) -> None:
    """Rules of a role, also when they change; nothing else, which the error lists."""
    await granting(door)
    await door.create(JANE, role("fine", rule("get", "pods")))
    with pytest.raises(Forbidden) as refused:
        await door.create(JANE, role("more", rule("get delete", "pods secrets")))
    assert refused.value.message == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["staff" "system:authenticated"]) is attempting to '
        "grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}'
    )
    wider = {"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}
    with pytest.raises(Forbidden, match="not currently held"):
        await door.patch(JANE, kinds.ROLE, "granter", wider)
    result = await door.apply(JANE, kinds.ROLE, {"metadata": {"name": "applied"}, **wider})
    assert "not currently held" in result.error.message
    await door.patch(JANE, kinds.ROLE, "granter", {"metadata": {"labels": {"a": "b"}}})
    await door.create(ADMIN, role("more", rule("get delete", "pods secrets")))


async def test_a_user_binds_roles_of_the_user_s_own_rights(door: Door) -> None:
    """Or with the verb bind; a binding to a role that does not exist is refused."""
    await granting(door)
    await door.cluster.create(role("strong", rule("*", "*")))
    await door.cluster.create(cluster_role("lister", rule("list", "pods")))
    await door.create(JANE, role_binding("a", "Role/granter", "User:john"))
    for target in ("Role/strong", "ClusterRole/lister"):
        with pytest.raises(Forbidden, match="not currently held"):
            await door.create(JANE, role_binding("b", target, "User:john"))
    with pytest.raises(ApiError, match='"absent" not found'):
        await door.create(JANE, role_binding("b", "Role/absent", "User:john"))
    await door.cluster.change(
        kinds.ROLE,
        "granter",
        lambda item: item.rules.append(
            rule("bind", "roles clusterroles", group="rbac.authorization.k8s.io", names="strong lister")
        ),
    )
    await door.create(JANE, role_binding("b", "Role/strong", "User:john"))
    await door.create(JANE, role_binding("c", "ClusterRole/lister", "User:john"))


async def test_escalate_is_a_verb_of_its_own(door: Door) -> None:
    await granting(door, rule("escalate", "roles", group="rbac.authorization.k8s.io", names="strong"))
    await door.create(JANE, role("strong", rule("*", "*")))
    with pytest.raises(Forbidden, match="not currently held"):
        await door.create(JANE, role("other", rule("*", "*")))


async def test_an_aggregation_rule_takes_all_rights(door: Door) -> None:
    """Its rules come from roles to come."""
    await door.cluster.create(cluster_role("granter", rule("create", "clusterroles", group="rbac.authorization.k8s.io")))
    await door.cluster.create(cluster_role_binding("granter", "granter", "User:jane"))
    aggregated = cluster_role("sum")
    aggregated.aggregationRule.clusterRoleSelectors.add(matchLabels={"a": "b"})
    with pytest.raises(Forbidden, match="must have cluster-admin privileges to use an aggregationRule"):
        await door.create(JANE, aggregated)
    await door.create(ADMIN, aggregated)


async def test_every_cluster_has_kubernetes_roles(door: Door) -> None:
    """admin has what edit has, and edit what view has; a new binding to them is all that a user needs."""
    cluster = door.cluster
    await cluster._done(lambda tx: bootstraproles.reconcile(tx, cluster.call()))
    assert {"cluster-admin", "admin", "edit", "view", "system:basic-user"} <= set(cluster.names(kinds.CLUSTER_ROLE))
    await cluster.create(role_binding("view", "ClusterRole/view", "User:viewer"))
    await cluster.create(role_binding("edit", "ClusterRole/edit", "User:editor"))
    await cluster.create(role_binding("admin", "ClusterRole/admin", "User:boss"))
    for who, verb, kind, allowed in (
        ("viewer", "list", kinds.POD, True), ("viewer", "get", kinds.SECRET, False), ("viewer", "create", kinds.POD, False),
        ("editor", "list", kinds.POD, True), ("editor", "create", kinds.POD, True), ("editor", "create", kinds.ROLE, False),
        ("boss", "get", kinds.SECRET, True), ("boss", "create", kinds.ROLE, True), ("boss", "create", kinds.RESOURCE_QUOTA, False),
    ):  # fmt: skip
        with calling(user(who)):
            try:
                door.objects._may.on(verb, kind, namespace="default")
                found = True
            except Forbidden:
                found = False
        assert found is allowed, (who, verb, kind.kind)


async def test_default_roles_are_restored_at_a_start(door: Door) -> None:
    """What is missing comes back, what was added stays, and a role that is marked so is left alone. A second start writes
    nothing."""
    cluster = door.cluster
    restore = lambda: cluster._done(lambda tx: bootstraproles.reconcile(tx, cluster.call()))  # noqa: E731
    await restore()
    revision = cluster.store.revision
    await restore()
    assert cluster.store.revision == revision

    def edit(item: Any) -> None:
        del item.rules[:]
        item.rules.append(rule("get", "pods"))

    await cluster.change(kinds.CLUSTER_ROLE, "system:basic-user", edit)
    await cluster.change(kinds.CLUSTER_ROLE, "system:monitoring", edit)
    await cluster.change(
        kinds.CLUSTER_ROLE,
        "system:monitoring",
        lambda item: item.metadata.annotations.update({"rbac.authorization.kubernetes.io/autoupdate": "false"}),
    )
    await cluster.change(kinds.CLUSTER_ROLE_BINDING, "cluster-admin", lambda item: setattr(item.subjects[0], "name", "mine"))
    await cluster.delete(kinds.CLUSTER_ROLE_BINDING, "system:discovery")
    await restore()
    basic = cluster.get(kinds.CLUSTER_ROLE, "system:basic-user")
    assert next(list(item.resources) for item in basic.rules) == ["pods"]
    assert "selfsubjectreviews" in {name for item in basic.rules for name in item.resources}
    assert len(cluster.get(kinds.CLUSTER_ROLE, "system:monitoring").rules) == 1
    assert [item.name for item in cluster.get(kinds.CLUSTER_ROLE_BINDING, "cluster-admin").subjects] == [
        "mine",
        "system:masters",
    ]
    assert cluster.get(kinds.CLUSTER_ROLE_BINDING, "system:discovery") is not None
    await cluster.delete(kinds.CLUSTER_ROLE_BINDING, "system:discovery")
    await cluster.create(cluster_role_binding("system:discovery", "view", "User:x"))
    await restore()
    assert cluster.get(kinds.CLUSTER_ROLE_BINDING, "system:discovery").roleRef.name == "system:discovery"


async def test_the_guard_keeps_others_from_the_agents_service() -> None:
    """And everyone from a service that it does not know."""
    from controlplane.rpc.guard import _check_service

    _check_service(user("system:node:n1", "system:nodes"), "/pinnace.api.v1.Nodes/Session")
    with pytest.raises(Forbidden, match='User "root" is no node'):
        _check_service(ADMIN, "/pinnace.api.v1.Nodes/Session")
    with pytest.raises(Forbidden, match="may not call"):
        _check_service(ADMIN, "/other.Service/Call")

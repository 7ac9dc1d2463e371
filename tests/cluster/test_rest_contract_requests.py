"""Requests as the clients of Kubernetes send them: query parameters, identities, media types and bodies in protobuf."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from controlplane.access import bootstraproles
from controlplane.http.messages import Response
from pinnace import kinds
from pinnace.authentication.v1 import authentication_pb2
from pinnace.authorization.v1 import authorization_pb2
from pinnace.clock import settle
from pinnace.core.v1 import config_pb2, pod_pb2
from pinnace.kinds import Kind
from pinnace.meta.v1 import rest_pb2
from pinnace.protowire import varint
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

DEFAULT = "/api/v1/namespaces/default"
MAPS, PODS = f"{DEFAULT}/configmaps", f"{DEFAULT}/pods"
REVIEWS = "/apis/authorization.k8s.io/v1"
JSON, PROTOBUF = "application/json", "application/vnd.kubernetes.protobuf"
# What client-go, and what controller-runtime and `kubectl top` accept.
GO, RUNTIME = f"{PROTOBUF},{JSON}", f"{PROTOBUF}, */*"


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    await cluster.store.update(lambda tx: bootstraproles.reconcile(tx, cluster.call()))
    await settle(TURNS)
    return Rest(cluster)


async def asked(rest: Rest, method: str, url: str, body: Any = None, **headers: list[str]) -> tuple[int, Any]:
    """As `Rest.ask`, with headers that are repeated."""
    request = rest.request(method, url, body)
    named = {name.replace("_", "-"): values for name, values in headers.items()}
    request = await rest.site.identify(type(request)(method, request.path, request.body, None, request.query, named), b"cert")
    answer = await rest.site.respond(request)
    assert isinstance(answer, Response)
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)


def as_go(message: Message) -> bytes:
    """A message as Go writes it: fields that are no pointers also where they are zero."""
    out = b""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated or field.has_presence or field.containing_oneof is not None:
            continue
        if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            out += varint(field.number << 3 | 2) + b"\0"
        elif field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_BOOL):
            out += varint(field.number << 3) + b"\0"
    for field, value in message.ListFields():
        below = field.message_type
        if below is None or below.GetOptions().map_entry:
            alone: Any = type(message)()
            for other, held in message.ListFields():
                if other is field and field.is_repeated and below is not None:
                    getattr(alone, field.name).MergeFrom(held)
                elif other is field and field.is_repeated:
                    getattr(alone, field.name).extend(held)
                elif other is field:
                    setattr(alone, field.name, held)
            out += alone.SerializeToString()
            continue
        for item in value if field.is_repeated else [value]:
            data = as_go(item)
            out += varint(field.number << 3 | 2) + varint(len(data)) + data
    return out


def enveloped(kind: Kind, raw: bytes) -> bytes:
    meta = rest_pb2.TypeMeta(apiVersion=kind.api_version, kind=kind.kind)
    return b"k8s\0" + rest_pb2.Unknown(typeMeta=meta, raw=raw).SerializeToString()


@pytest.mark.parametrize(
    ("text", "is_true"),
    [("True", True), ("true", True), ("1", True), ("", True), ("yes", True), ("0", False), ("False", False), ("FALSE", False)],
)
async def test_booleans_of_queries(rest: Rest, text: str, is_true: bool) -> None:
    """Anything but 0 and false is true, also nothing; asyncio's client writes them with a capital."""
    answer = await rest.respond("GET", f"{MAPS}?watch={text}")
    assert answer.status == 200
    assert isinstance(answer.body, bytes) is not is_true
    if not isinstance(answer.body, bytes):
        await answer.body.aclose()


async def test_all_parts_of_an_identity_are_impersonated(rest: Rest) -> None:
    """Groups are repeated, the names of extra values percent-encoded."""
    status, found = await asked(
        rest, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, impersonate_user=["bob"],
        impersonate_group=["ops", "dev"], impersonate_uid=["u-1"],
        **{"impersonate_extra_scopes": ["view", "edit"], "impersonate_extra_example.com%2fproject": ["x"]},
    )  # fmt: skip
    assert (status, found["status"]["userInfo"]) == (201, {
        "username": "bob", "uid": "u-1", "groups": ["ops", "dev", "system:authenticated"],
        "extra": {"scopes": ["view", "edit"], "example.com/project": ["x"]},
    })  # fmt: skip


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_who_am_i_has_two_versions(rest: Rest, version: str) -> None:
    """kubectl 1.27 asks the older one, also in protobuf."""
    path, body = f"/apis/authentication.k8s.io/{version}/selfsubjectreviews", authentication_pb2.SelfSubjectReview()
    kind = kinds.SELF_SUBJECT_REVIEW if version == "v1" else kinds.SELF_SUBJECT_REVIEW_BETA
    status, found = await rest.ask("POST", path, enveloped(kind, as_go(body)), content_type=PROTOBUF, accept=JSON)
    assert (status, found["apiVersion"]) == (201, f"authentication.k8s.io/{version}")
    assert found["status"]["userInfo"]["username"] == "admin"
    names = [item["name"] for item in (await rest.get(f"/apis/authentication.k8s.io/{version}"))["resources"]]
    assert "selfsubjectreviews" in names
    group = await rest.get("/apis/authentication.k8s.io")
    assert group["preferredVersion"]["version"] == "v1"


async def test_a_pod_of_go_is_the_one_in_json(rest: Rest) -> None:
    """Zero values of Go's structs leave no trace: no field, no owner."""
    message = pod_pb2.Pod()
    message.metadata.name = "go"
    message.metadata.labels["app"] = "web"
    message.metadata.creationTimestamp.SetInParent()
    message.status.SetInParent()
    container = message.spec.containers.add(name="c", image="i")
    container.env.add(name="A", value="1")
    reference = container.env.add(name="B").valueFrom.configMapKeyRef
    reference.key, reference.localObjectReference.name = "k", "m"
    container.ports.add(containerPort=80)
    container.resources.requests["cpu"].string = "100m"
    container.readinessProbe.handler.httpGet.port.intVal = 80
    message.spec.volumes.add(name="v").volumeSource.secret.secretName = "s"
    status, made = await rest.ask("POST", PODS, enveloped(kinds.POD, as_go(message)), content_type=PROTOBUF, accept=JSON)
    assert status == 201, made
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]
    spec = {
        "containers": [{
            "name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": "100m"}},
            "env": env, "readinessProbe": {"httpGet": {"port": 80}},
        }],
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
    }  # fmt: skip
    same = {"metadata": {"name": "json", "labels": {"app": "web"}}, "spec": spec}
    status, other = await rest.ask("POST", PODS, same)
    assert status == 201, other
    for item in (made, other):
        for name in ("name", "uid", "resourceVersion"):
            del item["metadata"][name]
        item["spec"]["volumes"] = [each for each in item["spec"]["volumes"] if not each["name"].startswith("kube-api-access")]
        item["spec"]["containers"][0].pop("volumeMounts", None)
    assert made == other


async def test_what_typed_clients_send_in_protobuf(rest: Rest) -> None:
    """Namespaces, Secrets, Leases, access reviews with extra values, roles with an API group; answers in what they accept."""
    rule = {"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get"]}
    subject = {"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    for kind, path, fields in (
        (kinds.NAMESPACE, "/api/v1/namespaces", {"metadata": {"name": "n"}}),
        (
            kinds.SECRET,
            f"{DEFAULT}/secrets",
            {"metadata": {"name": "s", "labels": {"owner": "helm"}}, "data": {"release": b"x"}},
        ),
        (kinds.LEASE, leases, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "renewTime": {"seconds": 5}}}),
        (kinds.ROLE, f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]}),
        (kinds.ROLE_BINDING, f"{rbac}/rolebindings", {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": reference}),
    ):
        body = enveloped(kind, as_go(kind.cls(**fields)))
        for accept in (GO, RUNTIME):
            answer = await rest.respond("POST", f"{path}?dryRun=All", body, content_type=PROTOBUF, accept=accept)
            assert (answer.status, answer.content_type) == (201, PROTOBUF), (kind.kind, answer.body)
        status, made = await rest.ask("POST", path, body, content_type=PROTOBUF)
        assert status == 201, made
    assert made["subjects"] == [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}]
    review = authorization_pb2.SubjectAccessReview()
    review.spec.user = "bob"
    review.spec.uid = "u"
    review.spec.extra["scopes"].items.append("all")
    review.spec.resourceAttributes.namespace, review.spec.resourceAttributes.verb = "default", "get"
    review.spec.resourceAttributes.resource = "pods"
    status, found = await rest.ask(
        "POST", f"{REVIEWS}/subjectaccessreviews", enveloped(kinds.SUBJECT_ACCESS_REVIEW, as_go(review)), content_type=PROTOBUF
    )
    assert (status, found["status"]["allowed"], found["spec"]["extra"]) == (201, True, {"scopes": ["all"]})


async def test_clients_leave_out_and_send_along(rest: Rest) -> None:
    """No Content-Type, no kind; empty times and statuses; a charset behind the media type; unreadable ones are 415 and 406."""
    body = {"metadata": {"name": "a", "creationTimestamp": None}, "data": {"k": "v"}}
    assert (await rest.ask("POST", MAPS, body))[0] == 201
    body["data"] = {"k": "2"}
    for media in ("", "application/json; charset=utf-8", "application/json;charset=UTF-8"):
        headers = {"content_type": media} if media else {}
        assert (await rest.ask("PUT", f"{MAPS}/a", body, **headers))[1]["data"] == {"k": "2"}
    status, refused = await rest.ask("POST", MAPS, b"x", content_type="text/plain")
    assert (status, refused["reason"]) == (415, "UnsupportedMediaType")
    status, refused = await rest.ask("GET", MAPS, accept="application/xml")
    assert (status, refused["reason"]) == (406, "NotAcceptable")


async def test_errors_are_in_json_whatever_is_accepted(rest: Rest) -> None:
    """Every client decodes them so."""
    for accept in (GO, PROTOBUF, "application/json;as=Table;v=v1;g=meta.k8s.io"):
        answer = await rest.respond("GET", f"{MAPS}/none", accept=accept)
        assert (answer.status, answer.content_type) == (404, JSON)
        assert isinstance(answer.body, bytes)
        assert json.loads(answer.body)["reason"] == "NotFound"


async def test_owners_in_protobuf(rest: Rest) -> None:
    """FieldsV1 is a message with bytes there, which a client that writes back what it has read sends along."""
    await rest.ask("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "1"}})
    _, data = await rest.text("GET", f"{MAPS}/a", accept=PROTOBUF)
    found = config_pb2.ConfigMap.FromString(rest_pb2.Unknown.FromString(data.removeprefix(b"k8s\0")).raw)
    assert json.loads(found.metadata.managedFields[0].fieldsV1.Raw) == {"f:data": {"f:k": {}}}
    found.data["k"] = "2"
    status, put = await rest.ask("PUT", f"{MAPS}/a", enveloped(kinds.CONFIG_MAP, as_go(found)), content_type=PROTOBUF)
    assert (status, put["data"], len(put["metadata"]["managedFields"])) == (200, {"k": "2"}, 1)

"""Absurd objects through every verb of every kind: one clear error each, or success; a client that writes meanwhile hardly notices.

The control plane is a process of its own, and so is that client. Bodies are made as text, for much of it is nothing that a
client library would send.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.client import Client, ref
from pinnace import kinds
from pinnace.api.v1 import objects_pb2
from pinnace.kinds import Kind
from tests.support.customkinds import CRONTAB, crontab, definition
from tests.support.labs import PATIENCE, ROOT, eventually
from tests.support.planes import Plane, plane
from tests.support.trees import BASES

# What a call may end with. UNKNOWN and INTERNAL are defects, and UNAVAILABLE and DEADLINE_EXCEEDED are no answer.
CLEAR = {
    grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNIMPLEMENTED,
}  # fmt: skip
# Seconds for one call, and for 99 of 100 writes of the other client, which pauses for a tenth of a second after each.
WITHIN, P99, PAUSE = 20.0, 0.5 * PATIENCE, 0.1
# Seconds after which a watch without an event was accepted.
OPEN = 5.0
PATCHES = ("JSON", "MERGE", "STRATEGIC")
_PATCH = objects_pb2.PatchRequest

NUMBERS = ["0", "-0", "-1", "1e308", "-1e308", "1e-320", "1e400", "2147483648", "-2147483649", "9223372036854775808",
           "-9223372036854775809", "9" * 400, "9" * 5000, "0.1", "NaN", "Infinity"]  # fmt: skip
TEXTS = [json.dumps(text) for text in ("", "\0", "\ud800", "\udfff\ud800", "x" * 300_000, "../..", "a/b/c", "\u202e", "9" * 64, "16Ei",
         "1e999999", "{{}}", "$(A)" * 5000)]  # fmt: skip
TREES = [
    "null", "true", "[]", "{}", "[" * 120 + "]" * 120, "[" * 5000 + "]" * 5000, '{"a":' * 100 + "1" + "}" * 100,
    '{"a":' * 20_000 + "1" + "}" * 20_000, "[" + "{}," * 20_000 + "{}]", "[" + "1," * 300_000 + "1]", '{"a":1,"a":2}',
    "{" + ",".join(f'"k{n}":"v"' for n in range(10_000)) + "}",
]  # fmt: skip
ABSURD = st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.sampled_from(TREES)


def owner(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "controller": True, "blockOwnerDeletion": True}


METAS: list[dict[str, Any]] = [
    {},
    {"labels": {f"l{n}": "x" for n in range(9_000)}},
    {"annotations": {"a": "x" * 400_000}},
    # Of itself, and in a circle with the others.
    {"ownerReferences": [owner("absurd")]},
    {"ownerReferences": [owner("circle")], "finalizers": ["foregroundDeletion"]},
    {"ownerReferences": [{**owner(f"o{n}"), "controller": False} for n in range(1_500)]},
    {"finalizers": [f"example.com/f{n}" for n in range(5_000)]},
    {"generateName": "x" * 70_000},
    {"resourceVersion": "-1"},
    {"resourceVersion": "9" * 30},
    {"managedFields": [{"manager": "x", "operation": "Apply", "fieldsV1": {"f:a": {"k:{": {}}}}] * 50},
    {"deletionTimestamp": "9999-12-31T23:59:59Z", "creationTimestamp": "0001-01-01T00:00:00Z"},
]
# Schemas and rules that would take for ever, or take memory.
HUGE: list[Any] = [
    {"$ref": "#/definitions/self"},
    {"type": "object", "properties": {"a": {"$ref": "#"}}},
    {"type": "string", "pattern": "(a{1000}){1000}"},
    {"type": "string", "pattern": "(" * 30_000},
    {"type": "string", "pattern": "(a+)+$" * 5_000},
    {"type": "string", "enum": [f"e{n}" for n in range(60_000)]},
    {"type": "array", "items": {"type": "string"},
     "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b != c)))"}]},
    {"type": "string", "x-kubernetes-validations": [{"rule": "[self]" + ".map(a, a + a)" * 24 + ".size() > 0"}]},
    {"type": "string", "x-kubernetes-validations": [{"rule": "self.matches('" + "(a|b)*" * 2_000 + "')"}]},
    {"type": "object", "x-kubernetes-validations": [{"rule": "(" * 20_000 + "true" + ")" * 20_000}]},
    {"type": "object", "x-kubernetes-validations": [{"rule": " && ".join(["true"] * 50_000)}]},
    {"type": "object", "properties": {f"p{n}": {"type": "object", "x-kubernetes-validations": [{"rule": "true"}]} for n in range(2_000)}},
]  # fmt: skip
for _ in range(60):
    HUGE[1] = {"type": "object", "properties": {"a": HUGE[1]}}
SELECTORS = st.sampled_from(
    ["", "a", "a in (" + ",".join(f"v{n}" for n in range(20_000)) + ")", "!" * 1000, ",".join(["a=b"] * 20_000), "\ufffd=x",
     "metadata.name=" + "x" * 100_000, "a=b=c", "(((", "spec.nodeName!=x", "metadata.namespace=\0"]
)  # fmt: skip


class Target:
    """A control plane with one object of each kind, and a client of it."""

    def __init__(self, found: Plane, client: Client) -> None:
        self.plane, self._client = found, client

    def send(self, method: str, request: Any) -> grpc.StatusCode:
        """A call's end; that of an apply is its first result's."""
        try:
            within = OPEN if method == "Watch" else WITHIN
            answer = getattr(self._client.objects, method)(request, timeout=within * PATIENCE)
            if method == "Watch":
                # The first message, or the refusal.
                next(answer)
                answer.cancel()
        except grpc.RpcError as error:
            call: Any = error
            if method == "Watch" and call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                # It is open, and nothing is selected.
                return grpc.StatusCode.OK
            assert len(call.details() or "") < 100_000
            return call.code()  # type: ignore[no-any-return]
        if method == "Apply" and answer.results[0].HasField("error"):
            assert answer.results[0].error.code not in (500, 503), answer.results[0].error.message[:500]
        return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("absurd")
    with plane(folder, store="memory") as found, found.client() as client:
        for manifest in (definition(), *(base(kind) for kind in KINDS if kind is not kinds.CUSTOM_RESOURCE_DEFINITION)):
            request = objects_pb2.ApplyRequest(namespace="default", fieldManager="base")
            request.objects.add(apiVersion=manifest["apiVersion"], kind=manifest["kind"], json=json.dumps(manifest).encode())
            eventually(lambda request=request: not client.call(client.objects.Apply, request).results[0].HasField("error"))
        with open(folder / "writes", "wb") as log:
            command = [sys.executable, "-m", "tests.support.writer", str(found.folder / "admin.yaml"), "probe"]
            writer = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        try:
            yield Target(found, client)
        finally:
            writer.kill()
            writer.wait()
        assert found.process is not None
        assert found.process.poll() is None
        assert "Traceback" not in found.log
        unhurt(folder / "writes")


def unhurt(writes: Path) -> None:
    """The other client had every write acknowledged, 99 of 100 at once."""
    lines = writes.read_text().splitlines()
    assert not [line for line in lines if line.startswith("#")]
    times = [float(line.split()[0]) for line in lines]
    took = sorted(after - before - PAUSE for before, after in itertools.pairwise(times))
    print(f"{len(took)} writes, p99 {took[len(took) * 99 // 100]:.3f} s, longest {took[-1]:.3f} s")
    assert len(took) > 50
    assert took[len(took) * 99 // 100] < P99


KINDS = [*kinds.ALL, CRONTAB]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


def name_of(kind: Kind) -> str:
    return "crontabs.stable.example.com" if kind is kinds.CUSTOM_RESOURCE_DEFINITION else "absurd"


def base(kind: Kind) -> dict[str, Any]:
    own = crontab() if kind is CRONTAB else BASES.get(kind.kind, {})
    return {**own, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name_of(kind)}}


@st.composite
def bodies(draw: st.DrawFn, kind: Kind) -> str:
    """The kind's smallest object with absurd metadata, and one absurd value in the place of one of its own or next to it."""
    body = base(kind)
    meta: Any = draw(st.sampled_from(METAS))
    body["metadata"] = {**body["metadata"], **meta}
    if kind is kinds.CUSTOM_RESOURCE_DEFINITION and draw(st.booleans()):
        body = {**definition(draw(st.sampled_from(HUGE))), "metadata": body["metadata"]}
    # Its own, as the place is written into it.
    body = json.loads(json.dumps(body))
    places = list(walk(body))
    place = draw(st.sampled_from(places))
    mark = "@absurd@"
    parent: Any = body
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = mark
    return json.dumps(body).replace(json.dumps(mark), draw(ABSURD), 1)


def walk(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of a tree, of large ones some; also those of fields that are not there."""
    if isinstance(value, dict):
        for key in (*itertools.islice(value, 20), "spec", "status", "data", "unknown"):
            yield (*path, key)
            yield from walk(value.get(key), (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 3)):
            yield (*path, index)
            yield from walk(value[index], (*path, index))


def calls(kind: Kind, body: bytes) -> Iterator[tuple[str, Any]]:
    """Every verb that takes a body, as a dry run and in earnest."""
    item = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, json=body)
    where = ref(kind, "default", name_of(kind))
    for dry in (True, False):
        for method in ("Create", "Update", "UpdateStatus"):
            yield method, objects_pb2.WriteRequest(object=item, fieldManager="a", namespace="default", dryRun=dry)
        yield "Apply", objects_pb2.ApplyRequest(objects=[item], namespace="default", fieldManager="b", force=True, dryRun=dry)
        for type_, part in itertools.product(PATCHES, ("", "status")):
            # As a JSON patch: of the whole object.
            patch = b'[{"op":"replace","path":"","value":' + body + b"}]" if type_ == "JSON" else body
            number = _PATCH.Type.Value(type_)
            yield "Patch", _PATCH(ref=where, type=number, patch=patch, fieldManager="c", subresource=part, dryRun=dry)


@every_kind
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_verb_answers_an_absurd_object_with_one_clear_error(target: Target, kind: Kind, data: st.DataObject) -> None:
    """Or takes it, as it takes a label more or an owner that does not exist."""
    body = data.draw(bodies(kind)).encode()
    for method, request in calls(kind, body):
        assert target.send(method, request) in CLEAR, (method, body[:300])


@every_kind
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(labels=SELECTORS, fields=SELECTORS, number=st.sampled_from([0, -1, 1 << 62, -(1 << 63)]), text=st.sampled_from(
    ["", "0", "-1", "9" * 40, "x" * 100_000, "eyJydiI6MX0="]))  # fmt: skip
def test_reads_and_deletions_answer_absurd_options_with_one_clear_error(
    target: Target, kind: Kind, labels: str, fields: str, number: int, text: str
) -> None:
    """Selectors, limits, tokens, revisions, grace periods, preconditions."""
    where = ref(kind, "default")
    listing = objects_pb2.ListRequest(ref=where, labelSelector=labels, fieldSelector=fields, continueToken=text)
    listing.limit = min(max(number, -(1 << 31)), (1 << 31) - 1)
    watching = objects_pb2.WatchRequest(ref=where, labelSelector=labels, fieldSelector=fields, resourceVersion=text[:1])
    deletion = objects_pb2.DeleteRequest(
        ref=ref(kind, "default", text or name_of(kind)), gracePeriodSeconds=number, uid=text, resourceVersion=text, dryRun=True,
    )  # fmt: skip
    checks: list[tuple[str, Callable[[], Any]]] = [
        ("List", lambda: listing),
        ("Watch", lambda: watching),
        ("Delete", lambda: deletion),
    ]
    for method, make in checks:
        assert target.send(method, make()) in CLEAR, method

"""Bodies in protobuf that are nearly right: each is taken or refused as the documents say, and none is a 500."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controlplane.rest.bodies import MAGIC
from pinnace import codec, kinds, rules, schema
from pinnace.kinds import Kind
from pinnace.meta.v1 import rest_pb2
from tests.support.cluster import Cluster
from tests.support.conformance import Documents, sample
from tests.support.rest import Rest
from tests.support.trees import objects

PROTOBUF = "application/vnd.kubernetes.protobuf"
# One control plane for all examples of a kind: nothing is stored.
ANY = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
# What is done to a body: at a place, counted from its end where negative.
CHANGES = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "repeat", "overlong"]), st.integers(-400, 400), st.binary(max_size=6)),
    max_size=3,
)


def enveloped(kind: Kind, raw: bytes) -> bytes:
    meta = rest_pb2.TypeMeta(apiVersion=kind.api_version, kind=kind.kind)
    return MAGIC + rest_pb2.Unknown(typeMeta=meta, raw=raw).SerializeToString()


def changed(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for what, place, extra in changes:
        at = place % (len(data) + 1)
        before, after = data[:at], data[at:]
        if what == "flip":
            data = before + bytes(byte ^ 0xFF for byte in after[:1]) + after[1:]
        elif what == "cut":
            data = before
        elif what == "insert":
            data = before + extra + after
        elif what == "repeat":
            data = before + after[:8] + after
        else:
            # A length, or a number, that goes on and on.
            data = before + b"\xff" * 11 + after
    return data


def message(kind: Kind, value: Any) -> bytes:
    """A value as far as it can be a message; the smallest object otherwise."""
    base = {key: item for key, item in sample(kind.kind, kind.api_version)[1].items() if key not in ("apiVersion", "kind")}
    for found in ({**base, **value}, value, base):
        try:
            made = codec.decode(kind.cls, found)
        except codec.FieldError:
            continue
        rules.apply_defaults(made)
        return bytes(made.SerializeToString())
    raise AssertionError(base)


@dataclass
class Asked:
    rest: Rest
    documents: Documents

    async def ask(self, method: str, path: str, body: bytes, query: str) -> None:
        url = path.format(namespace="default", name="none") + query
        status, answer = await self.rest.text(method.upper(), url, body, content_type=PROTOBUF)
        self.documents.check(method, path, status, "application/json", answer)


@pytest.fixture
async def asked(cluster: Cluster) -> Asked:
    rest = Rest(cluster)
    entries = (await rest.get("/openapi/v3"))["paths"].values()
    return Asked(rest, Documents([await rest.get(entry["serverRelativeURL"]) for entry in entries]))


@pytest.mark.parametrize("kind", [*kinds.ALL, *kinds.FORMS], ids=lambda kind: kind.group_kind)
@ANY
@given(data=st.data())
async def test_any_body_in_protobuf_is_answered(asked: Asked, kind: Kind, data: st.DataObject) -> None:
    """Changed within the message, and within its envelope."""
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    path = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    raw = changed(message(kind, data.draw(objects(schema.of(kind.cls)))), data.draw(CHANGES))
    body = changed(enveloped(kind, raw), data.draw(st.just([]) | CHANGES))
    validation = data.draw(st.sampled_from(["Ignore", "Warn", "Strict"]))
    await asked.ask("post", path, body, f"?dryRun=All&fieldValidation={validation}")


@ANY
@given(data=st.data())
async def test_any_options_of_a_deletion_in_protobuf_are_answered(asked: Asked, data: st.DataObject) -> None:
    """They were once a 500 where the message within the envelope could not be read."""
    options = rest_pb2.DeleteOptions(gracePeriodSeconds=data.draw(st.integers(-2, 2**40)), dryRun=["All"])
    options.propagationPolicy = data.draw(st.sampled_from(["", "Background", "Orphan", "nonsense"]))
    options.preconditions.uid = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=4))
    raw = changed(options.SerializeToString(), data.draw(CHANGES))
    meta = rest_pb2.TypeMeta(apiVersion="v1", kind="DeleteOptions")
    body = MAGIC + rest_pb2.Unknown(typeMeta=meta, raw=raw).SerializeToString()
    path = "/api/v1/namespaces/{namespace}/configmaps/{name}"
    await asked.ask("delete", path, changed(body, data.draw(st.just([]) | CHANGES)), "?dryRun=All")

"""Clients that ask for much and read nothing: what each of them holds in the control plane does not grow with what they ask for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import yaml

from pinnace.core.v1.config_pb2 import ConfigMap
from pinnace.meta.v1 import meta_pb2, rest_pb2
from tests.support.attackers import Attacked, receive, request
from tests.support.planes import plane

MAPS = "/api/v1/namespaces/default/configmaps"
PROTOBUF, YAML = "application/vnd.kubernetes.protobuf", "application/yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
# Objects of 50 KB.
COUNT = 120


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("slow")
    with plane(folder, "--disable-controller", "scheduler", store="memory") as found:
        made = Attacked(found)
        with made.connect() as sock:
            for number in range(COUNT):
                body = {"metadata": {"name": f"c{number}"}, "data": {"text": "x" * 50_000}}
                sock.sendall(request("POST", MAPS, body))
                assert receive(sock).status == 201
        yield made


def content(body: bytes) -> bytes:
    """A body that was sent in chunks, without their sizes."""
    found, at = b"", 0
    while size := int(body[at : (end := body.index(b"\r\n", at))], 16):
        found += body[end + 2 : end + 2 + size]
        at = end + 4 + size
    return found


def fields(message: bytes) -> Iterator[bytes]:
    """The contents of a message that has nothing but fields with a length."""
    at = 0
    while at < len(message):
        size, shift, at = 0, 0, at + 1
        while True:
            digit, at = message[at], at + 1
            size, shift = size | (digit & 127) << shift, shift + 7
            if digit < 128:
                break
        yield message[at : at + size]
        at += size


INITIAL = "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"


@pytest.mark.parametrize(
    ("accept", "query"),
    [
        ("application/json", ""), ("application/json", "?watch=1"), ("application/json", INITIAL), (TABLE, "?includeObject=Object"),
        (PROTOBUF, ""), (PROTOBUF, INITIAL), (YAML, ""),
    ],
    ids=["json", "watch", "initial events", "table", "protobuf", "protobuf initial events", "yaml"],
)  # fmt: skip
def test_clients_that_read_nothing(attacked: Attacked, accept: str, query: str) -> None:
    """Twenty (of YAML, which takes long to write, eight), each of a list of 6 MB: in protobuf they had a copy each, and two on
    the way to the socket."""
    with attacked.unharmed(growth=96, delay=4.0), ExitStack() as stack:
        for _ in range(8 if accept == YAML else 20):
            sock = stack.enter_context(attacked.connect())
            sock.sendall(request("GET", MAPS + query, accept=accept))
        time.sleep(1)


def test_a_large_list_is_the_same_in_every_form(attacked: Attacked) -> None:
    """Also where it is sent in pieces."""
    names = sorted([*(f"c{number}" for number in range(COUNT)), "kube-root-ca.crt"])
    answer = attacked.ask("GET", MAPS, accept=PROTOBUF)
    unknown = rest_pb2.Unknown.FromString(content(answer.body).removeprefix(b"k8s\0"))
    assert (unknown.typeMeta.kind, unknown.typeMeta.apiVersion) == ("ConfigMapList", "v1")
    meta, *items = fields(unknown.raw)
    assert [ConfigMap.FromString(item).metadata.name for item in items] == names
    document = yaml.load(content(attacked.ask("GET", MAPS, accept=YAML).body), yaml.CSafeLoader)
    assert (document["kind"], [item["metadata"]["name"] for item in document["items"]]) == ("ConfigMapList", names)
    # Leases are renewed meanwhile.
    assert int(document["metadata"]["resourceVersion"]) >= int(meta_pb2.ListMeta.FromString(meta).resourceVersion) > COUNT
    empty = attacked.ask("GET", "/api/v1/namespaces/default/pods", accept=YAML)
    assert yaml.safe_load(empty.body)["items"] == []

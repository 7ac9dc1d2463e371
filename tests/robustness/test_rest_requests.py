"""Requests that no client sends, over real sockets: one clear answer each, while the requests of others are answered."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pinnace.meta.v1 import rest_pb2
from tests.support.attackers import Attacked, receive, request
from tests.support.planes import plane

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
YAML, PROTOBUF = "application/yaml", "application/vnd.kubernetes.protobuf"
MEBIBYTE = 1 << 20
# A watch that is never upgraded, as browsers would open it.
HANDSHAKE = {
    "connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13", "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("requests")
    with plane(folder, "--disable-controller", "scheduler", store="memory", files=1024) as found:
        yield Attacked(found)


def post(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join((f"POST {MAPS} HTTP/1.1", "host: x", *lines)).encode("latin-1") + b"\r\n\r\n" + body


def text(body: bytes, kind: str = YAML, path: str = MAPS) -> bytes:
    return request("POST", path, body, content_type=kind)


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf with a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    digits = [value >> shift & 127 for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(digit | 128 for digit in digits[:-1]), digits[-1]])


def enveloped(raw: bytes) -> bytes:
    meta = rest_pb2.TypeMeta(apiVersion="v1", kind="Pod")
    return b"k8s\0" + rest_pb2.Unknown(typeMeta=meta, raw=raw).SerializeToString()


def nested(depth: int) -> bytes:
    raw = b""
    for _ in range(depth):
        raw = field(1, raw)
    return raw


ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)
)
SMALL_CHUNKS = b"1\r\nx\r\n" * 500_000
HEADS = {
    "both Transfer-Encoding and Content-Length":
        (post("content-length: 3", "transfer-encoding: chunked", body=b"0\r\n\r\n"), 400, "both Transfer-Encoding and"),
    "two lengths": (post("content-length: 3", "content-length: 4", body=b"abcd"), 400, "not HTTP/1.1"),
    "a length with a sign": (post("content-length: +3", body=b"abc"), 400, "not HTTP/1.1"),
    "a length in hexadecimal": (post("content-length: 0x3", body=b"abc"), 400, "not HTTP/1.1"),
    "chunked twice": (post("transfer-encoding: chunked, chunked", body=b"0\r\n\r\n"), 400, "not HTTP/1.1"),
    "another encoding": (post("transfer-encoding: gzip", body=b"0\r\n\r\n"), 400, "not HTTP/1.1"),
    "a folded header": (b"GET /version HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n", 400, "folded"),
    "a header folded by a tab": (b"GET /version HTTP/1.1\r\nhost: x\r\na: b\r\n\tc\r\n\r\n", 400, "folded"),
    "bare LF": (b"GET /version HTTP/1.1\nhost: x\n\n", 400, "CR LF"),
    "one bare LF": (b"GET /version HTTP/1.1\r\na: b\nhost: x\r\n\r\n", 400, "CR LF"),
    "a zero byte": (b"GET /version HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n", 400, "not HTTP/1.1"),
    "a space before the colon": (b"GET /version HTTP/1.1\r\nhost : x\r\n\r\n", 400, "not HTTP/1.1"),
    "no host": (b"GET /version HTTP/1.1\r\n\r\n", 400, "not HTTP/1.1"),
    "HTTP/0.9": (b"GET /version\r\n\r\n", 400, "not HTTP/1.1"),
    "a path that is not ASCII": (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", 400, "not HTTP/1.1"),
    "a long URL": (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, "larger than 65536 bytes"),
    "a long header": (b"GET /version HTTP/1.1\r\nhost: x\r\na: " + b"a" * 200_000 + b"\r\n\r\n", 431, "larger than 65536 bytes"),
    "a selector of a megabyte":
        (request("GET", f"{MAPS}?labelSelector={'a' * MEBIBYTE}"), 414, "larger than 65536 bytes"),
    "100,000 parameters": (request("GET", f"{MAPS}?{'&' * 100_000}"), 414, "larger than 65536 bytes"),
    "20,000 parameters": (request("GET", f"{MAPS}?{'a&' * 20_000}"), 400, "more than 1000 query parameters"),
    "a selector of 9,000 requirements":
        (request("GET", f"{MAPS}?labelSelector={','.join(f'!a{n}' for n in range(9000))}"), 400, "more than 1000 requirements"),
    "fields of 3,000 requirements":
        (request("GET", f"{MAPS}?fieldSelector={',metadata.name!=x' * 3000}"), 400, "more than 1000 requirements"),
    "20,000 headers": (b"GET /version HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * 15_000 + b"\r\n", 431, "more than 2000 headers"),
    "10,000 forms": (request("GET", MAPS, accept=",".join(["a/b"] * 10_000)), 406, "only the following media types"),
    "a forged token": (request("GET", f"{MAPS}?continue=eyJydiI6MSwia2V5IjoieCJ9"), 400, "continue"),
    "a token of another list":
        (request("GET", f"{MAPS}?continue=eyJydiI6IDEsICJrZXkiOiAiL3NlY3JldHMvIn0="), 400, "continue"),
    "a token that is nested": (request("GET", f"{MAPS}?continue={'W1tb' * 1000}"), 400, "continue"),
}  # fmt: skip
BODIES = {
    "a gigabyte, declared": (post("content-length: 1000000000"), 413, "larger than 3145728 bytes"),
    "a length of 5,000 digits": (post("content-length: " + "9" * 5000), 400, "not HTTP/1.1"),
    "chunks without end": (post("transfer-encoding: chunked", body=(b"10000\r\n" + b"x" * 65536 + b"\r\n") * 160), 413, "larger than"),
    "chunks of one byte": (post("transfer-encoding: chunked", body=SMALL_CHUNKS), 400, "more than 2000 chunks"),
    "JSON of a million levels": (text(b'{"a":' + b"[" * MEBIBYTE, "application/json"), 400, "too deep"),
    "JSON of a million values": (text(b'{"a":[' + b"1," * MEBIBYTE + b"1]}", "application/json"), 400, "250000 values"),
    "a number of a million digits": (text(b'{"a":' + b"9" * MEBIBYTE + b"}", "application/json"), 400, "400 digits"),
    "a number beyond all": (text(b'{"metadata":{"name":"a"},"data":{"a":1e999}}', "application/json"), 422, "Infinity"),
    "YAML of a million levels": (text(b"a: " + b"[" * MEBIBYTE), 400, "nesting depth"),
    "YAML of a million values": (text(b"- a\n" * 700_000), 400, "more than 20000 values"),
    "aliases of aliases": (text(ALIASES), 400, "once aliases are expanded"),
    "an apply of a million values":
        (request("PATCH", f"{MAPS}/a?fieldManager=a", b"data: [" + b"a," * MEBIBYTE + b"]",
                 content_type="application/apply-patch+yaml"), 400, "more than 20000 values"),
    "a million containers":
        (text(enveloped(field(2, field(2, b"") * MEBIBYTE)), PROTOBUF, PODS), 413, "more than 10000 values"),
    "a million managed fields": (text(enveloped(field(1, field(17, b"") * 900_000)), PROTOBUF, PODS), 413, "more than 10000 values"),
    "a million unknown fields": (text(enveloped(field(900, b"") * 700_000), PROTOBUF, PODS), 413, "more than 10000 values"),
    "messages in messages": (text(enveloped(nested(2000)), PROTOBUF, PODS), 400, "not a Pod in protobuf"),
    "an envelope that lies": (text(b"k8s\0\x12\xff\xff\xff\x7f", PROTOBUF, PODS), 400, "envelope"),
    "a patch that doubles":
        (request("PATCH", f"{MAPS}/kube-root-ca.crt", [{"op": "copy", "from": "", "path": f"/a{n}"} for n in range(40)],
                 content_type="application/json-patch+json"), 400, "copies more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_none_has_one_answer(attacked: Attacked, name: str) -> None:
    """The connection ends with it: what follows is not another request."""
    sent, status, words = HEADS[name]
    with attacked.unharmed():
        answer = attacked.send(sent)
    assert (answer.status, words in answer.message) == (status, True), answer


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_none_has_one_answer(attacked: Attacked, name: str) -> None:
    """Nor does one of protobuf take memory: it is counted before it is decoded."""
    sent, status, words = BODIES[name]
    with attacked.unharmed(growth=80):
        answer = attacked.send(sent)
    assert (answer.status, words in answer.message) == (status, True), answer


def test_a_smuggled_request_is_not_served(attacked: Attacked) -> None:
    """Which of the two lengths holds decides whether the second request is one: there is no second answer."""
    with attacked.connect() as sock:
        sock.sendall(post("content-length: 5", "transfer-encoding: chunked", body=b"0\r\n\r\n") + request("GET", "/version"))
        assert receive(sock).status == 400
        assert receive(sock).status == 0


def test_extensions_of_chunks_are_ignored(attacked: Attacked) -> None:
    """As RFC 9112, section 7.1.1, has it; also long ones."""
    body = b'2;a="%s"\r\n{}\r\n0;b\r\n\r\n' % (b"x" * 30_000)
    assert attacked.send(post("transfer-encoding: chunked", body=body)).status == 422


PATHS = {
    "/api/v1/namespaces/default%2f..%2fkube-system/secrets": 404, "/api//v1/pods": 404, "/api/v1/../v1/pods": 404, "/%": 404, "/%zz": 404,
    "/api/v1/namespaces/default/pods/%2e%2e": 404, "/apis/a/b/c/d/e/f/g/h/i": 404, "/openapi/v3/%2e%2e/%2e%2e/etc/passwd": 404,
    f"/api/v1/namespaces/default/pods/{'a' * 30_000}": 404, "/api/v1/namespaces/%00/pods/%00": 404, "http://elsewhere/version": 404,
    "/apis/example.com/v1/namespaces/default/widgets": 404,
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_a_path_that_leads_nowhere(attacked: Attacked, path: str) -> None:
    """Also for one that asks for a WebSocket."""
    assert attacked.ask("GET", path).status == PATHS[path]
    assert attacked.send(request("GET", path, **HANDSHAKE)).status == PATHS[path]
    assert attacked.ask("GET", path, tls=attacked.stranger).status == 401


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "CONNECT", "JUNK", "get"])
def test_methods_that_the_api_does_not_have(attacked: Attacked, method: str) -> None:
    assert attacked.ask(method, MAPS).status == 405
    assert attacked.ask(method, "/version").status in (404, 405)
    assert attacked.ask(method, "/healthz").status == 400


def test_head_has_no_body(attacked: Attacked) -> None:
    """Nor does it begin a watch."""
    for path in (MAPS, f"{MAPS}?watch=1", "/version"):
        with attacked.connect() as sock:
            sock.sendall(request("HEAD", path, connection="close"))
            assert b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2] == b""


def test_a_connection_that_ends_with_its_response_says_so(attacked: Attacked) -> None:
    """A body for a proxy that refuses it stays unread: clients that are not told send their next request into nothing."""
    assert attacked.ask("POST", "/api/v1/nodes", {"metadata": {"name": "silent"}}).status in (201, 409)
    with attacked.connect() as sock:
        sock.sendall(request("PUT", "/api/v1/nodes/silent/proxy/healthz", b"x" * 100))
        found = b"".join(iter(lambda: sock.recv(65536), b""))
    assert found.startswith(b"HTTP/1.1 405"), found
    assert b"\r\nconnection: close\r\n" in found.lower()


def test_hundreds_of_methods_and_forms_leave_nothing_behind(attacked: Attacked) -> None:
    """Each method was a series of metrics for good, and each Accept header was kept with all its parameters."""
    with attacked.unharmed(growth=16), attacked.connect() as sock:
        for number in range(300):
            sock.sendall(request(f"M{number}", "/version"))
            assert receive(sock).status == 404
        for number in range(60):
            accept = "application/json;" + ";".join(f"{number}-{at}=1" for at in range(5000))
            sock.sendall(request("GET", MAPS, accept=accept))
            assert receive(sock).status == 200
    assert attacked.ask("GET", "/metrics").body.count(b'method="REST M') == 0


def test_pipelined_requests_take_turns_with_others(attacked: Attacked) -> None:
    """All that had arrived on a connection used to be answered before anything else: seconds for one packet."""
    with attacked.unharmed(delay=1.0), attacked.connect() as sock:
        sock.sendall(request("GET", "/version") * 1500)
        for _ in range(20):
            assert sock.recv(65536)
            time.sleep(0.05)


def test_a_kind_that_is_gone(attacked: Attacked) -> None:
    """Its paths are none, also for a connection that has used them."""
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    made = attacked.ask("POST", crds, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
    assert made.status == 201, made
    path = "/apis/example.com/v1/namespaces/default/widgets"
    deadline = time.monotonic() + 10
    with attacked.connect() as sock:

        def asked(method: str, body: object = b"") -> int:
            sock.sendall(request(method, path, body))
            return receive(sock).status

        while asked("GET") != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert asked("POST", {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}}) == 201
        assert attacked.ask("DELETE", f"{crds}/widgets.example.com").status == 200
        while asked("GET") != 404:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert asked("POST", {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "b"}}) == 404


def test_slow_bodies_and_half_open_connections_end_together(attacked: Attacked) -> None:
    """Each has the ten seconds of a request: with a body that does not end an answer, else silence; and no one waits for them."""
    with attacked.unharmed(), ExitStack() as stack:
        bodies = [stack.enter_context(attacked.connect()) for _ in range(20)]
        for number, sock in enumerate(bodies):
            endless = post("transfer-encoding: chunked", body=b"1" + b"0" * 16 + b"\r\nx")
            sock.sendall(post("content-length: 100", body=b"{") if number % 2 else endless)
        heads = [stack.enter_context(attacked.connect(attacked.stranger)) for _ in range(20)]
        for sock in heads:
            sock.sendall(b"GET /version HTTP/1.1\r\n")
        handshakes = [stack.enter_context(attacked.tcp()) for _ in range(20)]
        for plain in handshakes:
            plain.sendall(b"\x16\x03\x01\x02\x00")
        answers = [receive(sock) for sock in bodies]
        assert {answer.status for answer in answers} == {504}
        assert "did not arrive in time" in json.loads(answers[0].body)["message"]
        assert {receive(sock).status for sock in heads} == {0}
        assert {plain.recv(1) for plain in handshakes} == {b""}


def test_ten_thousand_connections_that_say_nothing(attacked: Attacked) -> None:
    """More than there are descriptors; the probe has another address, and its connection from before."""
    with attacked.unharmed(), ExitStack() as stack:
        for _ in range(10_000):
            stack.enter_context(attacked.tcp())
        assert attacked.ask("GET", "/version").status == 200


def test_idle_connections_of_a_user_make_room_for_the_next(attacked: Attacked) -> None:
    """Beyond its half of the clients' connections, each after a request; and the descriptors suffice."""
    assert attacked.plane.process is not None
    with ExitStack() as stack:
        for number in range(160):
            sock = stack.enter_context(attacked.connect(source=f"127.0.0.{number % 8 + 20}"))
            sock.sendall(request("GET", "/version"))
            assert receive(sock).status == 200
        assert len(os.listdir(f"/proc/{attacked.plane.process.pid}/fd")) < 128 + 64 + 64
    assert attacked.ask("GET", "/version").status == 200

"""What registries do that a client must put up with: the cases of containerd's resolver and fetcher, and of containers/image."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest

from nodeagent.images.puller import Puller, PullError
from nodeagent.images.registry import challenge
from nodeagent.images.registry.challenge import Challenge
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import ImageStore
from pinnace.oci.manifest import ARCHITECTURE
from tests.support.archives import digest, layer
from tests.support.registry import OCI, Packed, Rogue, descriptor, packed, rogue, serving
from tests.unit.nodeagent.images.pulling import Answer, pull, refused

pytestmark = pytest.mark.root
BASE = layer(("etc/motd", "hello"))
DOCKER = "application/vnd.docker"
Reply = Callable[[BaseHTTPRequestHandler], Answer]


def said(_: str, __: str) -> None:
    pass


# HEAD


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
async def test_a_registry_that_refuses_head_is_asked_with_get(store: ImageStore, puller: Puller, status: int) -> None:
    """`Always` sees that nothing has changed, and what has; nothing is pulled for the first."""
    images = [packed(BASE), packed(BASE, layer(("new", "new")))]

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.command == "HEAD":
            return status, {}, b""
        return serving(images[0])(request)

    with rogue(answer) as server:
        first = await puller.ensure(f"{server.address}/app:1", "Always", [], said)
        count = len(server.asked("/blobs/"))
        assert (await puller.ensure(f"{server.address}/app:1", "Always", [], said)).id == first.id
        assert len(server.asked("/blobs/")) == count
        del images[0]
        assert (await puller.ensure(f"{server.address}/app:1", "Always", [], said)).id != first.id


async def test_a_head_that_says_no_digest_is_followed_by_get(store: ImageStore, puller: Puller) -> None:
    """A manifest without Docker-Content-Digest has the digest of its bytes."""
    image = packed(BASE)

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        status, headers, body = serving(image)(request)
        return status, {key: value for key, value in headers.items() if key != "Docker-Content-Digest"}, body

    with rogue(answer) as server:
        first = await puller.ensure(f"{server.address}/app:1", "Always", [], said)
        assert first.digests == (f"{server.address}/app@{image.digest}",)
        count = len(server.asked("/blobs/"))
        await puller.ensure(f"{server.address}/app:1", "Always", [], said)
        assert len(server.asked("/blobs/")) == count


async def test_an_image_that_is_gone_is_said_to_be(store: ImageStore, puller: Puller) -> None:
    """Not that HEAD was refused."""
    image = packed(BASE)
    with rogue(serving(image)) as server:
        await puller.ensure(f"{server.address}/app:1", "Always", [], said)
        server.answer = lambda request: (404, {}, b"")
        with pytest.raises(PullError, match="not found"):
            await puller.ensure(f"{server.address}/app:1", "Always", [], said)


# Challenges


CHALLENGES: dict[str, tuple[str, list[Challenge]]] = {
    "one": ('Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
            [Challenge("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})]),
    "several scopes": ('Bearer realm="https://a/t",scope="repository:x:pull repository:y:pull"',
                       [Challenge("bearer", {"realm": "https://a/t", "scope": "repository:x:pull repository:y:pull"})]),
    "an empty parameter": ('Bearer realm="https://a/t",empty="",service="s"',
                           [Challenge("bearer", {"realm": "https://a/t", "empty": "", "service": "s"})]),
    "a realm alone": ('Bearer realm="http://127.0.0.1:5000/openshift/token"',
                      [Challenge("bearer", {"realm": "http://127.0.0.1:5000/openshift/token"})]),
    "two": ('Basic realm="x", Bearer realm="https://a/t",service="s"',
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "https://a/t", "service": "s"})]),
    "schemes without parameters": ('Negotiate, NTLM, Basic realm="x"',
                                   [Challenge("negotiate"), Challenge("ntlm"), Challenge("basic", {"realm": "x"})]),
    "a token in place of parameters": ('Negotiate YII/+abc==, Bearer realm="https://a/t"',
                                       [Challenge("negotiate"), Challenge("bearer", {"realm": "https://a/t"})]),
    "without quotes and with spaces": ("Bearer realm = https://a/t , service = s",
                                       [Challenge("bearer", {"realm": "https://a/t", "service": "s"})]),
    "names with a hyphen": ('Digest realm="r", nonce="n,1", qop="auth", max-age=5',
                            [Challenge("digest", {"realm": "r", "nonce": "n,1", "qop": "auth", "max-age": "5"})]),
    "quotes in quotes": ('Basic realm="a \\"b\\", c"', [Challenge("basic", {"realm": 'a "b", c'})]),
    "a parameter twice": ('Bearer realm="https://a/t",realm="https://evil/t"', [Challenge("bearer", {"realm": "https://a/t"})]),
    "empty items": (', ,Basic realm="x",,', [Challenge("basic", {"realm": "x"})]),
    "a scheme alone": ("Basic", [Challenge("basic")]),
    "any case": ('BEARER Realm="https://a/t"', [Challenge("bearer", {"realm": "https://a/t"})]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHALLENGES)
def test_challenges_are_read_as_rfc_9110_has_them(name: str) -> None:
    """Also one after the other in one header, as several headers are joined."""
    header, expected = CHALLENGES[name]
    assert challenge.parse(header) == expected
    assert challenge.parse(f'Other a="b", {header}') == [Challenge("other", {"a": "b"}), *expected]


def test_a_header_without_end_is_read_to_a_bound() -> None:
    """Not for long, and not all of it."""
    assert len(challenge.parse("Basic, " * 100_000)) <= challenge.MAX_CHALLENGES + 1
    assert challenge.parse('Basic realm="' + "\\" * 100_000) == [Challenge("basic")]


BASIC = "Basic " + base64.b64encode(b"user:secret").decode()


def guarded(
    image: Packed, box: list[Rogue], headers: Callable[[str], str], *, token: str = "token", accepts: str = "Bearer good"
) -> Reply:
    """A registry behind `headers` (of its address), and its token service."""

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.path.startswith("/token"):
            good = request.headers.get("Authorization") == BASIC
            return (200, {}, json.dumps({token: "good"}).encode()) if good else (401, {}, b"{}")
        if request.headers.get("Authorization") != accepts:
            return 401, {"WWW-Authenticate": headers(box[0].address)}, b""
        return serving(image)(request)

    return answer


HEADERS: dict[str, Callable[[str], str]] = {
    "bearer after basic": lambda host: f'Basic realm="x", Bearer realm="http://{host}/token",service="s"',
    "bearer after what we cannot": lambda host: f'Negotiate, Digest realm="r",nonce="n", Bearer realm="http://{host}/token"',
    "a relative realm": lambda _: 'Bearer realm="/token",service="s"',
    "a realm with a query": lambda host: f'Bearer realm="http://{host}/token?account=a",service="s"',
}


@pytest.mark.parametrize("token", ["token", "access_token"])
@pytest.mark.parametrize("name", HEADERS)
async def test_the_challenge_that_can_be_answered_is(puller: Puller, name: str, token: str) -> None:
    """Whichever place it has; and by whichever name the token comes."""
    box: list[Rogue] = []
    with rogue(guarded(packed(BASE), box, HEADERS[name], token=token)) as server:
        box.append(server)
        await pull(puller, f"{server.address}/app:1", Credential(server.address, "", "user", "secret"))
        assert len(server.asked("/token")) == 1
        assert not [headers for _, path, headers in server.requests if "/v2/" in path and headers.get("Authorization") == BASIC]


async def test_several_headers_are_several_challenges(puller: Puller) -> None:
    """As HTTP has it: two WWW-Authenticate headers, the one for us last."""
    image = packed(BASE)

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.headers.get("Authorization") == BASIC:
            return serving(image)(request)
        return 401, {"WWW-Authenticate": 'Negotiate\nBasic realm="x"'}, b""

    with rogue(answer) as server:
        await pull(puller, f"{server.address}/app:1", Credential(server.address, "", "user", "secret"))


async def test_basic_is_tried_when_a_token_does_not_help(puller: Puller) -> None:
    """A token service that has no token for us, and a registry that takes the password."""
    image = packed(BASE)
    box: list[Rogue] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.path.startswith("/token"):
            return 403, {}, b"{}"
        if request.headers.get("Authorization") == BASIC:
            return serving(image)(request)
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{box[0].address}/token", Basic realm="x"'}, b""

    with rogue(answer) as server:
        box.append(server)
        await pull(puller, f"{server.address}/app:1", Credential(server.address, "", "user", "secret"))


async def test_the_scope_that_a_registry_names_is_asked_for(puller: Puller) -> None:
    """In addition to ours: a cache knows the repository by another name."""
    box: list[Rogue] = []
    header = 'Bearer realm="/token",service="s",scope="repository:cache/app:pull repository:other:pull"'
    with rogue(guarded(packed(BASE), box, lambda _: header)) as server:
        box.append(server)
        await pull(puller, f"{server.address}/app:1", Credential(server.address, "", "user", "secret"))
        [(_, path, _)] = server.asked("/token")
        query = parse_qs(urlsplit(path).query)
        assert query == {
            "service": ["s"],
            "scope": ["repository:app:pull", "repository:cache/app:pull", "repository:other:pull"],
        }


@pytest.mark.parametrize(
    "body", [b"IAmNotJson", b"{}", b'{"token": ""}', b'{"token": 5}', b'{"token": "a\\nb"}', b'{"token": "\\ud800"}']
)
async def test_a_token_service_without_a_token_is_named(puller: Puller, body: bytes) -> None:
    """Whatever it answers."""
    box: list[Rogue] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.path.startswith("/token"):
            return 200, {}, body
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{box[0].address}/token"'}, b""

    with rogue(answer) as server, pytest.raises(PullError) as caught:
        box.append(server)
        await pull(puller, f"{server.address}/app:1")
    assert "token" in caught.value.message


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("form", ["relative", "absolute path", "without scheme", "another host"])
async def test_redirects_are_followed_wherever_they_lead(puller: Puller, form: str, status: int) -> None:
    """Relative, absolute, to another host; credentials stay behind."""
    image = packed(BASE)
    with rogue(serving(image)) as storage:

        def answer(request: BaseHTTPRequestHandler) -> Answer:
            if "/blobs/" not in request.path or request.path.endswith("/data"):
                request.path = request.path.removesuffix("/data")
                return serving(image)(request)
            name = request.path.rpartition("/")[2]
            location = {
                "relative": f"./{name}/data", "absolute path": f"{request.path}/data",
                "without scheme": f"//{storage.address}{request.path}", "another host": f"http://{storage.address}{request.path}",
            }[form]  # fmt: skip
            return status, {"Location": location}, b""

        with rogue(answer) as server:
            await pull(puller, f"{server.address}/app:1")


async def test_a_connection_that_was_closed_meanwhile_is_made_anew(puller: Puller) -> None:
    """A server that keeps a connection, and closes it just when the next request is there."""
    image = packed(BASE)
    served: set[tuple[str, int]] = set()

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.client_address in served:
            request.connection.shutdown(socket.SHUT_RDWR)
        served.add(request.client_address)
        return serving(image)(request)

    with rogue(answer) as server:
        await puller.pull(f"{server.address}/app:1", [], said)
        assert len(served) > 1


# Documents


async def test_an_index_of_every_kind_of_entry_is_pulled(store: ImageStore, puller: Puller) -> None:
    """Attestations, other platforms, entries without one, an index in the index; what is not there is not asked for twice."""
    image = packed(BASE)
    kind, body = image.manifests[-1]
    inner = json.dumps({"schemaVersion": 2, "manifests": [descriptor(kind, body)]}).encode()
    other = {"os": "linux", "architecture": "s390x"}
    unknown = {"os": "unknown", "architecture": "unknown"}
    top = {
        "schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json",
        "manifests": [
            descriptor(kind, b"attestation", platform=unknown), descriptor(kind, b"other", platform=other), descriptor(kind, b"gone"),
            descriptor(f"{OCI}.index.v1+json", inner),
        ],
    }  # fmt: skip
    whole = Packed(
        image.blobs, [*image.manifests, (f"{OCI}.index.v1+json", inner), (f"{OCI}.index.v1+json", json.dumps(top).encode())]
    )
    with rogue(serving(whole)) as server:
        await pull(puller, f"{server.address}/app:1")
        asked = [path.rpartition("/")[2] for _, path, _ in server.asked("/manifests/")]
        assert asked == ["1", digest(b"gone"), digest(inner), digest(body)]
        assert store.find(f"{server.address}/app:1").digests == (f"{server.address}/app@{whole.digest}",)


async def test_documents_of_dockers_types_are_pulled(puller: Puller) -> None:
    """A manifest of version 2, its config of the type that an old registry made of it, served as text."""
    image = packed(BASE)
    value = json.loads(image.manifests[-1][1])
    value |= {"mediaType": f"{DOCKER}.distribution.manifest.v2+json"}
    value["config"]["mediaType"] = "application/octet-stream"
    value["layers"][0]["mediaType"] = f"{DOCKER}.image.rootfs.diff.tar.gzip"
    listed = {"schemaVersion": 2, "mediaType": f"{DOCKER}.distribution.manifest.list.v2+json", "manifests": []}
    listed["manifests"] = [descriptor("", json.dumps(value).encode(), platform={"os": "linux", "architecture": ARCHITECTURE})]
    whole = Packed(
        image.blobs, [("text/plain; charset=utf-8", json.dumps(value).encode()), ("text/plain", json.dumps(listed).encode())]
    )
    with rogue(serving(whole)) as server:
        await pull(puller, f"{server.address}/app:1")


async def test_schema_one_is_refused_by_name(puller: Puller) -> None:
    """Signed or not; also when it is served as something else."""
    for extra in ({}, {"signatures": [{"header": {}}]}):
        old = json.dumps({"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [{"blobSum": "x"}], **extra}).encode()
        for kind in ("application/vnd.docker.distribution.manifest.v1+prettyjws", f"{OCI}.manifest.v1+json"):
            message = await refused(puller, lambda request, old=old, kind=kind: (200, {"Content-Type": kind}, old))
            assert "is a Docker schema 1 manifest, which is not supported" in message

"""Registries that fail, lie, redirect or ask for tokens, and mirrors: from a server that does as each test says."""

from __future__ import annotations

import asyncio
import base64
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from nodeagent.images.puller import Puller, PullError
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import ImageNotFound, ImageStore
from tests.support.archives import config_of, digest, layer
from tests.support.registry import OCI, Packed, Rogue, descriptor, packed, rogue, serving
from tests.unit.nodeagent.images.conftest import MakePuller

pytestmark = pytest.mark.root
BASE = layer(("etc/motd", "hello"))
Answer = tuple[int, dict[str, str], bytes]


async def pull(puller: Puller, reference: str, *credentials: Credential) -> None:
    await puller.ensure(reference, "IfNotPresent", credentials, lambda reason, message: None)


async def refused(puller: Puller, answer: Any) -> str:
    """What the failure of a pull from such a registry says."""
    with rogue(answer) as server, pytest.raises(PullError) as caught:
        await pull(puller, f"{server.address}/app:1")
    assert caught.value.reason == "ErrImagePull"
    return caught.value.message


def manifest_of(**changes: Any) -> Packed:
    """An image whose manifest has these members instead."""
    good = packed(BASE)
    document = {**json.loads(good.manifests[0][1]), **changes}
    return Packed(good.blobs, [(good.manifests[0][0], json.dumps(document).encode())])


def layers_of(**changes: Any) -> Packed:
    """An image whose one layer has a descriptor with these members instead."""
    good = json.loads(packed(BASE).manifests[0][1])["layers"][0]
    return manifest_of(layers=[{**good, **changes}])


# Resuming


async def test_a_transfer_that_breaks_off_is_resumed(store: ImageStore, puller: Puller) -> None:
    """After a third of it the connection goes; the next request asks for the rest only."""
    data = layer(("big", "".join(chr(33 + i * i % 90) for i in range(300_000))))
    image = packed(data, compress=bytes, kind="")
    victim, whole = digest(data)[7:], serving(image)
    cuts: list[int] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        status, headers, body = whole(request)
        if victim in request.path and len(cuts) < 3:
            cuts.append(len(body) // 3)
            # A Content-Length that promises more than comes.
            request.close_connection = True
            return status, {**headers, "Content-Length": str(len(body))}, body[: cuts[-1]]
        return status, headers, body

    with rogue(answer) as server:
        await pull(puller, f"{server.address}/app:1")
        ranges = [headers.get("Range") for _, _, headers in server.asked(victim)]
    starts = [sum(cuts[:count]) for count in range(4)]
    assert ranges == [None, *(f"bytes={start}-" for start in starts[1:])]
    assert len(store.read_file(store.find(f"{server.address}/app:1"), "big")) == 300_000


async def test_a_pull_goes_on_where_an_earlier_one_ended(store: ImageStore, puller: Puller) -> None:
    """As after a restart of the agent: the part is on disk, and only the rest is asked for."""
    data = layer(("big", "x" * 50_000))
    victim = digest(data)[7:]
    (store.partial / victim).write_bytes(data[:20_000])
    with rogue(serving(packed(data, compress=bytes, kind=""))) as server:
        await pull(puller, f"{server.address}/app:1")
        assert [headers.get("Range") for _, _, headers in server.asked(victim)] == ["bytes=20000-"]


@pytest.mark.parametrize("start", [b"garbage" * 1000, b"longer than the layer" * 10_000])
async def test_a_part_that_is_wrong_does_not_stay(store: ImageStore, puller: Puller, start: bytes) -> None:
    """A damaged part fails once, and the next pull begins anew."""
    data = layer(("big", "x" * 50_000))
    (store.partial / digest(data)[7:]).write_bytes(start)
    with rogue(serving(packed(data, compress=bytes, kind=""))) as server:
        with pytest.raises(PullError, match="does not match its digest"):
            await pull(puller, f"{server.address}/app:1")
        await pull(puller, f"{server.address}/app:1")


async def test_a_registry_without_ranges_sends_all_again(store: ImageStore, puller: Puller) -> None:
    """200 instead of 206: from the beginning."""
    data = layer(("big", "x" * 50_000))
    image = packed(data, compress=bytes, kind="")
    (store.partial / digest(data)[7:]).write_bytes(data[:20_000])

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if digest(data) in request.path:
            return 200, {}, data
        return serving(image)(request)

    with rogue(answer) as server:
        await pull(puller, f"{server.address}/app:1")


@pytest.mark.timeout(20)
async def test_a_pull_that_nobody_wants_any_more_ends(store: ImageStore, puller: Puller) -> None:
    """Cancelled while a layer does not come: the transfer ends then, not at its deadline, and a later pull takes it up."""
    data = layer(("big", "x" * 100_000))
    image = packed(data, compress=bytes, kind="")
    part = store.partial / digest(data)[7:]

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        status, headers, body = serving(image)(request)
        if digest(data) in request.path and "Range" not in request.headers:
            # More is promised and never comes.
            return status, {**headers, "Content-Length": str(len(body))}, body[:40_000]
        return status, headers, body

    with rogue(answer) as server:
        task = asyncio.ensure_future(pull(puller, f"{server.address}/app:1"))
        while not server.asked(digest(data)):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*puller.blobs._running.values(), return_exceptions=True)
        assert not part.exists() or part.stat().st_size < len(data)
        await pull(puller, f"{server.address}/app:1")


# Lies

HOSTILE = {
    "a layer of another digest": (layers_of(digest="sha256:" + "0" * 64), "not found"),
    "no digest": (layers_of(digest="../../../etc/passwd"), "is not a sha256 digest"),
    "a digest with a path": (layers_of(digest="sha256:../../../../etc/shadow"), "is not a sha256 digest"),
    "an enormous layer": (layers_of(size=1 << 60), "is larger than 16 GiB"),
    "a negative size": (layers_of(size=-5), "is not a size"),
    "a size that is no number": (layers_of(size="1"), "is not a size"),
    "no size": (layers_of(size=-1), "gives no size"),
    "a layer that is longer than it says": (layers_of(size=10), "does not match its digest"),
    "a foreign layer": (layers_of(mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "foreign layer"),
    "a layer of no known type": (layers_of(mediaType="application/x-evil"), "type application/x-evil"),
    "too many layers": (
        manifest_of(layers=[descriptor(f"{OCI}.layer.v1.tar", BASE)] * 200), "200 layers; at most 120",
    ),
    "layers that are no list": (manifest_of(layers={"0": 1}), "layers is not a list"),
    "no layers": (manifest_of(layers=[]), "names 1 layers, the manifest 0"),
    "a chart and not an image": (
        manifest_of(config={"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b"{}"), "size": 2}),
        "is not a container image: its config is application/vnd.cncf.helm",
    ),
    "schema 1": (manifest_of(schemaVersion=1, fsLayers=[]), "schema 1"),
    "an index in an index": (
        Packed({}, [(f"{OCI}.index.v1+json", b'{"manifests": {"a": 1}}')]), "manifests is not a list",
    ),
    "no JSON": (Packed({}, [(f"{OCI}.manifest.v1+json", b"[" * 100_000)]), "is not JSON"),
    "an enormous manifest": (Packed({}, [(f"{OCI}.manifest.v1+json", b" " * (5 << 20))]), "is larger than 4194304 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_manifest_is_refused(store: ImageStore, puller: Puller, name: str) -> None:
    """One error that says what is wrong; no image, no layer and no part is kept."""
    image, said = HOSTILE[name]
    assert said in await refused(puller, serving(image))
    assert store.all() == []
    assert not list(store._layers.iterdir())
    assert not list(store.partial.iterdir())


async def test_a_config_that_lies_about_its_layers_is_refused(store: ImageStore, puller: Puller) -> None:
    """Its diff ids are not those of what is unpacked."""
    good = packed(BASE)
    lying = config_of(layer(("other", "x")))
    manifest = json.loads(good.manifests[0][1])
    manifest["config"] = descriptor(f"{OCI}.config.v1+json", lying)
    blobs = {**good.blobs, digest(lying): lying}
    image = Packed(blobs, [(f"{OCI}.manifest.v1+json", json.dumps(manifest).encode())])
    assert "does not match its digest" in await refused(puller, serving(image))
    assert not list(store._layers.iterdir())


async def test_a_manifest_that_is_not_what_its_digest_says_is_refused(puller: Puller) -> None:
    """By digest, and by the header of a tag."""
    image, other = packed(BASE), packed(layer(("x", "y")))

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        return 200, {"Docker-Content-Digest": image.digest}, other.manifests[0][1]

    assert "does not match the digest that the registry gives" in await refused(puller, answer)
    with rogue(lambda request: (200, {}, other.manifests[0][1])) as server, pytest.raises(PullError, match="its digest"):
        await pull(puller, f"{server.address}/app@{image.digest}")


async def test_a_bomb_of_a_blob_is_cut_off(store: ImageStore, puller: Puller) -> None:
    """More bytes than the descriptor says are not taken."""
    image = packed(BASE)
    victim = list(image.blobs)[-1]

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        return (200, {}, b"x" * (8 << 20)) if victim in request.path else serving(image)(request)

    assert "does not match its digest" in await refused(puller, answer)
    assert not list(store.partial.iterdir())


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_server_that_is_down_for_a_moment(store: ImageStore, puller: Puller, status: int) -> None:
    """Layers are asked for again, later each time."""
    image = packed(BASE)
    victim = list(image.blobs)[-1]
    failures = iter([status, status])

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if victim in request.path and (failing := next(failures, 0)):
            return failing, {}, b""
        return serving(image)(request)

    with rogue(answer) as server:
        await pull(puller, f"{server.address}/app:1")
        assert len(server.asked(victim)) == 3


# Redirects, tokens, mirrors


async def test_credentials_stay_with_their_host(store: ImageStore, puller: Puller) -> None:
    """A blob behind a redirect to another host is fetched without the password."""
    image = packed(BASE)
    with rogue(serving(image)) as storage:

        def answer(request: BaseHTTPRequestHandler) -> Answer:
            if "Authorization" not in request.headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            if "/blobs/" in request.path:
                return 307, {"Location": f"http://{storage.address}{request.path}"}, b""
            return serving(image)(request)

        with rogue(answer) as server:
            await pull(puller, f"{server.address}/app:1", Credential(server.address, "", "user", "secret"))
        assert storage.requests
        assert all("Authorization" not in headers for _, _, headers in storage.requests)


async def test_redirects_end(puller: Puller) -> None:
    """In a circle, and to what is not HTTP."""
    assert "redirects more than 5 times" in await refused(puller, lambda request: (302, {"Location": request.path}, b""))
    assert "redirects to file" in await refused(puller, lambda request: (302, {"Location": "file:///etc/passwd"}, b""))


def token_service(image: Packed, server: list[Rogue], *, wants: str) -> Any:
    """A registry with Docker's token authentication, its token service beside it."""

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.path.startswith("/token"):
            if request.headers.get("Authorization", "") != wants:
                return 401, {}, b"{}"
            return 200, {}, b'{"token": "good", "expires_in": 60}'
        if request.headers.get("Authorization") != "Bearer good":
            challenge = f'Bearer realm="http://{server[0].address}/token",service="reg",scope="repository:team/app:pull"'
            return 401, {"WWW-Authenticate": challenge}, b""
        return serving(image)(request)

    return answer


@pytest.mark.parametrize("secret", ["", "secret"])
async def test_a_token_is_fetched_once_and_used(store: ImageStore, puller: Puller, secret: str) -> None:
    """Anonymously and with a password; service and scope are passed on."""
    wants = "Basic " + base64.b64encode(f"user:{secret}".encode()).decode() if secret else ""
    box: list[Rogue] = []
    with rogue(token_service(packed(BASE), box, wants=wants)) as server:
        box.append(server)
        given = [Credential(server.address, "", "user", secret)] if secret else []
        await pull(puller, f"{server.address}/team/app:1", *given)
        [(_, path, _)] = server.asked("/token")
        assert path == "/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"


async def test_a_token_service_without_https_is_not_told_a_password(make: MakePuller) -> None:
    """Unless the registry itself is one that may do without."""
    from nodeagent.images.registry.client import Repository
    from nodeagent.images.registry.config import Endpoint
    from nodeagent.images.registry.errors import RegistryError

    endpoint = Endpoint("https://reg.example", "reg.example", insecure=False)
    repository = Repository(make()._http, endpoint, "app", [])
    with pytest.raises(RegistryError, match="which is not HTTPS"):
        repository._token({"realm": "http://127.0.0.1:1/token"}, None)


async def test_a_mirror_is_asked_first_and_the_registry_after_it(store: ImageStore, make: MakePuller) -> None:
    """The mirror's path and namespace; what it lacks comes from the registry; neither sees the other's password."""
    image = packed(BASE)
    with rogue(serving(image)) as mirror, rogue(lambda request: (404, {}, b"")) as empty, rogue(serving(image)) as origin:
        urls = [f"http://{empty.address}", f"http://{mirror.address}/cache"]
        puller = make(mirrors={origin.address: urls})
        await pull(puller, f"{origin.address}/app:1", Credential(origin.address, "", "user", "secret"))
        assert empty.requests
        assert mirror.requests[0][1] == f"/cache/v2/app/manifests/1?ns={origin.address.replace(':', '%3A')}"
        assert origin.requests == []
        assert all("Authorization" not in headers for _, _, headers in (*mirror.requests, *empty.requests))
        with pytest.raises(ImageNotFound):
            store.find(f"{mirror.address}/app:1")
    with rogue(serving(packed(layer(("x", "y"))))) as origin:
        gone = f"http://{mirror.address}"
        await pull(make(mirrors={origin.address: [gone]}), f"{origin.address}/app:1")
        assert origin.requests


async def test_a_mirror_that_lies_about_a_blob_is_passed_over(store: ImageStore, make: MakePuller) -> None:
    """The registry's own copy is taken."""
    image = packed(BASE)
    victim = list(image.blobs)[-1]

    def lying(request: BaseHTTPRequestHandler) -> Answer:
        return (200, {}, b"x" * len(image.blobs[victim])) if victim in request.path else serving(image)(request)

    with rogue(lying) as mirror, rogue(serving(image)) as origin:
        await pull(make(mirrors={origin.address: [f"http://{mirror.address}"]}), f"{origin.address}/app:1")
        assert [path for _, path, _ in origin.requests] == [f"/v2/app/blobs/{victim}"]

"""Redirects, tokens and mirrors: from a server on loopback that does as each test says."""

from __future__ import annotations

import base64
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from nodeagent.images.puller import Puller
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import ImageNotFound, ImageStore
from tests.support.archives import layer
from tests.support.registry import Packed, Rogue, packed, rogue, serving
from tests.unit.nodeagent.images.conftest import MakePuller
from tests.unit.nodeagent.images.pulling import Answer, pull, refused

pytestmark = pytest.mark.root
BASE = layer(("etc/motd", "hello"))


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

"""Images to registries: Debian's docker-registry, with skopeo as second opinion, and registries that are not well."""

from __future__ import annotations

import io
import json
import os
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from nodeagent.images.puller import Puller
from nodeagent.images.pusher import PushError
from nodeagent.images.records import Image
from nodeagent.images.registry import pushing
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import ImageStore
from pinnace.oci.reference import Reference, parse
from tests.support import archives
from tests.support.archives import digest, layer
from tests.support.registry import Registry, registry, rogue
from tests.unit.nodeagent.images.pulling import Answer, pull

pytestmark = pytest.mark.root
BASE, TOP = layer(("etc/motd", "base")), layer(("etc/motd", "top"))
BIG = io.BytesIO(os.urandom(300_000)).getvalue()


def targets(*names: str) -> list[Reference]:
    return [parse(name) for name in names]


async def loaded(store: ImageStore, tmp_path: Path, *layers: bytes) -> Image:
    [image] = await store.load(archives.docker(tmp_path / "a.tar", *layers, tag="app:1"), "")
    return image


async def push(puller: Puller, image: Image, *names: str, credentials: tuple[Credential, ...] = ()) -> str:
    return await puller.pusher().push(image, targets(*names), credentials, lambda text: None)


def methods(found: Registry, method: str) -> list[str]:
    return [line.split(f'"{method} ')[1].split()[0] for line in found.log().splitlines() if f'"{method} ' in line]


async def test_what_is_pushed_is_what_others_pull(store: ImageStore, puller: Puller, tmp_path: Path) -> None:
    """By tag and by digest, by us and by skopeo; the image keeps its id, and its registry is asked from then on."""
    image = await loaded(store, tmp_path, BASE, TOP, BASE)
    with registry(tmp_path / "reg") as found:
        name = f"{found.address}/team/app"
        pushed = await push(puller, image, f"{name}:1", f"{name}:latest")
        again = ImageStore(tmp_path / "again")
        other = Puller(again, puller._registries, puller._clock)
        await pull(other, f"{name}@{pushed}")
        assert again.find(f"{name}@{pushed}").id == image.id
        other.close()
        for tag in ("1", "latest"):
            command = ["skopeo", "inspect", "--tls-verify=false", f"docker://{name}:{tag}"]
            shown = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
            assert shown["Digest"] == pushed
            assert len(shown["Layers"]) == 3
        copy = [
            "skopeo",
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            f"docker://{name}:1",
            f"dir:{tmp_path / 'copy'}",
        ]
        subprocess.run(copy, check=True, capture_output=True, timeout=60)
    kept = store.find("app:1")
    assert kept.digests == (f"{name}@{pushed}",)


async def test_only_what_a_registry_lacks_is_sent(store: ImageStore, puller: Puller, tmp_path: Path) -> None:
    """Nothing the second time, the new layer of a changed image, and a mount for another repository."""
    image = await loaded(store, tmp_path, BASE, TOP)
    with registry(tmp_path / "reg") as found:
        pusher = puller.pusher()

        async def send(item: Image, name: str) -> list[str]:
            before = len(methods(found, "POST"))
            await pusher.push(item, targets(f"{found.address}/{name}"), (), lambda text: None)
            return methods(found, "POST")[before:]

        assert len(await send(image, "one:1")) == 3
        assert await send(image, "one:2") == []
        mounts = await send(image, "two:1")
        assert len(mounts) == 3
        assert all("mount=sha256" in path and "from=one" in path for path in mounts)
        changed = await loaded(store, tmp_path, BASE, layer(("new", "new")))
        assert len(await send(changed, "one:3")) == 2
        await pull(puller, f"{found.address}/two:1")
        assert len([path for path in methods(found, "PUT") if "/blobs/" in path]) == 5


async def test_large_layers_go_in_chunks(
    store: ImageStore, puller: Puller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its range; the registry puts them together."""
    monkeypatch.setattr(pushing, "CHUNK", 50_000)
    image = await loaded(store, tmp_path, layer(("big", BIG.hex())))
    with registry(tmp_path / "reg") as found:
        await push(puller, image, f"{found.address}/app:1")
        assert len(methods(found, "PATCH")) > 3
        store.forget([image.id])
        await store.sweep()
        await pull(puller, f"{found.address}/app:1")


async def test_a_private_registry_takes_credentials(store: ImageStore, puller: Puller, tmp_path: Path) -> None:
    """As a pull does; without them the refusal is said."""
    image = await loaded(store, tmp_path, BASE)
    with registry(tmp_path / "reg", auth=True) as found:
        with pytest.raises(PushError, match=r"wants credentials|access denied"):
            await push(puller, image, f"{found.address}/app:1")
        good = Credential(found.address, "", "user", "secret")
        assert (await push(puller, image, f"{found.address}/app:1", credentials=(good,))).startswith("sha256:")


@pytest.mark.parametrize("cut", ["lost answer", "refused once", "gone"])
async def test_an_upload_that_breaks_off_is_resumed(
    store: ImageStore, puller: Puller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """From what the registry has by its own word, or again when it knows nothing of it any more."""
    monkeypatch.setattr(pushing, "CHUNK", 50_000)
    image = await loaded(store, tmp_path, layer(("big", BIG.hex())))
    blobs: dict[str, bytes] = {}
    upload, begun, broken = bytearray(), [], []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        place = {"Location": "/v2/app/blobs/uploads/x?state=1"}
        match request.command:
            case "HEAD":
                return (200 if request.path.rpartition("/")[2] in blobs else 404), {}, b""
            case "POST":
                begun.append(request.path)
                upload.clear()
                return 202, place, b""
            case "PATCH":
                start = int(request.headers["Content-Range"].partition("-")[0])
                if start >= 100_000 and not broken:
                    broken.append(start)
                    if cut == "lost answer":
                        # It has the chunk, and the client does not know.
                        upload.extend(body)
                    return (404 if cut == "gone" else 500), {}, b""
                assert start == len(upload)
                upload.extend(body)
                return 202, {**place, "Range": f"0-{len(upload) - 1}"}, b""
            case "GET" if "/uploads/" in request.path:
                return 204, {**place, "Range": f"0-{len(upload) - 1}"}, b""
            case "PUT" if "/manifests/" in request.path:
                return 201, {}, b""
            case "PUT":
                upload.extend(body)
                name = request.path.rpartition("digest=")[2].replace("%3A", ":")
                blobs[name] = bytes(upload)
                return (201 if digest(bytes(upload)) == name else 400), {}, b""
        return 200, {}, b"{}"

    with rogue(answer) as server:
        await push(puller, image, f"{server.address}/app:1")
    assert broken
    assert len(begun) == (3 if cut == "gone" else 2)
    assert all(digest(data) == name for name, data in blobs.items())


async def test_an_image_whose_layer_has_a_path_twice_is_pushed(store: ImageStore, puller: Puller, tmp_path: Path) -> None:
    """docker load takes such a layer, and docker push sends it."""
    image = await loaded(store, tmp_path, layer(("a", "first"), ("b", "kept"), ("a", "second")))
    with registry(tmp_path / "reg") as found:
        pushed = await push(puller, image, f"{found.address}/app:1")
        other = Puller(ImageStore(tmp_path / "again"), puller._registries, puller._clock)
        await pull(other, f"{found.address}/app@{pushed}")
        other.close()


async def test_a_layer_that_cannot_be_made_again_is_not_pushed(store: ImageStore, puller: Puller, tmp_path: Path) -> None:
    """An earlier version kept nothing of what a later member replaced."""
    image = await loaded(store, tmp_path, layer(("a", "first"), ("a", "second")))
    for recipe in (store.incoming.parent / "recipes").iterdir():
        recipe.unlink()
    with registry(tmp_path / "reg") as found, pytest.raises(PushError, match="cannot be made again as it was"):
        await push(puller, image, f"{found.address}/app:1")
    assert not list(store.incoming.iterdir())


async def test_a_tag_is_a_further_name_and_moves(store: ImageStore, tmp_path: Path) -> None:
    """As of an image that was loaded: no registry is asked about it."""
    first = await loaded(store, tmp_path, BASE)
    second = await loaded(store, tmp_path, TOP)
    store.tag("app:1", "reg.example/team/app:2")
    assert store.find("reg.example/team/app:2").id == second.id
    store.tag(first.id, "reg.example/team/app:2")
    assert store.find("reg.example/team/app:2").id == first.id
    assert ImageStore(tmp_path / "images").find("app:1").references == ("docker.io/library/app:1",)

"""Registries that lie: one error that says where, and nothing of it is kept."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from nodeagent.images.puller import Puller, PullError
from nodeagent.images.store import ImageStore
from tests.support.archives import config_of, digest, layer
from tests.support.registry import OCI, Packed, descriptor, packed, rogue, serving
from tests.unit.nodeagent.images.pulling import Answer, pull, refused

pytestmark = pytest.mark.root
BASE = layer(("etc/motd", "hello"))


def manifest_of(**changes: Any) -> Packed:
    """An image whose manifest has these members instead."""
    good = packed(BASE)
    document = {**json.loads(good.manifests[0][1]), **changes}
    return Packed(good.blobs, [(good.manifests[0][0], json.dumps(document).encode())])


def layers_of(**changes: Any) -> Packed:
    """An image whose one layer has a descriptor with these members instead."""
    good = json.loads(packed(BASE).manifests[0][1])["layers"][0]
    return manifest_of(layers=[{**good, **changes}])


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


@pytest.mark.parametrize(
    "member",
    [
        {"Env": "A=1"},
        {"Env": [1]},
        {"Env": ["A=\0"]},
        {"Cmd": {"a": "b"}},
        {"Entrypoint": [None]},
        {"User": 0.5},
        {"WorkingDir": ["/"]},
    ],
)
async def test_a_config_of_wrong_types_is_refused(puller: Puller, member: dict[str, Any]) -> None:
    """By member, and before a container is made of it."""
    [key] = member
    assert f": {key} is not a " in await refused(puller, serving(packed(BASE, **member)))


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

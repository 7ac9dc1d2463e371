"""Pulling from Debian's docker-registry on loopback: what an image may look like, who may have it, what goes wrong."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from nodeagent.images.puller import Puller, PullError
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import ImageNotFound, ImageStore
from tests.support import archives
from tests.support.archives import layer
from tests.support.registry import ARCH, Registry, indexed, packed, push, registry

pytestmark = pytest.mark.root
BASE, TOP = layer(("etc/motd", "hello"), ("bin/sh", "shell")), layer(("etc/motd", "changed"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def quiet(reason: str, message: str) -> None:
    pass


async def pulled(
    puller: Puller, reference: str, policy: str = "IfNotPresent", *credentials: Credential
) -> list[tuple[str, str]]:
    """The events of bringing it."""
    said: list[tuple[str, str]] = []
    await puller.ensure(reference, policy, credentials, lambda reason, message: said.append((reason, message)))
    return said


async def test_a_tag_and_then_the_copy_that_is_here(served: Registry, store: ImageStore, puller: Puller) -> None:
    """The first pull says Pulling and Pulled as kubelet does; the second finds it."""
    push(served.address, "app", packed(BASE, TOP))
    name = f"{served.address}/app:1"
    first, second = await pulled(puller, name), await pulled(puller, name)
    assert first[0] == ("Pulling", f'Pulling image "{name}"')
    assert first[1][1].startswith(f'Successfully pulled image "{name}" in ')
    assert second == [("Pulled", f'Container image "{name}" already present on machine')]
    assert store.read_file(store.find(name), "etc/motd") == b"changed"
    assert not list(store.partial.iterdir())
    assert not list(store.incoming.iterdir())


async def test_by_digest(served: Registry, store: ImageStore, puller: Puller) -> None:
    """The name by digest finds the image again, and the status names it so."""
    image = packed(BASE)
    push(served.address, "pinned", image)
    name = f"{served.address}/pinned@{image.digest}"
    await pulled(puller, name)
    assert store.find(name).pinned == name
    assert store.find(f"{served.address}/pinned:ignored@{image.digest}").pinned == name


async def test_an_index_yields_this_machine_s_image(served: Registry, store: ImageStore, puller: Puller) -> None:
    """Of two platforms; the digest that is remembered is the index's."""
    image = indexed(s390x=packed(BASE), **{ARCH: packed(TOP)})
    push(served.address, "many", image)
    await pulled(puller, f"{served.address}/many:1")
    found = store.find(f"{served.address}/many:1")
    assert store.read_file(found, "etc/motd") == b"changed"
    assert found.digests == (f"{served.address}/many@{image.digest}",)


async def test_an_index_without_this_platform_says_what_it_has(served: Registry, puller: Puller) -> None:
    """The platforms by name."""
    push(served.address, "foreign", indexed(s390x=packed(BASE)))
    with pytest.raises(PullError, match=f"no manifest for linux/{ARCH} .it has: linux/s390x."):
        await pulled(puller, f"{served.address}/foreign:1")


@pytest.mark.parametrize("kind", ["gzip", "zstd", ""])
async def test_layers_in_every_compression(served: Registry, store: ImageStore, puller: Puller, kind: str) -> None:
    """gzip, zstd and none."""
    import gzip

    compress = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "": bytes}[kind]
    push(served.address, f"by{kind}", packed(BASE, TOP, compress=compress, kind=kind))
    await pulled(puller, f"{served.address}/by{kind}:1")
    assert store.read_file(store.find(f"{served.address}/by{kind}:1"), "bin/sh") == b"shell"


async def test_layers_are_shared_with_what_was_loaded(
    served: Registry, store: ImageStore, puller: Puller, tmp_path: Path
) -> None:
    """A layer that an archive brought is not asked for."""
    await store.load(archives.docker(tmp_path / "a.tar", BASE), "")
    push(served.address, "shares", packed(BASE, TOP))
    await pulled(puller, f"{served.address}/shares:1")
    asked = [line for line in served.log().splitlines() if "/v2/shares/blobs/" in line and '"GET ' in line]
    # The config, and the one layer that was missing.
    assert len(asked) == 2


async def test_always_asks_and_takes_what_is_new(served: Registry, store: ImageStore, puller: Puller) -> None:
    """The same digest is found here, a moved tag is pulled, and the older image stays without the name."""
    push(served.address, "moves", packed(BASE))
    name = f"{served.address}/moves:1"
    await pulled(puller, name, "Always")
    old = store.find(name)
    assert (await pulled(puller, name, "Always"))[0][0] == "Pulled"
    push(served.address, "moves", packed(BASE, TOP))
    assert (await pulled(puller, name, "IfNotPresent"))[0][0] == "Pulled"
    assert (await pulled(puller, name, "Always"))[0][0] == "Pulling"
    assert store.find(name).id != old.id
    assert store.find(old.id).references == ()


async def test_always_takes_a_loaded_image_as_it_is(store: ImageStore, puller: Puller, tmp_path: Path) -> None:
    """No registry is asked about a name that came by `kctl image load`."""
    await store.load(archives.docker(tmp_path / "a.tar", BASE, tag="127.0.0.1:9/loaded:latest"), "")
    assert (await pulled(puller, "127.0.0.1:9/loaded:latest", "Always"))[0][0] == "Pulled"


async def test_always_fails_when_the_registry_is_gone(tmp_path: Path, store: ImageStore, puller: Puller) -> None:
    """As kubelet: what must be looked up and cannot be is not run. IfNotPresent goes on."""
    with registry(tmp_path / "registry") as found:
        push(found.address, "app", packed(BASE))
        name = f"{found.address}/app:1"
        await pulled(puller, name)
    with pytest.raises(PullError) as caught:
        await pulled(puller, name, "Always")
    assert caught.value.reason == "RegistryUnavailable"
    assert (await pulled(puller, name))[0][0] == "Pulled"


async def test_never_and_invalid_names(puller: Puller) -> None:
    """kubelet's own reasons and words."""
    with pytest.raises(PullError, match="is not present with pull policy of Never") as caught:
        await pulled(puller, "nowhere:1", "Never")
    assert caught.value.reason == "ErrImageNeverPull"
    with pytest.raises(PullError, match="lower case") as caught:
        await pulled(puller, "Upper/Case:1")
    assert caught.value.reason == "InvalidImageName"


async def test_what_is_not_there(served: Registry, puller: Puller) -> None:
    """A repository or tag that the registry does not have."""
    push(served.address, "app", packed(BASE))
    for name in ("nothing:1", "app:none"):
        with pytest.raises(PullError, match="not found"):
            await pulled(puller, f"{served.address}/{name}")


async def test_pods_at_once_share_one_download(served: Registry, store: ImageStore, puller: Puller) -> None:
    """Eight ask for one image; each blob of a layer is sent once."""
    push(served.address, "busy", packed(layer(("a", "1")), layer(("b", "2")), layer(("c", "3"))))
    name = f"{served.address}/busy:1"
    await asyncio.gather(*(pulled(puller, name) for _ in range(8)))
    asked = [line.split('"GET ')[1].split()[0] for line in served.log().splitlines() if '"GET /v2/busy/blobs/' in line]
    config = store.find(name).id
    layers = [path for path in asked if config not in path]
    assert sorted(layers) == sorted(set(layers))
    assert len(layers) == 3


async def test_a_corrupted_blob_is_refused(tmp_path: Path, store: ImageStore, puller: Puller) -> None:
    """Bytes that are not what the digest says: an error that names it, and nothing of it is kept."""
    image = packed(BASE, TOP)
    with registry(tmp_path / "registry") as found:
        push(found.address, "bad", image)
        victim = list(image.blobs)[-1]
        data = bytearray(found.blob_file(victim).read_bytes())
        data[len(data) // 2] ^= 0xFF
        found.blob_file(victim).write_bytes(data)
        with pytest.raises(PullError, match=f"{victim} of .* does not match its digest"):
            await pulled(puller, f"{found.address}/bad:1")
    with pytest.raises(ImageNotFound):
        store.find(f"{found.address}/bad:1")
    assert not (store.partial / victim[7:]).exists()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("guarded"), auth=True) as found:
        basic = "Basic " + base64.b64encode(b"user:secret").decode()
        push(found.address, "private/app", packed(BASE), headers={"Authorization": basic})
        yield found


async def test_a_private_image_needs_the_right_secret(guarded: Registry, store: ImageStore, puller: Puller) -> None:
    """None, a wrong one and one for another path are denied; among several the right one is found."""
    name = f"{guarded.address}/private/app:1"
    wrong = Credential(guarded.address, "", "user", "wrong")
    other = Credential(guarded.address, "elsewhere", "user", "secret")
    right = Credential(guarded.address, "private", "user", "secret")
    for given in ((), (wrong,), (other,)):
        with pytest.raises(PullError, match=r"access denied \(401\)") as caught:
            await pulled(puller, name, "IfNotPresent", *given)
        assert "wrong" not in caught.value.message.replace("missing or wrong", "")
    await pulled(puller, name, "IfNotPresent", wrong, right)
    assert store.find(name).references == (name,)

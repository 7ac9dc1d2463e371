"""An image goes from one lab to another through a registry: pushed by name, checked with skopeo, run by digest.

The machine, its resolver and the internet with Debian's docker-registry are namespaces (tests/support/outside.py).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import nameserver
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nameserver import NameServer
from tests.support.outside import HOST, INTERNET, Outside, connects, outside, ruleset, within
from tests.support.registry import Registry

pytestmark = pytest.mark.root
REGISTRY = "registry.test:5000"
NAME = f"{REGISTRY}/team/greeter"
RESOLVER = "127.0.0.53"
DOCKERFILE = """\
FROM busybox
COPY greeting /greeting
RUN echo "built with $(cat /greeting)" > /said
CMD ["cat", "/said"]
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Outside]:
    """The machine, with a resolver that knows the registry; the real machine's network is as before afterwards."""
    before = ruleset()
    with outside(tmp_path / "outside") as found:
        found.resolv_conf.write_text(f"nameserver {RESOLVER}\n")
        udp, tcp = within(found.host, lambda: nameserver.sockets(RESOLVER, 53))
        with nameserver.serving(NameServer({"registry.test": [INTERNET]}), udp, tcp):
            yield found
    assert ruleset() == before


@pytest.fixture
def registry(world: Outside, tmp_path: Path) -> Iterator[Registry]:
    found = Registry(tmp_path / "registry", f"{INTERNET}:5000", words=("nsenter", f"--net={world.internet}"))
    found.start(lambda: connects(world.internet, INTERNET, 5000))
    yield found
    found.stop()


@contextmanager
def connected(world: Outside, name: str, folder: Path, *, image: bool) -> Iterator[LabUnderTest]:
    """A lab of one node with an uplink; `image` puts busybox there."""
    folder.mkdir()
    agents = (f"--insecure-registry={REGISTRY}",)
    with running(name, folder, nodes=1, image=image, agent=agents, up=("--no-isolated",), words=world.words) as found:
        yield found


def built_and_pushed(lab: LabUnderTest, folder: Path) -> str:
    """The digest that kctl prints."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "greeting").write_text("care\n")
    lab.kctl("image", "build", "-t", f"{NAME}:1", str(folder))
    said = lab.kctl("image", "push", f"{NAME}:1")
    found = re.search(rf"^image {re.escape(NAME)}:1 pushed from node-1, digest (sha256:[0-9a-f]{{64}})$", said, re.MULTILINE)
    assert found, said
    return found[1]


def inspected(lab: LabUnderTest, name: str) -> dict[str, Any]:
    [found] = json.loads(lab.kctl("image", "inspect", name))
    return dict(found)


def unpacked_layers(lab: LabUnderTest) -> set[str]:
    """What the node has on its disk, by the start of the diff id."""
    directory = lab.node_dir("node-1") / "images/layers"
    return {path.name for path in directory.iterdir() if re.fullmatch("[0-9a-f]{24}", path.name)}


def diff_ids_by_skopeo(world: Outside, digest: str, folder: Path) -> list[str]:
    """Of the image that skopeo copies from the registry: the config's, which are those of the layers that came with it."""
    shown = json.loads(world.in_host("skopeo", "inspect", "--tls-verify=false", f"docker://{NAME}:1"))
    assert shown["Digest"] == digest
    copy = ("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false")
    world.in_host(*copy, f"docker://{NAME}@{digest}", f"dir:{folder}")
    body = (folder / "manifest.json").read_bytes()
    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == digest
    manifest = json.loads(body)
    layers = [(folder / item["digest"].removeprefix("sha256:")).read_bytes() for item in manifest["layers"]]
    assert shown["Layers"] == [item["digest"] for item in manifest["layers"]]
    config = json.loads((folder / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes())
    found: list[str] = config["rootfs"]["diff_ids"]
    assert [f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}" for data in layers] == found
    return found


def peers(registry: Registry) -> set[str]:
    """The addresses that the registry's access log has."""
    return set(re.findall(r'^(\S+) - \S+ \[[^]]*\] "[A-Z]+ /v2/', registry.log(), re.MULTILINE))


def test_an_image_that_one_lab_built_and_pushed_runs_by_digest_in_another(
    world: Outside, registry: Registry, tmp_path: Path
) -> None:
    """What arrives is what was built, layer by layer, when the first lab is gone; skopeo reads the same from the registry."""
    with connected(world, "t-builds", tmp_path / "a", image=True) as first:
        digest = built_and_pushed(first, tmp_path / "context")
        built = inspected(first, f"{NAME}:1")
    diff_ids = built["RootFS"]["Layers"]
    assert len(diff_ids) == 3
    assert diff_ids_by_skopeo(world, digest, tmp_path / "copied") == diff_ids
    with connected(world, "t-runs", tmp_path / "b", image=False) as second:
        assert unpacked_layers(second) == set()
        second.apply(pod("greeter", container={"image": f"{NAME}@{digest}", "command": None}, restartPolicy="Never"))
        eventually(lambda: second.get("pod", "greeter")["status"]["phase"] == "Succeeded")
        assert second.kctl("logs", "greeter") == "built with care\n"
        assert digest in second.get("pod", "greeter")["status"]["containerStatuses"][0]["imageID"]
        assert unpacked_layers(second) == {item.removeprefix("sha256:")[:24] for item in diff_ids}
        pulled = inspected(second, f"{NAME}@{digest}")
    assert (pulled["Id"], pulled["RootFS"]["Layers"]) == (built["Id"], diff_ids)
    assert peers(registry) == {HOST}

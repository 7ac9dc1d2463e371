"""The parts of an agent that starts on a disk that cannot be written, while an earlier one left work to be done: eviction and
the node's conditions are to say what is wrong, so it must start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodeagent.building.cache import BuildCache
from nodeagent.control import keys
from nodeagent.control.assignment import Assignment
from nodeagent.control.credentials import Credentials
from nodeagent.images.store import ImageNotFound, ImageStore
from nodeagent.network.reconciler import NetworkReconciler
from pinnace import csr, kinds, pki
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from tests.support import archives
from tests.support.archives import layer
from tests.support.disks import read_only
from tests.support.hosting import FakeNetwork
from tests.support.objects import config_map, make

pytestmark = pytest.mark.root


def test_the_assignment_is_restored(tmp_path: Path) -> None:
    """With what a killed writer left, and a Secret of an earlier version on the disk."""
    disk = tmp_path / "disk"
    objects = disk / "assignment/objects"
    Assignment(disk / "assignment", tmp_path / "secrets").close()
    (objects / ".ConfigMap%default%c.17").touch()
    (objects / "ConfigMap%default%c").write_bytes(config_map("c", {"a": "1"}).SerializeToString())
    (objects / "Secret%default%s").write_bytes(make(kinds.SECRET, "s").SerializeToString())
    with read_only(disk):
        restored = Assignment(disk / "assignment", tmp_path / "secrets")
        restored.restore()
        restored.close()
    assert restored.lookup("ConfigMap", "default", "c") is not None
    assert restored.lookup("Secret", "default", "s") is not None


async def test_images_are_there(tmp_path: Path) -> None:
    """With layers, records and parts that were to be deleted; an image whose layers are missing is not there."""
    disk = tmp_path / "disk"
    store = ImageStore(disk)
    for name in ("whole", "broken"):
        await store.load(archives.docker(tmp_path / f"{name}.tar", layer((name, name))), f"{name}:1")
    store.close()
    broken = store.find("broken:1")
    store._tree.path(broken.layers[0]).rename(disk / "layers/no-image-has-it")
    (disk / "images/.half.json.17").touch()
    (disk / "images/damaged.json").write_text("{")
    (disk / "images/alone.config").touch()
    (disk / "incoming/left").mkdir()
    (disk / "recipes/left.gz").touch()
    with read_only(disk):
        started = ImageStore(disk)
        assert started.find("whole:1").layers
        with pytest.raises(ImageNotFound):
            started.find("broken:1")
        started.close()


def test_the_build_cache_is_there(tmp_path: Path) -> None:
    """Without records that are damaged."""
    (tmp_path / ".half.json.17").touch()
    (tmp_path / "good.json").write_text(json.dumps({"layer": "sha256:1", "created": "2001-01-01T00:00:00Z"}))
    for name, text in (("torn", "{"), ("other", '{"a": 1}'), ("list", "[]")):
        (tmp_path / f"{name}.json").write_text(text)
    with read_only(tmp_path):
        assert BuildCache(tmp_path).layers() == {"sha256:1"}


async def test_the_network_is_set_up(tmp_path: Path) -> None:
    """As the last welcome said, though the next was being written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "welcome.pb").write_bytes(nodes_pb2.Welcome(podCIDR="10.244.1.0/24").SerializeToString())
    (disk / ".welcome.pb.17").touch()
    network = FakeNetwork()
    with read_only(disk):
        reconciler = NetworkReconciler(
            network, disk / "welcome.pb", VirtualClock(), node="n1", peers=list, addresses=list, ranged=lambda: None
        )
        await reconciler.restore()
    assert [node.pod_cidr for node in network.nodes] == ["10.244.1.0/24"]


def test_a_renewal_that_was_cut_short_leaves_a_pair(tmp_path: Path) -> None:
    """The certificate is the new one, and its key is not in its place yet."""
    now, name = 1_700_000_000.0, ("system:node:n1", ("system:nodes",))
    ca, request = pki.new_ca(now), keys.make("n1")
    pem = csr.SigningRequest.parse(request.csr, *name).sign(ca, now=now, lifetime=600.0, uid="u")
    for file, data in (("ca.crt", ca.certificate), ("node.crt", pem), ("node.key", b"old"), ("node.next.key", request.key)):
        (tmp_path / file).write_bytes(data)
    with read_only(tmp_path):
        pair = Credentials(tmp_path).load()
    assert (pair.certificate, pair.key) == (pem, request.key)

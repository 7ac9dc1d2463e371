"""What is mounted into a container, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodeagent.pods.spec.environment import ConfigError
from nodeagent.pods.spec.mounts import mounts_of
from nodeagent.runtime.interface import Mount
from nodeagent.volumes.manager import Volume
from tests.support.objects import container, pod

VOLUMES = {"data": Volume("/v/data"), "conf": Volume("/v/conf", read_only=True), "image": Volume("/v/image", True, False)}


def mounted(*mounts: dict[str, Any], **rest: Any) -> dict[str, Mount]:
    subject = pod("web", container(volumeMounts=[{"name": "data", **mount} for mount in mounts], **rest)).spec.containers[0]
    made = mounts_of(subject, pod_folder=Path("/pod"), message=Path("/b/log"), volumes=VOLUMES, variables={"POD": "web-0"})
    assert [mount.target.count("/") for mount in made] == sorted(mount.target.count("/") for mount in made)
    return {mount.target: mount for mount in made}


def test_every_container_has_the_pods_files() -> None:
    """And a place for its last words, where it says."""
    found = mounted(terminationMessagePath="/tmp/last")
    assert {target: mount.source for target, mount in found.items()} == {
        "/etc/hosts": "/pod/etc-hosts", "/etc/resolv.conf": "/pod/resolv.conf", "/etc/hostname": "/pod/hostname",
        "/tmp/last": "/b/log",
    }  # fmt: skip


@pytest.mark.parametrize(("path", "target"), [("C:/x", "/C:/x"), ("data/logs/", "/data/logs"), ("//a/./b", "/a/b")])
def test_a_mount_path_begins_at_the_root(path: str, target: str) -> None:
    """Relative ones too, and those with a colon, as kubelet makes them absolute."""
    assert mounted({"mountPath": path})[target].source == "/v/data"


def test_a_volume_takes_the_place_of_a_file() -> None:
    """Mounted at its very path; one above it does not hide it."""
    found = mounted({"mountPath": "/etc/hosts", "subPath": "hosts"}, {"mountPath": "/etc"})
    assert found["/etc/hosts"].source == "/v/data"
    assert list(found).index("/etc") < list(found).index("/etc/resolv.conf")


@pytest.mark.parametrize(
    ("mount", "read_only", "recursive"),
    [
        ({}, False, False),
        ({"readOnly": True}, True, False),
        ({"name": "conf"}, True, False),
        ({"readOnly": True, "recursiveReadOnly": "IfPossible"}, True, True),
        ({"readOnly": True, "recursiveReadOnly": "Enabled"}, True, True),
        ({"readOnly": True, "recursiveReadOnly": "Disabled"}, True, False),
    ],
)
def test_mounts_are_read_only_when_they_or_their_volume_say_so(mount: dict[str, Any], read_only: bool, recursive: bool) -> None:
    """ConfigMaps, Secrets and their like always are; what lies below only when asked."""
    found = mounted({"mountPath": "/x", **mount})["/x"]
    assert (found.read_only, found.recursive_read_only) == (read_only, recursive)


def test_paths_propagation_and_ids_are_passed_on() -> None:
    """None is the default; the content of an image cannot be id-mapped."""
    found = mounted(
        {"mountPath": "x/", "subPath": "a/b", "mountPropagation": "HostToContainer"}, {"mountPath": "/y", "name": "image"}
    )
    assert found["/x"] == Mount("/v/data", "/x", sub_path="a/b", propagation="HostToContainer")
    assert found["/y"] == Mount("/v/image", "/y", True, idmap=False)


def test_sub_path_expressions_see_the_variables() -> None:
    """A name without a value holds the container back."""
    assert mounted({"mountPath": "/x", "subPathExpr": "logs/$(POD)"})["/x"].sub_path == "logs/web-0"
    with pytest.raises(ConfigError, match="missing value for NONE"):
        mounted({"mountPath": "/x", "subPathExpr": "$(NONE)"})

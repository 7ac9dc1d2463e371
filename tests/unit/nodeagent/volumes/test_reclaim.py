"""Released local volumes: their data is deleted once nothing uses it, on their own node alone, and never anything else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.changes import Change
from nodeagent.node.pools import InlinePool
from nodeagent.volumes.reclaim import FIRST_RETRY, IN_USE_RETRY, VolumeReclaimer
from pinnace.clock import VirtualClock, settle
from pinnace.wellknown import LOCAL_PATH_PROVISIONER, PROVISIONED_BY, SELECTED_NODE
from tests.support.storage import local_volume


class Node:
    """An agent's reclaimer, with what it reports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.used = False
        self.reports: list[tuple[str, str]] = []
        self.reclaimer = VolumeReclaimer(
            folder, "n1", InlinePool(), self.clock, used=lambda volume: self.used,
            report=lambda volume, error: self.reports.append((volume.metadata.name, error)),
        )  # fmt: skip

    def volume(self, name: str = "pvc-1", *, node: str = "n1", phase: str = "Released", policy: str = "Delete") -> Any:
        """A volume with a file in its directory."""
        annotations = {PROVISIONED_BY: LOCAL_PATH_PROVISIONER, SELECTED_NODE: node}
        meta = {"uid": f"uid-{name}", "annotations": annotations}
        found = local_volume(name, node, meta=meta, persistentVolumeReclaimPolicy=policy)
        found.spec.persistentVolumeSource.local.path = str(self.folder / name)
        found.status.phase = phase
        (self.folder / name / "deep").mkdir(parents=True, exist_ok=True)
        (self.folder / name / "deep" / "file").write_text("data")
        return found

    async def assigned(self, *volumes: Any) -> None:
        self.reclaimer.changed([Change(f"PersistentVolume//{item.metadata.name}", None, item) for item in volumes])
        await settle()


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    found = Node(tmp_path / "volumes")
    yield found
    found.reclaimer.close()
    await asyncio.sleep(0)


async def test_the_data_of_a_released_volume_is_deleted(node: Node) -> None:
    """Links in it lead nowhere. It is reported again when the object comes again: a report may be lost."""
    outside = node.folder.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    volume = node.volume()
    (node.folder / "pvc-1" / "link").symlink_to(outside)
    await node.assigned(volume)
    assert not (node.folder / "pvc-1").exists()
    assert (outside / "kept").exists()
    await node.assigned(volume)
    assert node.reports == [("pvc-1", "")] * 2


@pytest.mark.parametrize("how", [{"node": "n2"}, {"phase": "Bound"}, {"phase": "Available"}, {"policy": "Retain"}])
async def test_no_other_volume_is_touched(node: Node, how: dict[str, str]) -> None:
    """One that is in use, kept, or another node's."""
    await node.assigned(node.volume(**how))
    await node.clock.advance(60)
    assert (node.folder / "pvc-1" / "deep" / "file").exists()
    assert node.reports == []


async def test_a_volume_is_not_deleted_under_a_pod(node: Node) -> None:
    """Whose object may have been removed by force before its containers have ended."""
    node.used = True
    await node.assigned(node.volume())
    await node.clock.advance(IN_USE_RETRY * 3)
    assert (node.folder / "pvc-1").exists()
    node.used = False
    await node.clock.advance(IN_USE_RETRY * 1.01)
    assert node.reports == [("pvc-1", "")]


async def test_only_the_volumes_own_directory_is_deleted(node: Node) -> None:
    """Whatever path the object has; the failure is reported, and tried again."""
    volume = node.volume()
    kept = node.folder.parent / "kept"
    kept.mkdir()
    volume.spec.persistentVolumeSource.local.path = str(kept)
    await node.assigned(volume)
    assert kept.exists()
    assert node.reports == [
        ("pvc-1", f"cannot delete the data of the volume: {kept} is not where this node makes local volumes")
    ]
    await node.clock.advance(FIRST_RETRY * 2)
    assert len(node.reports) == 2


@pytest.mark.parametrize("name", ["..", ".", "", "../kept", "pvc-1/../../kept", "pvc-1/deep"])
async def test_a_name_that_is_a_path_deletes_nothing(node: Node, name: str) -> None:
    """No API server accepts such a name: the control plane is not to be trusted with all directories of the node."""
    kept = node.folder.parent / "kept"
    kept.mkdir()
    node.volume()
    volume = node.volume("pvc-2")
    volume.metadata.name = name
    for path in (f"{node.folder}/{name}", str(node.folder / name)):
        volume.spec.persistentVolumeSource.local.path = path
        await node.assigned(volume)
    assert kept.exists()
    assert (node.folder / "pvc-1" / "deep" / "file").exists()
    assert all("is not where this node makes local volumes" in error for _, error in node.reports)
    assert node.reports


async def test_data_that_an_administrator_keeps_is_not_deleted(node: Node) -> None:
    """By another policy, while a pod was still ending; released again, it is deleted."""
    node.used = True
    await node.assigned(node.volume())
    await node.assigned(node.volume(policy="Retain"))
    node.used = False
    await node.clock.advance(60)
    assert (node.folder / "pvc-1").exists()
    await node.assigned(node.volume())
    assert node.reports == [("pvc-1", "")]


async def test_a_volume_that_left_the_assignment_is_left_alone(node: Node) -> None:
    """As when an administrator removed it while a pod was still ending."""
    node.used = True
    volume = node.volume()
    await node.assigned(volume)
    node.reclaimer.changed([Change("PersistentVolume//pvc-1", volume, None)])
    node.used = False
    await node.clock.advance(60)
    assert (node.folder / "pvc-1").exists()
    assert node.reports == []

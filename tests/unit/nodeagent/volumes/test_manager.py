"""All volumes of a pod on the host: made, repeated, brought up to date, and taken away without a trace."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from nodeagent.linux import rmtree
from nodeagent.volumes import manager
from nodeagent.volumes.content import VolumeError
from nodeagent.volumes.manager import PodVolumes
from pinnace import kinds
from tests.support.objects import config_map, make, pod

pytestmark = pytest.mark.root
FACTS = {"allocatable.memory": "1Gi"}
EVERY = [
    {"name": "disk", "emptyDir": {}},
    {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"name": "conf", "configMap": {"name": "c"}},
    {"name": "secret", "secret": {"secretName": "s"}},
    {"name": "both", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}},
    {"name": "image", "image": {"reference": "data:1"}},
]


class Known(dict[tuple[str, str], Any]):
    """Objects by kind and name, as the agent's lookup has them."""

    def put(self, item: Any) -> None:
        self[item.DESCRIPTOR.name, item.metadata.name] = item

    def __call__(self, kind: str, name: str) -> Any | None:
        return self.get((kind, name))


@pytest.fixture
def known() -> Known:
    found = Known()
    found.put(config_map("c", {"a": "1"}))
    secret = make(kinds.SECRET, "s")
    secret.data["k"] = b"hush"
    found.put(secret)
    return found


def remove(folder: Path) -> None:
    """As the agent does, in turns."""
    manager.unmount(folder)
    rmtree.remove(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    yield tmp_path / "volumes"
    remove(tmp_path / "volumes")


@pytest.fixture
def layers(tmp_path: Path) -> dict[str, tuple[str, ...]]:
    for name, text in (("low", "low"), ("high", "high")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
        (tmp_path / name / name).touch()
    return {"image": (str(tmp_path / "high"), str(tmp_path / "low"))}


def mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(str(folder))]


def test_everything_is_made_and_goes_without_a_trace(folder: Path, known: Known, layers: dict[str, tuple[str, ...]]) -> None:
    """What holds secrets is in memory; what shows objects or an image is read-only; nothing of it is left."""
    subject = pod("web", volumes=EVERY)
    volumes = PodVolumes(folder, known, FACTS)
    made = volumes.prepare(subject, layers)
    assert {name for name, volume in made.items() if volume.read_only} == {"conf", "secret", "both", "image"}
    assert sorted(Path(path).name for path in mounts(folder)) == ["both", "image", "memory", "secret"]
    assert sorted(os.listdir(made["image"].path)) == ["file", "high", "low"]
    assert (folder / "image/file").read_text() == "high"
    assert sorted(name for name in os.listdir(folder / "both") if name[0] != ".") == ["a", "k"]
    (folder / "disk/kept").touch()
    assert volumes.prepare(subject, {}) == made
    assert (folder / "disk/kept").exists()
    assert len(mounts(folder)) == 4
    remove(folder)
    assert (mounts(folder), folder.exists()) == ([], False)
    remove(folder)


def test_mounts_of_volumes_have_neither_setuid_nor_devices(
    folder: Path, known: Known, layers: dict[str, tuple[str, ...]]
) -> None:
    """On the host's side too; an image's content cannot be changed, nor id-mapped as a whole."""
    made = PodVolumes(folder, known, FACTS).prepare(pod("web", volumes=EVERY), layers)
    assert {name: volume.idmap for name, volume in made.items() if not volume.idmap} == {"image": False}
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4].startswith(str(folder)):
            found[Path(fields[4]).name] = {"ro", "rw", "nosuid", "nodev"} & set(fields[5].split(","))
    writable = {"rw", "nosuid", "nodev"}
    assert found == {"both": writable, "memory": writable, "secret": writable, "image": {"ro", "nosuid", "nodev"}}


def test_a_volume_that_was_half_made_is_completed(folder: Path, known: Known) -> None:
    """An agent may be killed between the folder and its mode."""
    (folder / "disk").mkdir(parents=True, mode=0o700)
    subject = pod("web", volumes=EVERY[:2], securityContext={"fsGroup": 4000})
    PodVolumes(folder, known, FACTS).prepare(subject, {})
    for name in ("disk", "memory"):
        status = (folder / name).stat()
        assert (status.st_mode & 0o7777, status.st_gid) == (0o2777, 4000)


def test_what_is_missing_is_named_with_its_volume(folder: Path) -> None:
    """Kubelet's words; nothing is made for such a volume."""
    subject = pod("web", volumes=EVERY[2:3])
    with pytest.raises(VolumeError) as caught:
        PodVolumes(folder, Known(), FACTS).prepare(subject, {})
    assert str(caught.value) == 'MountVolume.SetUp failed for volume "conf" : configmap "c" not found'
    assert not (folder / "conf").exists()


def test_a_refresh_follows_objects_and_keeps_what_has_gone(folder: Path, known: Known) -> None:
    """A ConfigMap that was deleted stays readable in pods that run."""
    subject = pod("web", volumes=EVERY[2:5])
    volumes = PodVolumes(folder, known, FACTS)
    volumes.prepare(subject, {})
    known.put(config_map("c", {"a": "2"}))
    volumes.refresh(subject)
    assert (folder / "conf/a").read_text() == (folder / "both/a").read_text() == "2"
    del known["ConfigMap", "c"]
    volumes.refresh(subject)
    assert (folder / "conf/a").read_text() == (folder / "both/a").read_text() == "2"


def test_only_unmounted_images_are_asked_for(folder: Path, known: Known, layers: dict[str, tuple[str, ...]]) -> None:
    """So that a new agent needs no registry for pods that run."""
    subject = pod("web", volumes=EVERY[5:])
    volumes = PodVolumes(folder, known, FACTS)
    assert {name: source.reference for name, source in volumes.missing_images(subject).items()} == {"image": "data:1"}
    with pytest.raises(VolumeError, match="its image is not on this node"):
        volumes.prepare(subject, {})
    volumes.prepare(subject, layers)
    assert volumes.missing_images(subject) == {}


def test_one_writer_at_a_time(folder: Path, known: Known) -> None:
    """Refreshes from several threads leave one whole set of files."""
    subject = pod("web", volumes=EVERY[2:3])
    volumes = PodVolumes(folder, known, FACTS)
    volumes.prepare(subject, {})

    def work(start: int) -> None:
        for number in range(start, start + 20):
            known.put(config_map("c", {"a": str(number), "b": str(number)}))
            volumes.refresh(subject)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    volumes.refresh(subject)
    assert (folder / "conf/a").read_text() == (folder / "conf/b").read_text() == known("ConfigMap", "c").data["a"]
    assert len([name for name in os.listdir(folder / "conf") if name.startswith("..")]) == 2


def test_what_a_container_mounted_is_unmounted_and_not_deleted(folder: Path, known: Known, tmp_path: Path) -> None:
    """A privileged one may mount a folder of the node into its volume, and the mount may come back to the node."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    PodVolumes(folder, known, FACTS).prepare(pod("web", volumes=EVERY[:2]), {})
    for place in ("disk/a b", "memory/c", "disk/a b"):
        (folder / place).mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", str(kept), str(folder / place)], check=True)
    remove(folder)
    assert ((kept / "file").read_text(), mounts(folder), folder.exists()) == ("x", [], False)

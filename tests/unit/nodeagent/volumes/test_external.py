"""Volumes outside of the pod's directory: what claims lead to, and what is made, mounted and given to a group there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from nodeagent.linux import syscalls
from nodeagent.volumes import external, nfs
from nodeagent.volumes.content import VolumeError
from nodeagent.volumes.external import External
from pinnace import kinds
from pinnace.wellknown import LOCAL_PATH_PROVISIONER, PROVISIONED_BY
from tests.support.objects import pod
from tests.support.storage import claim, local_volume, using, volume

NFS = {"server": "127.0.0.1", "path": "/srv"}


class Objects(dict[tuple[str, str], Any]):
    """As the agent's lookup has them."""

    def put(self, *items: Any) -> Objects:
        for item in items:
            self[item.DESCRIPTOR.name, item.metadata.name] = item
        return self

    def __call__(self, kind: str, name: str) -> Any | None:
        return self.get((kind, name))


def bound(source: Any, **rest: Any) -> Objects:
    """A claim `data` and the volume that it has."""
    wanted = claim("data", volumeName=source.metadata.name, **rest)
    wanted.metadata.uid, wanted.status.phase = "u1", "Bound"
    source.spec.claimRef.namespace, source.spec.claimRef.name, source.spec.claimRef.uid = "default", "data", "u1"
    return Objects().put(wanted, source)


def made(folder: Path, name: str = "pvc-u1") -> Any:
    found = local_volume(name, "n1", meta={"annotations": {PROVISIONED_BY: LOCAL_PATH_PROVISIONER}})
    found.spec.persistentVolumeSource.local.path = str(folder / name)
    return found


def test_a_claim_leads_to_the_source_of_its_volume() -> None:
    """Read-only where the pod or the source is; options of the mount come from the volume."""
    [item] = external.of(using("data"), bound(volume("pv")))
    assert (item.path(Path("/pod")), item.read_only) == ("/data/pv", False)
    reading = using("data")
    reading.spec.volumes[0].volumeSource.persistentVolumeClaim.readOnly = True
    assert external.of(reading, bound(volume("pv")))[0].read_only
    [item] = external.of(using("data"), bound(volume("pv", nfs={**NFS, "readOnly": True}, mountOptions=["vers=4.1"])))
    assert (item.path(Path("/pod")), item.read_only, item.options) == ("/pod/data", True, ("vers=4.1",))
    assert item.owner(Path("/pod"), []) == "server 127.0.0.1"


def _unbound(objects: Objects) -> None:
    objects["PersistentVolumeClaim", "data"].status.phase = "Pending"


def _of_another(objects: Objects) -> None:
    objects["PersistentVolume", "pv"].spec.claimRef.uid = "u2"


def _block(objects: Objects) -> None:
    objects["PersistentVolume", "pv"].spec.volumeMode = "Block"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda objects: objects.clear(), 'error processing PVC default/data: persistentvolumeclaim "data" not found'),
        (lambda objects: objects.pop(("PersistentVolume", "pv")), 'persistentvolume "pv" not found'),
        (_unbound, "error processing PVC default/data: PVC is not bound"),
        (_of_another, 'found PV object "pv" with an unexpected pvcUID "u2", expected "u1"'),
        (_block, "volume data has volumeMode Block"),
    ],
)
def test_a_claim_without_its_volume_is_not_mounted(change: Any, why: str) -> None:
    """The reason is kubelet's, and names the volume."""
    objects = bound(volume("pv"))
    change(objects)
    with pytest.raises(VolumeError) as caught:
        external.of(using("data"), objects)
    assert str(caught.value).startswith('MountVolume.SetUp failed for volume "data" : ')
    assert why in str(caught.value)


def test_a_made_volume_is_a_directory_for_all_users_in_one_of_root(tmp_path: Path) -> None:
    """Whatever the umask; a later pod finds its content and mode as they are."""
    [item] = external.of(using("data"), bound(made(tmp_path / "volumes")))
    old = os.umask(0o077)
    try:
        external.check(item, tmp_path / "pod", tmp_path / "volumes", using("data"))
    finally:
        os.umask(old)
    target = tmp_path / "volumes" / "pvc-u1"
    assert (stat.S_IMODE(target.stat().st_mode), stat.S_IMODE(target.parent.stat().st_mode)) == (0o777, 0o700)
    target.chmod(0o750)
    external.check(item, tmp_path / "pod", tmp_path / "volumes", using("data"))
    assert stat.S_IMODE(target.stat().st_mode) == 0o750


def test_nothing_is_made_outside_of_the_nodes_directory(tmp_path: Path) -> None:
    """Neither at another path, nor through a symlink in place of the volume."""
    [item] = external.of(using("data"), bound(made(tmp_path / "elsewhere")))
    with pytest.raises(VolumeError, match="is not where this node makes local volumes"):
        external.check(item, tmp_path / "pod", tmp_path / "volumes", using("data"))
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(VolumeError, match="does not exist"):
        external.check(External("data", item.source), tmp_path / "pod", tmp_path / "volumes", using("data"))


@pytest.mark.root
def test_a_local_volume_is_given_to_the_group_once(tmp_path: Path) -> None:
    """For each pod; not where it is read-only, and never a hostPath."""
    target = tmp_path / "disk"
    target.mkdir(0o755)
    (target / "file").touch(0o600)
    subject = using("data", securityContext={"fsGroup": 4321})
    source = kinds.PERSISTENT_VOLUME.cls().spec.persistentVolumeSource.local
    source.path = str(target)
    external.check(External("data", source, read_only=True), tmp_path / "pod", None, subject)
    assert target.stat().st_gid == 0
    for _ in range(2):
        external.check(External("data", source), tmp_path / "pod", None, subject)
        assert (target.stat().st_gid, (target / "file").stat().st_gid) == (4321, 4321)
        (target / "file").touch()
    os.chown(target / "file", 0, 0)
    external.check(External("data", source), tmp_path / "pod", None, subject)
    assert (target / "file").stat().st_gid == 0


@pytest.mark.root
@pytest.mark.shows("spec.securityContext.fsGroupChangePolicy")
@pytest.mark.parametrize(("policy", "group"), [("Always", 4321), ("", 4321), ("OnRootMismatch", 0)])
def test_a_later_pod_changes_the_group_by_its_policy(tmp_path: Path, policy: str, group: int) -> None:
    """A local volume outlives its pod: with OnRootMismatch, files below a root that has the group are not changed again."""
    target = tmp_path / "disk"
    target.mkdir(0o755)
    subject = using("data", securityContext={"fsGroup": 4321, "fsGroupChangePolicy": policy})
    source = kinds.PERSISTENT_VOLUME.cls().spec.persistentVolumeSource.local
    source.path = str(target)
    external.check(External("data", source), tmp_path / "first", None, subject)
    assert target.stat().st_gid == 4321
    (target / "file").touch(0o600)
    os.chown(target / "file", 0, 0)
    external.check(External("data", source), tmp_path / "second", None, subject)
    assert (target / "file").stat().st_gid == group


def test_options_of_nfs_are_flags_or_its_own() -> None:
    """What Pinnace sets itself is refused, and so is what would be another mount."""
    assert nfs.parse(["ro,noexec", "vers=4.1", "hard"], read_only=False) == (
        syscalls.MS_RDONLY | syscalls.MS_NOEXEC,
        ("vers=4.1", "hard"),
    )
    assert nfs.parse([], read_only=True)[0] == syscalls.MS_RDONLY
    for option in ("addr=192.0.2.9", "bind", "remount", "a\nb"):
        with pytest.raises(VolumeError, match="is not allowed"):
            nfs.parse([option], read_only=False)


def test_versions_of_nfs_are_tried_from_the_newest() -> None:
    """With this node's address for callbacks in version 4; a version that the options name is the only one."""
    assert list(nfs.attempts(("hard",), "192.0.2.1", "192.0.2.2")) == [
        "vers=4.2,hard,clientaddr=192.0.2.2,addr=192.0.2.1",
        "vers=4.1,hard,clientaddr=192.0.2.2,addr=192.0.2.1",
        "vers=4.0,hard,clientaddr=192.0.2.2,addr=192.0.2.1",
        "vers=3,hard,addr=192.0.2.1",
    ]
    assert list(nfs.attempts(("nfsvers=3",), "192.0.2.1", "192.0.2.2")) == ["nfsvers=3,addr=192.0.2.1"]


@pytest.mark.root
def test_a_kernel_without_nfs_says_so(tmp_path: Path) -> None:
    """The call is made as on any other, and its error names what is missing; with a client, that nothing answers."""
    subject = pod("web", volumes=[{"name": "share", "nfs": {**NFS, "readOnly": True}}])
    [item] = external.of(subject, Objects())
    assert item.read_only
    with pytest.raises(VolumeError) as caught:
        external.check(item, tmp_path, None, subject)
    known = any(line.split()[-1] == "nfs" for line in Path("/proc/filesystems").read_text().splitlines())
    refused = f"mount failed: 127.0.0.1:/srv: {os.strerror(errno.ECONNREFUSED)}"
    assert str(caught.value) == (refused if known else "the kernel of this node has no NFS client (module nfs)")


def test_a_server_without_an_address_is_named(tmp_path: Path) -> None:
    """Before any call."""
    source = kinds.POD.cls().spec.volumes.add().volumeSource.nfs
    source.server, source.path = "no-such-host.invalid", "/srv"
    with pytest.raises(VolumeError, match=r"cannot resolve or reach NFS server no-such-host\.invalid"):
        nfs.mount(tmp_path / "share", source, (), read_only=False)

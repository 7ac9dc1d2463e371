"""What containers see does not depend on the umask of whoever started the agent: every lab's is 077, as in the systemd unit."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives
from tests.support.labs import DEADLINE, ROOT, UMASK, LabUnderTest, pod

pytestmark = pytest.mark.root
USER = 1000
# Mode and owner of a path in a container of a user who is not root.
SEEN = {
    "/": "755 0", "/etc": "755 0", "/etc/hosts": "644 0", "/etc/hostname": "644 0", "/etc/resolv.conf": "644 0",
    "/dev": "755 0", "/dev/shm": "1777 0", "/dev/termination-log": "666 0", "/dev/pts": "755 0",
    "/made/by/workdir": "755 0", "/made": "755 0", "/v": "755 0",
    "/v/map": "755 0", "/v/map/deep": "755 0", "/v/map/deep/er": "755 0", "/v/map/deep/er/key": "644 0",
    "/v/secret": "755 0", "/v/all": "755 0", "/v/all/below": "755 0", "/v/labels": "755 0",
    "/v/empty": "777 0", "/v/memory": "777 0", "/v/sub": "777 0", "/v/sub/sub": "777 0",
    "/v/host": "755 0", "/v/host/in": "755 0", "/v/file": "644 0", "/v/image": "755 0", "/v/image/plain": "755 0",
    "/plain": "755 0", "/plain/file": "644 0",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm,secret", "--all", "--now")


@pytest.fixture(scope="module")
def image(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Busybox, whose archive has no entries for the folders on the way to its files."""
    folder = tmp_path_factory.mktemp("umask")
    base = folder / "base.tar"
    with tarfile.open(base, "w") as tar:
        rootfs = _rootfs(folder)
        for path in rootfs.rglob("*"):
            if not path.is_dir():
                tar.add(path, arcname=str(path.relative_to(rootfs)), filter=_of_root)
    top = archives.layer(("plain/file", "text"))
    lab.kctl("image", "load", str(archives.docker(folder / "image.tar", base.read_bytes(), top, tag="t/umask:1")))
    return "t/umask:1"


def _rootfs(folder: Path) -> Path:
    made = folder / "rootfs"
    subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(made)], check=True, timeout=DEADLINE)
    return made


def _of_root(item: tarfile.TarInfo) -> tarfile.TarInfo:
    item.uid = item.gid = 0
    return item


def volumes(name: str, host: Path) -> dict[str, Any]:
    """Volumes of every kind, and where they are mounted."""
    below = [{"key": "key", "path": "below/key"}]
    sources: dict[str, Any] = {
        "map": {"configMap": {"name": name, "items": [{"key": "key", "path": "deep/er/key"}]}},
        "secret": {"secret": {"secretName": name}},
        "all": {"projected": {"sources": [{"secret": {"name": name, "items": below}}]}},
        "labels": {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        "empty": {"emptyDir": {}}, "memory": {"emptyDir": {"medium": "Memory"}}, "sub": {"emptyDir": {}},
        "host": {"hostPath": {"path": f"{host}/in/made", "type": "DirectoryOrCreate"}},
        "file": {"hostPath": {"path": f"{host}/made", "type": "FileOrCreate"}},
        "image": {"image": {"reference": "t/umask:1", "pullPolicy": "Never"}},
    }  # fmt: skip
    mounts = [{"name": name, "mountPath": f"/v/{name}"} for name in sources if name != "sub"]
    mounts += [{"name": "sub", "mountPath": "/v/sub", "subPath": "a/b"}, {"name": "host", "mountPath": "/v/host/in"}]
    mounts += [{"name": "sub", "mountPath": "/v/sub/sub", "subPath": "a/b/c"}]
    return {
        "volumes": [{"name": name, **source} for name, source in sources.items()],
        "container": {"volumeMounts": mounts, "image": "t/umask:1", "workingDir": "/made/by/workdir"},
    }


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_users_reach_what_is_made_for_their_container(lab: LabUnderTest, image: str, tmp_path: Path, runtime: str) -> None:
    """Its root, volumes of every kind, folders on the way to them, files of the pod, what is copied in."""
    name = f"umask-{runtime}"
    lab.kctl("create", "configmap", name, "--from-literal=key=value")
    lab.kctl("create", "secret", "generic", name, "--from-literal=key=value")
    host = Path(f"/tmp/pnc-{lab.name}-{runtime}")
    more = {} if runtime == "native" else {"runtimeClassName": runtime}
    if more:
        made = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": runtime}, "handler": runtime}
        lab.kctl("apply", "-f", "-", stdin=json.dumps(made))
    try:
        lab.apply(pod(name, securityContext={"runAsUser": USER, "runAsGroup": USER}, **volumes(name, host), **more))
        lab.kctl("wait", f"pod/{name}", "--for=condition=Ready")
        seen = lab.kctl("exec", name, "--", "stat", "-L", "-c", "%n %a %u", *SEEN).splitlines()
        wrong = [line for line in seen if line not in {f"{path} {what}" for path, what in SEEN.items()}]
        assert not wrong
        assert {oct((host / path).stat().st_mode & 0o777) for path in ("in", "in/made")} == {"0o755"}
        assert lab.kctl("exec", name, "--", "sh", "-c", "umask; cat /v/*/key /v/map/deep/er/key") == "0022\nvaluevalue"
    finally:
        shutil.rmtree(host, ignore_errors=True)


def test_files_are_copied_with_their_modes(lab: LabUnderTest, tmp_path: Path) -> None:
    """Into folders that are made on the way too; kctl's umask is as strict."""
    for path, mode in ((tmp_path / "tree", 0o755), (tmp_path / "tree/below", 0o750)):
        path.mkdir()
        path.chmod(mode)
    (tmp_path / "tree/file").write_text("text")
    (tmp_path / "tree/file").chmod(0o644)
    lab.apply(pod("copied", securityContext={"runAsUser": USER}))
    lab.kctl("wait", "pod/copied", "--for=condition=Ready")
    lab.kctl("cp", str(tmp_path / "tree"), "copied:/tmp/tree", umask=UMASK)
    listed = lab.kctl("exec", "copied", "--", "sh", "-c", "cd /tmp; stat -c '%n %a %u' tree tree/file tree/below")
    assert listed.splitlines() == ["tree 755 1000", "tree/file 644 1000", "tree/below 750 1000"]


def test_builds_make_what_every_user_reaches(lab: LabUnderTest, tmp_path: Path) -> None:
    """Folders of WORKDIR and COPY, what a RUN and a heredoc make; kctl's umask is as strict."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "file").chmod(0o644)
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nWORKDIR /w/x\nCOPY file /copied/in/file\nADD file /added/\nRUN umask > /umask && mkdir /ran\n"
    )
    lab.kctl("image", "build", "-t", "t/umask-built", str(tmp_path), umask=UMASK)
    paths = ("/", "/w", "/w/x", "/copied/in", "/copied/in/file", "/added", "/added/file", "/ran", "/umask")
    lab.apply(pod("built", securityContext={"runAsUser": USER}, container={"image": "t/umask-built"}))
    lab.kctl("wait", "pod/built", "--for=condition=Ready")
    modes = lab.kctl("exec", "built", "--", "stat", "-c", "%a", *paths).split()
    assert dict(zip(paths, modes, strict=True)) == {path: "644" if path[-4:] in ("file", "mask") else "755" for path in paths}
    assert lab.kctl("exec", "built", "--", "cat", "/umask") == "0022\n"


def test_what_is_private_stays_so(lab: LabUnderTest) -> None:
    """The node's own folders and files, bundles and assignments among them, are root's alone."""
    lab.kctl("create", "secret", "generic", "private", "--from-literal=key=value")
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "private", "key": "key"}}}]
    lab.apply(pod("private", container={"env": env}))
    lab.kctl("wait", "pod/private", "--for=condition=Ready")
    found = lab.get("pod", "private")
    bundle, node = lab.bundle(found), lab.node_dir(found["spec"]["nodeName"])
    for path in (
        bundle,
        lab.container_config(found),
        node / "pki",
        *(node / "pki").iterdir(),
        *(node / "assignment").iterdir(),
    ):
        assert path.stat().st_mode & 0o077 == 0, path
    for path in (node / "launcher.sock", node / "launcher.lock", bundle / "attach.sock"):
        assert not path.exists() or path.stat().st_mode & 0o077 == 0, path

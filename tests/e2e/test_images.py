"""Images in a real lab: from Debian's docker-registry on a host of the lab, and from archives; what is kept and what goes."""

from __future__ import annotations

import base64
import gzip
import io
import json
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from cli.lab import layout
from tests.support import archives
from tests.support.archives import layer
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.registry import ARCH, Packed, Registry, in_namespace, indexed, packed, push

pytestmark = pytest.mark.root
HOST = f"{layout.SUBNET}.1"
OPEN, PRIVATE, UNLISTED = (f"{HOST}:{port}" for port in (5000, 5001, 5002))
BASIC = "Basic " + base64.b64encode(b"user:secret").decode()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    agents = (
        f"--insecure-registry={OPEN}", f"--insecure-registry={PRIVATE}", f"--registry-mirror=reg.example=http://{OPEN}",
        "--backoff=0.5", "--max-backoff=2",
    )  # fmt: skip
    with running("t-images", tmp_path_factory.mktemp("images"), nodes=2, image=False, agent=agents) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm,secret", "--all", "--now")
    lab.kctl("image", "prune", "--all")


class LabRegistry:
    """A docker-registry on the lab's control host."""

    def __init__(self, lab: LabUnderTest, folder: Path, address: str, *, auth: bool = False) -> None:
        self._namespace = layout.load(lab.record["name"]).namespace(layout.CONTROL, "net")
        self._headers = {"Authorization": BASIC} if auth else {}
        self.registry = Registry(folder, address, words=("nsenter", f"--net={self._namespace}"), auth=auth)
        self.registry.start(self._answers)

    def _answers(self) -> bool:
        host, _, port = self.registry.address.rpartition(":")
        try:
            in_namespace(self._namespace, lambda: socket.create_connection((host, int(port)), 1).close())
        except AssertionError:
            return False
        return True

    def push(self, repository: str, image: Packed, tag: str = "1") -> str:
        """Returns the name to pull it by."""
        address = self.registry.address
        in_namespace(self._namespace, lambda: push(address, repository, image, tag=tag, headers=self._headers))
        return f"{address}/{repository}:{tag}"

    def blobs_asked(self, repository: str) -> list[str]:
        lines = self.registry.log().splitlines()
        return [line.split('"GET ')[1].split()[0] for line in lines if f'"GET /v2/{repository}/blobs/' in line]


@pytest.fixture(scope="module")
def registry(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRegistry]:
    found = LabRegistry(lab, tmp_path_factory.mktemp("registry"), OPEN)
    yield found
    found.registry.stop()


@pytest.fixture(scope="module")
def private(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRegistry]:
    found = LabRegistry(lab, tmp_path_factory.mktemp("private"), PRIVATE, auth=True)
    yield found
    found.registry.stop()


def busybox_layer() -> bytes:
    """A root file system of busybox alone."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("bin/busybox")
        data = Path("/bin/busybox").read_bytes()
        info.size, info.mode = len(data), 0o755
        tar.addfile(info, io.BytesIO(data))
        for name in ("sh", "sleep", "cat", "echo"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()


BUSYBOX = busybox_layer()


def motd(text: str, **more: Any) -> Packed:
    return packed(BUSYBOX, layer(("etc/motd", text)), Cmd=["cat", "/etc/motd"], **more)


def says(lab: LabUnderTest, name: str, image: str, **spec: Any) -> str:
    """What a pod of the image prints with the image's own command."""
    lab.apply(once(name, image, **spec))
    eventually(lambda: lab.get("pod", name)["status"]["phase"] == "Succeeded")
    return lab.kctl("logs", name)


def once(name: str, image: str, **spec: Any) -> dict[str, Any]:
    manifest = pod(name, **{"restartPolicy": "Never", **spec})
    container = manifest["spec"]["containers"][0]
    del container["command"], container["imagePullPolicy"]
    container["image"] = image
    return manifest


def waiting(lab: LabUnderTest, name: str, reason: str) -> Callable[[], str]:
    """Its message, once a container waits for that reason."""

    def check() -> str:
        state = lab.get("pod", name)["status"]["containerStatuses"][0]["state"]["waiting"]
        assert state["reason"] == reason, state
        return str(state["message"])

    return check


def test_pods_run_from_a_registry(lab: LabUnderTest, registry: LabRegistry) -> None:
    """By tag, by digest, of an index, in zstd and by the name of a mirror; events and status are kubelet's."""
    name = registry.push("team/app", motd("by tag"))
    assert says(lab, "tag", name) == "by tag"
    described = lab.kctl("describe", "pod", "tag")
    assert f'Pulling image "{name}"' in described
    assert f'Successfully pulled image "{name}" in ' in described
    image = motd("by digest")
    registry.push("pinned", image)
    pinned = f"{OPEN}/pinned@{image.digest}"
    assert says(lab, "digest", pinned) == "by digest"
    assert lab.get("pod", "digest")["status"]["containerStatuses"][0]["imageID"] == pinned
    many = indexed(**{"s390x": motd("foreign"), ARCH: motd("mine")})
    assert says(lab, "index", registry.push("many", many)) == "mine"
    squeezed = motd("squeezed", compress=zstandard.ZstdCompressor().compress, kind="zstd")
    assert says(lab, "zstd", registry.push("squeezed", squeezed)) == "squeezed"
    registry.push("mirrored", motd("by mirror"))
    assert says(lab, "mirror", "reg.example/mirrored:1") == "by mirror"


def test_an_image_with_an_empty_layer_twice_runs(lab: LabUnderTest, registry: LabRegistry, tmp_path: Path) -> None:
    """Pulled and loaded, as a container's root and as an image volume."""
    layers = (layer(), BUSYBOX, layer(), layer(("etc/motd", "twice")), layer())
    assert says(lab, "pulled", registry.push("twice", packed(*layers, Cmd=["cat", "/etc/motd"]))) == "twice"
    archive = archives.docker(tmp_path / "a.tar", *layers, tag="t/twice:1")
    lab.kctl("image", "load", str(archive))
    volume = {"name": "data", "image": {"reference": "t/twice:1"}}
    manifest = once("loaded", "t/twice:1", volumes=[volume])
    manifest["spec"]["containers"][0] |= {"command": ["cat", "/etc/motd", "/data/etc/motd"]}
    manifest["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    lab.apply(manifest)
    eventually(lambda: lab.get("pod", "loaded")["status"]["phase"] == "Succeeded")
    assert lab.kctl("logs", "loaded") == "twicetwice"


def test_a_hostile_layer_is_an_error_of_its_image_alone(lab: LabUnderTest, registry: LabRegistry, tmp_path: Path) -> None:
    """600 MB of an extended header, a whiteout of the parent, half a character: each is refused by layer and member, pulled and
    loaded, and the agent is as large as before."""
    header = tarfile.TarInfo("././@PaxHeader")
    header.size, header.type = 600 << 20, tarfile.XHDTYPE
    long_header = gzip.compress(header.tobuf(tarfile.GNU_FORMAT)) + gzip.compress(bytes(1 << 20)) * 600
    image = packed(header.tobuf(tarfile.GNU_FORMAT), compress=lambda _: long_header)
    before = resident(lab, "node-1")
    lab.apply(once("header", registry.push("header", image), nodeName="node-1"))
    assert "an extended header" in eventually(waiting(lab, "header", "ErrImagePull"))
    outside = packed(BUSYBOX, layer(("etc/.wh...", "")))
    lab.apply(once("outside", registry.push("outside", outside), nodeName="node-1"))
    assert "'etc/.wh...': a whiteout of '..'" in eventually(waiting(lab, "outside", "ErrImagePull"))
    half = packed(BUSYBOX, Env=["A=\ud800"])
    lab.apply(once("half", registry.push("half", half), nodeName="node-1"))
    assert "config.Env[0] is not Unicode text" in eventually(waiting(lab, "half", "ErrImagePull"))
    refused = lab.run("image", "load", str(archives.docker(tmp_path / "a.tar", BUSYBOX, layer((".wh..", "")), tag="t/evil:1")))
    assert "'.wh..': a whiteout of '.'" in refused.stderr.decode()
    assert resident(lab, "node-1") < before + (24 << 10)
    assert says(lab, "after", registry.push("after", motd("well"))) == "well"


def test_an_image_is_saved_shown_and_loaded_again(lab: LabUnderTest, registry: LabRegistry, tmp_path: Path) -> None:
    """Pulled on one node, saved from there, and loaded under the same id on the other; its layer has a file twice."""
    twice = layer(("etc/motd", "replaced"), ("etc/motd", "saved"))
    name = registry.push("saved", packed(BUSYBOX, twice, Cmd=["cat", "/etc/motd"]))
    lab.kctl("image", "pull", name, "--node", "node-1")
    [shown] = json.loads(lab.kctl("image", "inspect", name))
    assert shown["RepoTags"] == [name]
    assert shown["Config"]["Cmd"] == ["cat", "/etc/motd"]
    assert "no history" in lab.kctl("image", "history", name)
    lab.kctl("image", "save", name, "-o", str(tmp_path / "saved.tar"))
    lab.kctl("image", "load", str(tmp_path / "saved.tar"), "--name", "t/saved:1", "--node", "node-2")
    assert json.loads(lab.kctl("image", "inspect", "t/saved:1", "--node", "node-2"))[0]["Id"] == shown["Id"]
    assert says(lab, "saved", "t/saved:1", nodeName="node-2") == "saved"
    assert "is on no node" in lab.run("image", "save", "none:1", "-o", str(tmp_path / "none")).stderr.decode()
    assert not list(tmp_path.glob("*none*"))


def test_an_image_that_is_built_here_is_pushed_and_pulled_by_digest(
    lab: LabUnderTest, registry: LabRegistry, private: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built on one node, pushed under two tags and to a private registry, forgotten, and run by digest on the other node."""
    registry.push("base", motd("base"))
    (tmp_path / "Dockerfile").write_text(f"FROM {OPEN}/base:1\nRUN echo built > /etc/motd\n")
    lab.kctl("image", "build", "--node", "node-1", "-t", "t/mine:1", str(tmp_path))
    lab.kctl("image", "tag", "t/mine:1", f"{OPEN}/team/mine:1")
    said = lab.kctl("image", "push", f"{OPEN}/team/mine:1", f"{OPEN}/team/mine:1", f"{OPEN}/other/mine:2")
    assert f"image {OPEN}/other/mine:2 pushed from node-1, digest sha256:" in said
    digest = said.split("digest ")[1].split()[0]
    assert lab.run("image", "push", "t/mine:1", f"{PRIVATE}/mine:1").returncode == 1
    lab.kctl("create", "secret", "docker-registry", "push", f"--docker-server={PRIVATE}", "--docker-username=user",
             "--docker-password=secret")  # fmt: skip
    assert digest in lab.kctl("image", "push", "t/mine:1", f"{PRIVATE}/mine:1", "--secret", "push")
    # Without a secret of the cluster, the credentials of this machine's user.
    auths = {PRIVATE: {"auth": base64.b64encode(b"user:secret").decode()}}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setitem(lab.environment, "REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert digest in lab.kctl("image", "push", "t/mine:1", f"{PRIVATE}/mine:2")
    lab.kctl("image", "prune", "--all")
    assert says(lab, "pushed", f"{OPEN}/team/mine@{digest}", nodeName="node-2") == "built\n"
    assert "is on no node" in lab.run("image", "push", "none:1").stderr.decode()


def resident(lab: LabUnderTest, node: str) -> int:
    """KiB of memory of a node's agent, at the most."""
    return int(Path(f"/proc/{lab.pid(node)}/status").read_text().split("VmHWM:")[1].split()[0])


@pytest.mark.shows("spec.containers[].imagePullPolicy", "spec.initContainers[].imagePullPolicy")
def test_the_pull_policy_decides_what_runs_when_a_tag_moves(lab: LabUnderTest, registry: LabRegistry) -> None:
    """IfNotPresent the copy that is here, Always the registry's, Never only what is here."""
    name = registry.push("moves", motd("old"))
    assert says(lab, "first", name, nodeName="node-1") == "old"
    registry.push("moves", motd("new"))
    kept = once("kept", name, nodeName="node-1")
    kept["spec"]["initContainers"] = [{"name": "init", "image": name, "imagePullPolicy": "IfNotPresent"}]
    kept["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    lab.apply(kept)
    eventually(lambda: lab.get("pod", "kept")["status"]["phase"] == "Succeeded")
    assert lab.kctl("logs", "kept", "-c", "init") == "old"
    assert lab.kctl("logs", "kept", "-c", "main") == "new"
    never = once("never", f"{OPEN}/nothing:1")
    never["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    lab.apply(never)
    assert "pull policy of Never" in eventually(waiting(lab, "never", "ErrImageNeverPull"))


@pytest.mark.shows("spec.volumes[].image.{reference,pullPolicy}")
def test_an_image_volume_is_pulled_and_held(lab: LabUnderTest, registry: LabRegistry) -> None:
    """Its files are in the container, and stay when the name has moved to another image and everything unused goes."""
    shell = registry.push("shell", packed(BUSYBOX, Cmd=["sleep", "1000"]))
    data = registry.push("data", packed(layer(("file", "from an image"))))
    manifest = once("reader", shell, nodeName="node-1", terminationGracePeriodSeconds=0)
    manifest["spec"]["volumes"] = [{"name": "data", "image": {"reference": data, "pullPolicy": "Always"}}]
    manifest["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    lab.apply(manifest)
    lab.kctl("wait", "pod/reader", "--for=condition=Ready")
    registry.push("data", packed(layer(("file", "another"))))
    lab.kctl("image", "pull", data, "--node", "node-1")
    lab.kctl("image", "prune", "--all")
    assert lab.kctl("exec", "reader", "--", "cat", "/data/file") == "from an image"


def test_pods_at_once_download_once(lab: LabUnderTest, registry: LabRegistry) -> None:
    """Six on one node: one transfer of the layer that is new."""
    image = packed(BUSYBOX, layer(("etc/motd", "shared"), ("filler", "x" * 300_000)), Cmd=["cat", "/etc/motd"])
    name = registry.push("shared", image)
    names = [f"p{number}" for number in range(6)]
    lab.apply(*(once(item, name, nodeName="node-1") for item in names))
    eventually(lambda: all(lab.get("pod", item)["status"]["phase"] == "Succeeded" for item in names))
    newest = list(image.blobs)[-1]
    assert sum(newest in path for path in registry.blobs_asked("shared")) == 1


@pytest.mark.shows("spec.imagePullSecrets[].name")
def test_a_private_image_and_its_secret(lab: LabUnderTest, private: LabRegistry) -> None:
    """A wrong secret is ErrImagePull, then ImagePullBackOff; mended, the pod runs. The password is in no log."""
    name = private.push("secret/app", motd("private"))
    lab.apply(pull_secret("hunter2"), once("private", name, imagePullSecrets=[{"name": "pull"}]))
    message = eventually(waiting(lab, "private", "ImagePullBackOff"))
    assert message.startswith(f'Back-off pulling image "{name}": ErrImagePull: ')
    assert "access denied (401)" in message
    assert "Error: ErrImagePull" in lab.kctl("describe", "pod", "private")
    lab.apply(pull_secret("secret"))
    eventually(lambda: lab.get("pod", "private")["status"]["phase"] == "Succeeded")
    for node in ("node-1", "node-2"):
        log = layout.load(lab.record["name"]).log(node).read_text()
        assert "hunter2" not in log
        assert BASIC.split()[1] not in log
    words = ("--docker-username=user", "--docker-password=secret", f"--docker-server={PRIVATE}")
    lab.kctl("create", "secret", "docker-registry", "made", *words)
    assert f"image {name} pulled on node-1, node-2" in lab.kctl("image", "pull", name, "--secret", "made")
    assert b"access denied (401)" in lab.run("image", "pull", name).stderr


def pull_secret(password: str) -> dict[str, Any]:
    auths = {"auths": {f"{PRIVATE}/secret": {"username": "user", "password": password}}}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()},
    }  # fmt: skip


def test_a_failing_pull_holds_up_no_other_container(lab: LabUnderTest, registry: LabRegistry) -> None:
    """One container runs while the other's image cannot be had; with a registry that is not listed the message says how."""
    name = registry.push("fine", packed(BUSYBOX, Cmd=["sleep", "1000"]))
    manifest = once("half", f"{UNLISTED}/app:1", restartPolicy="Always", terminationGracePeriodSeconds=0)
    manifest["spec"]["containers"].append({"name": "fine", "image": name})
    lab.apply(manifest)

    def fine_runs() -> bool:
        states = {item["name"]: item["state"] for item in lab.get("pod", "half")["status"]["containerStatuses"]}
        return "running" in states["fine"] and states["main"]["waiting"]["reason"] != "ContainerCreating"

    eventually(fine_runs)
    lab.kctl("delete", "pod", "half", "--timeout=20s")


def test_a_registry_that_is_not_listed_must_speak_https(lab: LabUnderTest, registry: LabRegistry, tmp_path: Path) -> None:
    """Plain HTTP is refused, and the flag that would allow it is named."""
    unlisted = LabRegistry(lab, tmp_path, UNLISTED)
    try:
        name = unlisted.push("app", motd("never"))
        lab.apply(once("plain", name))
        message = eventually(waiting(lab, "plain", "ImagePullBackOff"))
        assert f"--insecure-registry {UNLISTED}" in message
    finally:
        unlisted.registry.stop()


def test_load_sends_only_what_a_node_lacks(lab: LabUnderTest, tmp_path: Path) -> None:
    """The second image shares its base; again, nothing; and with one node behind, what that one lacks."""
    top = layer(("etc/motd", "x" * 10_000))
    first = archives.docker(tmp_path / "first.tar", BUSYBOX, tag="loads:1")
    second = archives.oci(tmp_path / "second.tar", BUSYBOX, top, name="loads:2")
    said = lab.kctl("image", "load", str(first), "--node", "node-1")
    assert said == f"image loads:1 loaded on node-1\nsent 1 layers, {len(BUSYBOX) / 1e6:.3g}MB\n"
    said = lab.kctl("image", "load", str(second), "--node", "node-1")
    assert "sent 1 layers" in said
    assert "MB" not in said
    assert "every layer was there already" in lab.kctl("image", "load", str(second), "--node", "node-1")
    assert "sent 2 layers" in lab.kctl("image", "load", str(second))
    listed = lab.kctl("image", "list").splitlines()
    assert any(line.startswith("loads:2") and line.endswith("node-1,node-2") for line in listed)
    assert any(line.startswith("loads:1") and line.endswith("node-1") for line in listed)


@pytest.mark.parametrize("form", ["oci folder", "docker.tar.gz", "rootfs.tar", "rootfs.tar.gz", "rootfs folder"])
@pytest.mark.shows("spec.containers[].imagePullPolicy")
def test_every_form_of_archive_is_loaded(lab: LabUnderTest, tmp_path: Path, form: str) -> None:
    """Folders and compressed archives too; `Always` takes a loaded image as it is."""
    import gzip

    path, name = tmp_path / "image", f"formed:{form.replace(' ', '-').lower()}"
    match form:
        case "oci folder":
            with tarfile.open(archives.oci(tmp_path / "a.tar", BUSYBOX, name="")) as tar:
                tar.extractall(path, filter="data")
        case "docker.tar.gz":
            path.write_bytes(gzip.compress(archives.docker(tmp_path / "a.tar", BUSYBOX, tag="").read_bytes()))
        case "rootfs folder":
            with tarfile.open(fileobj=io.BytesIO(BUSYBOX)) as tar:
                tar.extractall(path, filter="data")
        case _:
            path.write_bytes(gzip.compress(BUSYBOX) if form.endswith("gz") else BUSYBOX)
    assert f"image {name} loaded on node-1, node-2" in lab.kctl("image", "load", str(path), "--name", name)
    assert "already there" in lab.kctl("image", "load", str(path), "--name", name).replace("there already", "already there")
    lab.apply(pod("formed", "echo", "hello", container={"image": name, "imagePullPolicy": "Always"}, restartPolicy="Never"))
    eventually(lambda: lab.get("pod", "formed")["status"]["phase"] == "Succeeded")


def test_an_archive_that_is_none_is_refused_here(lab: LabUnderTest, tmp_path: Path) -> None:
    """Before any node hears of it, in one line."""
    for name, data in (("text", b"hello" * 1000), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        result = lab.run("image", "load", str(tmp_path / name), "--name", "x:1")
        assert result.returncode == 1
        assert result.stderr.count(b"\n") == 1
        assert b"not a usable image" in result.stderr
    evil = archives.docker(tmp_path / "evil.tar", layer(("../../evil", "x")))
    result = lab.run("image", "load", str(evil))
    assert b"its path leads out of the layer" in result.stderr
    assert lab.kctl("image", "list").count("\n") == 1


def test_rm_and_prune_leave_what_is_in_use(lab: LabUnderTest, tmp_path: Path) -> None:
    """Refused with the pod's name; once the pod is gone it goes, and the space with it."""
    path = archives.docker(tmp_path / "a.tar", BUSYBOX, tag="held:1")
    lab.kctl("image", "load", str(path))
    lab.apply(
        pod(
            "holder",
            container={"image": "held:1", "command": ["sleep", "1000"]},
            nodeName="node-1",
            terminationGracePeriodSeconds=0,
        )
    )
    lab.kctl("wait", "pod/holder", "--for=condition=Ready")
    result = lab.run("image", "rm", "held:1")
    assert result.returncode == 1
    assert b'node node-1: image "held:1" is in use by pod default/holder' in result.stderr
    lab.kctl("image", "prune", "--all")
    assert lab.kctl("exec", "holder", "--", "echo", "alive") == "alive\n"
    assert "node-1" in lab.kctl("image", "list")
    lab.kctl("delete", "pod", "holder", "--timeout=20s")
    assert "image held:1 removed on node-1" in lab.kctl("image", "rm", "held:1")
    folder = lab.node_dir("node-1") / "images"
    assert not any((folder / "layers").iterdir())
    assert b"is not on this node" in lab.run("image", "rm", "held:1").stderr


def test_a_container_holds_its_image_when_the_name_has_moved(lab: LabUnderTest, tmp_path: Path) -> None:
    """Another image is loaded under the name, and everything unused goes: what runs goes on, and can read all its files."""
    lab.kctl("image", "load", str(archives.docker(tmp_path / "a.tar", BUSYBOX, layer(("file", "first")), tag="moved:1")))
    container = {"image": "moved:1", "command": ["sleep", "1000"]}
    lab.apply(pod("holder", container=container, nodeName="node-1", terminationGracePeriodSeconds=0))
    lab.kctl("wait", "pod/holder", "--for=condition=Ready")
    lab.kctl("image", "load", str(archives.docker(tmp_path / "b.tar", layer(("file", "second")), tag="moved:1")))
    lab.kctl("image", "prune", "--all")
    assert lab.kctl("exec", "holder", "--", "cat", "/file") == "first"
    lab.kill("node-1")
    lab.start_agent("node-1")
    eventually(lambda: lab.run("image", "prune", "--all").returncode == 0)
    assert lab.kctl("exec", "holder", "--", "cat", "/file") == "first"


def test_pulls_go_on_over_a_killed_agent(lab: LabUnderTest, registry: LabRegistry) -> None:
    """kill -9 in the middle of a pull: the agent that comes back finishes it, and nothing half done is left."""
    import random

    filler = random.Random(1).randbytes(60_000_000)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("filler")
        info.size = len(filler)
        tar.addfile(info, io.BytesIO(filler))
    name = registry.push("large", packed(BUSYBOX, out.getvalue(), compress=bytes, kind="", Cmd=["sleep", "1000"]))
    lab.apply(once("large", name, nodeName="node-2", restartPolicy="Always", terminationGracePeriodSeconds=0))
    folder = lab.node_dir("node-2") / "images"
    eventually(lambda: any((folder / "partial").iterdir()), every=0.002)
    lab.kill("node-2")
    lab.start_agent("node-2")
    lab.kctl("wait", "pod/large", "--for=condition=Ready", "--timeout=60s")
    assert not list((folder / "partial").iterdir())
    assert not list((folder / "incoming").iterdir())


def test_a_full_disk_takes_what_no_pod_uses(tmp_path: Path) -> None:
    """With a threshold that any disk is above, the agent by itself removes all images but the one that runs."""
    agents = ("--image-gc-high=0.001", "--image-gc-low=0.001", "--image-gc-min-age=0", "--image-gc-period=1")
    with running("t-imagegc", tmp_path, nodes=1, image=False, agent=agents) as lab:
        path = archives.docker(tmp_path / "a.tar", BUSYBOX, tag="held:1")
        holder = pod("holder", container={"image": "held:1", "command": ["sleep", "1000"]}, terminationGracePeriodSeconds=0)
        lab.apply(holder)
        lab.kctl("image", "load", str(path))
        lab.kctl("wait", "pod/holder", "--for=condition=Ready")
        lab.kctl("image", "load", str(archives.docker(tmp_path / "b.tar", BUSYBOX, layer(("big", "x")), tag="idle:1")))
        eventually(lambda: "idle:1" not in lab.kctl("image", "list"))
        assert "held:1" in lab.kctl("image", "list")
        assert lab.kctl("exec", "holder", "--", "echo", "alive") == "alive\n"
        assert len(list((lab.node_dir("node-1") / "images/layers").iterdir())) == 1


def test_a_build_pulls_its_base_and_takes_it_to_the_other_nodes(
    lab: LabUnderTest, registry: LabRegistry, private: LabRegistry, tmp_path: Path
) -> None:
    """From two registries, one of which wants a password; the node that has neither image runs the result."""
    base, tools = registry.push("build/base", motd("base")), private.push("secret/tools", motd("tools"))
    lab.apply(pull_secret("secret"))
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nCOPY --from={tools} /etc/motd /etc/tools\nCMD cat /etc/motd /etc/tools\n"
    )
    refused = lab.run("image", "build", "--node", "node-1", "-t", "t/pulled", str(tmp_path))
    assert b"Dockerfile:2: COPY --from" in refused.stderr
    said = lab.kctl("image", "build", "--node", "node-1", "-t", "t/pulled", "--secret", "pull", str(tmp_path))
    assert "and now on node-1, node-2" in said
    assert says(lab, "pulled", "t/pulled", nodeSelector={"kubernetes.io/hostname": "node-2"}) == "basetools"


def test_a_build_takes_the_base_of_the_registry_when_asked_to(lab: LabUnderTest, registry: LabRegistry, tmp_path: Path) -> None:
    """Without --pull, an image of that name on the node serves."""
    base = registry.push("build/moving", motd("old"))
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN echo from-$(cat /etc/motd)\n")
    build = ("image", "build", "--node", "node-1", "-t", "t/moving", str(tmp_path))
    assert "\nfrom-old\n" in lab.kctl(*build)
    registry.push("build/moving", motd("new"))
    assert "CACHED" in lab.kctl(*build)
    assert "\nfrom-new\n" in lab.kctl(*build, "--pull")

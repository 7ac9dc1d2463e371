"""Volumes as containers see them: what is in them, whose it is, and what happens when it changes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.lab import hosts, layout
from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm,secret", "--all", "--now")


def ready(lab: LabUnderTest, manifest: dict[str, Any]) -> str:
    """Apply and wait; returns the name."""
    name = str(manifest["metadata"]["name"])
    lab.apply(manifest)
    lab.kctl("wait", f"pod/{name}", "--for=condition=Ready")
    return name


def inside(lab: LabUnderTest, name: str, script: str) -> str:
    return lab.kctl("exec", name, "--", "sh", "-c", script)


def change(lab: LabUnderTest, kind: str, name: str, patch: dict[str, Any]) -> None:
    lab.kctl("patch", kind, name, "--type=merge", "-p", json.dumps(patch))


def mounting(name: str, *volumes: dict[str, Any], mounts: list[dict[str, Any]] | None = None, **rest: Any) -> dict[str, Any]:
    """A pod whose container has every volume at /NAME, or the mounts that are said."""
    own = rest.pop("container", {})
    own["volumeMounts"] = mounts or [{"name": item["name"], "mountPath": f"/{item['name']}"} for item in volumes]
    return pod(name, container=own, volumes=list(volumes), **rest)


FIELDS = [
    {"path": "meta/labels", "fieldRef": {"fieldPath": "metadata.labels"}},
    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 0o400},
    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
]


@pytest.mark.shows("spec.volumes[].projected.defaultMode")
@pytest.mark.shows("spec.volumes[].projected.sources[].configMap.name", "spec.volumes[].projected.sources[].secret.name")
@pytest.mark.shows("spec.volumes[].projected.sources[].{configMap,secret}.items[].{key,path,mode}")
@pytest.mark.shows("spec.volumes[].projected.sources[].downwardAPI.items[].{path,mode}")
@pytest.mark.shows("spec.volumes[].projected.sources[].downwardAPI.items[].fieldRef.{fieldPath,apiVersion}")
def test_a_projected_volume_is_one_folder_that_follows_its_sources(lab: LabUnderTest) -> None:
    """A ConfigMap, a Secret and fields of the pod side by side, in memory; each change arrives, all files at once."""
    lab.kctl("create", "configmap", "conf", "--from-literal=a=one", "--from-literal=b=two")
    lab.kctl("create", "secret", "generic", "cert", "--from-literal=key=hush")
    sources = [
        {"configMap": {"name": "conf"}},
        {"secret": {"name": "cert", "items": [{"key": "key", "path": "tls/key", "mode": 0o400}]}},
        {"downwardAPI": {"items": FIELDS}},
    ]
    manifest = mounting("all", {"name": "v", "projected": {"sources": sources, "defaultMode": 0o440}})
    manifest["metadata"]["labels"] = {"tier": "a", "app": "x"}
    manifest["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "250m"}}
    name = ready(lab, manifest)
    assert inside(lab, name, "cd /v; cat a b tls/key name cpu; echo; cat meta/labels") == 'onetwohushall250\napp="x"\ntier="a"'
    assert inside(lab, name, "cd /v; stat -Lc %a a tls/key name meta/labels") == "440\n400\n400\n440\n"
    assert " /v tmpfs " in inside(lab, name, "cat /proc/mounts")
    assert lab.run("exec", name, "--", "touch", "/v/x").returncode == 1
    change(lab, "pod", name, {"metadata": {"labels": {"tier": "b", "more": "1"}}})
    eventually(lambda: inside(lab, name, "cat /v/meta/labels") == 'app="x"\nmore="1"\ntier="b"')
    change(lab, "configmap", "conf", {"data": {"a": "three", "b": None, "c": "new"}})
    eventually(lambda: inside(lab, name, "cd /v; cat a c; ls") == "threenewa\nc\ncpu\nmeta\nname\ntls\n")


@pytest.mark.shows("spec.volumes[].downwardAPI.defaultMode", "spec.volumes[].downwardAPI.items[].{path,mode}")
@pytest.mark.shows("spec.volumes[].downwardAPI.items[].fieldRef.fieldPath")
@pytest.mark.shows("spec.volumes[].downwardAPI.items[].resourceFieldRef.{containerName,resource,divisor}")
def test_fields_of_the_pod_are_files_that_follow_it(lab: LabUnderTest) -> None:
    """Annotations on one line each whatever is in them, single ones as they are, and new ones without a restart."""
    items = [
        *FIELDS,
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
    ]
    manifest = mounting("self", {"name": "v", "downwardAPI": {"items": items, "defaultMode": 0o444}})
    manifest["metadata"]["annotations"] = {"note": 'two\nlines "quoted"'}
    name = ready(lab, manifest)
    assert inside(lab, name, "cat /v/note") == 'two\nlines "quoted"'
    assert 'note="two\\nlines \\"quoted\\""' in inside(lab, name, "cat /v/annotations").splitlines()
    assert int(inside(lab, name, "cat /v/cpu")) >= 1000
    assert inside(lab, name, "stat -Lc %a /v/note /v/name") == "444\n400\n"
    before = lab.get("pod", name)["status"]["containerStatuses"][0]["restartCount"]
    change(lab, "pod", name, {"metadata": {"annotations": {"note": "changed"}}})
    eventually(lambda: inside(lab, name, "cat /v/note") == "changed")
    assert lab.get("pod", name)["status"]["containerStatuses"][0]["restartCount"] == before


def test_a_missing_source_holds_the_pod_back_and_an_optional_one_does_not(lab: LabUnderTest) -> None:
    """The event is kubelet's; what is optional appears once it is there."""
    sources = [{"configMap": {"name": "late"}}, {"secret": {"name": "maybe", "optional": True}}]
    lab.apply(mounting("waits", {"name": "v", "projected": {"sources": sources}}))
    expected = 'MountVolume.SetUp failed for volume "v" : configmap "late" not found'
    eventually(lambda: expected in lab.kctl("describe", "pod", "waits"))
    lab.kctl("create", "configmap", "late", "--from-literal=a=1")
    lab.kctl("wait", "pod/waits", "--for=condition=Ready")
    assert inside(lab, "waits", "ls /v") == "a\n"
    lab.kctl("create", "secret", "generic", "maybe", "--from-literal=s=2")
    eventually(lambda: inside(lab, "waits", "ls /v") == "a\ns\n")


@pytest.mark.shows("spec.securityContext.{fsGroup,runAsUser,runAsGroup,supplementalGroups}")
def test_volumes_belong_to_the_fs_group(lab: LabUnderTest) -> None:
    """A program that is not root writes to its emptyDir, reads its Secret, and what it makes is the group's."""
    lab.kctl("create", "secret", "generic", "cert", "--from-literal=key=hush")
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "mode": 0o700}},
        {"name": "secret", "secret": {"secretName": "cert", "defaultMode": 0o400}},
        {"name": "fields", "downwardAPI": {"items": FIELDS}},
    ]
    security = {
        "runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [5000], "fsGroup": 4000,
        "fsGroupChangePolicy": "OnRootMismatch",
    }  # fmt: skip
    name = ready(lab, mounting("group", *volumes, securityContext=security))
    assert inside(lab, name, "id -u; id -g") == "1000\n2000\n"
    assert {"4000", "5000"} <= set(inside(lab, name, "id -G").split())
    assert inside(lab, name, "cat /secret/key; stat -Lc '%g %a' /secret/key /fields/name") == "hush4000 440\n4000 440\n"
    assert inside(lab, name, "stat -c '%g %a' /disk /memory") == "4000 2777\n4000 2770\n"
    assert inside(lab, name, "mkdir /memory/sub && touch /memory/sub/x && stat -c '%u %g' /memory/sub/x") == "1000 4000\n"


@pytest.mark.shows("spec.volumes[].emptyDir.mode")
def test_an_empty_dir_has_its_mode_and_outlives_its_containers(lab: LabUnderTest) -> None:
    """0777 unless said otherwise; what one run wrote, the next one finds."""
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {"mode": 0o1750}}]
    script = "stat -c %a /a /b; cat /a/x 2>/dev/null; echo $(cat /a/x)again > /a/x; [ $(cat /a/x) = againagain ]"
    manifest = mounting("empty", *volumes, restartPolicy="OnFailure", container={"command": ["sh", "-c", script]})
    lab.apply(manifest)
    lab.kctl("wait", "pod/empty", "--for=jsonpath={.status.phase}=Succeeded")
    assert lab.kctl("logs", "empty") == "777\n1750\nagain\n"


def test_a_volume_in_memory_is_no_larger_than_its_pod(lab: LabUnderTest) -> None:
    """The containers' memory limit bounds it when it has no smaller one of its own."""
    volumes = [
        {"name": "a", "emptyDir": {"medium": "Memory"}},
        {"name": "b", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]
    name = ready(lab, mounting("tmp", *volumes, container={"resources": {"limits": {"memory": "64Mi"}}}))
    sizes = [line.split()[1] for line in inside(lab, name, "df -k /a /b | tail -n 2").splitlines()]
    assert sizes == ["65536", "65536"]


@pytest.mark.shows("spec.volumes[].hostPath.type")
def test_host_paths_are_made_or_refused_by_their_type(lab: LabUnderTest, tmp_path: Path) -> None:
    """OrCreate makes what is missing; a path of another type holds the pod back with kubelet's words."""
    (tmp_path / "file").write_text("x")
    fine = [
        {"name": "d", "hostPath": {"path": str(tmp_path / "new/dir"), "type": "DirectoryOrCreate"}},
        {"name": "f", "hostPath": {"path": str(tmp_path / "new/file"), "type": "FileOrCreate"}},
        {"name": "c", "hostPath": {"path": "/dev/null", "type": "CharDevice"}},
    ]
    name = ready(lab, mounting("paths", *fine))
    assert (
        inside(lab, name, "echo 1 > /f; echo 2 > /d/x; stat -c %F /d /f /c")
        == "directory\nregular file\ncharacter special file\n"
    )
    assert ((tmp_path / "new/file").read_text(), (tmp_path / "new/dir/x").read_text()) == ("1\n", "2\n")
    lab.apply(mounting("wrong", {"name": "h", "hostPath": {"path": str(tmp_path / "file"), "type": "Directory"}}))
    expected = f"hostPath type check failed: {tmp_path / 'file'} is not a directory"
    eventually(lambda: expected in lab.kctl("describe", "pod", "wrong"))


@pytest.mark.shows("spec.volumes[].image.{reference,pullPolicy}")
def test_the_content_of_an_image_is_a_volume(lab: LabUnderTest, tmp_path: Path) -> None:
    """Read-only, once the image is there; the image needs no program in it."""
    lab.apply(
        mounting("content", {"name": "i", "image": {"reference": "data:1", "pullPolicy": "IfNotPresent"}}),
        mounting("never", {"name": "i", "image": {"reference": "data:1", "pullPolicy": "Never"}}),
    )
    eventually(lambda: "ErrImageNeverPull" in lab.kctl("describe", "pod", "never"))
    root = tmp_path / "data"
    (root / "deep").mkdir(parents=True)
    (root / "deep/file").write_text("from an image\n")
    lab.kctl("image", "load", str(root), "--name", "data:1")
    lab.kctl("wait", "pod/content", "pod/never", "--for=condition=Ready")
    assert inside(lab, "content", "cat /i/deep/file") == inside(lab, "never", "cat /i/deep/file") == "from an image\n"
    assert lab.run("exec", "content", "--", "touch", "/i/x").returncode == 1


@pytest.mark.shows("spec.containers[].volumeMounts[].{subPath,subPathExpr}")
def test_parts_of_volumes_are_mounted(lab: LabUnderTest, tmp_path: Path) -> None:
    """A folder of each pod's own by an expression, a single file of a ConfigMap, which does not follow changes."""
    lab.kctl("create", "configmap", "conf", "--from-literal=a.conf=one")
    volumes = [{"name": "h", "hostPath": {"path": str(tmp_path)}}, {"name": "c", "configMap": {"name": "conf"}}]
    mounts = [
        {"name": "h", "mountPath": "/own", "subPathExpr": "logs/$(POD)"},
        {"name": "h", "mountPath": "/fixed", "subPath": "fixed/deep"},
        {"name": "c", "mountPath": "/etc/app/a.conf", "subPath": "a.conf"},
        {"name": "c", "mountPath": "/all"},
    ]
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    name = ready(lab, mounting("parts", *volumes, mounts=mounts, container={"env": env}))
    inside(lab, name, "echo 1 > /own/x; echo 2 > /fixed/y")
    assert ((tmp_path / "logs/parts/x").read_text(), (tmp_path / "fixed/deep/y").read_text()) == ("1\n", "2\n")
    assert inside(lab, name, "cat /etc/app/a.conf; ls /etc/app") == "onea.conf\n"
    change(lab, "configmap", "conf", {"data": {"a.conf": "two"}})
    eventually(lambda: inside(lab, name, "cat /all/a.conf") == "two")
    assert inside(lab, name, "cat /etc/app/a.conf") == "one"


def test_a_part_cannot_lead_out_of_its_volume(lab: LabUnderTest, tmp_path: Path) -> None:
    """A symlink that a container left in it is resolved inside the volume."""
    (tmp_path / "secret").write_text("of the host\n")
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "up").symlink_to("../secret")
    (volume / "absolute").symlink_to(str(tmp_path / "secret"))
    for path in ("up", "absolute"):
        volumes = {"name": "h", "hostPath": {"path": str(volume)}}
        lab.apply(
            mounting(
                path, volumes, mounts=[{"name": "h", "mountPath": "/m", "subPath": path}], container={"command": ["cat", "/m"]}
            )
        )
        eventually(
            lambda name=path: (
                lab.get("pod", name)["status"]["containerStatuses"][0]["state"].get("waiting", {}).get("reason")
                != "ContainerCreating"
            )
        )
        assert "of the host" not in lab.run("logs", path).stdout.decode()


def test_an_expression_without_a_value_holds_the_container_back(lab: LabUnderTest) -> None:
    """CreateContainerConfigError, as kubelet says it."""
    mounts = [{"name": "e", "mountPath": "/m", "subPathExpr": "$(NONE)/x"}]
    lab.apply(mounting("nameless", {"name": "e", "emptyDir": {}}, mounts=mounts))

    def waiting() -> Any:
        state = lab.get("pod", "nameless")["status"]["containerStatuses"][0]["state"]["waiting"]
        return (state["reason"], state["message"]) == ("CreateContainerConfigError", "missing value for NONE")

    eventually(waiting)


def test_immutable_maps_are_shown_and_refuse_changes(lab: LabUnderTest) -> None:
    """The data cannot change; the object can be replaced."""
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fixed"}, "data": {"a": "1"}, "immutable": True}
    lab.apply(item)
    name = ready(lab, mounting("fixed", {"name": "v", "configMap": {"name": "fixed"}}))
    assert inside(lab, name, "cat /v/a") == "1"
    result = lab.run("patch", "configmap", "fixed", "--type=merge", "-p", '{"data": {"a": "2"}}')
    assert b"immutable" in result.stderr
    lab.kctl("delete", "configmap", "fixed")
    assert inside(lab, name, "cat /v/a") == "1"
    lab.apply({**item, "data": {"a": "2"}})
    eventually(lambda: inside(lab, name, "cat /v/a") == "2")


@pytest.fixture
def shared(lab: LabUnderTest, tmp_path: Path) -> Iterator[tuple[Path, Callable[..., None]]]:
    """A folder on a shared mount of node-1, with a mount below it, and a way to run commands on that node."""

    def on_node(*command: str) -> None:
        words = [*hosts.inside(layout.load(lab.name), "node-1"), *command]
        subprocess.run(words, check=True, capture_output=True, timeout=30)

    folder = tmp_path / "shared"
    folder.mkdir()
    on_node("mount", "-t", "tmpfs", "shared", str(folder))
    on_node("mount", "--make-shared", str(folder))
    on_node("mkdir", str(folder / "below"))
    on_node("mount", "-t", "tmpfs", "below", str(folder / "below"))
    yield folder, on_node
    lab.run("delete", "pod", "--all", "--now")
    on_node("umount", "--recursive", str(folder))


@pytest.mark.shows("spec.containers[].volumeMounts[].recursiveReadOnly")
def test_what_lies_below_is_read_only_when_asked(lab: LabUnderTest, shared: tuple[Path, Callable[..., None]]) -> None:
    """readOnly alone holds for the volume's own mount; IfPossible and Enabled for all of them."""
    mounts = [
        {"name": "h", "mountPath": "/plain", "readOnly": True},
        {"name": "h", "mountPath": "/possible", "readOnly": True, "recursiveReadOnly": "IfPossible"},
        {"name": "h", "mountPath": "/enabled", "readOnly": True, "recursiveReadOnly": "Enabled"},
    ]
    volume = {"name": "h", "hostPath": {"path": str(shared[0])}}
    name = ready(lab, mounting("below", volume, mounts=mounts, nodeName="node-1"))
    for path, writable in (("/plain", False), ("/plain/below", True), ("/possible/below", False), ("/enabled/below", False)):
        assert (lab.run("exec", name, "--", "touch", f"{path}/x").returncode == 0) is writable, path


@pytest.mark.shows("spec.containers[].volumeMounts[].mountPropagation")
def test_mounts_pass_between_node_and_container_as_asked(lab: LabUnderTest, shared: tuple[Path, Callable[..., None]]) -> None:
    """None: neither way; HostToContainer: what the node mounts later is seen; Bidirectional: the other way too."""
    folder, on_node = shared
    volume = {"name": "h", "hostPath": {"path": str(folder)}}
    mounts = [
        {"name": "h", "mountPath": "/none"},
        {"name": "h", "mountPath": "/slave", "mountPropagation": "HostToContainer"},
        {"name": "h", "mountPath": "/both", "mountPropagation": "Bidirectional"},
    ]
    own = {"container": {"securityContext": {"privileged": True}}, "nodeName": "node-1"}
    name = ready(lab, mounting("mounts", volume, mounts=mounts, **own))
    on_node("mkdir", str(folder / "later"))
    on_node("mount", "-t", "tmpfs", "later", str(folder / "later"))
    on_node("touch", str(folder / "later/seen"))
    assert inside(lab, name, "ls /none/later /slave/later") == "/none/later:\n\n/slave/later:\nseen\n"
    inside(lab, name, "mkdir /both/own && mount -t tmpfs own /both/own && touch /both/own/out")
    on_node("test", "-e", str(folder / "own/out"))


@pytest.mark.shows("spec.hostUsers")
def test_a_user_namespace_sees_its_own_ids_in_volumes(lab: LabUnderTest, tmp_path: Path) -> None:
    """Root and fsGroup inside are root and fsGroup in every volume, on disk and in memory; on the node too."""
    lab.kctl("create", "secret", "generic", "cert", "--from-literal=key=hush")
    lab.kctl("create", "configmap", "conf", "--from-literal=a=1")
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "secret", "secret": {"secretName": "cert", "defaultMode": 0o400}},
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "host", "hostPath": {"path": str(tmp_path)}},
    ]
    name = ready(lab, mounting("userns", *volumes, hostUsers=False, securityContext={"fsGroup": 4000}))
    assert inside(lab, name, "cat /secret/key; stat -Lc '%u:%g' /disk /memory /secret/key /conf/a /host") == (
        "hush0:4000\n0:4000\n0:4000\n0:4000\n0:0\n"
    )
    inside(lab, name, "touch /disk/x /host/x; chown 1000 /host/x")
    assert ((tmp_path / "x").stat().st_uid, (tmp_path / "x").stat().st_gid) == (1000, 0)
    assert inside(lab, name, "grep -c '^ *0 *0 ' /proc/self/uid_map || true") == "0\n"


def test_a_new_agent_brings_files_up_to_date(lab: LabUnderTest, tmp_path: Path) -> None:
    """What changed while none ran is there soon after; mounted images stay, and nothing restarts."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("of an image\n")
    lab.kctl("image", "load", str(tmp_path / "data"), "--name", "restart:1")
    lab.kctl("create", "configmap", "conf", "--from-literal=a=old")
    volumes = [
        {"name": "c", "configMap": {"name": "conf"}},
        {"name": "i", "image": {"reference": "restart:1"}},
        {"name": "d", "downwardAPI": {"items": FIELDS}},
    ]
    name = ready(lab, mounting("stays", *volumes))
    node = lab.get("pod", name)["spec"]["nodeName"]
    lab.kill(node)
    change(lab, "configmap", "conf", {"data": {"a": "new"}})
    change(lab, "pod", name, {"metadata": {"labels": {"late": "yes"}}})
    lab.start_agent(node)
    eventually(lambda: inside(lab, name, "cat /c/a /d/meta/labels /i/file") == 'newlate="yes"of an image\n')
    assert lab.get("pod", name)["status"]["containerStatuses"][0].get("restartCount", 0) == 0


def test_folders_however_deep_go_with_their_pod(lab: LabUnderTest) -> None:
    """Deeper than Python recurses, in a volume and in the container's own file system."""
    script = "for at in /disk /tmp; do cd $at; i=0; while [ $i -lt 1500 ]; do mkdir d; cd d; i=$((i+1)); done; done; echo made"
    manifest = mounting(
        "deep", {"name": "disk", "emptyDir": {}}, container={"command": ["sh", "-c", f"mkdir -p /tmp; {script}; sleep 1000"]}
    )
    name = ready(lab, manifest)
    eventually(lambda: lab.kctl("logs", name) == "made\n")
    item = lab.get("pod", name)
    lab.kctl("delete", "pod", name, "--now", "--timeout=20s")
    assert not lab.bundle(item).parents[2].exists()

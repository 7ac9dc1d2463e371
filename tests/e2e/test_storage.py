"""Claims on the nodes of a lab: data that outlives pods, and is deleted with its claim."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-storage", tmp_path_factory.mktemp("storage"), nodes=2) as found:
        yield found


def claim(name: str, **spec: Any) -> dict[str, Any]:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": body}


def pod(name: str, script: str, volumes: dict[str, Any], *, mount: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Runs a script once; each volume is mounted at /NAME."""
    mounts = [{"name": name, "mountPath": f"/{name}", **(mount or {})} for name in volumes]
    main = {"name": "main", "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": mounts}
    listed = [{"name": name, **source} for name, source in volumes.items()]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [main], "volumes": listed, **spec},
    }  # fmt: skip


def of_claim(name: str, **rest: Any) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name, **rest}}


def ended(lab: LabUnderTest, name: str) -> bool:
    return bool(lab.get("pod", name)["status"].get("phase") == "Succeeded")


def volume_of(lab: LabUnderTest, name: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.get("pv", lab.get("pvc", name)["spec"]["volumeName"])
    return found


@pytest.mark.shows("spec.volumes[].persistentVolumeClaim.{claimName,readOnly}")
def test_one_pod_writes_and_another_reads(lab: LabUnderTest) -> None:
    """A claim of the default class, on the node where the data is; then claim, volume and directory are gone."""
    lab.apply(claim("data"))
    lab.apply(
        pod(
            "writer",
            "id -u > /data/who; echo kept > /data/file",
            {"data": of_claim("data")},
            securityContext={"runAsUser": 1000},
        )
    )
    eventually(lambda: ended(lab, "writer"))
    assert lab.kctl("wait", "pvc/data", "--for=jsonpath={.status.phase}=Bound", "--timeout=10s").strip()
    made = volume_of(lab, "data")
    path = Path(made["spec"]["local"]["path"])
    assert (path / "file").read_text() == "kept\n"
    assert (oct(path.stat().st_mode)[-3:], oct(path.parent.stat().st_mode)[-3:]) == ("777", "700")
    lab.kctl("delete", "pod", "writer")
    lab.apply(pod("reader", "grep -q kept /data/file && ! touch /data/more", {"data": of_claim("data", readOnly=True)}))
    eventually(lambda: ended(lab, "reader"))
    assert lab.get("pod", "reader")["spec"]["nodeName"] == made["metadata"]["annotations"]["volume.kubernetes.io/selected-node"]
    (path / "link").symlink_to("/etc")
    lab.kctl("delete", "pod", "reader")
    lab.kctl("delete", "pvc", "data")
    eventually(lambda: not path.exists())
    eventually(lambda: lab.get("pv")["items"] == [])
    assert Path("/etc/passwd").exists()


def stateful_set(replicas: int, **rest: Any) -> dict[str, Any]:
    script = "echo $HOSTNAME >> /data/log; trap exit TERM; while :; do sleep 0.1; done"
    main = {"name": "main", "image": "busybox", "command": ["sh", "-c", script]}
    main["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]  # type: ignore[assignment]
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [main]}}
    body = {
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template,
        "volumeClaimTemplates": [claim("data")], **rest,
    }  # fmt: skip
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": body}


def test_pods_of_a_stateful_set_keep_their_data(lab: LabUnderTest) -> None:
    """A pod that comes again finds what the one of its name has written; with Delete the data is deleted with the set."""
    policy = {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}}
    lab.apply(stateful_set(2, **policy))
    lab.kctl("rollout", "status", "statefulset/db", "--timeout=60s")
    paths = [Path(volume_of(lab, f"data-db-{number}")["spec"]["local"]["path"]) for number in (0, 1)]
    lab.kctl("delete", "pod", "db-1")
    eventually(lambda: (paths[1] / "log").read_text() == "db-1\ndb-1\n")
    lab.kctl("scale", "statefulset/db", "--replicas", "1")
    eventually(lambda: not paths[1].exists())
    assert (paths[0] / "log").read_text() == "db-0\n"
    lab.kctl("delete", "statefulset", "db")
    eventually(lambda: not paths[0].exists())
    eventually(lambda: lab.get("pv,pvc")["items"] == [])


def test_a_node_that_was_down_deletes_the_data_later(lab: LabUnderTest) -> None:
    """The claim is deleted while the node is down; nothing of its volume is left once the node is back."""
    lab.apply(claim("late"))
    lab.apply(pod("once", "echo x > /late/file", {"late": of_claim("late")}))
    eventually(lambda: ended(lab, "once"))
    made = volume_of(lab, "late")
    path, node = Path(made["spec"]["local"]["path"]), made["metadata"]["annotations"]["volume.kubernetes.io/selected-node"]
    lab.lab("node", "stop", node)
    lab.kctl("delete", "pod", "once", "--force", "--grace-period=0")
    lab.kctl("delete", "pvc", "late")
    eventually(lambda: lab.get("pv", made["metadata"]["name"])["status"]["phase"] == "Released")
    assert (path / "file").exists()
    lab.lab("node", "start", node)
    eventually(lambda: not path.exists())
    eventually(lambda: lab.get("pv")["items"] == [])


def test_volumes_of_administrators(lab: LabUnderTest, tmp_path: Path) -> None:
    """A hostPath and a local volume, with a sub path and the pod's group; a claim that is not bound delays its pod alone."""
    nodes = [item["metadata"]["name"] for item in lab.get("nodes")["items"]]
    affinity = {
        "required": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": nodes[:1]}]}]}
    }
    local = tmp_path / "disk"
    local.mkdir(0o700)
    shared = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "own"}
    for name, source in (
        ("by-path", {"hostPath": {"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}}),
        ("by-disk", {"local": {"path": str(local)}, "nodeAffinity": affinity}),
    ):
        lab.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {**shared, **source}})
        lab.apply(claim(name, storageClassName="own", volumeName=name))
    volumes = {name: of_claim(name) for name in ("by-path", "by-disk")}
    script = "id -G > /by-disk/groups && echo sub > /by-path/file"
    lab.apply(pod("both", script, volumes, mount={"subPath": "part"}, securityContext={"fsGroup": 4321}))
    eventually(lambda: ended(lab, "both"))
    assert lab.get("pod", "both")["spec"]["nodeName"] == nodes[0]
    assert (tmp_path / "made/part/file").read_text() == "sub\n"
    assert ((local / "part").stat().st_gid, "4321" in (local / "part/groups").read_text()) == (4321, True)
    assert (tmp_path / "made").stat().st_gid == 0
    lab.kctl("delete", "pod", "both")
    lab.kctl("delete", "pvc", "by-path", "by-disk")
    eventually(lambda: {item["status"]["phase"] for item in lab.get("pv")["items"]} == {"Released"})
    assert (tmp_path / "made/part/file").exists()
    lab.kctl("delete", "pv", "by-path", "by-disk")


def test_an_event_names_what_is_missing(lab: LabUnderTest, tmp_path: Path) -> None:
    """A local path that is not there, on a pod that has its node already: an event names volume and path; then the pod starts."""
    gone = tmp_path / "later"
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "Exists"}]}]}}
    shared = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "own"}
    spec = {**shared, "local": {"path": str(gone)}, "nodeAffinity": affinity}
    lab.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "gone"}, "spec": spec})
    lab.apply(claim("gone", storageClassName="own"), pod("patient", "touch /gone/x", {"gone": of_claim("gone")}))
    why = f'MountVolume.SetUp failed for volume "gone" : path "{gone}" does not exist'
    eventually(lambda: why in lab.kctl("describe", "pod", "patient"))
    gone.mkdir()
    eventually(lambda: ended(lab, "patient"))
    lab.kctl("delete", "pod", "patient")
    lab.kctl("delete", "pvc,pv", "gone")


def test_an_ephemeral_volume_goes_with_its_pod(lab: LabUnderTest) -> None:
    """Claim, volume and data."""
    spec = claim("x")["spec"]
    lab.apply(pod("short", "echo x > /scratch/x", {"scratch": {"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}}))
    eventually(lambda: ended(lab, "short"))
    path = Path(volume_of(lab, "short-scratch")["spec"]["local"]["path"])
    assert (path / "x").exists()
    lab.kctl("delete", "pod", "short")
    eventually(lambda: not path.exists())
    eventually(lambda: lab.get("pv,pvc")["items"] == [])

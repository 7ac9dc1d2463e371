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

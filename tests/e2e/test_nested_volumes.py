"""Volumes mounted inside each other, in any order; what no container may write to takes mount points all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm,secret", "--all", "--now")


@pytest.fixture(params=["native", "runc"])
def runtime(lab: LabUnderTest, request: pytest.FixtureRequest) -> dict[str, str]:
    """What a pod's spec says of its runtime."""
    if request.param == "native":
        return {}
    made = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "runc"},
        "handler": "runc",
    }
    lab.kctl("apply", "-f", "-", stdin=json.dumps(made))
    return {"runtimeClassName": "runc"}


def mounts(**paths: str) -> list[dict[str, Any]]:
    """By volume: a path, after a colon a sub path; a trailing ! makes it read-only. Underscores in a name are cut off."""
    found = []
    for name, text in paths.items():
        path, _, sub = text.rstrip("!").partition(":")
        item: dict[str, Any] = {"name": name.rstrip("_"), "mountPath": path, "readOnly": text.endswith("!")}
        found.append(item | ({"subPath": sub} if sub else {}))
    return found


def running(lab: LabUnderTest, name: str, made: list[dict[str, Any]], **spec: Any) -> None:
    volumes = [
        {"name": "conf", "configMap": {"name": "nested"}}, {"name": "keys", "secret": {"secretName": "nested"}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "nested"}}, {"secret": {"name": "nested"}}]}},
        {"name": "down", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "empty", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]  # fmt: skip
    lab.kctl("create", "configmap", "nested", "--from-literal=a=1", "--from-literal=b=2")
    lab.kctl("create", "secret", "generic", "nested", "--from-literal=s=hidden")
    lab.apply(pod(name, volumes=volumes, container={"volumeMounts": made}, **spec))
    lab.kctl("wait", f"pod/{name}", "--for=condition=Ready")


def inside(lab: LabUnderTest, name: str, script: str, *, container: str = "main") -> list[str]:
    return lab.kctl("exec", name, "-c", container, "--", "sh", "-c", script).splitlines()


@pytest.mark.parametrize("outer", ["conf", "keys", "all", "down"])
def test_a_directory_in_a_volume_of_files(lab: LabUnderTest, runtime: dict[str, str], outer: str) -> None:
    """What is mounted there may be written to, and what is around it not."""
    made = [*mounts(memory="/v/in/memory", empty="/v/in"), *mounts(**{outer: "/v"})]
    running(lab, f"in-{outer}", made, **runtime)
    script = "touch /v/in/x /v/in/memory/y && ls -R /v/in; touch /v/z 2>/dev/null || echo refused; ls /v | grep -v ^in"
    keys = {"conf": ["a", "b"], "keys": ["s"], "all": ["a", "b", "s"], "down": ["name"]}[outer]
    shown = ["/v/in:", "memory", "x", "", "/v/in/memory:", "y", "refused", *keys]
    assert inside(lab, f"in-{outer}", script) == shown


def test_files_and_directories_several_deep(lab: LabUnderTest, runtime: dict[str, str]) -> None:
    """A file of another volume, one of the pod's own, and volumes of files in volumes of files."""
    made = [
        *mounts(down="/v/keys/down", keys="/v/keys", conf="/v"), *mounts(keys="/v/s:s"),
        *mounts(conf="/v/keys/down/renamed:a"), *mounts(keys_="/etc"),
    ]  # fmt: skip
    running(lab, "deep", made, **runtime)
    script = "cat /v/a /v/s /v/keys/s /v/keys/down/name /v/keys/down/renamed /etc/s; echo; cat /etc/hostname"
    assert inside(lab, "deep", script) == ["1hiddenhiddendeep1hidden", "deep"]


def test_updates_keep_what_is_mounted_inside(lab: LabUnderTest, runtime: dict[str, str]) -> None:
    """The keys change, and the mounts below the volume stay, for each container of the pod."""
    running(lab, "kept", [*mounts(conf="/v", empty="/v/in")], **runtime)
    inside(lab, "kept", "echo text > /v/in/file")
    lab.kctl("patch", "configmap", "nested", "-p", '{"data": {"a": "new", "b": null, "c": "3"}}')
    eventually(lambda: inside(lab, "kept", "cat /v/a; echo; ls /v") == ["new", "a", "c", "in"])
    assert inside(lab, "kept", "cat /v/in/file") == ["text"]


def test_a_read_only_mount_takes_no_mount_point(lab: LabUnderTest, runtime: dict[str, str]) -> None:
    """Of a volume that containers may write to (as with runc), but one that is there already is used."""
    running(lab, "made", mounts(empty="/v", memory="/v/in"), **runtime)
    made = pod("refused", volumes=[{"name": "e", "emptyDir": {}}, {"name": "m", "emptyDir": {}}], **runtime)
    made["spec"]["containers"][0]["volumeMounts"] = mounts(e="/v!", m="/v/in")
    lab.apply(made)
    eventually(lambda: "read-only file system" in lab.kctl("describe", "pod", "refused").lower())
    first = {"name": "first", "image": "busybox", "command": ["mkdir", "/v/in"], "volumeMounts": mounts(e="/v")}
    made["metadata"]["name"] = made["spec"]["containers"][0]["name"] = "there"
    made["spec"]["initContainers"] = [first]
    lab.apply(made)
    lab.kctl("wait", "pod/there", "--for=condition=Ready")


def test_mounts_on_a_read_only_root(lab: LabUnderTest, runtime: dict[str, str]) -> None:
    """Their mount points are made before it is."""
    running(
        lab, "rooted", mounts(empty="/made/by/us", conf="/made/by/us/conf", memory="/made/by/us/conf/m"), **runtime,
        securityContext={"runAsUser": 1000},
    )  # fmt: skip
    assert inside(lab, "rooted", "touch /made/by/us/conf/m/x && cat /made/by/us/conf/a") == ["1"]


def test_an_ephemeral_container_that_comes_later(lab: LabUnderTest) -> None:
    """It mounts a volume where the pod's containers have a key, and below one."""
    running(lab, "later", mounts(conf="/v"))
    ephemeral = {
        "name": "debug", "image": "busybox", "command": ["sh", "-c", "touch /v/a/x && ls /v/a && sleep 1000"],
        "volumeMounts": mounts(conf="/v", empty="/v/a"),
    }  # fmt: skip
    patch = json.dumps({"spec": {"ephemeralContainers": [ephemeral]}})
    lab.kctl("patch", "pod", "later", "--subresource", "ephemeralcontainers", "-p", patch)
    eventually(lambda: lab.kctl("logs", "later", "-c", "debug") == "x\n")

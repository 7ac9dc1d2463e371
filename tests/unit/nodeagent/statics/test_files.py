"""Files of a folder that are pods."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeagent.statics.files import StaticPods, parse
from pinnace.errors import Invalid
from pinnace.podresources import HASH, MIRROR, SOURCE, critical, is_static


def manifest(name: str = "web", command: str = "a", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox", "command": [command]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def read(value: Any, source: str = "/m/web.yaml", node: str = "n1") -> Any:
    return parse(yaml.safe_dump(value).encode(), source, node)


def test_a_pod_of_a_file_is_the_nodes_own() -> None:
    """Named after it, bound to it, defaulted like any other, and critical."""
    pod = read(manifest())
    assert (pod.metadata.name, pod.metadata.namespace, pod.spec.nodeName) == ("web-n1", "default", "n1")
    assert (pod.spec.restartPolicy, pod.spec.containers[0].imagePullPolicy) == ("Always", "Always")
    assert (pod.status.phase, pod.status.qosClass) == ("Pending", "BestEffort")
    assert pod.metadata.annotations[SOURCE] == "file"
    assert pod.metadata.annotations[HASH] == pod.metadata.uid
    assert any(item.effect == "NoExecute" and item.operator == "Exists" and not item.key for item in pod.spec.tolerations)
    assert is_static(pod)
    assert critical(pod)


def test_its_uid_is_made_of_node_file_and_content() -> None:
    """The same again for the same; comments and the order of keys are not content."""
    first = read(manifest())
    assert read(dict(reversed(manifest().items()))).metadata.uid == first.metadata.uid
    others = [read(manifest(command="b")), read(manifest(), node="n2"), read(manifest(), source="/m/other.yaml")]
    assert len({first.metadata.uid, *(pod.metadata.uid for pod in others)}) == 4


def test_json_is_as_good() -> None:
    """By content, whatever the file is called."""
    text = (
        b'{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}'
    )
    assert parse(text, "/m/x", "n1").metadata.name == "j-n1"


def test_what_only_the_api_can_say_is_not_taken_from_a_file() -> None:
    """Uid, owners, a mirror's annotation, a status."""
    value = manifest()
    value["metadata"] |= {"uid": "mine", "annotations": {MIRROR: "x", SOURCE: "api"}, "finalizers": []}
    pod = read({**value, "status": {"phase": "Running"}})
    assert (pod.metadata.uid, pod.status.phase) == (pod.metadata.annotations[HASH], "Pending")
    assert MIRROR not in pod.metadata.annotations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, r"spec\.volumes\[0\]\.secret: a static pod may not name"),
        ({"imagePullSecrets": [{"name": "s"}]}, r"spec\.imagePullSecrets: a static pod may not name"),
        ({"serviceAccountName": "robot"}, r"spec\.serviceAccountName: a static pod may not have"),
        ({"serviceAccount": "robot"}, r"spec\.serviceAccount: a static pod may not have"),
        ({"schedulingGates": [{"name": "a"}]}, r"spec\.schedulingGates: a static pod is not scheduled"),
        ({"restartPolicy": "Sometimes"}, r"spec\.restartPolicy: Unsupported value"),
        ({"colour": "red"}, r"spec\.colour: unknown field"),
        ({"nodeSelector": {"a": "-"}}, r"spec\.nodeSelector: Invalid value"),
    ],
)
def test_a_fault_is_told_with_file_and_line(change: dict[str, Any], message: str) -> None:
    """As kctl tells it."""
    with pytest.raises(Invalid, match=r"^/m/web\.yaml:\d+: " + message):
        read(manifest(**change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "found 0 documents"),
        (b"a: 1\n---\nb: 2", "found 2 documents"),
        (b"apiVersion: v1\nkind: Service", '2: kind: expected a Pod of apiVersion v1, got "Service"'),
        (b"[]", "expected a Pod"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {}\n", "metadata.name: Required value"),
        (b"a: [", "not valid YAML"),
        (b"\xff", "expected a Pod"),
        (b"x" * (1 << 21), "larger than 1 MiB"),
    ],
)
def test_what_is_no_pod_is_told_too(text: bytes, message: str) -> None:
    """One error, naming the file."""
    with pytest.raises(Invalid) as caught:
        parse(text, "/m/f", "n1")
    assert message in caught.value.message
    assert caught.value.message.startswith("/m/f:")


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[str] = []
        self.pods = StaticPods(path, "n1", lambda reason, message, warning: self.told.append(message))

    def write(self, name: str, value: Any) -> None:
        """As editors do: beside it, and then in its place."""
        text = value if isinstance(value, str) else yaml.safe_dump(value)
        (self.path / f".{name}").write_text(text)
        os.replace(self.path / f".{name}", self.path / name)

    def names(self) -> list[str]:
        return sorted(pod.metadata.name for pod in self.pods.pods())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_files_come_change_and_go(folder: Folder) -> None:
    """A look that finds nothing new says so."""
    assert not folder.pods.read()
    folder.write("a.yaml", manifest("a"))
    folder.write("b.json", manifest("b"))
    assert folder.pods.read()
    assert not folder.pods.read()
    assert folder.names() == ["a-n1", "b-n1"]
    before = {pod.metadata.uid for pod in folder.pods.pods()}
    folder.write("a.yaml", manifest("a", command="b"))
    assert folder.pods.read()
    assert len(before & {pod.metadata.uid for pod in folder.pods.pods()}) == 1
    (folder.path / "b.json").unlink()
    assert folder.pods.read()
    assert folder.names() == ["a-n1"]


def test_a_broken_file_is_told_once_and_takes_nothing_down(folder: Folder) -> None:
    """Neither its own pod nor the others."""
    folder.write("a.yaml", manifest("a"))
    folder.write("b.yaml", manifest("b"))
    folder.pods.read()
    folder.write("a.yaml", "kind: [")
    assert not folder.pods.read()
    assert not folder.pods.read()
    assert folder.names() == ["a-n1", "b-n1"]
    assert len(folder.told) == 1
    folder.write("a.yaml", manifest("a"))
    assert not folder.pods.read()
    (folder.path / "a.yaml").unlink()
    assert folder.pods.read()


def test_the_first_of_two_files_with_one_name_wins(folder: Folder) -> None:
    """By the files' names; the other one is told."""
    folder.write("a.yaml", manifest("same", command="a"))
    folder.write("b.yaml", manifest("same", command="b"))
    folder.pods.read()
    [pod] = folder.pods.pods()
    assert pod.spec.containers[0].command == ["a"]
    assert "b.yaml: pod default/same-n1 is in a.yaml already" in folder.told[0]


def test_what_is_no_plain_file_is_passed_over(folder: Folder) -> None:
    """Hidden files, folders, links that lead nowhere; a link to a file is one."""
    folder.write("real", manifest("a"))
    (folder.path / ".hidden").write_text("kind: [")
    (folder.path / "sub").mkdir()
    (folder.path / "dangling").symlink_to("nowhere")
    os.mkfifo(folder.path / "fifo")
    assert folder.pods.read()
    assert (folder.names(), folder.told) == (["a-n1"], [])


def test_a_folder_that_comes_later(tmp_path: Path) -> None:
    """Not being there is having no files."""
    folder = Folder(tmp_path / "later")
    assert not folder.pods.read()
    folder.path.mkdir()
    folder.write("a", manifest("a"))
    assert folder.pods.read()
    assert folder.told == []

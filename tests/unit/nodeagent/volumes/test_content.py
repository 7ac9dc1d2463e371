"""Which files volumes show."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.volumes.content import File, Known, VolumeError, files_of, secret_bytes
from pinnace import kinds
from tests.support.objects import config_map, container, make, pod

FACTS = {"allocatable.cpu": "4", "allocatable.memory": "8Gi"}


def secret(name: str = "s", **data: str) -> Any:
    message = make(kinds.SECRET, name)
    for key, value in data.items():
        message.data[key] = value.encode()
    return message


def files(source: dict[str, Any], *objects: Any) -> dict[str, tuple[bytes, int]]:
    subject = pod(
        "web", container("main", resources={"limits": {"cpu": "1500m"}}), meta={"labels": {"app": "x"}, "uid": "u1"},
        volumes=[{"name": "v", **source}],
    )  # fmt: skip
    known = {(item.DESCRIPTOR.name, item.metadata.name): item for item in objects}
    found = files_of(subject.spec.volumes[0].volumeSource, Known(subject, lambda *key: known.get(key), FACTS))
    assert all(isinstance(file, File) for file in found.values())
    return {path: (file.content, file.mode) for path, file in found.items()}


@pytest.mark.shows("spec.volumes[].secret.defaultMode")
def test_every_key_is_a_file_of_the_default_mode() -> None:
    """Text and bytes of a ConfigMap alike; 0644 unless said otherwise."""
    settings = config_map("c", {"a": "1"})
    settings.binaryData["b"] = b"\xff"
    assert files({"configMap": {"name": "c"}}, settings) == {"a": (b"1", 0o644), "b": (b"\xff", 0o644)}
    assert files({"secret": {"secretName": "s", "defaultMode": 0o400}}, secret(k="v")) == {"k": (b"v", 0o400)}


@pytest.mark.shows("spec.volumes[].configMap.defaultMode", "spec.volumes[].secret.items[].{key,path,mode}")
def test_items_choose_keys_paths_and_modes() -> None:
    """Keys that are not named do not appear."""
    items = [{"key": "a", "path": "deep/x"}, {"key": "b", "path": "y", "mode": 0o600}]
    found = files(
        {"configMap": {"name": "c", "items": items, "defaultMode": 0o440}}, config_map("c", {"a": "1", "b": "2", "z": "3"})
    )
    assert found == {"deep/x": (b"1", 0o440), "y": (b"2", 0o600)}
    assert files({"secret": {"secretName": "s", "items": items, "defaultMode": 0o440}}, secret(a="1", b="2", z="3")) == found


@pytest.mark.shows("spec.volumes[].{configMap,secret}.optional")
@pytest.mark.shows("spec.volumes[].projected.sources[].{configMap,secret}.optional")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        ({"configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}}, "configmap references non-existent config key: z"),
        ({"projected": {"sources": [{"secret": {"name": "none"}}]}}, 'secret "none" not found'),
        ({"projected": {"sources": [{"configMap": {"name": "none"}}]}}, 'configmap "none" not found'),
    ],
)
def test_what_is_missing_is_named_unless_it_is_optional(source: dict[str, Any], message: str) -> None:
    """Kubelet's words."""
    with pytest.raises(VolumeError) as caught:
        files(source, config_map("c"))
    assert str(caught.value) == message
    [(kind, inner)] = source.items()
    if kind == "projected":
        [(name, part)] = inner["sources"][0].items()
        source = {"projected": {"sources": [{name: {**part, "optional": True}}]}}
    else:
        source = {kind: {**inner, "optional": True}}
    assert files(source, config_map("c")) == {}


def test_fields_and_resources_are_files() -> None:
    """Labels as lines, one label, the uid, a limit in thousandths."""
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}, "mode": 0o400},
        {"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
        {"path": "memory", "resourceFieldRef": {"containerName": "main", "resource": "limits.memory", "divisor": "1Gi"}},
    ]
    expected = {
        "labels": (b'app="x"', 0o644), "app": (b"x", 0o400), "uid": (b"u1", 0o644), "cpu": (b"1500", 0o644),
        "memory": (b"8", 0o644),
    }  # fmt: skip
    assert files({"downwardAPI": {"items": items}}) == expected


def test_a_container_that_is_not_there_is_named() -> None:
    """Kubelet's words."""
    items = [{"path": "cpu", "resourceFieldRef": {"containerName": "other", "resource": "limits.cpu"}}]
    with pytest.raises(VolumeError, match="container other not found"):
        files({"downwardAPI": {"items": items}})


def test_projected_sources_are_one_set_and_later_ones_win() -> None:
    """The volume's mode is the default for all of them."""
    sources = [
        {"configMap": {"name": "c"}},
        {"secret": {"name": "s", "items": [{"key": "k", "path": "a"}]}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    found = files(
        {"projected": {"sources": sources, "defaultMode": 0o600}}, config_map("c", {"a": "1", "b": "2"}), secret(k="v")
    )
    assert found == {"a": (b"v", 0o600), "b": (b"2", 0o600), "name": (b"web", 0o600)}


def test_only_what_holds_a_secret_lies_in_memory() -> None:
    """With room for two sets of every Secret."""

    def size(source: dict[str, Any]) -> int:
        return secret_bytes(pod("web", volumes=[{"name": "v", **source}]).spec.volumes[0].volumeSource)

    assert size({"configMap": {"name": "c"}}) == size({"projected": {"sources": [{"configMap": {"name": "c"}}]}}) == 0
    assert size({"secret": {"secretName": "s"}}) == 4 << 20
    assert size({"projected": {"sources": [{"secret": {"name": "a"}}, {"secret": {"name": "b"}}]}}) == 8 << 20

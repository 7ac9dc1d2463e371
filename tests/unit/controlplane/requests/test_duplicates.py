"""An applied configuration in which items share a key is refused, in the words of structured-merge-diff."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.requests import duplicates
from pinnace import kinds
from pinnace.errors import BadRequest

POD = kinds.POD


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "image": "i", **fields}]}}


@pytest.mark.parametrize(
    ("manifest", "text"),
    [
        (
            container(env=[{"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}]),
            '.spec.containers[name="main"].env: duplicate entries for key [name="A"]',
        ),
        (
            container(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]),
            '.spec.containers[name="main"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]',
        ),
        (
            {"spec": {"containers": [{"name": "a"}, {"name": "a"}, {"name": "a"}]}},
            '.spec.containers: duplicate entries for key [name="a"]',
        ),
        ({"metadata": {"finalizers": ["a/b", "a/b"]}}, '.metadata.finalizers: duplicate entries for key [="a/b"]'),
    ],
)  # fmt: skip
def test_items_that_share_a_key(manifest: dict[str, Any], text: str) -> None:
    """Of keyed lists and of sets; a key that is left out has its default. Each key is named once."""
    with pytest.raises(BadRequest) as caught:
        duplicates.refuse(POD, manifest, "default", "web")
    assert caught.value.message == f"failed to create typed patch object (default/web; /v1, Kind=Pod): {text}"


def test_several_are_listed_and_not_all() -> None:
    """However many there are."""
    env = [{"name": f"V{number}"} for number in range(100)]
    with pytest.raises(BadRequest) as caught:
        duplicates.refuse(POD, container(env=[*env, *env]), "default", "web")
    first, *others = caught.value.message.splitlines()
    assert (first.endswith(": errors:"), len(others)) == (True, duplicates.MAX_LISTED)


@pytest.mark.parametrize(
    "manifest",
    [
        container(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]),
        # Lists that are owned as a whole may repeat themselves.
        container(command=["a", "a"]), container(env="no list"), {"spec": []}, {"spec": {"containers": ["a", "a", None, 1]}},
        {"metadata": {"finalizers": [{}, {}]}}, {"nonsense": [{"name": "a"}, {"name": "a"}]},
    ],
)  # fmt: skip
def test_what_is_none(manifest: dict[str, Any]) -> None:
    """What does not fit the schema is for the decoder to refuse."""
    duplicates.refuse(POD, manifest, "default", "web")

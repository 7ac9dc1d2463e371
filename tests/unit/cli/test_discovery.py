"""The kinds that words mean, by what the control plane serves."""

from __future__ import annotations

from typing import Any

import pytest

from cli import discovery, flags
from pinnace import kinds
from pinnace.api.v1 import objects_pb2
from pinnace.errors import NotFound
from tests.support.customkinds import definition

VERBS = ["get", "list"]


def served(kind: str, version: str = "v1", *, categories: tuple[str, ...] = (), short: str = "", verbs: Any = VERBS) -> Any:
    """A custom kind as Discover lists it."""
    return objects_pb2.ServedResource(
        apiVersion=f"example.com/{version}", kind=kind, plural=f"{kind.lower()}s", singular=kind.lower(), namespaced=True,
        shortNames=[short] if short else [], categories=categories, verbs=verbs, custom=True,
    )  # fmt: skip


PODS = objects_pb2.ServedResource(apiVersion="v1", kind="Pod", plural="pods", singular="pod", categories=["all"], verbs=VERBS)
NEWER = objects_pb2.ServedResource(
    apiVersion="v9", kind="Robot", plural="robots", singular="robot", categories=["all"], verbs=VERBS
)


class _Server:
    """Answers Discover, and counts how often it is asked."""

    def __init__(self, *resources: Any) -> None:
        self.resources = resources
        self.asked = 0

    def discover(self) -> Any:
        self.asked += 1
        return self.resources


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Connects a process that knows nothing yet to a server with these resources."""
    monkeypatch.setattr(discovery, "_known", discovery._Known())

    def made(*resources: Any) -> _Server:
        server = _Server(*resources)
        discovery.connect(server)  # type: ignore[arg-type]
        return server

    return made


def meant(word: str) -> list[str]:
    return [f"{kind.plural}.{kind.api_version}" for kind in discovery.meant(word)]


def test_a_word_for_a_built_in_kind_costs_no_call(connect: Any) -> None:
    """Any other costs one, however many follow."""
    server = connect(PODS, served("Widget", short="wd"))
    assert discovery.meant("po") == [kinds.POD]
    assert server.asked == 0
    assert meant("wd") == meant("widgets") == meant("Widget") == ["widgets.example.com/v1"]
    assert server.asked == 1
    with pytest.raises(NotFound, match='the server doesn\'t have a resource type "nope"'):
        discovery.meant("nope")


def test_a_category_means_all_of_its_kinds(connect: Any) -> None:
    """Those that can be listed, each once, in the preferred version; a category comes before a kind of that name."""
    connect(
        PODS, NEWER, served("Widget", "v2", categories=("all", "gadget")), served("Widget", "v1", categories=("all",)),
        served("Gadget"), served("Order", categories=("all",), verbs=["create"]),
    )  # fmt: skip
    assert meant("all") == ["pods.v1", "widgets.example.com/v2"]
    assert meant("gadget") == ["widgets.example.com/v2"]
    assert meant("gadgets") == ["gadgets.example.com/v1"]
    assert [kind.plural for kind, _ in flags.targets(["pods,all"])] == ["pods", "widgets"]


def test_every_version_is_found_and_the_preferred_one_is_meant(connect: Any) -> None:
    """A manifest names its version; a word does not."""
    connect(served("Widget", "v2"), served("Widget", "v1beta1"))
    assert discovery.by_word("widget").api_version == "example.com/v2"
    assert discovery.find("example.com/v1beta1", "Widget").api_version == "example.com/v1beta1"
    with pytest.raises(NotFound):
        discovery.find("example.com/v3", "Widget")
    assert [item.kind.api_version for item in discovery.served()] == ["example.com/v2"]


def test_a_definition_in_a_file_makes_its_kinds_known(connect: Any) -> None:
    """Before the control plane serves them, and with its schema."""
    server = connect()
    discovery.learn(definition(versions=("v1", "v2")))
    kind = discovery.find("stable.example.com/v2", "CronTab")
    assert discovery.is_custom(kind)
    assert "cronSpec" in discovery.schema_of(kind)["properties"]["spec"]["properties"]
    assert server.asked == 0
    discovery.learn({"spec": {"names": {"kind": "Broken"}, "versions": "none"}})
    with pytest.raises(NotFound):
        discovery.find("stable.example.com/v1", "Broken")

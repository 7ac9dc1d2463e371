"""docs/kinds.md: all that is served is on it, and nothing else."""

from __future__ import annotations

import pytest

from controlplane import resources
from controlplane.config import CONTROLLERS
from controlplane.kindtable import __main__ as generator
from controlplane.kindtable import page, upstream
from controlplane.kindtable.page import Notes
from controlplane.requests import discovery
from controlplane.resources import Registry, Resource
from controlplane.resources.resource import Stream
from pinnace import kinds
from pinnace.kinds import Kind

GADGET = Kind("example.com/v1", "Gadget", "gadgets", kinds.CONFIG_MAP.cls, ("gd",), namespaced=False)


def text(*served: Resource, notes: Notes = Notes({}, {})) -> str:  # noqa: B008
    return page.text(upstream.load(), discovery.groups(Registry(served)), generator.controllers(), notes)


@pytest.fixture(scope="module")
def made() -> str:
    """The page, which takes seconds: it reads every test's markers."""
    return generator.text()


def test_the_page_is_that_of_the_code(made: str) -> None:
    assert generator.PAGE.read_text() == made


def test_every_kind_that_is_served_has_a_row_and_a_section(made: str) -> None:
    for resource in resources.built_in().served():
        kind = resource.kind
        assert f"## {kind.kind} ({kind.api_version})" in made
        assert f"| [{kind.kind}](#{page._anchor(kind)}) | {kind.api_version} | {kind.plural}" in made


def test_every_controller_is_named(made: str) -> None:
    names = [each.name for each in generator.controllers()]
    assert sorted(names) == sorted(CONTROLLERS)
    assert [name for name in names if name not in made] == []


def test_a_new_kind_is_on_the_page_by_being_registered() -> None:
    """With its verbs and subresources; Kubernetes does not have it."""
    made = text(Resource(GADGET, verbs=("get", "list"), streams={"log": Stream(("get",))}))
    assert "| [Gadget](#gadget-examplecomv1) | example.com/v1 | gadgets, `gd` | cluster | get, list | log (get) |" in made
    assert "## Gadget (example.com/v1)\n\nNot in Kubernetes' own OpenAPI document.\n" in made


def test_kinds_that_are_not_served_are_listed_as_such() -> None:
    made = text(Resource(kinds.CONFIG_MAP))
    absent = made.partition("## Kinds that are not served")[2]
    assert "| v1 | Binding, ComponentStatus, Endpoints, Event," in absent
    assert "ConfigMap" not in absent


def test_limits_and_rules_stand_with_their_kind() -> None:
    notes = Notes({"ConfigMap.data": "up to a point"}, {"ConfigMap": ["Keys are short. *Stricter.*"]})
    made = text(Resource(kinds.CONFIG_MAP), Resource(kinds.SECRET), notes=notes)
    section = made.partition("## ConfigMap (v1)")[2].partition("## Secret (v1)")[0]
    assert "- Limit of ConfigMap.data: up to a point." in section
    assert "- Keys are short. *Stricter.*" in section
    assert made.count("*Stricter.*") == 1

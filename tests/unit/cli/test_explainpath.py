"""The argument of kctl explain: the kind, perhaps with its group or in a version, and the fields."""

from __future__ import annotations

import pytest

from cli import discovery, explainpath
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.errors import BadRequest, NotFound
from pinnace.kinds import ALL, FORMS, Kind, Kinds

CUSTOM = Kind("example.com/v1", "Pod", "pods", CustomResource)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often the control plane was asked. It serves a kind whose plural is that of pods."""
    calls: list[bool] = []
    known = Kinds((*ALL, *FORMS))
    known.add_kind(CUSTOM)

    def every() -> Kinds:
        calls.append(True)
        return known

    monkeypatch.setattr(discovery, "every", every)
    return calls


@pytest.mark.parametrize(
    ("path", "version", "api_version", "word", "fields"),
    [
        ("pods", "", "v1", "pods", []), ("po.spec.containers", "", "v1", "po", ["spec", "containers"]),
        ("pods.", "", "v1", "pods", []), ("events.note", "events.k8s.io/v1", "events.k8s.io/v1", "events", ["note"]),
        ("events.message", "", "v1", "events", ["message"]), ("events.message", "v1", "v1", "events", ["message"]),
        ("events.events.k8s.io.note", "", "events.k8s.io/v1", "events.events.k8s.io", ["note"]),
        ("event.events.k8s.io", "events.k8s.io/v1", "events.k8s.io/v1", "event.events.k8s.io", []),
        ("deploy.apps.spec", "", "apps/v1", "deploy.apps", ["spec"]), ("pods.nope", "", "v1", "pods", ["nope"]),
    ],
)  # fmt: skip
def test_built_in_kinds_need_no_control_plane(
    asked: list[bool], path: str, version: str, api_version: str, word: str, fields: list[str]
) -> None:
    """The longest beginning that names a kind counts, as with kubectl; a trailing period does not."""
    found = explainpath.locate(path, version, lambda: None)
    assert (found.kind.api_version, found.word, found.fields, asked) == (api_version, word, fields, [])


@pytest.mark.parametrize(("path", "version"), [("pods.example.com.spec", ""), ("pods.spec", "example.com/v1")])
def test_a_custom_kind_with_the_name_of_a_built_in_one(asked: list[bool], path: str, version: str) -> None:
    """Its group, or its version, tells them apart."""
    found = explainpath.locate(path, version, lambda: None)
    assert (found.kind, found.fields, asked) == (CUSTOM, ["spec"], [True])


@pytest.mark.parametrize(
    ("path", "version", "text"),
    [
        ("pods", "v2", 'couldn\'t find resource for "/v2, Resource=pods"'),
        ("pod", "apps/v1", 'couldn\'t find resource for "apps/v1, Resource=pods"'),
        ("nonsense.spec", "", 'the server doesn\'t have a resource type "nonsense"'), ("", "", "a resource type"),
        (".", "", "a resource type"), ("..spec", "v1", "a resource type"),
    ],
)  # fmt: skip
def test_kinds_that_do_not_exist(asked: list[bool], path: str, version: str, text: str) -> None:
    """In kubectl's words."""
    with pytest.raises(NotFound) as caught:
        explainpath.locate(path, version, lambda: None)
    assert text in caught.value.message


def test_a_missing_field_is_an_error_without_a_control_plane_too() -> None:
    """The path might have named a custom kind."""

    def unreachable() -> None:
        raise BadRequest("no cluster is configured")

    assert explainpath.locate("pods.specc.containers", "", unreachable).fields == ["specc", "containers"]
    with pytest.raises(BadRequest):
        explainpath.locate("boats.spec", "", unreachable)

"""Accept and Content-Type headers of real clients."""

from __future__ import annotations

import pytest

from controlplane.rest.negotiation import JSON, PROTOBUF, YAML, Form, content_type, form
from pinnace.errors import NotAcceptable, UnsupportedMediaType

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
PARTIAL = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@pytest.mark.parametrize(("header", "protobuf", "expected"), [
    ("", True, Form(JSON)), ("*/*", True, Form(JSON)), ("application/json", True, Form(JSON)),
    (TABLE, True, Form(JSON, "Table", "v1")), (TABLE.partition(",")[2], True, Form(JSON, "Table", "v1beta1")),
    (PARTIAL, True, Form(PROTOBUF, "PartialObjectMetadata", "v1")), (PARTIAL, False, Form(PROTOBUF, "PartialObjectMetadata", "v1")),
    (PARTIAL.partition(",")[2], True, Form(JSON, "PartialObjectMetadata", "v1")),
    (TABLE.replace("json", "yaml", 1), True, Form(YAML, "Table", "v1")),
    (TABLE.replace("json", "vnd.kubernetes.protobuf", 1), True, Form(JSON, "Table", "v1beta1")),
    ("application/vnd.kubernetes.protobuf,application/json", True, Form(PROTOBUF)),
    ("application/vnd.kubernetes.protobuf,application/json", False, Form(JSON)),
    ("application/vnd.kubernetes.protobuf, */*", False, Form(JSON)),
    ("application/yaml", True, Form(YAML)), ("text/html, application/json;q=0.9, */*;q=0.1", True, Form(JSON)),
    ("application/json;q=0.1, application/yaml;q=0.9", True, Form(YAML)), ("nonsense, application/json", True, Form(JSON)),
    ("application/cbor, application/json", True, Form(JSON)),
    ("application/json;as=Table;g=other;v=v1, application/json", True, Form(JSON)),
])  # fmt: skip
def test_the_first_form_that_both_know(header: str, protobuf: bool, expected: Form) -> None:
    """In the client's order, by weight."""
    assert form(header, protobuf=protobuf) == expected


def test_a_stream_has_no_form_in_yaml() -> None:
    """As its documents would have no end; the client's next choice is taken."""
    assert form(f"{YAML}, application/json;q=0.5", protobuf=True, stream=True) == Form(JSON)
    with pytest.raises(NotAcceptable):
        form(f"{YAML};as=Table;g=meta.k8s.io;v=v1", protobuf=True, stream=True)


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "application/json;q=0",
        "application/json;as=Nonsense;g=meta.k8s.io;v=v1",
        "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1",
    ],
)
def test_forms_that_nothing_can_be_sent_in(header: str) -> None:
    """The error lists those that can."""
    with pytest.raises(NotAcceptable, match="application/json, application/yaml"):
        form(header, protobuf=False)


def test_a_body_without_a_type_is_json() -> None:
    """Parameters and case do not matter; other types are refused with those that are read."""
    assert [content_type(header, known=(JSON, YAML)) for header in ("", "Application/JSON; charset=utf-8", YAML)] == [
        JSON,
        JSON,
        YAML,
    ]
    with pytest.raises(UnsupportedMediaType, match="accepted media types include: application/json"):
        content_type("application/x-www-form-urlencoded", known=(JSON,))

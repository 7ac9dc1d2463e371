"""JSON to messages and back: Kubernetes' forms, its wire, and errors that name the path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace import codec, errors, rules, schema, wire
from pinnace.codec import FieldError
from pinnace.core.v1 import pod_pb2
from pinnace.core.v1.config_pb2 import Secret
from pinnace.core.v1.pod_pb2 import Pod

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
NAMES = st.text("abcdefgh-0123456789", min_size=1, max_size=10)
QUANTITIES = st.builds(
    lambda number, unit: f"{number}{unit}", st.integers(0, 10**6), st.sampled_from(["", "m", "Ki", "Gi", "M"])
)
CONTAINERS = st.fixed_dictionaries(
    {"name": NAMES, "image": NAMES},
    optional={
        "command": st.lists(TEXT, min_size=1, max_size=3),
        "env": st.lists(st.fixed_dictionaries({"name": NAMES, "value": TEXT.filter(bool)}), min_size=1, max_size=3),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 65535)}), min_size=1, max_size=2),
        "resources": st.fixed_dictionaries({"limits": st.dictionaries(NAMES, QUANTITIES, min_size=1, max_size=2)}),
    },
)
PODS = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": NAMES, "labels": st.dictionaries(NAMES, TEXT, min_size=1, max_size=3)})},
    optional={
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(CONTAINERS, min_size=1, max_size=3)},
            optional={
                "terminationGracePeriodSeconds": st.integers(0, 10**9),
                "volumes": st.lists(
                    st.fixed_dictionaries({"name": NAMES, "configMap": st.fixed_dictionaries({"name": NAMES})}),
                    min_size=1,
                    max_size=2,
                ),
            },
        )
    },
)


@given(PODS)
def test_what_goes_in_comes_out(value: dict[str, Any]) -> None:
    """JSON to message to bytes to message to JSON changes nothing."""
    message = codec.decode(Pod, value)
    assert codec.encode(Pod.FromString(message.SerializeToString())) == value


BAD: list[tuple[Any, str, str]] = [
    ({"spec": {"containers": [{"ports": [{"containerPort": "http"}]}]}}, "spec.containers[0].ports[0].containerPort", "an integer"),
    ({"spec": {"containers": [{"ports": [{"containerPort": True}]}]}}, "spec.containers[0].ports[0].containerPort", "an integer"),
    ({"spec": {"containers": [{"ports": [{"containerPort": 1.5}]}]}}, "spec.containers[0].ports[0].containerPort", "an integer"),
    ({"spec": {"containers": [{"ports": [{"containerPort": 2**40}]}]}}, "spec.containers[0].ports[0].containerPort", "from -2147483648"),
    ({"spec": {"containers": {}}}, "spec.containers", "expected a list, got an object"),
    ({"spec": []}, "spec", "expected an object, got a list"),
    ({"spec": {"hostNetwork": "yes"}}, "spec.hostNetwork", "true or false"),
    ({"spec": {"nodeName": 7}}, "spec.nodeName", "expected a string, got 7 (put it in quotes)"),
    ({"metadata": {"labels": {"a.b/c": 1}}}, "metadata.labels[a.b/c]", "expected a string"),
    ({"metadata": {"creationTimestamp": "yesterday"}}, "metadata.creationTimestamp", "expected a time"),
    ({"metadata": {"creationTimestamp": "2026-01-01T00:00:00"}}, "metadata.creationTimestamp", "with a zone"),
    ({"spec": {"overhead": {"cpu": "1Zi"}}}, "spec.overhead.cpu", "expected a quantity"),
    ({"spec": {"overhead": {"cpu": float("nan")}}}, "spec.overhead.cpu", "expected a quantity"),
    ({"spec": {"containers": [{"imagePolicy": "x"}]}}, "spec.containers[0].imagePolicy", "unknown field"),
    ({"spec": {"restartpolicy": "Never"}}, "spec.restartpolicy", "unknown field (did you mean restartPolicy?)"),
    ({"spec": {"volumes": [{"volumeSource": {}}]}}, "spec.volumes[0].volumeSource", "unknown field"),
    ({"metadata": {"name": "\ud800"}}, "metadata.name", "not valid Unicode"),
    ([], "", "expected an object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "path", "said"), BAD)
def test_wrong_values_name_their_path(value: Any, path: str, said: str) -> None:
    """The first fault, where it is, and what was expected."""
    with pytest.raises(FieldError) as caught:
        codec.decode(Pod, value)
    assert caught.value.path == path
    assert said in caught.value.message


def test_secret_values_are_not_shown_in_errors() -> None:
    """Whatever stands where base64 should."""
    with pytest.raises(FieldError) as caught:
        codec.decode(Secret, {"data": {"password": "hunter2!"}})
    assert "hunter2" not in str(caught.value)


def test_null_means_absent() -> None:
    """Everywhere, as in Kubernetes."""
    value = {"metadata": {"name": "a", "labels": None}, "spec": {"containers": None, "nodeName": None}}
    assert codec.encode(codec.decode(Pod, value)) == {"metadata": {"name": "a"}, "spec": {}}


def test_bytes_are_those_of_kubernetes() -> None:
    """Field numbers of core/v1 and meta/v1, written out by hand: metadata.name, spec.containers[0].name, spec.nodeName."""
    by_hand = b"\x0a\x05\x0a\x03web" + b"\x12\x0c" + b"\x12\x04\x0a\x02c1" + b"\x52\x04node"[:6]
    message = Pod.FromString(by_hand)
    assert (message.metadata.name, message.spec.containers[0].name, message.spec.nodeName) == ("web", "c1", "node")


def unsupported_fields() -> list[str]:
    spec = schema.of(pod_pb2.PodSpec)
    return [name for name, item in spec.fields.items() if item.unsupported]


@pytest.mark.parametrize("name", unsupported_fields())
def test_fields_that_nothing_implements_are_refused_by_name(name: str) -> None:
    """Never silently ignored."""
    item = schema.of(pod_pb2.PodSpec).fields[name]
    message = Pod()
    field = getattr(message.spec, name)
    if item.map:
        field["cpu"].string = "1"
    elif item.repeated:
        field.add()
    elif item.message is not None:
        field.SetInParent()
    else:
        setattr(message.spec, name, {"string": "x", "bool": True}.get(item.type, 7))
    faults = {fault.field: fault.message for fault in rules.validate(message)}
    assert "does not support this field yet" in faults[f"spec.{name}"]


@pytest.mark.parametrize("cls", errors.ALL)
def test_every_error_survives_the_wire(cls: type[errors.ApiError]) -> None:
    """Class, kind, name and causes."""
    sent = cls("no", kind="pods", name="web", causes=(errors.Cause("spec.a", "bad"),))
    back = wire.from_status(wire.to_status(sent))
    assert type(back) is cls
    assert (back.message, back.kind, back.name, back.causes) == ("no", "pods", "web", sent.causes)
    assert wire.grpc_code(sent).name == cls.grpc

"""JSON to messages and back: Kubernetes' forms, its wire, and errors that name the path."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from pinnace import admission, codec, errors, kinds, rules, schema, wire
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceDefinitionVersion
from pinnace.authorization.v1.authorization_pb2 import SubjectRulesReviewStatus
from pinnace.codec import FieldError
from pinnace.core.v1 import pod_pb2
from pinnace.core.v1.config_pb2 import Secret
from pinnace.core.v1.container_pb2 import Container
from pinnace.core.v1.containerstatus_pb2 import LinuxContainerUser
from pinnace.core.v1.node_pb2 import NodeSystemInfo
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


def test_space_around_a_quantity_is_dropped() -> None:
    message = codec.decode(Pod, {"spec": {"overhead": {"cpu": " 1500m\n"}}})
    assert codec.encode(message)["spec"]["overhead"] == {"cpu": "1500m"}


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
    (
        {"spec": {"containers": [{"readinessProbe": {"tcpSocket": {"port": "\ud800"}}}]}},
        "spec.containers[0].readinessProbe.tcpSocket.port",
        "not valid Unicode",
    ),
    ([], "", "expected an object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "path", "said"), BAD)
def test_wrong_values_name_their_path(value: Any, path: str, said: str) -> None:
    """The first fault, where it is, and what was expected."""
    with pytest.raises(FieldError) as caught:
        codec.decode(Pod, value)
    assert caught.value.path == path
    assert said in caught.value.message


def test_every_value_that_does_not_fit_is_named() -> None:
    """And what fits is decoded, so that the rules can be asked about the rest."""
    container = {"name": 5, "image": "busybox", "ports": [{"containerPort": 1}, {"containerPort": "x"}, "y"], "imagePolicy": 1}
    value = {
        "metadata": {"labels": {"a": 1, "b": "c"}},
        "kindd": 1,
        "spec": {"containers": [container, {"name": "d"}], "volumes": 1},
    }
    with pytest.raises(FieldError) as caught:
        codec.decode(Pod, value)
    assert [path for path, _ in caught.value.found] == [
        "metadata.labels.a", "kindd", "spec.containers[0].name", "spec.containers[0].ports[1].containerPort",
        "spec.containers[0].ports[2]", "spec.containers[0].imagePolicy", "spec.volumes",
    ]  # fmt: skip
    message = Pod(**caught.value.partial)
    assert dict(message.metadata.labels) == {"b": "c"}
    assert [(item.name, item.image) for item in message.spec.containers] == [("", "busybox"), ("d", "")]
    assert [port.containerPort for port in message.spec.containers[0].ports] == [1, 0, 0]


def test_an_object_of_nothing_but_errors_ends_early() -> None:
    """In a moment, and with a bounded number of them."""
    containers = [{f"x{n}": 1, "env": [{"valu": 1}] * 100} for n in range(10_000)]
    with pytest.raises(FieldError) as caught:
        codec.decode(Pod, {"spec": {"containers": containers}})
    causes = caught.value.causes()
    assert len(causes) == 201
    assert str(causes[-1]) == "at most 200 errors are listed"


def test_what_does_not_fit_and_what_the_rules_refuse_are_named_together() -> None:
    """Without judging a field that was written but does not decode, nor what contains it."""
    probe = {"httpGett": {"port": 80}}
    container = {"name": 5, "image": "busybox", "livenessProbe": probe, "workingDirectory": "/"}
    spec = {"containers": [container], "restartPolicy": "Sometimes", "schedulingGroup": {}}
    with pytest.raises(FieldError) as caught:
        codec.decode(Pod, {"metadata": {"name": "a"}, "spec": spec})
    every = {cause.field for cause in admission.explain(kinds.POD, caught.value).causes}
    wrong = {"spec.containers[0].name", "spec.containers[0].livenessProbe.httpGett", "spec.containers[0].workingDirectory"}
    assert every == wrong | {"spec.restartPolicy", "spec.schedulingGroup"}
    del spec["restartPolicy"], spec["containers"][0]["image"]
    with pytest.raises(FieldError) as caught:
        codec.decode(Pod, {"metadata": {"name": "a"}, "spec": spec})
    # Applied on top of another manager's object, what is required may be there already.
    part = {cause.field for cause in admission.explain(kinds.POD, caught.value, whole=False).causes}
    assert part == wrong | {"spec.schedulingGroup"}


def test_secret_values_are_not_shown_in_errors() -> None:
    """Whatever stands where base64 should."""
    with pytest.raises(FieldError) as caught:
        codec.decode(Secret, {"data": {"password": "hunter2!"}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (NodeSystemInfo(), {"kubeProxyVersion": "", "machineID": "", "architecture": ""}),
        (LinuxContainerUser(), {"uid": 0, "gid": 0}),
        (CustomResourceDefinitionVersion(name="v1"), {"name": "v1", "served": False, "storage": False}),
        (SubjectRulesReviewStatus(), {"resourceRules": [], "nonResourceRules": [], "incomplete": False}),
    ],
)
def test_required_fields_are_shown_when_they_are_zero(message: Message, shown: dict[str, Any]) -> None:
    """Generated types of clients refuse an object without them."""
    assert shown.items() <= codec.encode(message).items()


def test_null_means_absent() -> None:
    """Everywhere, as in Kubernetes."""
    value = {"metadata": {"name": "a", "labels": None}, "spec": {"containers": None, "nodeName": None}}
    assert codec.encode(codec.decode(Pod, value)) == {"metadata": {"name": "a"}, "spec": {}}


def test_a_null_element_is_zero() -> None:
    """In lists and maps of scalars, as in Go's JSON; an object is required where there must be one."""
    spec = {"containers": [{"name": "a", "args": ["x", None], "resources": {"limits": {"cpu": None}}}]}
    value = {"metadata": {"annotations": {"a": None}}, "spec": spec}
    found = codec.encode(codec.decode(Pod, value))
    assert found["metadata"]["annotations"] == {"a": ""}
    assert found["spec"]["containers"][0]["args"] == ["x", ""]
    assert found["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "0"}
    with pytest.raises(FieldError, match="expected an object, got null"):
        codec.decode(Pod, {"spec": {"containers": [None]}})


def test_base64_may_have_line_breaks() -> None:
    """As `base64 FILE` writes it, and no other white space."""
    assert codec.decode(Secret, {"data": {"a": "aGVs\nbG8=\r\n"}}).data["a"] == b"hello"
    with pytest.raises(FieldError, match="expected base64 data"):
        codec.decode(Secret, {"data": {"a": "aGVs bG8="}})


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


def test_an_empty_value_of_some_asks_for_nothing() -> None:
    """kubectl debug writes resources of an ephemeral container so, and charts the affinity of a pod."""
    options: dict[str, Any] = {"seLinuxOptions": {}, "windowsOptions": {}}
    debugger = {"name": "d", "image": "x", "resources": {}, "securityContext": options}
    spec = {
        "containers": [{"name": "c", "image": "x"}],
        "affinity": {},
        "securityContext": options,
        "ephemeralContainers": [debugger],
    }
    assert rules.validate(codec.decode(Pod, {"spec": spec})) == []
    debugger["resources"] = {"limits": {"cpu": "1"}}
    [fault] = rules.validate(codec.decode(Pod, {"spec": spec}))
    assert (fault.field, fault.reason) == ("spec.ephemeralContainers[0].resources", "FieldValueForbidden")


@pytest.mark.parametrize("cls", errors.ALL)
def test_every_error_survives_the_wire(cls: type[errors.ApiError]) -> None:
    """Class, kind, name and causes."""
    sent = cls("no", kind="pods", name="web", causes=(errors.Cause("spec.a", "bad"),))
    back = wire.from_status(wire.to_status(sent))
    assert type(back) is cls
    assert (back.message, back.kind, back.name, back.causes) == ("no", "pods", "web", sent.causes)
    assert wire.grpc_code(sent).name == cls.grpc


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"a": ' + b"9" * 10_000 + b"}", "a number has more than 400 digits"),
        (b"-" + b"1" * 5000, "a number has more than 400 digits"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[" * 100_000, "it is nested too deep"),
        (b"{", "Expecting property name"),
        (b"\xff", "invalid start byte"),
    ],
    ids=["digits", "negative", "nan", "infinity", "depth", "syntax", "utf-8"],
)
def test_a_text_that_is_no_json_has_one_short_reason(text: bytes, why: str) -> None:
    """Whatever it would cost to read it."""
    with pytest.raises(ValueError, match=why) as caught:
        codec.load_json(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**63, 10**300, 1e300, float("inf"), 1.5, True])
def test_an_integer_out_of_range_is_named(value: Any) -> None:
    """Of 32 bits, for the container's port; int64 has its own range."""
    with pytest.raises(FieldError, match="expected an integer"):
        codec.decode(Pod, {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": value}]}]}})
    if value not in (2**31, -(2**31) - 1):
        with pytest.raises(FieldError, match="expected an integer"):
            codec.decode(Pod, {"spec": {"terminationGracePeriodSeconds": value}})


@pytest.mark.parametrize("depth", [200, 970, 5000])
def test_owned_fields_of_hostile_depth_are_one_error(depth: int) -> None:
    """Any JSON may stand in fieldsV1; writing it must not reach the interpreter's recursion limit."""
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"f:a": deep}
    with pytest.raises(FieldError, match="nested deeper than"):
        codec.decode(Pod, {"metadata": {"managedFields": [{"fieldsV1": deep}]}})


@pytest.mark.parametrize(
    "value",
    [
        {"name": "a", "image": "b"},
        {"stdin": False, "terminationMessagePath": "", "image": None},
        {"name": "a", "ports": [{"containerPort": 80}], "env": []},
        {"resources": {}},
        {"resources": {"requests": {"cpu": 1}}},
    ],
    ids=["scalars", "zeros", "lists", "empty", "nested"],
)
def test_fields_that_are_merged_are_those_of_a_decoded_message(value: dict[str, Any]) -> None:
    """However they are set."""
    message = Container()
    codec.merge(message, value)
    assert message == codec.decode(Container, value)
    with pytest.raises(FieldError, match="expected a string"):
        codec.merge(message, {"image": 1})

"""Strategic merge patches: lists by merge key, and every directive.

Source: the examples of Kubernetes' strategic merge patch documentation and apimachinery's pkg/util/strategicpatch.
"""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.requests.strategicmerge import strategic
from pinnace import errors, kinds, schematree

POD = schematree.of(kinds.POD.cls)


def patched(value: Any, change: Any) -> Any:
    return strategic(POD, value, change)


def spec(**fields: Any) -> Any:
    return {"spec": fields}


def named(names: str) -> Any:
    return [{"name": name} for name in names]


def names(value: Any, field: str = "containers") -> str:
    return "".join(item["name"] for item in value["spec"][field])


@pytest.mark.parametrize(
    ("live", "patch", "order", "result"),
    [
        ("ab", "b", None, "ab"),
        ("ab", "x", None, "xab"),
        ("ab", "ba", None, "ba"),
        ("abc", "", "cba", "cba"),
        ("abc", "", "ca", "bca"),
        ("abcd", "x", "dxb", "acdxb"),
        ("ab", "x", "abx", "abx"),
        ("", "ab", "ba", None),
        ("abc", "c", "", "abc"),
    ],
)
def test_items_are_ordered_as_the_patch_says(live: str, patch: str, order: str | None, result: str | None) -> None:
    """By `$setElementOrder`, else by the patch; the others stay in front of what they were in front of. None: refused."""
    change: Any = {"containers": named(patch)} if patch else {}
    if order is not None:
        change["$setElementOrder/containers"] = named(order)
    if result is None:
        with pytest.raises(errors.BadRequest, match="order"):
            patched(spec(containers=named(live)), {"spec": change})
    else:
        assert names(patched(spec(containers=named(live)), {"spec": change})) == result


def test_an_order_alone_makes_no_list() -> None:
    """There is nothing to order."""
    assert patched(spec(), {"spec": {"$setElementOrder/containers": named("a")}}) == spec()


def test_ports_are_found_by_their_number_alone() -> None:
    """Unlike server-side apply: of two protocols the first is patched."""
    ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]
    change = {"containers": [{"name": "a", "ports": [{"containerPort": 53, "name": "dns"}]}]}
    found = patched(spec(containers=[{"name": "a", "ports": ports}]), {"spec": change})
    assert found["spec"]["containers"][0]["ports"] == [{**ports[0], "name": "dns"}, ports[1]]


def test_retain_keys_clears_the_other_fields() -> None:
    """So a volume changes its source."""
    live = spec(volumes=[{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}])
    change = {"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}
    found = patched(live, spec(volumes=[change]))
    assert found == spec(volumes=[{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w", "emptyDir": {}}])
    with pytest.raises(errors.BadRequest, match="hostPath"):
        patched(live, spec(volumes=[{**change, "$retainKeys": ["name"]}]))


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"$deleteFromPrimitiveList/finalizers": ["b"]}, ["a", "c"]),
        ({"$deleteFromPrimitiveList/finalizers": ["b", "z"], "finalizers": ["d"]}, ["d", "a", "c"]),
        ({"finalizers": ["c", "d", "d"]}, ["a", "b", "c", "d"]),
        ({"finalizers": ["d"], "$setElementOrder/finalizers": ["c", "d", "a"]}, ["b", "c", "d", "a"]),
        ({"finalizers": None}, None),
    ],
)
def test_primitive_lists_are_joined_and_reduced(change: Any, result: Any) -> None:
    """A member occurs once."""
    found = patched({"metadata": {"finalizers": ["a", "b", "c"]}}, {"metadata": change})
    assert found["metadata"].get("finalizers") == result


def test_patch_directives_replace_delete_and_merge() -> None:
    """In an object, and in a list through one of its items."""
    live = spec(securityContext={"runAsUser": 1}, containers=[{"name": "a", "image": "x"}, {"name": "b"}])
    assert patched(live, spec(securityContext={"$patch": "replace", "runAsGroup": 2}))["spec"]["securityContext"] == {
        "runAsGroup": 2
    }
    assert patched(live, spec(securityContext={"$patch": "delete"}))["spec"]["securityContext"] == {}
    assert patched(live, spec(securityContext={"$patch": "merge", "runAsGroup": 2}))["spec"]["securityContext"] == {
        "runAsUser": 1,
        "runAsGroup": 2,
    }
    assert names(patched(live, spec(containers=[{"$patch": "delete", "name": "a"}, {"name": "c"}]))) == "cb"
    assert patched(live, spec(containers=[{"$patch": "replace"}, {"name": "a"}]))["spec"]["containers"] == [{"name": "a"}]
    assert patched(live, spec(containers=[{"$patch": "merge", "name": "a", "tty": True}]))["spec"]["containers"][0] == {
        "name": "a",
        "image": "x",
        "tty": True,
    }
    assert patched(live, {"$patch": "delete"}) == {}


def test_a_list_without_a_strategy_and_a_scalar_are_replaced() -> None:
    """Tolerations, command: as in Kubernetes."""
    live = spec(tolerations=[{"key": "a"}], hostname="a", nodeSelector={"a": "1"})
    change = spec(tolerations=[{"key": "b"}], hostname="b", nodeSelector={"b": "2"})
    assert patched(live, change) == spec(tolerations=[{"key": "b"}], hostname="b", nodeSelector={"a": "1", "b": "2"})


def test_nulls_and_directives_in_what_is_new_are_understood() -> None:
    """They do not end up in the object."""
    change = spec(securityContext={"runAsUser": None, "sysctls": []}, containers=[{"name": "a", "image": None}])
    assert patched({}, change) == spec(securityContext={"sysctls": []}, containers=[{"name": "a"}])


@pytest.mark.parametrize(
    "change",
    [
        spec(containers=[{"image": "x"}]),
        spec(containers=["a"]),
        spec(containers=[{"$patch": "delete"}]),
        spec(containers=[{"$patch": "explode", "name": "a"}]),
        spec(containers=[{"name": ["a"]}]),
        spec(securityContext={"$patch": 5}),
        {"spec": {"$setElementOrder/containers": {}, "containers": named("a")}},
        {"spec": {"$retainKeys": "name"}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "a", "finalizers": ["b"]}},
        {"metadata": {"finalizers": [{}]}},
    ],
)
def test_a_malformed_patch_is_a_bad_request(change: Any) -> None:
    """Never an accident."""
    with pytest.raises(errors.BadRequest):
        patched(spec(containers=named("a")), change)


def test_a_patch_leaves_its_arguments_alone() -> None:
    """The live object may be shared."""
    live = spec(containers=[{"name": "a", "image": "x"}])
    patched(live, spec(containers=[{"name": "a", "image": "y"}, {"name": "b"}]))
    assert live == spec(containers=[{"name": "a", "image": "x"}])


def test_long_lists_cost_what_they_are_long() -> None:
    """Neither the patch nor the live list is searched for each item."""
    many = [f"x/{n}" for n in range(20_000)]
    change = {"metadata": {"finalizers": many, "$deleteFromPrimitiveList/finalizers": many[:9000]}}
    assert len(patched({"metadata": {"finalizers": many[::-1]}}, change)["metadata"]["finalizers"]) == 20_000

"""The published rules of structured merge: what an apply keeps, removes and conflicts with, whoever else owns fields.

Source: structured-merge-diff's merge package; its test cases are named where a test shows the same rule.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.requests import ownership
from pinnace import codec, errors, kinds
from pinnace.kinds import Kind
from tests.support import seeds


class Live:
    """One object and its managers, without a store."""

    def __init__(self, kind: Kind = kinds.POD) -> None:
        self._kind = kind
        self.message: Any = codec.decode(kind.cls, {"metadata": {"name": "web"}})

    def apply(self, manager: str, value: Any, **how: Any) -> Live:
        how.setdefault("force", False)
        self.message = ownership.apply(self._kind, self.message, value, manager=manager, now=1.0, **how)
        return self

    def update(self, manager: str, value: Any, **how: Any) -> Live:
        new = codec.decode(self._kind.cls, {"metadata": {"name": "web"}, **value})
        ownership.record_update(self._kind, self.message, new, manager=manager, now=1.0, **how)
        self.message = new
        return self

    @property
    def spec(self) -> Any:
        return codec.encode(self.message).get("spec", {})

    @property
    def containers(self) -> list[Any]:
        found: list[Any] = self.spec.get("containers", [])
        return found

    def owned(self, manager: str) -> Any:
        """The field set of a manager's only entry; None without one."""
        found = [entry for entry in self.message.metadata.managedFields if entry.manager == manager]
        assert len(found) < 2
        return json.loads(found[0].fieldsV1.Raw) if found else None


def pod(*containers: Any, **spec: Any) -> Any:
    return {"spec": {"containers": [item if isinstance(item, dict) else {"name": item} for item in containers], **spec}}


def env(*names: str) -> Any:
    return [{"name": name, "value": name} for name in names]


def test_an_item_of_one_manager_goes_with_it() -> None:
    """With all that is in it (remove_one)."""
    live = Live().apply("one", pod({"name": "a", "image": "x", "env": env("A")}, "b"))
    assert live.apply("one", pod("b")).containers == [{"name": "b"}]


def test_an_item_that_another_manager_co_owns_stays_with_what_it_owns() -> None:
    """Only what no one else owns goes (remove_one_keep_one_with_two_sub_items)."""
    live = Live().apply("one", pod("a", {"name": "b", "image": "x", "env": env("C")}))
    live.apply("two", pod({"name": "b", "env": env("D")}))
    assert live.apply("one", pod("a")).containers == [{"name": "a"}, {"name": "b", "env": env("D")}]
    assert live.owned("two")["f:spec"]["f:containers"].keys() == {'k:{"name":"b"}'}


def test_what_an_updater_added_below_a_co_owned_item_stays() -> None:
    """The updater owns it (remove_one_keep_one_with_dangling_subitem)."""
    live = Live().apply("one", pod("a", {"name": "b", "env": env("C")})).apply("two", pod({"name": "b", "env": env("D")}))
    live.update("controller", pod("a", {"name": "b", "env": env("C", "D", "E")}))
    assert live.apply("one", pod("a")).containers == [{"name": "a"}, {"name": "b", "env": env("D", "E")}]


def test_an_item_whose_fields_alone_an_updater_owns_goes() -> None:
    """It owns no item (remove_one_with_dangling_subitem_keep_one), and then nothing that is left."""
    live = Live().apply("one", pod("a", {"name": "b", "env": env("C")}))
    live.update("controller", pod("a", {"name": "b", "image": "y", "env": env("C", "D")}))
    assert live.apply("one", pod("a")).containers == [{"name": "a"}]
    assert live.owned("controller") is None


def test_a_struct_goes_with_the_defaults_in_it() -> None:
    """Nobody owns a default, and a probe without its handler would be invalid (struct_apply_remove_all)."""
    live = Live().apply("one", pod({"name": "a", "livenessProbe": {"httpGet": {"port": 80}}}))
    live.message.spec.containers[0].livenessProbe.periodSeconds = 10
    assert live.apply("one", pod("a")).containers == [{"name": "a"}]


def test_a_struct_stays_for_what_another_owns_in_it() -> None:
    """Also when that is an updater's (struct_apply_update_remove_all)."""
    live = Live().apply("one", pod("a", securityContext={"runAsUser": 1}))
    live.update("two", pod("a", securityContext={"runAsUser": 1, "runAsGroup": 2}))
    assert live.apply("one", pod("a")).spec["securityContext"] == {"runAsGroup": 2}
    assert live.apply("one", {}).spec == {"securityContext": {"runAsGroup": 2}}


def test_an_empty_struct_is_a_field() -> None:
    """An applied `{}` keeps it (struct_apply_update_dict_dangling)."""
    live = Live().apply("one", pod("a", securityContext={"runAsUser": 1}))
    assert live.apply("one", pod("a", securityContext={})).spec["securityContext"] == {}
    assert live.owned("one")["f:spec"]["f:securityContext"] == {}
    assert "securityContext" not in live.apply("one", pod("a")).spec


@pytest.mark.parametrize("second", ["apply", "update"])
def test_a_field_that_another_shares_stays(second: str) -> None:
    """Whether applied or updated (unset_scalar_shared_with_applier, ..._updater)."""
    live = Live()
    if second == "update":
        live.update("two", pod("a", hostname="h"))
    live.apply("one", pod("a", hostname="h"))
    if second == "apply":
        live.apply("two", pod("a", hostname="h"))
    assert live.apply("one", pod("a")).spec["hostname"] == "h"
    assert live.apply("two", pod("a")).spec.get("hostname") == (None if second == "apply" else "h")


def test_a_field_that_an_updater_changed_is_no_longer_removed() -> None:
    """It is the updater's (updater_claims_field)."""
    live = Live().apply("one", pod("a", hostname="h")).update("two", pod("a", hostname="other"))
    assert live.apply("one", pod("a")).spec["hostname"] == "other"


def test_an_applier_that_returns_to_an_empty_configuration_owns_nothing() -> None:
    """Neither an object nor an entry is left over."""
    live = Live(kinds.CONFIG_MAP).apply("one", {"data": {"a": "1"}, "metadata": {"labels": {"x": "y"}}})
    live.apply("one", {})
    assert codec.encode(live.message) == {"metadata": {"name": "web"}}


@pytest.mark.parametrize(
    ("before", "applied", "after"),
    [
        ("abc", "cba", "cba"),
        ("abcd", "bd", "abcd"),
        ("abcd", "db", "acdb"),
        ("ac", "abc", "abc"),
        ("abc", "xb", "axbc"),
        ("abc", "bxa", "bcxa"),
        ("", "ba", "ba"),
        ("abc", "", "abc"),
    ],
)
def test_items_follow_the_order_of_the_configuration(before: str, applied: str, after: str) -> None:
    """Those it does not name stay where they were among the others (apply_update_apply_reorder, typed/merge.go)."""
    live = Live().update("one", pod(*before))
    assert "".join(item["name"] for item in live.apply("two", pod(*applied)).containers) == after


def test_members_of_a_set_are_owned_one_by_one() -> None:
    """And ordered like items (apply_twice_remove, apply_update_apply_no_overlap)."""
    live = Live(kinds.CONFIG_MAP).apply("one", {"metadata": {"finalizers": ["a/a", "a/b"]}})
    live.apply("two", {"metadata": {"finalizers": ["a/c", "a/b"]}})
    assert list(live.message.metadata.finalizers) == ["a/a", "a/c", "a/b"]
    live.apply("one", {"metadata": {"finalizers": []}})
    assert list(live.message.metadata.finalizers) == ["a/c", "a/b"]


def test_an_atomic_value_has_one_owner() -> None:
    """A list without keys, a map marked so, a reference: changed in part is changed as a whole."""
    selector = {"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    live = Live().apply("one", pod({"name": "a", "command": ["x"], "env": [selector]}, nodeSelector={"a": "1"}))
    fields = live.owned("one")["f:spec"]
    assert fields["f:nodeSelector"] == {}
    assert fields["f:containers"]['k:{"name":"a"}']["f:command"] == {}
    assert fields["f:containers"]['k:{"name":"a"}']["f:env"]['k:{"name":"E"}']["f:valueFrom"] == {"f:secretKeyRef": {}}
    with pytest.raises(errors.Conflict) as caught:
        live.apply("two", pod("a", nodeSelector={"b": "2"}))
    assert [cause.field for cause in caught.value.causes] == [".spec.nodeSelector"]


def test_a_default_in_an_atomic_value_is_no_difference() -> None:
    """What the server filled in conflicts with nobody who leaves it out."""
    source = {"fieldRef": {"fieldPath": "metadata.name"}}
    configuration = pod({"name": "a", "env": [{"name": "E", "valueFrom": source}]})
    live = Live().apply("one", configuration)
    live.message.spec.containers[0].env[0].valueFrom.fieldRef.apiVersion = "v1"
    before = codec.encode(live.message)["spec"]
    assert live.apply("two", configuration).spec == before


@pytest.mark.parametrize(("one", "other"), [("1000m", "1"), ("1Gi", "1024Mi"), ("1e3", "1k"), ("0.5", "500m")])
def test_equal_quantities_neither_conflict_nor_change(one: str, other: str) -> None:
    """However they are written."""
    live = Live().apply("one", pod({"name": "a", "resources": {"requests": {"cpu": one}}}))
    before = live.spec
    assert live.apply("two", pod({"name": "a", "resources": {"requests": {"cpu": other}}})).spec == before
    with pytest.raises(errors.Conflict):
        live.apply("two", pod({"name": "a", "resources": {"requests": {"cpu": "3"}}}))


def test_an_empty_list_and_a_zero_value_change_nothing() -> None:
    """They are in no stored object."""
    live = Live().update("one", pod("a"))
    before = live.message.spec
    zero = {"name": "a", "command": [], "env": [], "stdin": False, "workingDir": ""}
    live.apply("two", pod(zero, hostNetwork=False, nodeSelector={}))
    assert live.message.spec == before


def test_entries_are_kept_apart_by_operation_version_and_subresource() -> None:
    """One manager may have several; an applier has one whatever its version."""
    live = Live().apply("me", pod("a")).update("me", pod("a", hostname="h"))
    live.message.metadata.managedFields[1].apiVersion = "v1beta1"
    live.update("me", {**pod("a", hostname="h", subdomain="s")})
    status = {**pod("a", hostname="h", subdomain="s"), "status": {"phase": "Running"}}
    live.update("me", status, subresource="status")
    live.message.metadata.managedFields[0].apiVersion = "v1beta1"
    live.apply("me", pod("a"))
    found = [(e.operation, e.apiVersion, e.subresource) for e in live.message.metadata.managedFields]
    assert found == [("Apply", "v1beta1", ""), ("Update", "v1", ""), ("Update", "v1", "status"), ("Update", "v1beta1", "")]


def test_a_status_is_applied_and_owned_apart() -> None:
    """An apply of the status leaves the spec, and conflicts name the subresource."""
    live = Live().apply("one", pod("a"))
    live.apply("one", {"spec": {}, "status": {"phase": "Running"}}, subresource="status")
    assert (live.message.status.phase, live.containers) == ("Running", [{"name": "a"}])
    with pytest.raises(errors.Conflict, match=r'conflict with "one" with subresource "status": \.status\.phase'):
        live.apply("two", {"status": {"phase": "Failed"}}, subresource="status")
    live.apply("one", {"status": {}}, subresource="status")
    assert live.message.status.phase == ""
    assert live.owned("one") is not None


SPARE = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]


def test_items_of_one_key_are_changed_and_kept_as_one() -> None:
    """list/merge/apply_update_duplicates_apply_without, change_duplicated_item, add_unrelated_to_list_with_duplicates."""
    live = Live().apply("one", pod({"name": "a", "env": env("A", "B")}))
    live.update("two", pod({"name": "a", "env": [*SPARE, *env("B")]}))
    live.apply("one", pod({"name": "a", "env": env("B")}))
    assert live.containers[0]["env"] == [*SPARE, *env("B")]
    live.update("three", pod({"name": "a", "env": [*SPARE, *env("B", "C")]}))
    assert live.owned("two")["f:spec"]["f:containers"]['k:{"name":"a"}']["f:env"] == {'k:{"name":"A"}': {}}
    with pytest.raises(errors.Conflict, match=r'env\[name="A"\]'):
        live.apply("one", pod({"name": "a", "env": env("A", "B")}))
    live.apply("one", pod({"name": "a", "env": env("A", "B")}), force=True)
    assert live.containers[0]["env"] == env("A", "B", "C")
    assert live.owned("two") is None


def test_a_forced_apply_takes_only_what_it_changes() -> None:
    """The rest stays shared."""
    live = Live(kinds.CONFIG_MAP).apply("one", {"data": {"a": "1", "b": "1"}})
    live.apply("two", {"data": {"a": "1", "b": "2"}}, force=True)
    assert live.owned("one") == {"f:data": {"f:a": {}}}
    assert live.owned("two") == {"f:data": {"f:a": {}, "f:b": {}}}


SCENARIO = """
import json
from controlplane.requests import ownership
from pinnace import codec, kinds

def pod(*names):
    ports = [{"containerPort": n, "name": f"p{n}"} for n in range(1, 4)]
    full = {"image": "x", "command": ["c"], "env": [{"name": "A", "value": "1"}], "ports": ports, "tty": True}
    return {"spec": {"containers": [{"name": name, **full} for name in names]}}

live = codec.decode(kinds.POD.cls, {"metadata": {"name": "web"}})
for manager, names in (("one", "abc"), ("two", "b"), ("one", "a"), ("two", "")):
    live = ownership.apply(kinds.POD, live, pod(*names), manager=manager, force=True, now=1.0)
    print(json.dumps(codec.encode(live)))
"""


def test_an_apply_does_not_depend_on_the_hash_seed() -> None:
    """Objects and field sets are the same, and no container without a name is left."""
    outputs = seeds.run(SCENARIO, range(14))
    assert len(set(outputs)) == 1
    steps = [json.loads(line)["spec"]["containers"] for line in outputs[0].splitlines()]
    assert [[item["name"] for item in step] for step in steps] == [["a", "b", "c"], ["a", "b", "c"], ["a", "b"], ["a"]]

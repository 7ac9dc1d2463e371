"""What a write changed: paths with the value before and after, bounded, and without what is secret."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.resources.secret import SECRET
from controlplane.timeline import diff
from controlplane.timeline.diff import MAX_CHANGES, MAX_TEXT, Change
from pinnace import codec, kinds
from tests.support import objects


def changed(kind: Any, old: Any, new: Any, **how: Any) -> list[Change]:
    return diff.of_messages(kind, old, new, **how).found


def test_a_scalar_is_named_by_its_path() -> None:
    """With both values; a number that JSON leaves out is 0."""
    old = objects.make(kinds.DEPLOYMENT, "web", spec={"replicas": 3})
    new = objects.make(kinds.DEPLOYMENT, "web", spec={"replicas": 5})
    new.status.readyReplicas = 2
    assert changed(kinds.DEPLOYMENT, old, new) == [
        Change("spec.replicas", "3", "5"),
        Change("status.readyReplicas", "0", "2"),
    ]


def test_items_are_named_by_their_key() -> None:
    """A container that moved in its list did not change."""
    old, new = objects.pod("web", "a", "b"), objects.pod("web", "b", "a")
    assert changed(kinds.POD, old, new) == []
    new.spec.containers[0].image = "other"
    assert changed(kinds.POD, old, new) == [Change("spec.containers[b].image", "busybox", "other")]


def test_a_state_that_replaces_another_is_listed_leaf_by_leaf() -> None:
    """Both what was removed and what was added."""
    old, new = objects.pod(), objects.pod()
    old.status.containerStatuses.add(name="main").state.waiting.reason = "ContainerCreating"
    new.status.containerStatuses.add(name="main").state.running.startedAt.seconds = 5
    assert changed(kinds.POD, old, new) == [
        Change("status.containerStatuses[main].state.waiting.reason", "ContainerCreating", None),
        Change("status.containerStatuses[main].state.running.startedAt", None, "1970-01-01T00:00:05Z"),
    ]


def test_an_empty_object_is_not_an_absent_one() -> None:
    """Its presence means something, as of a volume's emptyDir."""
    old, new = objects.pod(), objects.pod()
    new.spec.securityContext.SetInParent()
    assert changed(kinds.POD, old, new) == [Change("spec.securityContext", None, "{}")]
    assert changed(kinds.POD, new, old) == [Change("spec.securityContext", "{}", None)]


def test_bookkeeping_is_no_change() -> None:
    """The resourceVersion, the generation and the owners of fields follow from other changes."""
    old, new = objects.pod(), objects.pod()
    new.metadata.resourceVersion, new.metadata.generation = "7", 2
    new.metadata.managedFields.add(manager="x")
    assert changed(kinds.POD, old, new) == []


def test_values_of_secrets_are_never_listed() -> None:
    """Neither in the data nor in the manifest that client-side apply keeps; which keys changed is."""
    old = codec.decode(kinds.SECRET.cls, {"metadata": {"name": "s"}, "data": {"a": "c2VjcmV0", "same": "eA=="}})
    new = codec.decode(
        kinds.SECRET.cls,
        {"metadata": {"name": "s", "annotations": {"note": "s3cret"}, "labels": {"x": "y"}}, "data": {"a": "aGlkZGVu", "b": "eg==", "same": "eA=="}},
    )  # fmt: skip
    found = changed(kinds.SECRET, old, new, concealed=SECRET.concealed)
    assert found == [
        Change("metadata.labels.x", None, "y"), Change("metadata.annotations.note"), Change("data.a"), Change("data.b"),
    ]  # fmt: skip
    assert all(change.concealed for change in found[1:])


def test_the_manifest_of_client_side_apply_is_concealed_in_every_kind() -> None:
    """It holds the whole object once more."""
    old, new = objects.pod(), objects.pod()
    new.metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    assert changed(kinds.POD, old, new) == [Change("metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]")]


def test_number_and_length_are_bounded() -> None:
    """Of an object that changed entirely, and of a value that is long."""
    old, new = objects.make(kinds.CONFIG_MAP, "c"), objects.make(kinds.CONFIG_MAP, "c")
    for at in range(5_000):
        new.data[f"key{at}"] = "x" * 1_000
    found = diff.of_messages(kinds.CONFIG_MAP, old, new)
    assert (len(found.found), found.truncated) == (MAX_CHANGES, True)
    assert all(len(change.new or "") == MAX_TEXT for change in found.found)


LEAVES = st.booleans() | st.integers(2, 9) | st.text("ab.[]", max_size=3)
VALUES = st.recursive(
    LEAVES,
    lambda below: st.dictionaries(st.sampled_from(["x", "a", "b.c"]), below, max_size=3) | st.lists(below, max_size=3),
    max_leaves=8,
)  # fmt: skip


def listed(old: Any, new: Any) -> list[Change]:
    out = diff.Changes()
    diff.Walk(out, ()).values(None, old, new, "spec")
    return out.found


@given(VALUES, VALUES)
def test_any_difference_is_listed_and_mirrors(old: Any, new: Any) -> None:
    """Two values differ exactly if something is listed, and the way back has the same paths with the values swapped."""
    there, back = listed(old, new), listed(new, old)
    assert bool(there) == (_plain(old) != _plain(new))
    assert sorted((c.path, c.new or "", c.old or "") for c in back) == sorted((c.path, c.old or "", c.new or "") for c in there)
    assert listed(old, copy.deepcopy(old)) == []


def _plain(value: Any) -> Any:
    """What the listing tells apart: null is an absent field, and true is not 1."""
    if isinstance(value, dict):
        return ("map", {key: _plain(item) for key, item in value.items() if item is not None})
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return ("list", [_plain(item) for item in value])
    return (type(value).__name__, value)

"""Who owns the fields of a status: entries of managedFields with `subresource: status`, and their conflicts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controlplane.requests import ownership, statusfields
from pinnace import codec, kinds
from pinnace.errors import BadRequest, Conflict, Invalid, NotFound
from pinnace.kinds import Kind
from pinnace.messages import clone
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.customkinds import CRONTAB, crontab, definition

MERGE = "MERGE"
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}


@pytest.fixture
async def api(cluster: Cluster) -> Api:
    api = Api(cluster, "first")
    await api.create(kinds.NODE, NODE)
    return api


def condition(type_: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": type_, "status": status, **more}


def node(**status: Any) -> dict[str, Any]:
    return {**NODE, "status": status}


def owners(item: Any, subresource: str = "status") -> dict[tuple[str, str], Any]:
    """Manager and operation to its fields."""
    return {
        (entry.manager, entry.operation): json.loads(entry.fieldsV1.Raw)
        for entry in item.metadata.managedFields
        if entry.subresource == subresource
    }


def of_condition(type_: str, *fields: str) -> dict[str, Any]:
    return {f'k:{{"type":"{type_}"}}': {".": {}, "f:type": {}, **{f"f:{name}": {} for name in fields}}}


async def test_an_update_of_the_status_has_an_entry_of_its_own(api: Api) -> None:
    """With what it changed; the entry of the rest stays, and has no status."""
    made = await api.get(kinds.NODE, "n1")
    before = owners(made, "")
    updated = await api.update_status(kinds.NODE, node(conditions=[condition("A", reason="x")], phase="Running"))
    assert owners(updated) == {
        ("first", "Update"): {"f:status": {"f:conditions": of_condition("A", "status", "reason"), "f:phase": {}}}
    }
    assert owners(updated, "") == before
    assert [entry.apiVersion for entry in updated.metadata.managedFields if entry.subresource] == ["v1"]
    await api.update(kinds.NODE, {**NODE, "metadata": {"name": "n1", "labels": {"a": "b"}}})
    assert owners(await api.get(kinds.NODE, "n1")) == owners(updated)


async def test_managers_share_a_status_field_by_field(api: Api, cluster: Cluster) -> None:
    """By updates and patches: a change takes a field from all others, a removal from everyone."""
    other = Api(cluster, "other")
    await api.update_status(kinds.NODE, node(conditions=[condition("A"), condition("B")]))
    patch = {"status": {"conditions": [condition("B", "False"), condition("C")]}}
    patched = await other.patch(kinds.NODE, "n1", "STRATEGIC", patch, subresource="status")
    shared = {'k:{"type":"B"}': {".": {}, "f:type": {}}}
    assert owners(patched) == {
        ("first", "Update"): {"f:status": {"f:conditions": {**of_condition("A", "status"), **shared}}},
        ("other", "Update"): {
            "f:status": {"f:conditions": {'k:{"type":"B"}': {"f:status": {}}, **of_condition("C", "status")}}
        },
    }
    removed = await api.update_status(kinds.NODE, node(conditions=[condition("A")]))
    assert owners(removed) == {("first", "Update"): {"f:status": {"f:conditions": of_condition("A", "status")}}}


async def test_an_update_without_a_change_leaves_owners_as_they_are(api: Api, cluster: Cluster) -> None:
    """Who states the same owns nothing by an update."""
    made = await api.update_status(kinds.NODE, node(conditions=[condition("A")]))
    again = await Api(cluster, "other").update_status(kinds.NODE, node(conditions=[condition("A")]))
    assert again == made


async def test_an_applied_status_is_merged_and_owned(api: Api, cluster: Cluster) -> None:
    """Each applier has its condition; a field that it no longer applies goes."""
    other = Api(cluster, "other")
    [(outcome, _)] = await api.apply(node(conditions=[condition("A")]), subresource="status")
    assert outcome == "configured"
    [(_, both)] = await other.apply(node(conditions=[condition("B", reason="x")]), subresource="status")
    assert [item.type for item in both.status.conditions] == ["A", "B"]
    assert owners(both) == {
        ("first", "Apply"): {"f:status": {"f:conditions": of_condition("A", "status")}},
        ("other", "Apply"): {"f:status": {"f:conditions": of_condition("B", "status", "reason")}},
    }
    [(_, less)] = await other.apply(node(conditions=[condition("B")]), subresource="status")
    assert [item.reason for item in less.status.conditions] == ["", ""]
    [(_, none)] = await other.apply(node(), subresource="status")
    assert [item.type for item in none.status.conditions] == ["A"]
    [(outcome, same)] = await api.apply(node(conditions=[condition("A")]), subresource="status")
    assert (outcome, same.metadata.resourceVersion) == ("unchanged", none.metadata.resourceVersion)


async def test_an_applied_status_conflicts_and_can_be_forced(api: Api, cluster: Cluster) -> None:
    """With an updater and with an applier, each named with the subresource."""
    other = Api(cluster, "other")
    await api.update_status(kinds.NODE, node(conditions=[condition("A")]))
    [(outcome, error)] = await other.apply(node(conditions=[condition("A", "False")]), subresource="status")
    assert outcome == "failed"
    assert isinstance(error, Conflict)
    assert 'conflict with "first" with subresource "status" using v1' in error.message
    [(_, forced)] = await other.apply(node(conditions=[condition("A", "False")]), subresource="status", force=True)
    assert forced.status.conditions[0].status == "False"
    assert owners(forced)["other", "Apply"] == {"f:status": {"f:conditions": of_condition("A", "status")}}
    assert "f:status" not in json.dumps(owners(forced)["first", "Update"]["f:status"]["f:conditions"])


async def test_an_apply_of_the_rest_and_one_of_the_status_do_not_meet(api: Api) -> None:
    """One manager, two entries: each keeps what the other applied."""
    labelled = {**NODE, "metadata": {"name": "n1", "labels": {"a": "b"}}}
    await api.apply(labelled)
    await api.apply({**labelled, **node(conditions=[condition("A")])}, subresource="status")
    [(_, found)] = await api.apply({**NODE, "metadata": {"name": "n1", "labels": {"c": "d"}}})
    assert (dict(found.metadata.labels), len(found.status.conditions)) == ({"c": "d"}, 1)
    assert owners(found)["first", "Apply"] == {"f:status": {"f:conditions": of_condition("A", "status")}}
    assert owners(found, "")["first", "Apply"] == {"f:metadata": {"f:labels": {"f:c": {}}}}


async def test_what_cannot_be_applied_as_a_status_is_refused(api: Api) -> None:
    """An object that is absent, a kind without a status, a status that is invalid, another subresource."""
    absent = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}, "status": {"phase": "Running"}}
    settings_ = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    for manifest, part, expected in (
        (absent, "status", NotFound), (settings_, "status", BadRequest), (node(conditions=[{"type": 5}]), "status", Invalid),
        (NODE, "scale", BadRequest), ({**NODE, "metadata": {}}, "status", Invalid),
    ):  # fmt: skip
        [(outcome, error)] = await api.apply(manifest, subresource=part)
        assert (outcome, type(error)) == ("failed", expected)


async def test_the_status_of_a_custom_kind_is_owned_along_its_schema(cluster: Cluster) -> None:
    """By update, patch and apply."""
    api, other = Api(cluster, "first"), Api(cluster, "other")
    await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    await cluster.advance(1)
    await api.create(CRONTAB, crontab())
    updated = await api.update_status(CRONTAB, codec.decode(CRONTAB.cls, {"metadata": {"name": "backup", "namespace": "default"}, "status": {"replicas": 1}}))  # fmt: skip
    assert owners(updated) == {("first", "Update"): {"f:status": {"f:replicas": {}}}}
    patched = await other.patch(CRONTAB, "backup", MERGE, {"status": {"labelSelector": "a=b"}}, subresource="status")
    assert owners(patched)["other", "Update"] == {"f:status": {"f:labelSelector": {}}}
    [(_, error)] = await Api(cluster, "third").apply(crontab(status={"replicas": 2}), subresource="status")
    assert isinstance(error, Conflict)
    [(_, applied)] = await Api(cluster, "third").apply(crontab(status={"replicas": 2}), subresource="status", force=True)
    assert owners(applied) == {
        ("third", "Apply"): {"f:status": {"f:replicas": {}}}, ("other", "Update"): {"f:status": {"f:labelSelector": {}}}
    }  # fmt: skip
    assert codec.encode(applied)["status"] == {"replicas": 2, "labelSelector": "a=b"}


statuses = st.fixed_dictionaries({}, optional={
    "phase": st.sampled_from(["Pending", "Running"]), "podIP": st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    "podIPs": st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), unique=True, max_size=2).map(lambda ips: [{"ip": ip} for ip in ips]),
    "conditions": st.dictionaries(st.sampled_from("AB"), st.fixed_dictionaries({"status": st.sampled_from(["True", "False"])}, optional={"reason": st.just("x")}), max_size=2)
                    .map(lambda found: [{"type": key, **item} for key, item in sorted(found.items())]),
    "containerStatuses": st.just([{"name": "main", "ready": True}]),
})  # fmt: skip


# `replicas` is shown when it is zero too.
counts = st.fixed_dictionaries({}, optional={"replicas": st.integers(0, 2), "readyReplicas": st.integers(0, 2)})
managers = st.sampled_from(["one", "one", "two", ""])
histories = st.one_of(
    st.tuples(st.just(kinds.POD), st.lists(st.tuples(statuses, managers), max_size=6)),
    st.tuples(st.just(kinds.REPLICA_SET), st.lists(st.tuples(counts, managers), max_size=6)),
)


REORDERED = [
    ({"podIPs": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}]}, "one"),
    ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}, "one"),
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories)
@example((kinds.POD, REORDERED))
def test_owners_found_without_a_comparison_are_those_of_the_comparison(found: tuple[Kind, list[tuple[Any, str]]]) -> None:
    """After any writes of a status, by one manager, by several, and by components that record none."""
    kind, history = found
    short = plain = codec.decode(kind.cls, {"metadata": {"name": "p"}})
    for at, (status, manager) in enumerate(history):
        wanted = codec.decode(kind.cls, {"status": status}).status
        one, other = clone(short), clone(plain)
        for item in (one, other):
            item.status.CopyFrom(wanted)
        if manager and one.status != short.status:
            statusfields.record(kind, short, one, manager=manager, now=float(at))
            ownership.record_update(kind, plain, other, manager=manager, now=float(at), subresource="status")
        short, plain = one, other
        assert short == plain

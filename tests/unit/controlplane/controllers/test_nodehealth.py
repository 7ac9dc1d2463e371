"""Observations of nodes and leases."""

from __future__ import annotations

from controlplane.controllers.disruption import EvictionRates
from controlplane.controllers.nodehealth import NodeHealth, zone_of
from pinnace.wellknown import LABEL_REGION, LABEL_ZONE
from tests.support.objects import node


def health() -> NodeHealth:
    return NodeHealth(15.0, EvictionRates())


def test_a_node_is_late_by_the_time_since_its_lease_changed() -> None:
    """A version that was seen already is no change, nor is one that a transaction saw before the watch brought it."""
    found = health()
    found.note_node(node("n1"), 0.0, anew=True)
    found.note_lease("n1", 5, 10.0)
    assert found.lateness("n1", 12.0) == 2.0
    found.note_lease("n1", 6, 13.0)
    found.note_lease("n1", 5, 14.0)
    found.note_lease("n1", 6, 14.0)
    assert found.lateness("n1", 15.0) == 2.0


def test_observation_starts_anew_after_a_gap_in_the_watch() -> None:
    """The lease may have changed in it."""
    found = health()
    found.note_node(node("n1"), 0.0, anew=True)
    found.note_lease("n1", 5, 1.0)
    found.note_node(node("n1"), 20.0, anew=True)
    assert found.lateness("n1", 21.0) == 1.0
    found.note_lease("n1", 5, 22.0, anew=True)
    assert found.lateness("n1", 23.0) == 1.0


def test_an_update_of_the_node_is_no_sign_of_life() -> None:
    """Anybody may write a Node."""
    found = health()
    found.note_node(node("n1"), 0.0, anew=True)
    found.note_node(node("n1"), 10.0, anew=False)
    assert found.lateness("n1", 12.0) == 12.0


def test_nodes_that_fall_silent_together_are_counted_together() -> None:
    """When the first is late by its grace the others are by most of it; their conditions still say Ready."""
    found = health()
    for name, since in (("n1", 0.0), ("n2", 3.0), ("n3", 4.0)):
        made = node(name)
        made.status.conditions.add(type="Ready", status="True")
        found.note_node(made, since, anew=True)
    assert not found.zones(2.0).all_failed
    assert found.zones(15.0).all_failed
    found.note_lease("n3", 9, 15.5)
    assert not found.zones(17.0).all_failed


def test_a_zone_is_a_zone_of_its_region() -> None:
    """Nodes without labels share one."""
    assert zone_of(node("n1")) == ""
    labels = {LABEL_REGION: "eu", LABEL_ZONE: "a"}
    assert zone_of(node("n1", meta={"labels": labels})) == "eu:a"

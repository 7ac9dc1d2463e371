"""Faults in a lab's record: kept, found by their ends, overdue without a watchdog; and the rules that cut hosts off."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from cli.lab import cuts, disks, faultrecord, faults, layout, processes, uplink, watchdog
from cli.lab.faultrecord import CUT, FILL, FREEZE
from cli.lab.layout import CONTROL, Fault, Lab, Process
from pinnace.errors import ApiError, BadRequest, Internal


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(layout, "STATE", tmp_path / "state")
    monkeypatch.setattr(layout, "RUN", tmp_path / "run")
    return Lab("one", {"node-1": 1, "node-2": 2})


def test_faults_are_kept_in_the_record(lab: Lab) -> None:
    lab.faults = [Fault(CUT, ("node-1", CONTROL), 12.5, Process(1, 2)), Fault(FREEZE, ("node-2",))]
    lab.save()
    assert layout.load("one") == lab


def test_a_record_of_before_has_none(lab: Lab) -> None:
    lab.save()
    path = lab.state_dir / "lab.json"
    record = json.loads(path.read_text())
    del record["faults"], record["disk_size"]
    path.write_text(json.dumps(record))
    assert layout.load("one").faults == []


def test_a_cut_is_found_by_its_ends_in_any_order(lab: Lab) -> None:
    lab.faults = [Fault(CUT, ("node-1", CONTROL)), Fault(CUT, ("node-1",)), Fault(FREEZE, ("node-1",))]
    assert faultrecord.of(lab, CUT, (CONTROL, "node-1")) == lab.faults[0]
    assert faultrecord.of(lab, CUT, ("node-1",)) == lab.faults[1]
    assert faultrecord.of(lab, CUT, ("node-2",)) is None


def test_a_fault_is_overdue_only_without_a_process_that_reverts_it(lab: Lab) -> None:
    own = Process(os.getpid(), processes.start_time(os.getpid()))
    past = time.time() - 1
    lab.faults = [
        Fault(FREEZE, ("node-1",), past, own), Fault(FREEZE, ("node-2",), past, Process(own.pid, own.start + 1)),
        Fault(CUT, ("node-1",)), Fault(CUT, ("node-2",), time.time() + 1000),
    ]  # fmt: skip
    assert faultrecord.overdue(lab) == [lab.faults[1]]


def test_a_cut_drops_what_two_hosts_send_each_other_and_nothing_else(lab: Lab) -> None:
    lab.faults = [Fault(CUT, ("node-1", CONTROL)), Fault(CUT, ("node-2",)), Fault(FREEZE, ("node-1",))]
    rules = [line.partition(cuts.TABLE)[2].strip() for line in cuts.rules_of(lab).splitlines() if line.startswith("add rule")]
    assert sorted(rules) == [
        'forward iifname "port0" oifname "port1" drop',
        'forward iifname "port1" oifname "port0" drop',
        'forward iifname "port2" drop',
        'forward oifname "port2" drop',
        'input iifname "port2" drop',
        'output oifname "port2" drop',
    ]


def test_without_cuts_there_is_no_table(lab: Lab) -> None:
    assert cuts.rules_of(lab).splitlines()[-1] == f"delete table bridge {cuts.TABLE}"


def test_a_cut_that_fails_leaves_no_rules(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the route to Services cannot be changed, after the rules are. The record no longer names them."""
    applied: list[str] = []

    def fail(_: Lab) -> None:
        raise Internal("the route cannot be changed")

    monkeypatch.setattr(cuts, "apply", lambda lab: applied.append(cuts.rules_of(lab)))
    monkeypatch.setattr(uplink, "lead_services", fail)
    lab.processes[CONTROL] = Process(os.getpid(), processes.start_time(os.getpid()))
    with pytest.raises(Internal, match="the route cannot be changed"):
        faults.inject(lab, CUT, ("node-1",), seconds=0.0, config=Path("config"))
    assert lab.faults == []
    assert ["drop" in rules for rules in applied] == [True, False]


def test_a_cut_that_cannot_be_withdrawn_is_reported(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the error that came first."""
    errors: list[ApiError] = [Internal("first"), Internal("second")]

    def fail(_: Lab) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(cuts, "apply", fail)
    lab.processes[CONTROL] = Process(os.getpid(), processes.start_time(os.getpid()))
    text = "first; the rules of the cut may be in effect until the next `kctl lab cut`: second"
    with pytest.raises(Internal, match=text):
        faults.inject(lab, CUT, ("node-1",), seconds=0.0, config=Path("config"))


def test_hosts_are_named_as_users_know_them(lab: Lab) -> None:
    assert cuts.host_of(lab, "control-plane") == CONTROL
    assert cuts.name_of(CONTROL) == "control-plane"
    assert cuts.host_of(lab, "node-1") == cuts.name_of("node-1") == "node-1"
    with pytest.raises(BadRequest, match='has no host "switch"'):
        cuts.host_of(lab, "switch")


def test_a_watchdog_tries_again_after_an_error_of_the_system(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """As of a disk that is full. It would otherwise end with the fault in effect, and nothing else reverts it."""
    monkeypatch.setattr(watchdog, "AGAIN", 0.0)
    until = time.time()
    lab.faults = [Fault(FILL, ("node-1",), until)]
    lab.save()
    ballast = lab.node_dir("node-1") / disks.BALLAST
    ballast.mkdir(parents=True)
    words = ["one", FILL, "node-1", repr(until), "0.0", "config"]
    assert watchdog.main(words) == 1
    assert capfd.readouterr().err.count("error: fill of node-1 is not reverted") == watchdog.TRIES
    ballast.rmdir()
    assert watchdog.main(words) == 0
    assert layout.load("one").faults == []

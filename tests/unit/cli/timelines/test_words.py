"""A record of the timeline in words, and records as lines."""

from __future__ import annotations

from typing import Any

import pytest

from cli.timelines import documents, fields, layout, words
from cli.timelines.layout import Layout
from pinnace.api.v1.timeline_pb2 import TimelineRecord


def record(type_: int = TimelineRecord.CHANGED, *changes: tuple[str, str | None, str | None], **rest: Any) -> TimelineRecord:
    """Changes are path, old and new value; both None: concealed."""
    out = TimelineRecord(type=type_, micros=1_000_000, **rest)  # type: ignore[arg-type]
    for path, old, new in changes:
        change = out.changes.add(path=path, concealed=old is None and new is None)
        if old is not None:
            change.old = old
        if new is not None:
            change.new = new
    return out


def text(*changes: tuple[str, str | None, str | None], wide: bool = False) -> str:
    return ", ".join(words.what(record(TimelineRecord.CHANGED, *changes), wide=wide))


def test_changes_are_named_by_their_path() -> None:
    """The part that a field shares with the one before is left out."""
    assert text(("spec.replicas", "2", "3")) == "spec.replicas: 2 → 3"
    assert text(("a.b", None, "x"), ("a.c", "y", None), ("d.c", "1", "")) == 'a.b: x, .c removed (was y), d.c: 1 → ""'
    assert (
        text(("metadata.annotations[x.io/a]", "1", "2"), ("metadata.annotations[x.io/b]", None, "3"))
        == "metadata.annotations[x.io/a]: 1 → 2, [x.io/b]: 3"
    )
    assert text(("data.password", None, None)) == "data.password changed"
    assert text() == "field owners changed"


def test_a_condition_is_one_piece() -> None:
    """With its reason and message in parentheses, without the moment of its transition."""
    changes = (
        ("status.conditions[Ready].status", "False", "True"),
        ("status.conditions[Ready].lastTransitionTime", "a", "b"),
        ("status.conditions[Ready].reason", None, "Up"),
        ("status.conditions[Ready].message", "x", "all\nis well"),
        ("status.conditions[Other].message", "x", "y"),
    )
    assert text(*changes) == "condition Ready: False → True (Up: all is well), condition Other (y)"
    assert ".lastTransitionTime: a → b" in text(*changes, wide=True)


def test_a_container_is_one_piece() -> None:
    """Its state with the reason, which stands for the message; then what else there is."""
    changes = (
        ("status.containerStatuses[web].name", None, "web"),
        ("status.containerStatuses[web].state.waiting.reason", "A", "B"),
        ("status.containerStatuses[web].state.waiting.message", "a", "b"),
        ("status.containerStatuses[web].restartCount", "0", "1"),
    )
    assert text(*changes) == "container web: waiting (A) → waiting (B), restartCount: 0 → 1"
    assert "waiting.message: a → b" in text(*changes, wide=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((("state.running.startedAt", None, "t"), ("ready", "false", "true")), "running, ready: false → true"),
        (
            (
                ("state.running.startedAt", "t", None), ("state.terminated.reason", None, "Error"),
                ("state.terminated.exitCode", "0", "3"), ("state.terminated.finishedAt", None, "t"),
            ),
            "running → terminated (Error, exit code 3)",
        ),
        (
            (
                ("state.running.startedAt", "t", "u"), ("lastState.terminated.exitCode", "0", "3"),
                ("lastState.terminated.reason", None, "Error"), ("restartCount", "0", "1"),
            ),
            "restarted, before: terminated (Error, exit code 3), restartCount: 0 → 1",
        ),
        ((("state.waiting.reason", "PodInitializing", None), ("state.running.startedAt", None, "t")), "waiting (PodInitializing) → running"),
        ((("imageID", None, "sha256:1"),), "imageID: sha256:1"),
    ],
)  # fmt: skip
def test_the_state_of_a_container_is_one_phrase(changes: Any, expected: str) -> None:
    """From what to what, and why."""
    listed = ((f"status.containerStatuses[web].{path}", old, new) for path, old, new in changes)
    assert text(*listed) == f"container web: {expected}"


def test_what_is_much_is_shortened() -> None:
    """But for -o wide."""
    many = tuple((f"a{at}.x", "1", "2") for at in range(20))
    assert text(*many).endswith("a7.x: 1 → 2, 12 more (-o wide)")
    assert "a19.x: 1 → 2" in text(*many, wide=True)
    assert len(text(("a", None, "x" * 500))) < 120
    assert "x" * 500 in text(("a", None, "x" * 500), wide=True)


def test_a_first_status_begins_with_what_matters() -> None:
    """Containers before conditions before addresses; conditions that changed alike are one piece."""
    changes = (
        ("status.phase", "Pending", "Running"),
        ("status.conditions[Initialized].status", None, "True"),
        ("status.conditions[Ready].status", None, "True"),
        ("status.conditions[Other].status", None, "False"),
        ("status.podIP", None, "10.0.0.1"),
        ("status.containerStatuses[web].ready", "false", "true"),
    )
    assert text(*changes) == (
        "status.phase: Pending → Running, container web: ready: false → true, conditions Initialized, Ready: True, "
        "condition Other: False, status.podIP: 10.0.0.1"
    )


def test_a_deletion_that_waits_says_how_long() -> None:
    changes = (("metadata.deletionTimestamp", None, "now"), ("metadata.deletionGracePeriodSeconds", None, "30"))
    assert text(*changes, ("spec.x", "1", "2")) == "marked for deletion, 30 s grace, spec.x: 1 → 2"


@pytest.mark.parametrize(
    ("fields_", "expected"),
    [
        ({"actor": "system:node:n1"}, "node/n1"),
        ({"actor": "controller:replicaset"}, "replicaset-controller"),
        ({"actor": "jane", "verb": "patch", "fieldManager": "kctl"}, "jane (kctl)"),
        ({"fieldManager": "helm"}, "(helm)"),
        ({}, "-"),
    ],
)
def test_who(fields_: dict[str, Any], expected: str) -> None:
    assert words.who(record(**fields_)) == expected


def test_events_attempts_and_gaps() -> None:
    event = record(TimelineRecord.EVENT, eventType="Warning", reason="BackOff", message="back-off\n5s", count=3)
    assert words.what(event) == ["event Warning BackOff (x3): back-off 5s"]
    for actor, expected in (("system:node:n1", "nodeagent"), ("", "nodeagent"), ("mallory", "mallory (nodeagent)")):
        assert words.who(record(TimelineRecord.EVENT, actor=actor, reporter="nodeagent")) == expected
    assert words.who(record(TimelineRecord.EVENT, actor="dispatcher", reporter="r", host="n1"), wide=True) == "r, n1"
    rejected = record(TimelineRecord.ATTEMPT, attempt=2, message="0/1 nodes are available: 1 Insufficient cpu.")
    assert words.what(rejected) == ["attempt 2: 0/1 nodes are available: 1 Insufficient cpu."]
    placed = record(TimelineRecord.ATTEMPT, attempt=1, node="n1", feasible=2, nodes=3)
    assert words.what(placed) == ["attempt: node n1 chosen, 2 of 3 fit"]
    gap = record(TimelineRecord.GAP, count=4, message="the disk did not keep up", afterRevision=10, revision=20)
    assert words.what(gap) == ["up to 4 changes not recorded: the disk did not keep up (revisions 11 to 20)"]


@pytest.mark.parametrize(
    ("path", "parent", "leaf"),
    [
        ("a.b.c", "a.b", "c"),
        ("a", "", "a"),
        ("a.b[x.y/z]", "a.b", "[x.y/z]"),
        ("a.b[x.y].c", "a.b[x.y]", "c"),
    ],
)
def test_paths_have_parts(path: str, parent: str, leaf: str) -> None:
    """Keys in brackets may have dots."""
    assert (fields.parent(path), fields.leaf(path)) == (parent, leaf)


def test_lines_fit_the_terminal() -> None:
    """Pieces are kept together where they can be; what follows stands below WHAT."""
    assert layout.filled(["aaaa", "bbbb", "cccc"], 11) == ["aaaa, bbbb,", "cccc"]
    assert layout.filled(["a word and another"], 10) == ["a word and", "another"]
    assert layout.filled(["x" * 25], 10) == ["x" * 10, "x" * 10, "x" * 5]
    one = record(TimelineRecord.CHANGED, *((f"status.field{at}.x", "1", "2") for at in range(5)))
    one.ref.kind, one.ref.name = "Pod", "web"
    lines = Layout(width=80).lines([one])
    assert max(map(len, lines)) <= 80
    place = lines[0].index("WHAT")
    assert lines[2][place:].startswith("status.field0")
    assert lines[3][:place].strip() == ""


def test_a_pipe_gets_one_line_for_each_record_and_no_colours() -> None:
    """Control characters of hostile objects are escaped."""
    records = [record(TimelineRecord.EVENT, message="\x1b[31mred", eventType="Normal", reason="R") for _ in range(3)]
    lines = Layout().lines(records)
    assert len(lines) == 2 + 3
    assert "\x1b" not in "".join(lines)
    assert "\x1b[33m" in "".join(Layout(colours=True, width=200).lines([record(TimelineRecord.ATTEMPT, message="no")]))


def test_json_has_everything_that_is_recorded() -> None:
    """An empty value is one, and an absent one is left out."""
    one = record(TimelineRecord.CHANGED, ("a", "", "x"), ("b", "y", None), ("c", None, None), actor="jane", revision=7)
    one.ref.kind, one.ref.name = "Pod", "web"
    assert documents.record(one) == {
        "time": "1970-01-01T00:00:01.000000Z", "revision": 7, "type": "CHANGED", "object": {"kind": "Pod", "name": "web"}, "actor": "jane",
        "changes": [{"path": "a", "old": "", "new": "x"}, {"path": "b", "old": "y"}, {"path": "c", "concealed": True}],
    }  # fmt: skip
    tried = record(TimelineRecord.ATTEMPT, attempt=1, nodes=2, message="no", rejected={"full": 2})
    assert documents.record(tried)["attempt"] == {"number": 1, "nodes": 2, "rejected": {"full": 2}, "message": "no"}

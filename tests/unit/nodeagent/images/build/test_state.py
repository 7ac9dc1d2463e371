"""What instructions make of an image's configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nodeagent.images.build import grammar, reading, state
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.instructions import From, Workdir
from nodeagent.images.build.state import State

BASE = State(config={"Env": ["PATH=/bin", "A=base"], "Cmd": ["inherited"], "User": "old", "Labels": {"x": "1"}})


def after(text: str, *, args: dict[str, str] | None = None, scope: dict[str, str] | None = None, before: State = BASE) -> State:
    """The state after the instructions of `text`, which stand behind a FROM."""
    current = before
    for item in reading.read(grammar.parse("FROM x\n" + text)):
        if not isinstance(item, From):
            resolved = state.resolve(item, current, "\\")
            current = state.configure(resolved, current, args or {}, scope or {}, "\\")
    return current


@pytest.mark.parametrize(
    ("text", "member", "wanted"),
    [
        ("ENV B=$A/x", "Env", ["PATH=/bin", "A=base", "B=base/x"]),
        ("ENV A=new B=$A", "Env", ["PATH=/bin", "A=new", "B=base"]),
        ('ENV A="two  words"', "Env", ["PATH=/bin", "A=two  words"]),
        ("ENV PATH=/x:$PATH", "Env", ["PATH=/x:/bin", "A=base"]),
        ("ENV B it has spaces", "Env", ["PATH=/bin", "A=base", "B=it has spaces"]),
        ("ARG B=1\nENV C=$B", "Env", ["PATH=/bin", "A=base", "C=1"]),
        ("ARG A=arg\nENV C=$A", "Env", ["PATH=/bin", "A=base", "C=base"]),
        ('LABEL y="a b" z=$A', "Labels", {"x": "1", "y": "a b", "z": "base"}),
        ("WORKDIR /a\nWORKDIR b/../c", "WorkingDir", "/a/c"),
        ("WORKDIR rel", "WorkingDir", "/rel"),
        ("WORKDIR /$A", "WorkingDir", "/base"),
        ("USER $A:group", "User", "base:group"),
        ("EXPOSE 80 53/UDP 8000-8010", "ExposedPorts", {"80/tcp": {}, "53/udp": {}, "8000-8010/tcp": {}}),
        ('VOLUME ["/a b", "/c"]', "Volumes", {"/a b": {}, "/c": {}}),
        ("VOLUME /a /$A", "Volumes", {"/a": {}, "/base": {}}),
        ("CMD a $A", "Cmd", ["/bin/sh", "-c", "a $A"]),
        ('ENTRYPOINT ["e"]', "Entrypoint", ["e"]),
    ],
)
def test_members(text: str, member: str, wanted: Any) -> None:
    """As in an OCI image config."""
    assert after(text).config[member] == wanted


def test_an_entrypoint_drops_an_inherited_cmd_but_not_ones_own() -> None:
    """Docker's rule: the CMD was meant for another program."""
    assert "Cmd" not in after('ENTRYPOINT ["e"]').config
    assert after('CMD ["c"]\nENTRYPOINT ["e"]').config["Cmd"] == ["c"]


@pytest.mark.parametrize(
    ("text", "args", "scope", "wanted"),
    [
        ("ARG X=1", {}, {}, {"X": "1"}), ("ARG X=1", {"X": "2"}, {}, {"X": "2"}), ("ARG X", {}, {}, {}),
        ("ARG X", {}, {"X": "outer"}, {"X": "outer"}), ("ARG X=in", {}, {"X": "outer"}, {"X": "in"}), ("", {"X": "2"}, {"X": "3"}, {}),
        ("ARG X=1 Y=$X$A", {}, {}, {"X": "1", "Y": "1base"}), ("ARG TARGETOS", {}, {}, {"TARGETOS": "linux"}),
    ],
)  # fmt: skip
def test_args(text: str, args: dict[str, str], scope: dict[str, str], wanted: dict[str, str]) -> None:
    """The command line, then the default, then the ARG before FROM; and only where ARG says so."""
    assert after(text, args=args, scope=scope).args == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [("EXPOSE http", "EXPOSE"), ("EXPOSE 0", "EXPOSE"), ("EXPOSE 70000", "EXPOSE"), ("EXPOSE 999999", "EXPOSE"),
     ("EXPOSE 80/icmp", "EXPOSE"), ("EXPOSE 90-80", "empty"), ("USER $NONE", "USER is empty"), ('ENV ""=x', "name is empty"),
     ("LABEL $NONE=x", "name is empty"), ("ENV $NONE=x", "name is empty"), ("ENV A=" + "x" * 40_000, "32 KiB"),
     ('ENV B="${C:?give C}"', "give C")],
)  # fmt: skip
def test_refusals(text: str, words: str) -> None:
    """With the line, counted from the FROM before."""
    with pytest.raises(BuildError, match=words) as caught:
        after(text)
    assert caught.value.line == 2


def test_configuration_is_never_changed_in_place() -> None:
    """A state may be the base of several stages."""
    before = json.dumps(dict(BASE.config))
    after("ENV A=x\nLABEL x=2\nEXPOSE 1\nVOLUME /v\nUSER u\nWORKDIR /w")
    assert json.dumps(dict(BASE.config)) == before


def test_the_history_has_an_entry_for_every_layer() -> None:
    """OCI: those that are not marked empty are as many as the layers."""
    item = Workdir(line=1, text="WORKDIR /x", path="/x")
    done = after("LABEL a=b").with_layer("sha256:1", item, "2026-01-01T00:00:00Z").with_layer("", item, "2027-01-01T00:00:00Z")
    document = state.document(done)
    assert [bool(entry.get("empty_layer")) for entry in document["history"]] == [True, False, True]
    assert document["rootfs"]["diff_ids"] == ["sha256:1"]
    assert document["created"] == "2026-01-01T00:00:00Z"

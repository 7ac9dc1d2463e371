"""What instructions make of an image's configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nodeagent.building import arguments, configuring, grammar, reading, resolving, stages, state
from nodeagent.building.configuring import Arguments
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import Copy, From, Run, Workdir
from nodeagent.building.state import State

BASE = State(config={"Env": ["PATH=/bin", "A=base"], "Cmd": ["inherited"], "User": "old", "Labels": {"x": "1"}})


def after(text: str, *, args: dict[str, str] | None = None, scope: dict[str, str] | None = None, before: State = BASE) -> State:
    """The state after the instructions of `text`, which stand behind a FROM."""
    current = before.as_base()
    known = Arguments(args or {}, arguments.of_platform(args or {}, "") | (scope or {}))
    for item in reading.read(grammar.parse("FROM x\n" + text)):
        if not isinstance(item, From):
            current = configuring.configure(resolving.resolve(item, current, "\\"), current, known)
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
        ("ARG A=arg\nENV C=$A", "Env", ["PATH=/bin", "A=base", "C=arg"]),
        ('LABEL y="a b" z=$A', "Labels", {"x": "1", "y": "a b", "z": "base"}),
        ("WORKDIR /a\nWORKDIR b/../c", "WorkingDir", "/a/c"),
        ("WORKDIR rel", "WorkingDir", "/rel"),
        ("WORKDIR /$A", "WorkingDir", "/base"),
        ("USER $A:group", "User", "base:group"),
        ("EXPOSE 80 53/UDP 8000-8001", "ExposedPorts", {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}),
        ("EXPOSE 127.0.0.1:80:8080/tcp 0", "ExposedPorts", {"8080/tcp": {}, "0/tcp": {}}),
        ('ARG P="80 81"\nEXPOSE $P', "ExposedPorts", {"80/tcp": {}, "81/tcp": {}}),
        ('VOLUME ["/a b", "/c"]', "Volumes", {"/a b": {}, "/c": {}}),
        ("VOLUME /a /$A", "Volumes", {"/a": {}, "/base": {}}),
        ("CMD a $A", "Cmd", ["/bin/sh", "-c", "a $A"]),
        ('ENTRYPOINT ["e"]', "Entrypoint", ["e"]),
        ('SHELL ["bash", "-ec"]\nCMD x', "Cmd", ["bash", "-ec", "x"]),
        ('SHELL ["bash", "-ec"]\nENTRYPOINT x', "Entrypoint", ["bash", "-ec", "x"]),
        ('SHELL ["bash", "-ec"]', "Shell", ["bash", "-ec"]),
        ("STOPSIGNAL 9", "StopSignal", "9"),
        ("ARG S=SIGUSR1\nSTOPSIGNAL $S", "StopSignal", "SIGUSR1"),
        ("HEALTHCHECK CMD a", "Healthcheck", {"Test": ["CMD-SHELL", "a"]}),
        ("ONBUILD RUN a\nONBUILD COPY b c", "OnBuild", ["RUN a", "COPY b c"]),
        ("WORKDIR //x//y/", "WorkingDir", "/x/y"),
        ("WORKDIR /a/../../b", "WorkingDir", "/b"),
        ("ENV B=${A#ba} C=${A%e}", "Env", ["PATH=/bin", "A=base", "B=se", "C=bas"]),
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
        ("ARG X=1 Y=$X$A", {}, {}, {"X": "1", "Y": "1base"}), ("ARG TARGETARCH", {"TARGETARCH": "x"}, {}, {"TARGETARCH": "x"}), ("ARG TARGETOS", {}, {}, {"TARGETOS": "linux"}),
    ],
)  # fmt: skip
def test_args(text: str, args: dict[str, str], scope: dict[str, str], wanted: dict[str, str]) -> None:
    """The command line, then the default, then the ARG before FROM; and only where ARG says so."""
    inherited = BASE.as_base().variables
    found = after(text, args=args, scope=scope).variables
    assert {name: value for name, value in found.items() if inherited.get(name) != value} == wanted


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [("ARG X=arg\nENV X=env", "X", "env"), ("ENV X=env\nARG X=arg", "X", "arg"), ("ENV X=env\nARG X", "X", "env"), ("ARG A=arg", "A", "arg")],
)  # fmt: skip
def test_of_arg_and_env_the_later_one_counts(text: str, name: str, wanted: str) -> None:
    """As in BuildKit, also for an ENV of the base image."""
    assert after(text).variables[name] == wanted


def test_a_stage_inherits_the_arguments_of_the_stage_it_begins_from() -> None:
    """With their values, unless the image has an ENV of the name."""
    parent = after("ARG VERSION=1\nENV TOP=env\nARG TOP=arg\nARG NONE", args={"VERSION": "9"})
    assert parent.variables["TOP"] == "arg"
    child = after("ENV Y=$VERSION-$TOP-$NONE", before=parent)
    assert child.env["Y"] == "9-env-"
    assert child.env["TOP"] == "env"
    assert "VERSION" not in child.env


def test_a_stage_from_another_does_not_inherit_its_cmd_as_its_own() -> None:
    """An ENTRYPOINT of the later stage resets the CMD of the earlier."""
    assert "Cmd" not in after('ENTRYPOINT ["e"]', before=after('CMD ["c"]')).config


@pytest.mark.parametrize(
    ("text", "words"),
    [("EXPOSE http", "EXPOSE"), ("EXPOSE 70000", "EXPOSE"), ("EXPOSE 999999", "EXPOSE"),
     ("EXPOSE 80/icmp", "EXPOSE"), ("EXPOSE 90-80", "empty"), ("EXPOSE 1-", "EXPOSE"), ("STOPSIGNAL $A", "invalid signal"), ("EXPOSE " + "0-65535 " * 2 + "1-65535 2-65535 3-65535", "ports"), ("USER $NONE", "USER is empty"), ('ENV ""=x', "name is empty"),
     ("LABEL $NONE=x", "name is empty"), ("ENV $NONE=x", "name is empty"), ("ENV A=" + "x" * 40_000, "32 KiB"), ("ARG A=" + "x" * 70_000, "64 KiB"),
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


def test_triggers_and_an_own_cmd_are_not_inherited() -> None:
    """A stage from this one runs the triggers; they do not stay in its image."""
    parent = after("ONBUILD RUN a")
    assert parent.triggers == ("RUN a",)
    assert "OnBuild" not in parent.as_base().config


def test_every_image_has_a_path() -> None:
    """Also one from scratch, as in BuildKit."""
    assert State().as_base().env == {"PATH": state.DEFAULT_PATH}
    assert State(config={"Env": ["PATH=/x"]}).as_base().env == {"PATH": "/x"}


def test_a_maintainer_is_the_images_author() -> None:
    """A member of the document, not of its config."""
    assert state.document(after("MAINTAINER Me <me@x>"))["author"] == "Me <me@x>"


def resolved(text: str, before: State = BASE) -> Any:
    """The last instruction of `text`, with its variables replaced."""
    item = reading.read(grammar.parse("FROM x\n" + text))[-1]
    return resolving.resolve(item, before.as_base(), "\\")


def test_variables_of_a_copy() -> None:
    """In paths, owner and mode, and in here-documents whose name is not quoted."""
    found = resolved("COPY --chown=$A --chmod=${M:-600} $A/x <<one <<'two' /$A/\n$A's\n\\$A\none\n$A\ntwo")
    assert isinstance(found, Copy)
    assert (found.paths, found.target, found.chown, found.chmod) == (("base/x",), "/base/", "base", "600")
    assert [item.text for item in found.documents] == ["base's\n$A\n", "$A\n"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [("target=/x", ("bind", "", "/x", True)), ("type=bind,src=a,dst=b,rw", ("bind", "a", "/w/b", False)), ("type=$T,target=/$A", ("tmpfs", "", "/base", False)),
     ("type=cache,destination=/x,readonly", ("cache", "", "/x", True)), ('\'type=bind,"source=a,b",target=/x\'', ("bind", "a,b", "/x", True)),
     ("TYPE=BIND,Target=/x/../y", ("bind", "", "/y", True)), ("target=/x,ro=false", ("bind", "", "/x", False)), ("target=/dev/shm,type=tmpfs", ("tmpfs", "", "/dev/shm", False))],
)  # fmt: skip
def test_mounts(options: str, wanted: tuple[str, str, str, bool]) -> None:
    """Aliases, defaults, variables; a relative target is in WORKDIR."""
    before = State(config={"Env": ["A=base", "T=tmpfs"], "WorkingDir": "/w"})
    found = resolved(f"RUN --mount={options} x", before)
    assert isinstance(found, Run)
    [mount] = found.mounts
    assert (mount.kind, mount.source, mount.target, mount.read_only) == wanted


def test_mounts_of_secrets_and_caches() -> None:
    """What they are called when no id is given, who owns them, and where they are."""
    [mount] = resolved("RUN --mount=type=secret,id=s x").mounts
    assert (mount.secret_id, mount.target, mount.required, mount.env) == ("s", "/run/secrets/s", False, None)
    [mount] = resolved("RUN --mount=type=secret,target=/a/key,required,mode=0440,uid=5 x").mounts
    assert (mount.secret_id, mount.target, mount.required, mount.mode, mount.uid, mount.gid) == (
        "key",
        "/a/key",
        True,
        0o440,
        5,
        None,
    )
    [mount] = resolved("RUN --mount=type=secret,id=s,env=KEY x").mounts
    assert (mount.target, mount.env) == ("", "KEY")
    [mount] = resolved("WORKDIR /w\nRUN --mount=type=cache,target=rel/ x").mounts
    assert (mount.id, mount.target, mount.sharing) == ("rel", "/rel", "shared")
    [mount] = resolved("RUN --mount=type=cache,id=$A,target=/x,sharing=locked x").mounts
    assert (mount.id, mount.sharing) == ("base", "locked")


def test_of_two_mounts_on_one_target_the_last_counts_and_outer_ones_come_first() -> None:
    """Whatever their order in the Dockerfile."""
    found = resolved("RUN --mount=type=tmpfs,target=/a/b --mount=target=/a --mount=type=cache,target=/a x").mounts
    assert [(mount.kind, mount.target) for mount in found] == [("cache", "/a"), ("tmpfs", "/a/b")]


@pytest.mark.parametrize(
    ("options", "words"),
    [("target=/", "invalid mount target"), ("target=/proc", "invalid mount target"), ("target=/sys/fs", "invalid mount target"), ("target=/dev", "invalid mount target"),
     ("type=tmpfs", "needs a target"), ("source=x", "needs a target"), ("target=/x,size=1m", "unexpected key 'size'"), ("target=/x,required", "unexpected key 'required'"),
     ("target=/x,sharing=shared", "unexpected key 'sharing'"), ("target=/x,mode=0700", "mode not allowed"), ("type=tmpfs,target=/x,uid=1", "uid not allowed"),
     ("type=secret", "one of source, target"), ("type=secret,id=a,source=b", "both source and id"), ("type=secret,id=a,from=b", "should not have a from"),
     ("type=cache,target=/x,sharing=some", "unsupported sharing"), ("type=cache,target=/x,mode=9", "invalid value 9 for mode"), ("type=cache,target=/x,uid=-1", "for uid"),
     ("type=cache,target=/x,gid=99999999999", "for gid"), ("type=tmpfs,target=/x,size=huge", "for size"), ("target=/x,ro=maybe", "for readonly"), ("target", "key=value"),
     ('\'"target=/x\'', "mount="), ("target=/x," + ",".join(["ro"] * 100), "more than 64")],
)  # fmt: skip
def test_bad_mounts(options: str, words: str) -> None:
    """Each error names the option."""
    with pytest.raises(BuildError, match=words):
        resolved(f"RUN --mount={options} x")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    ["LABEL " + " ".join(f"a{n}=$BIG" for n in range(999)), "ARG " + " ".join(f"a{n}=$BIG" for n in range(999)), "COPY " + "$BIG " * 999 + "/x",
     "VOLUME " + "$BIG " * 999, "\n".join("LABEL " + " ".join(f"a{m}x{n}=$BIG" for n in range(20)) for m in range(60))],
    ids=["label", "arg", "copy", "volume", "labels"],
)  # fmt: skip
def test_expansion_bombs_are_refused(text: str) -> None:
    """A variable of 30 KB in a thousand places would be 30 MB an instruction, a gigabyte a Dockerfile."""
    before = State(config={"Env": ["BIG=" + "x" * 30_000]})
    with pytest.raises(BuildError, match="KiB"):
        after(text, before=before)


def test_arguments_before_the_first_stage_are_bounded() -> None:
    """Each doubles the one before."""
    text = "ARG A0=xxxxxxxx\n" + "".join(f"ARG A{n}=$A{n - 1}$A{n - 1}\n" for n in range(1, 60)) + "FROM a"
    with pytest.raises(BuildError, match="64 KiB"):
        stages.plan(reading.read(grammar.parse(text)))

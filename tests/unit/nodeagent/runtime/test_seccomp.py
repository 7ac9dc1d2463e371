"""Seccomp profiles of the node: their JSON, and what is refused of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime import seccomp
from nodeagent.runtime.libseccomp import ALLOW, EQ, ERRNO, KILL_PROCESS, LOG, MASKED_EQ, Compare, Rule
from nodeagent.runtime.seccompjson import BadProfile, Profile, parse

DENY = {"defaultAction": "SCMP_ACT_ERRNO"}


def parsed(document: Any, *, capabilities: tuple[str, ...] = (), machine: str = "x86_64") -> Profile:
    return parse(json.dumps(document).encode(), "p.json", machine=machine, capabilities=frozenset(capabilities))


def test_names_actions_and_arguments() -> None:
    """The forms of the OCI runtime-spec, errno by default EPERM."""
    found = parsed(DENY | {"defaultErrnoRet": 38, "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 256, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"name": "ptrace", "action": "SCMP_ACT_KILL_PROCESS"},
    ]})  # fmt: skip
    assert found.default == ERRNO | 38
    assert found.rules == (
        Rule("read", ALLOW), Rule("write", ALLOW), Rule("clone", ALLOW, (Compare(0, MASKED_EQ, 256, 0),)),
        Rule("mkdir", ERRNO | 13), Rule("ptrace", KILL_PROCESS),
    )  # fmt: skip


def test_two_conditions_on_one_argument_are_alternatives() -> None:
    """As runc takes them: libseccomp has no such rule."""
    args = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)]
    found = parsed(DENY | {"syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": args}]})
    assert [rule.compares for rule in found.rules] == [(Compare(0, EQ, 1),), (Compare(0, EQ, 2),)]


def test_rules_that_say_what_happens_anyway_are_left_out() -> None:
    """libseccomp refuses them."""
    document = {"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]}
    assert parsed(document) == Profile(LOG, (), ())


def test_conditions_of_moby() -> None:
    """`includes` and `excludes` by capability and machine."""
    calls = [
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["umount2"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    ]
    document = DENY | {"syscalls": calls}
    assert [rule.name for rule in parsed(document).rules] == ["umount2", "arch_prctl", "ptrace"]
    assert [rule.name for rule in parsed(document, capabilities=("SYS_ADMIN",)).rules] == ["mount", "arch_prctl", "ptrace"]
    assert [rule.name for rule in parsed(document, machine="aarch64").rules] == ["umount2", "ptrace"]


def test_architectures_of_other_machines_do_not_matter() -> None:
    """Those of this machine's family join the filter, by `architectures` or `archMap`."""
    listed = DENY | {"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_S390X"]}
    assert parsed(listed).arches == (0x40000003,)
    mapped = DENY | {"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}]}
    assert parsed(mapped).arches == (0x4000003E,)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "expected an object"),
        ({}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
        (DENY | {"listenerPath": "/x"}, "listenerPath: not supported"),
        (DENY | {"flags": ["SECCOMP_FILTER_FLAG_LOG"]}, "flags[0]"),
        (DENY | {"defaultErrnoRet": 5000}, "defaultErrnoRet"),
        (DENY | {"syscalls": {}}, "syscalls: expected a list"),
        (DENY | {"syscalls": [3]}, "syscalls[0]: expected an object"),
        (DENY | {"syscalls": [{"action": "SCMP_ACT_ALLOW"}]}, "syscalls[0].names"),
        (DENY | {"syscalls": [{"names": ["a"], "action": "allow"}]}, "syscalls[0].action"),
        (DENY | {"syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 9}]}]}, "args[0].op"),
        (DENY | {"syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "new": 1}]}, "syscalls[0].new: not supported"),
        ({"defaultAction": ["SCMP_ACT_ALLOW"]}, "defaultAction"),
        (DENY | {"flags": [{}]}, "flags[0]"),
        (DENY | {"architectures": [{}]}, "architectures"),
        (DENY | {"syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"op": []}]}]}, "args[0].op"),
        (DENY | {"architectures": ["x86"]}, "'x86' is not an architecture"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(document: Any, said: str) -> None:
    """A filter that silently lacks a rule protects less than it says."""
    with pytest.raises(BadProfile) as caught:
        parsed(document)
    assert said in str(caught.value)
    assert "p.json" in str(caught.value)


def test_profiles_are_files_below_their_folder(tmp_path: Path) -> None:
    """By relative path; not what a symlink outside leads to, not what is too large or no JSON."""
    profiles = tmp_path / "profiles"
    (profiles / "team").mkdir(parents=True)
    (profiles / "team/a.json").write_text(json.dumps(DENY))
    assert seccomp.localhost(tmp_path, "team/a.json", ()).stat().st_size > 0
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(DENY))
    (profiles / "link.json").symlink_to(outside)
    (profiles / "big.json").write_text(" " * (seccomp.MAX_PROFILE + 1))
    (profiles / "broken.json").write_text("[" * 100_000)
    for name in ("none.json", "../outside.json", str(outside), "link.json", "team", "big.json", "broken.json"):
        with pytest.raises(BadProfile, match=r"cannot load seccomp profile"):
            seccomp.localhost(tmp_path, name, ())


@pytest.mark.parametrize("left", [0, 8, 100, -8])
def test_a_filter_that_lost_its_content_is_made_again(tmp_path: Path, left: int) -> None:
    """After a power failure or on a full disk; an empty one would mean no filter at all."""
    path = seccomp.compiled(tmp_path, ())
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    assert seccomp.compiled(tmp_path, ()).read_bytes() == whole
    path.with_suffix(".sha256").unlink()
    assert seccomp.compiled(tmp_path, ()).read_bytes() == whole

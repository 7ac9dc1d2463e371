"""`kctl edit` on a server in memory, with scripts as editors; the patch between two forms of an object."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import editing, main
from cli.commands import edit
from pinnace import kinds
from pinnace.errors import Cause, Conflict, Invalid, NotFound
from tests.support.kctlserver import Server, made

Script = Callable[[str], None]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    found = Server(made(kinds.CONFIG_MAP, "a", data={"k": "1"}), made(kinds.CONFIG_MAP, "b", data={"k": "1"}))
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return found


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Makes a shell script the editor; `$1` is the file, and each text that was opened is kept."""

    def use(script: str) -> None:
        program = tmp_path / "editor.sh"
        program.write_text(f'#!/bin/sh\ncat "$1" >> {tmp_path}/seen\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("KUBE_EDITOR", str(program))

    return use


def run(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert main._exit_code(["edit", *words]) == code, capfd.readouterr()
    captured = capfd.readouterr()
    return captured.out, captured.err


def value(server: Server, name: str) -> str:
    return str(server.get(kinds.CONFIG_MAP, "default", name).data["k"])


def kept(folder: Path) -> list[Path]:
    return list(folder.glob("kctl-edit-*"))


def test_what_is_saved_is_patched(server: Server, editor: Script, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Only what changed, so that others' writes in between stay; no file is left."""
    editor("sed -i s/k:.*/k:\\ two/ $1")
    assert run(capfd, "cm", "a", "--output-patch") == ('Patch: {"data": {"k": "two"}}\nconfigmap/a edited\n', "")
    assert (value(server, "a"), kept(tmp_path)) == ("two", [])
    assert server.sent[0][1].fieldManager == "kctl-edit"
    assert (tmp_path / "seen").read_text().startswith(editing.HEADER + "apiVersion: v1\n")
    editor("sed -i s/two/three/ $1")
    assert run(capfd, "cm", "a", "-o", "json")[0] == "configmap/a edited\n"
    assert value(server, "a") == "three"


def test_several_objects_are_one_list(server: Server, editor: Script, capfd: pytest.CaptureFixture[str]) -> None:
    """Those that were not changed are skipped."""
    editor("sed -i '0,/k: .*/s//k: x/' $1")
    assert run(capfd, "cm")[0] == "configmap/a edited\nconfigmap/b skipped\n"
    assert (value(server, "a"), value(server, "b")) == ("x", "1")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", "no changes made."),
        ("echo '# comment' >> $1", "no changes made."),
        ("echo '# x' > $1", "saved file was empty."),
    ],
)
def test_nothing_to_save_cancels(
    server: Server, editor: Script, capfd: pytest.CaptureFixture[str], tmp_path: Path, script: str, said: str
) -> None:
    """Which is no error."""
    editor(script)
    assert run(capfd, "cm", "a") == ("", f"Edit cancelled, {said}\n")
    assert (server.sent, kept(tmp_path)) == ([], [])


def test_errors_come_back_as_comments_until_they_are_gone(
    server: Server, editor: Script, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of the text, then of the server; the edits are still there."""

    def refuse(method: str, request: Any) -> None:
        if b"wrong" in request.patch:
            raise Invalid.of("ConfigMap", "a", (Cause("data[k]", "Invalid value"),))

    server.refuse = refuse
    steps = (
        "case $(cat %s) in 1) s='s/^data:.*/data: [/';; 2) s='s/^data:.*/data:/;s/k:.*/k: wrong/';; *) s=s/wrong/right/;; esac"
    )
    count = tmp_path / "count"
    editor(f'echo x >> {count}; n=$(wc -l < {count}); {steps.replace("$(cat %s)", "$n")}; sed -i "$s" $1')
    out, err = run(capfd, "cm", "a")
    assert (out, err) == ("configmap/a edited\n", 'error: configmaps "a" is invalid\n')
    assert value(server, "a") == "right"
    seen = (tmp_path / "seen").read_text()
    assert "# The edited file had a syntax error:\n# " in seen
    assert '# configmaps "a" was not valid:\n# * data[k]: Invalid value\n#\napiVersion: v1\n' in seen
    assert kept(tmp_path) == []


def test_giving_up_keeps_the_file(
    server: Server, editor: Script, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving the same error twice, an editor that fails, and one that never comes to an end."""
    editor("grep -q '\\[' $1 || sed -i 's/^data:.*/data: [/' $1")
    _, err = run(capfd, "cm", "a", code=1)
    [file] = kept(tmp_path)
    assert err == (f'A copy of your changes has been stored to "{file}"\nerror: Edit cancelled, no valid changes were saved.\n')
    assert "data: [" in file.read_text()
    file.unlink()
    editor("exit 3")
    assert "there was a problem with the editor" in run(capfd, "cm", "a", code=1)[1]
    assert kept(tmp_path) == []
    monkeypatch.setattr(edit, "TRIES", 3)
    editor("sed -i 's/^data:/data: [/' $1")
    assert "edit cancelled after 3 attempts" in run(capfd, "cm", "a", code=1)[1]


@pytest.mark.parametrize(
    "script", ["sed -i 's/name: a/name: z/' $1", "sed -i 's/kind: C.*/kind: Secret/' $1", "sed -i /uid:/d $1"]
)
def test_an_object_cannot_become_another(
    server: Server, editor: Script, capfd: pytest.CaptureFixture[str], tmp_path: Path, script: str
) -> None:
    """By its kind, its name or its uid."""
    editor(script)
    assert f"error: {edit.CHANGED}\n" in run(capfd, "cm", "a", code=1)[1]
    assert (server.sent, len(kept(tmp_path))) == ([], 1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFound("gone"), 'error: configmaps "a" could not be found on the server\n'),
        (Conflict("busy"), 'error: configmaps "a" could not be patched: busy\nYou can run `kctl replace -f '),
    ],
)
def test_what_the_server_does_not_take_is_kept(
    server: Server, editor: Script, capfd: pytest.CaptureFixture[str], tmp_path: Path, error: Exception, said: str
) -> None:
    """Without another edit, which would not help."""

    def refuse(method: str, request: Any) -> None:
        raise error

    server.refuse = refuse
    editor("sed -i s/k:.*/k:\\ two/ $1")
    assert run(capfd, "cm", "a", code=1)[1].startswith(said)
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1, "d": 3}}, {"a": None, "b": {"d": 3}}),
        ({"a": [1, 2]}, {"a": [2]}, {"a": [2]}),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": "x"}, {"a": {"b": "c"}}, {"a": {"b": "c"}}),
        ({}, {"a": None}, {"a": None}),
    ],
)
def test_a_patch_has_what_changed(old: Any, new: Any, patch: Any) -> None:
    """Lists are whole, and what is gone is null."""
    assert json.dumps(editing.merge_patch(old, new)) == json.dumps(patch)

"""`kctl diff` on a server in memory, with diff and with programs of the user's; Secrets are masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli import comparing, main
from pinnace import kinds
from pinnace.errors import Unavailable
from tests.support.kctlserver import Server, made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(made(kinds.CONFIG_MAP, "c", data={"a": "1"}), made(kinds.SECRET, "s", data={"a": "MQ==", "b": "MQ=="}))
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    monkeypatch.delenv(comparing.VARIABLE, raising=False)
    return found


def file(folder: Path, kind: str, name: str, data: dict[str, str]) -> str:
    path = folder / f"{kind}-{name}.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data}))
    return str(path)


def diff(capfd: pytest.CaptureFixture[str], *files: str, code: int) -> tuple[str, str]:
    words = [word for name in files for word in ("-f", name)]
    assert main._exit_code(["diff", *words]) == code
    captured = capfd.readouterr()
    return captured.out, captured.err


def test_differences_are_shown_and_counted_in_the_exit_code(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """0 without, 1 with some; a new object is all new; nothing is written."""
    assert diff(capfd, file(tmp_path, "ConfigMap", "c", {"a": "1"}), code=0) == ("", "")
    out, _ = diff(capfd, file(tmp_path, "ConfigMap", "c", {"a": "2"}), code=1)
    assert "-  a: '1'\n+  a: '2'\n" in out
    assert "/LIVE/v1.ConfigMap.default.c" in out
    out, _ = diff(capfd, file(tmp_path, "ConfigMap", "new", {"a": "1"}), code=1)
    assert "+  name: new\n" in out
    assert [request.dryRun for _, request in server.sent] == [True] * 3
    assert server.get(kinds.CONFIG_MAP, "default", "c").data["a"] == "1"


def test_errors_have_an_exit_code_above_one(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other objects are compared all the same; no file, no server and no program are errors, too."""
    changed, bad = file(tmp_path, "ConfigMap", "c", {"a": "2"}), file(tmp_path, "ConfigMap", "bad", {})
    out, err = diff(capfd, bad, changed, code=2)
    assert "+  a: '2'\n" in out
    assert "data: Invalid value" in err
    assert "does not exist" in diff(capfd, str(tmp_path / "none"), code=2)[1]
    monkeypatch.setenv(comparing.VARIABLE, "none-such-program")
    assert diff(capfd, changed, code=2)[1] == 'error: failed to run "none-such-program": No such file or directory\n'

    def refuse(method: str, request: Any) -> None:
        raise Unavailable("down")

    server.refuse = refuse
    assert diff(capfd, changed, code=2)[1] == "error: down\n"


def test_the_program_is_the_users(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its plain options and its exit code."""
    changed = file(tmp_path, "ConfigMap", "c", {"a": "2"})
    monkeypatch.setenv(comparing.VARIABLE, "diff -q $(x)")
    out, err = diff(capfd, changed, code=1)
    assert out.startswith("Files ")
    assert err == f"Warning: {comparing.VARIABLE}: $(x) is ignored: not a plain option\n"
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nls $1 $2; exit 5\n")
    program.chmod(0o755)
    monkeypatch.setenv(comparing.VARIABLE, str(program))
    assert diff(capfd, changed, code=5)[0].count("v1.ConfigMap.default.c") == 2
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    diff(capfd, changed, code=137)


def test_secrets_are_compared_without_their_values(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What differs does so in its mask."""
    out, _ = diff(capfd, file(tmp_path, "Secret", "s", {"a": "Mg==", "b": "MQ==", "c": "MQ=="}), code=1)
    assert "-  a: '*** (before)'" in out
    assert "+  a: '*** (after)'" in out
    assert "+  c: '***'" in out
    assert "   b: '***'" in out
    assert "MQ==" not in out

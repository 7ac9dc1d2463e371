"""`kctl replace --force`, and `kctl get --ignore-not-found`, on a server in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import main
from pinnace import kinds
from tests.support.kctlserver import Server, made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(made(kinds.CONFIG_MAP, "c", data={"a": "1"}))
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def test_a_forced_replace_deletes_and_creates(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An object that does not exist is created, too; versions of the deleted one are left out."""
    file = tmp_path / "c.json"
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": "1"}, "data": {"a": "2"}}
        for name in ("c", "new")
    ]
    file.write_text("\n".join(json.dumps(item) for item in items))
    assert main._exit_code(["replace", "--force", "-f", str(file)]) == 0
    assert capsys.readouterr() == ('configmap "c" deleted\nconfigmap/c replaced\nconfigmap/new replaced\n', "")
    assert [method for method, _ in server.sent if method != "Delete"] == ["Create", "Create"]
    assert all(
        "resourceVersion" not in json.loads(item.object.json)["metadata"] for method, item in server.sent if method == "Create"
    )
    assert server.get(kinds.CONFIG_MAP, "default", "c").data["a"] == "2"
    assert main._exit_code(["replace", "--force", "-f", str(file), "-o", "name"]) == 0
    assert capsys.readouterr().out == "configmap/c\nconfigmap/new\n"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--force", "--dry-run=server"], "error: --force cannot be used with --dry-run=server\n"),
        (["--grace-period=3"], "error: --grace-period must have --force specified\n"),
    ],
)
def test_flags_of_a_forced_replace(server: Server, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str) -> None:
    """Nothing is deleted for a command line that means nothing."""
    assert main._exit_code(["replace", "-f", "x", *flags]) == 1
    assert (capsys.readouterr().err, server.sent) == (expected, [])

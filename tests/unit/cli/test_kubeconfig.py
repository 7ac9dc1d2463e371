"""The kubeconfig of other clients: which file, what is added to it, and what stays."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import yaml

from cli import kubeconfig
from cli.contexts import Context
from pinnace.errors import BadRequest

FOREIGN = {
    "apiVersion": "v1", "kind": "Config", "current-context": "other", "preferences": {"colors": True},
    "clusters": [{"name": "other", "cluster": {"server": "https://192.0.2.1:6443", "insecure-skip-tls-verify": True}}],
    "users": [{"name": "other", "user": {"exec": {"command": "login", "apiVersion": "client.authentication.k8s.io/v1"}}}],
    "contexts": [{"name": "other", "context": {"cluster": "other", "user": "other"}}],
}  # fmt: skip


def context(name: str = "lab-a") -> Context:
    return Context(name, "unix:///s", "default", b"CA", b"CERT", b"KEY", "https://127.0.0.1:1")


def names(file: Path) -> dict[str, list[str]]:
    config = yaml.safe_load(file.read_text())
    return {kind: [item["name"] for item in config[kind]] for kind in ("clusters", "users", "contexts")}


def test_a_context_is_added_and_taken_out_again(tmp_path: Path) -> None:
    """What other programs wrote stays as it is, and the file is for its owner alone."""
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(FOREIGN))
    kubeconfig.write(file, kubeconfig.document(context(), "https://127.0.0.1:40000"))
    assert names(file) == {kind: ["other", "lab-a"] for kind in ("clusters", "users", "contexts")}
    config = yaml.safe_load(file.read_text())
    assert (config["current-context"], config["preferences"]) == ("lab-a", {"colors": True})
    assert config["users"][0] == FOREIGN["users"][0]  # type: ignore[index]
    assert file.stat().st_mode & 0o777 == 0o600
    kubeconfig.write(file, kubeconfig.document(context(), "https://127.0.0.1:40001"))
    assert names(file)["clusters"] == ["other", "lab-a"]
    kubeconfig.remove(file, "lab-a")
    assert yaml.safe_load(file.read_text()) == FOREIGN | {"current-context": "other"}
    kubeconfig.remove(tmp_path / "none", "lab-a")


def test_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag; of KUBECONFIG the first that exists, else the last; ~/.kube/config."""
    first, second = tmp_path / "a", tmp_path / "b"
    monkeypatch.setenv("KUBECONFIG", f"{first}::{second}")
    assert kubeconfig.path() == second
    first.touch()
    assert kubeconfig.path() == first
    assert kubeconfig.path("/x/y") == Path("/x/y")
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig.path() == tmp_path / ".kube/config"


def test_a_file_that_another_program_changes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By kubectl's lock; one that stays is named in the error."""
    file = tmp_path / "config"
    lock = tmp_path / "config.lock"
    lock.touch()
    thread = threading.Thread(target=lambda: (time.sleep(0.2), lock.unlink()))
    thread.start()
    kubeconfig.write(file, kubeconfig.document(context(), "https://127.0.0.1:1"))
    thread.join()
    assert not lock.exists()
    lock.touch()
    monkeypatch.setattr(kubeconfig, "LOCKED_WITHIN", 0.1)
    with pytest.raises(BadRequest, match=r"locked by another program .*config\.lock"):
        kubeconfig.write(file, kubeconfig.document(context(), "https://127.0.0.1:1"))


def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path) -> None:
    """One clear error, and every byte stays."""
    file = tmp_path / "config"
    file.write_text("- not: a config\n")
    with pytest.raises(BadRequest, match="not a kctl configuration"):
        kubeconfig.write(file, kubeconfig.document(context(), "https://127.0.0.1:1"))
    assert file.read_text() == "- not: a config\n"

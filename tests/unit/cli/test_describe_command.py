"""`kctl describe`: which objects it shows, and when with their events, as kubectl 1.37 does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.commands import describe
from pinnace import kinds
from pinnace.errors import BadRequest
from tests.support.kctlserver import Server, made


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with three Services."""
    server = Server(*(made(kinds.SERVICE, name, spec={"type": "ClusterIP"}) for name in ("web-1", "web-2", "db")))
    monkeypatch.setattr("cli.flags.client", lambda args: server)


@pytest.mark.parametrize(
    ("words", "shown", "with_events"),
    [
        ("service web-1", ["web-1"], True), ("service web-1 --show-events=false", ["web-1"], False),
        ("services", ["web-1", "web-2", "db"], False), ("services --show-events", ["web-1", "web-2", "db"], True),
        ("service web", ["web-1", "web-2"], False), ("service d", ["db"], False),
    ],
)  # fmt: skip
def test_events_are_of_a_single_object(
    services: None, capsys: pytest.CaptureFixture[str], words: str, shown: list[str], with_events: bool
) -> None:
    """Unless a flag asks for them; a name that no object has is the beginning of some, as kubectl takes it."""
    assert describe.run(words.split()) == 0
    out = capsys.readouterr().out
    names = [line.split()[1] for line in out.splitlines() if line.startswith("Name:")]
    assert names == shown
    assert out.count("Events:") == (len(shown) if with_events else 0)
    assert out.count("\n\n\nName:") == len(shown) - 1


def test_names_that_no_object_has(services: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Are errors; of several names none is a beginning. Kinds without objects are none."""
    assert describe.run(["service", "nope"]) == 1
    assert 'services "nope" not found' in capsys.readouterr().err
    assert describe.run(["service", "web", "db"]) == 1
    captured = capsys.readouterr()
    assert 'services "web" not found' in captured.err
    assert captured.out.startswith("Name:")
    assert describe.run(["endpoints"]) == 0
    assert capsys.readouterr() == ("", "No resources found in default namespace.\n")


def test_a_name_is_of_one_namespace(services: None) -> None:
    """A name says nothing across all of them."""
    with pytest.raises(BadRequest, match="cannot be retrieved by name across all namespaces"):
        describe.run(["service", "db", "-A"])


def test_objects_of_files(services: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Named by manifests, as they are in the cluster."""
    manifest = tmp_path / "services.yaml"
    manifest.write_text("{apiVersion: v1, kind: Service, metadata: {name: db}}")
    assert describe.run(["-f", str(manifest)]) == 0
    assert capsys.readouterr().out.startswith("Name:")

"""The container that exec, attach, logs and cp take where none is named, and kubectl's note of it on standard error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli import pods
from cli.logreader import Sources
from pinnace import codec, kinds
from pinnace.errors import Forbidden, NotFound


def pod(*names: str, annotated: str = "", **spec: Any) -> Any:
    annotations = {pods.DEFAULT_CONTAINER: annotated} if annotated else {}
    meta = {"name": "web", "namespace": "default", "uid": "1", "annotations": annotations}
    return codec.decode(kinds.POD.cls, {"metadata": meta, "spec": {"containers": [{"name": name} for name in names], **spec}})


SIDECARS: dict[str, Any] = {"initContainers": [{"name": "setup"}], "ephemeralContainers": [{"name": "debugger"}]}


class Server:
    """Answers like cli.client.Client."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.context = SimpleNamespace(namespace="default")

    def get(self, kind: Any, namespace: str, name: str) -> Any:
        assert (kind, namespace, name) == (kinds.POD, "default", "web")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("found", "name", "note"),
    [
        (pod("x", "y"), "x", 'Defaulted container "x" out of: x, y\n'),
        (pod("x", **SIDECARS), "x", 'Defaulted container "x" out of: x, setup (init), debugger (ephem)\n'),
        (pod("x"), "x", ""),
        (pod("x", "y", annotated="y"), "y", ""),
        (
            pod("x", "y", annotated="z"),
            "x",
            'Default container name "z" not found in pod web\nDefaulted container "x" out of: x, y\n',
        ),
    ],
)
def test_the_note_of_a_container_that_was_not_named(
    found: Any, name: str, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed to standard output, where the container's own output is."""
    assert pods.choose(Server(found), "default", "web", "") == name
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", note)
    assert pods.choose(Server(found), "default", "web", "", quiet=True) == name
    assert capsys.readouterr().err == ""


def test_a_named_container_needs_no_look_at_the_pod(capsys: pytest.CaptureFixture[str]) -> None:
    """The control plane answers for a name that the pod does not have."""
    assert pods.choose(Server(NotFound("unread")), "default", "web", "y") == "y"
    assert capsys.readouterr().err == ""


def test_who_may_not_read_pods_gets_the_default_of_the_control_plane(capsys: pytest.CaptureFixture[str]) -> None:
    """The permission for a stream is another one than for reading the pod."""
    assert pods.choose(Server(Forbidden("no")), "default", "web", "") == ""
    assert capsys.readouterr().err == ""


def test_logs_of_a_selector_note_each_pod_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A pod that is followed is seen again with each change."""
    sources = Sources(container="", every=False)
    assert [source.container for _ in range(3) for source in sources.of(pod("x", "y"))] == ["x"] * 3
    assert capsys.readouterr().err == 'Defaulted container "x" out of: x, y\n'
    assert [source.container for source in Sources(container="", every=True).of(pod("x", "y"))] == ["x", "y"]
    assert [source.container for source in Sources(container="y", every=False).of(pod("x", "y"))] == ["y"]
    assert capsys.readouterr().err == ""

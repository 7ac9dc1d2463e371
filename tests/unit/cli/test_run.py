"""`kctl run` on a server in memory: the pod that arguments make, refusals, dry runs; and attaching to a scripted container."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cli import joining, main
from pinnace import kinds
from pinnace.errors import AlreadyExists, NotFound, Timeout
from tests.support.kctlserver import Server, made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr("cli.flags.client", lambda args: found)
    return found


def pod(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a dry run of the client shows."""
    assert main._exit_code(["run", "web", "--image=nginx", "--dry-run=client", "-o", "json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_arguments_make_a_pod(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server; named and labelled as kubectl does it."""
    assert pod(capsys) == {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"run": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx"}], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always"},
    }  # fmt: skip
    full = pod(
        capsys, "--labels=a=b,c=d", "--annotations=e=f", "--env=G=h=i", "--env", "J=", "--port=80", "--restart=Never",
        "--image-pull-policy=Never", "--privileged", "--", "--flag", "x",
    )  # fmt: skip
    assert full["metadata"] == {"name": "web", "labels": {"a": "b", "c": "d"}, "annotations": {"e": "f"}}
    [container] = full["spec"]["containers"]
    assert container == {
        "name": "web", "image": "nginx", "args": ["--flag", "x"], "imagePullPolicy": "Never",
        "env": [{"name": "G", "value": "h=i"}, {"name": "J", "value": ""}], "ports": [{"containerPort": 80}],
        "securityContext": {"privileged": True},
    }  # fmt: skip
    assert full["spec"]["restartPolicy"] == "Never"


def test_a_command_replaces_the_entrypoint(capsys: pytest.CaptureFixture[str]) -> None:
    """With --command; words without -- are words, too."""
    assert pod(capsys, "--command", "--", "sh", "-c", "true")["spec"]["containers"][0]["command"] == ["sh", "-c", "true"]
    assert pod(capsys, "sleep", "1")["spec"]["containers"][0]["args"] == ["sleep", "1"]


def test_overrides_are_merged(capsys: pytest.CaptureFixture[str]) -> None:
    """As a JSON merge patch: null removes, lists are replaced."""
    change = {"apiVersion": "v1", "spec": {"hostNetwork": True, "dnsPolicy": None}, "metadata": {"labels": {"x": "y"}}}
    found = pod(capsys, f"--overrides={json.dumps(change)}")
    assert (found["spec"]["hostNetwork"], "dnsPolicy" in found["spec"]) == (True, False)
    assert found["metadata"]["labels"] == {"run": "web", "x": "y"}


def test_a_pod_is_created(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """In the context's namespace; the server's dry run stores nothing."""
    assert main._exit_code(["run", "web", "--image=nginx", "--dry-run=server"]) == 0
    assert (capsys.readouterr().out, server.present) == ("pod/web created (server dry run)\n", {})
    assert main._exit_code(["run", "web", "--image=nginx"]) == 0
    assert (capsys.readouterr().out, list(server.present)) == ("pod/web created\n", [("Pod", "default", "web")])
    assert server.sent[-1][1].fieldManager == "kctl-run"


def test_a_pod_is_exposed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """By a Service that has its name, its port and its labels as selector."""
    words = ["run", "web", "--image=nginx", "--port=80", "--expose"]
    assert main._exit_code(words) == 0
    assert capsys.readouterr().out == "service/web created\npod/web created\n"
    found = server.get(kinds.SERVICE, "default", "web")
    assert (dict(found.spec.selector), dict(found.metadata.labels)) == ({"run": "web"}, {})
    assert [(port.port, port.protocol, port.targetPort.intVal) for port in found.spec.ports] == [(80, "TCP", 80)]
    assert main._exit_code([*words, "--labels=a=b", "--dry-run=client", "-o", "yaml"]) == 0
    service, pod = yaml.safe_load_all(capsys.readouterr().out)
    assert (service["kind"], service["metadata"], service["spec"]["selector"]) == (
        "Service", {"name": "web", "labels": {"a": "b"}}, {"a": "b"},
    )  # fmt: skip
    assert (pod["kind"], pod["metadata"]["labels"]) == ("Pod", {"a": "b"})


def test_only_what_was_created_is_removed(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod and its Service; not a Service of that name that was there before."""
    monkeypatch.setattr(joining, "join", lambda *_, **__: 0)
    words = ["run", "web", "--image=x", "--restart=Never", "-i", "--rm", "--port=80", "--expose"]
    assert main._exit_code(words) == 0
    assert server.present == {}

    def reject(method: str, request: Any) -> None:
        if method == "Create" and request.object.kind == "Service":
            raise AlreadyExists('services "web" already exists')

    server.present["Service", "default", "web"] = made(kinds.SERVICE, "web")
    monkeypatch.setattr(server, "refuse", reject)
    assert main._exit_code(words) == 1
    assert list(server.present) == [("Service", "default", "web")]
    assert 'services "web" already exists' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["web"], 'error: required flag(s) "image" not set\n'),
        (["web", "--image=x", "-t"], "error: -i/--stdin is required for containers with -t/--tty=true\n"),
        (["web", "--image=x", "--rm"], "error: --rm should only be used for attached containers\n"),
        (["web", "--image=x", "-i", "--attach=false", "--rm"], "error: --rm should only be used for attached containers\n"),
        (
            ["web", "--image=x", "-i", "--dry-run=client"],
            "error: --dry-run=client can't be used with attached containers options",
        ),
        (["web", "--image=x", "--env", "=b"], "error: invalid env: : expected NAME=VALUE\n"),
        (["web", "--image=x", "--env", "A"], "error: invalid env: A: expected NAME=VALUE\n"),
        (["web", "--image=x", "--port=0"], 'error: --port: "0" is not a number from 1 to 65535\n'),
        (["web", "--image=x", "--labels=a"], 'error: --labels: unexpected "a": expected KEY=VALUE\n'),
        (["web", "--image=x", "--overrides={"], "error: --overrides: invalid JSON: "),
        (["web", "--image=x", "--overrides=[]"], "error: --overrides: expected a JSON object"),
        (["web", "--image=x", "--expose"], "error: --port must be set when exposing a service\n"),
        (["web", "--image=x", "--expose", "--port=1", "--overrides={}"], "error: --overrides can't be used with --expose"),
        (["web", "--image=x", "--nonsense"], "error: unrecognized arguments: --nonsense"),
    ],
)
def test_command_lines_that_mean_nothing_are_refused(
    server: Server, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """In kubectl's words, before anything is sent."""
    assert main._exit_code(["run", *words]) == 1
    assert capsys.readouterr().err.startswith(expected)
    assert server.sent == []


def test_the_pod_is_removed_whatever_the_attach_brings(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is the container's; with --quiet its output is all there is."""
    asked: list[dict[str, Any]] = []

    def join(client: Any, made: Any, name: str, **how: Any) -> int:
        asked.append(how)
        return 7

    monkeypatch.setattr(joining, "join", join)
    words = ["run", "web", "--image=x", "--restart=Never", "-i", "--rm"]
    assert main._exit_code([*words, "--pod-running-timeout=5s"]) == 7
    captured = capsys.readouterr()
    assert captured.err == "pod default/web terminated (Error)\n"
    assert captured.out == 'pod "web" deleted from default namespace\n'
    assert (asked[0]["stdin"], asked[0]["within"], server.present) == (True, 5.0, {})
    assert main._exit_code([*words, "-q"]) == 7
    assert capsys.readouterr() == ("", "")

    def fail(*_: Any, **__: Any) -> int:
        raise Timeout("too late")

    monkeypatch.setattr(joining, "join", fail)
    assert main._exit_code(words) == 1
    assert server.present == {}


class Scripted:
    """A pod whose container has these states, one after the other."""

    def __init__(self, *states: dict[str, Any], deleted: bool = False) -> None:
        self.pods = [
            made(kinds.POD, "web", spec={"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
                 status={"containerStatuses": [{"name": "c", "state": state}]})
            for state in states
        ]  # fmt: skip
        self.deleted = deleted
        self.context = SimpleNamespace(namespace="default")

    def watch(self, *_: Any, **__: Any) -> Any:
        yield "ADDED", made(kinds.POD, "web")
        yield "BOOKMARK", None
        yield from (("MODIFIED", item) for item in self.pods)
        if self.deleted:
            yield "DELETED", self.pods[-1]


def test_a_container_is_waited_for() -> None:
    """Until it runs or has ended; what holds it up is named."""
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    ended = Scripted(waiting, {"terminated": {"exitCode": 3}})
    assert joining._awaited(ended, ended.pods[0], "c", "running", "terminated").terminated.exitCode == 3
    never = Scripted(waiting)
    with pytest.raises(Timeout, match=r"container c is not running within 5 s \(ErrImagePull: not found\)"):
        joining._awaited(never, never.pods[0], "c", "running", within=5.0)
    gone = Scripted(waiting, deleted=True)
    with pytest.raises(NotFound, match="pod web was deleted"):
        joining._awaited(gone, gone.pods[0], "c", "running")

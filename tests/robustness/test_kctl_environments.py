"""Every kctl command in every environment that a shell or a server may give it: one line of error, never a traceback."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli import main
from cli.commands import completion
from controlplane.access import certificates
from pinnace import errors, pki, wire
from tests.support.kctlruns import COMMANDS, LOCAL, Result, Run, run_all

NOW = time.time()
MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest, a build context, and a usable configuration whose server is not there."""
    folder = tmp_path_factory.mktemp("kctl")
    (folder / "cm.json").write_text(json.dumps(MANIFEST))
    (folder / "tree").mkdir()
    (folder / "tree/Dockerfile").write_text("FROM scratch\n")
    ca = pki.new_ca(NOW)
    admin = pki.issue(ca, "kubernetes-admin", ("system:masters",), now=NOW)
    text = certificates.context_file(ca, admin, f"unix://{folder}/none.sock")
    (folder / "config").write_bytes(text)
    return folder


def argv(words: tuple[str, ...], place: Path) -> list[str]:
    found = {"{file}": place / "cm.json", "{out}": place / "copied", "{tree}": place / "tree"}
    return [str(found.get(word, word)) for word in words]


def runs(place: Path, commands: tuple[tuple[str, ...], ...], config: Path | None = None, **how: Any) -> list[Run]:
    environment = {"PINNACE_CONFIG": str(config or place / "config"), **how.pop("environment", {})}
    return [Run(argv(words, place), environment=environment, stdin=json.dumps(MANIFEST), **how) for words in commands]


def check(run: Run, result: Result, *, lines: int = 3) -> None:
    """No traceback, no surprise, no noise; something is said of a failure unless there is nowhere to say it."""
    text = f"{run}\n{result}"
    assert result.code is not None, text
    for word in ("Traceback", "failed unexpectedly", "Exception ignored", "object at 0x", "Error in ", "E0000"):
        assert word not in result.err + result.out, text
    assert len(result.err.splitlines()) <= lines, text
    if result.code == 1 and not {2} & {*run.closed, *run.full, *run.broken}:
        # The exit code of `auth can-i` is its answer.
        assert result.err or not {"doctor", "lab", "can-i"}.isdisjoint(run.argv), text


def test_every_command_and_verb_is_among_the_runs() -> None:
    """A new command cannot be forgotten here."""
    words = {command[0] for command in (*COMMANDS, *LOCAL) if command}
    assert set(main.COMMANDS) <= words
    verbs = {" ".join(command[:2]) for command in (*COMMANDS, *LOCAL) if len(command) > 1}
    every = {f"{name} {verb}" for name in ("config", "image", "lab", "net", "node") for verb in completion.VERBS[name].split()}
    assert every <= verbs


ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "closed stdin": {"closed": [0]},
    "closed stdout": {"closed": [1]},
    "closed stderr": {"closed": [2]},
    "all closed": {"closed": [0, 1, 2]},
    "a reader that has gone": {"broken": [1]},
    "a full disk": {"full": [1]},
    "a full disk for errors": {"full": [1, 2]},
    "no locale, no home, no terminal": {
        "environment": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "HOME": "/nonexistent", "TERM": "", "COLUMNS": "x"}
    },
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_standard_streams_that_are_closed_full_or_gone(name: str, place: Path) -> None:
    """Each command ends by itself; output into nothing is no failure of its own."""
    subject = [*runs(place, (*LOCAL, *COMMANDS), **ENVIRONMENTS[name])]
    for run, result in zip(subject, run_all(subject), strict=True):
        check(run, result, lines=30 if "doctor" in run.argv else 3)


def test_a_reader_that_has_gone_ends_kctl_as_the_kernel_would(place: Path) -> None:
    """By SIGPIPE and without a word, as kubectl: `kctl get pods | head -1`."""
    for result in run_all(runs(place, (("explain", "pod.spec"), ("get", "--help")), broken=[1])):
        assert (result.code, result.err) == (-signal.SIGPIPE, "")


def test_output_that_cannot_be_written_is_an_error(place: Path) -> None:
    """Also argparse's, which ignores it."""
    for result in run_all(runs(place, (("explain", "pod.spec"), ("get", "--help")), full=[1])):
        assert (result.code, result.err) == (1, "error: No space left on device\n")


def test_closed_output_is_output_into_nothing(place: Path) -> None:
    """`>&-` changes neither the exit code nor where errors go."""
    local, failing = run_all(runs(place, (("explain", "pod.spec"), ("get", "pods")), closed=[1]))
    assert (local.code, local.err) == (0, "")
    assert failing.code == 1
    assert failing.err.startswith("error: cannot reach the control plane at unix://")


def test_ctrl_c_ends_with_130_and_no_word(place: Path, stalling: Path) -> None:
    """While the server is waited for."""
    commands = (
        ("get", "pods", "-w"),
        ("wait", "pod/web", "--for=delete"),
        ("logs", "web"),
        ("events", "-w"),
        ("image", "list"),
        ("version",),
    )
    subject = runs(place, commands, config=stalling, send=signal.SIGINT)
    for run, result in zip(subject, run_all(subject), strict=True):
        check(run, result)
        assert (result.code, result.err) == (130, ""), run


class Server(grpc.GenericRpcHandler):
    """Answers every method with the same bytes, or with a failure."""

    def __init__(self, *, reply: bytes | None = None, status: bytes | None = None, stall: bool = False) -> None:
        self._reply, self._status, self._stall = reply, status, stall

    def service(self, details: Any) -> Any:
        def answer(requests: Any, context: Any) -> Iterator[bytes]:
            if self._stall:
                while context.is_active():
                    context._state.condition.acquire()
                    context._state.condition.wait(0.05)
                    context._state.condition.release()
                return
            if self._status is not None:
                context.set_trailing_metadata(((wire.STATUS_KEY, self._status),))
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "evil \x1b[2Jmessage\r\nof two lines")
            if self._reply is not None:
                yield self._reply

        return grpc.stream_stream_rpc_method_handler(answer)


SERVERS = {
    "garbage": Server(reply=b"\xff\xff garbage \x00"),
    "an empty message": Server(reply=b""),
    "a string field of invalid UTF-8": Server(reply=b"\x0a\x02\xff\xfe\x12\x02\xff\xfe\x1a\x02\xff\xfe"),
    "nested garbage": Server(reply=b"\x0a\x03\x1a\x01\xff\x12\x03\x1a\x01\xff\x1a\x03\x1a\x01\xff"),
    "no message": Server(),
    "a broken status": Server(status=b"\xff\xff"),
    "a status with control characters": Server(status=wire.to_status(errors.NotFound("a\x1b[2Jb")).SerializeToString()),
}


def _serve(handler: Server, folder: Path) -> tuple[grpc.Server, Path]:
    ca = pki.new_ca(NOW)
    mine = pki.issue(ca, "server", (), now=NOW, hosts=(pki.SERVER_NAME,))
    admin = pki.issue(ca, "kubernetes-admin", ("system:masters",), now=NOW)
    server = grpc.server(futures.ThreadPoolExecutor(16), handlers=(handler,))
    credentials = grpc.ssl_server_credentials([(mine.key, mine.certificate)], ca.certificate, require_client_auth=True)
    server.add_secure_port(f"unix:{folder}/s.sock", credentials)
    server.start()
    text = certificates.context_file(ca, admin, f"unix://{folder}/s.sock")
    (folder / "config").write_bytes(text)
    return server, folder / "config"


@pytest.fixture
def stalling(tmp_path: Path) -> Iterator[Path]:
    """The configuration of a server that never answers."""
    server, config = _serve(Server(stall=True), tmp_path)
    yield config
    server.stop(0).wait()


@pytest.mark.parametrize("name", SERVERS)
def test_malformed_replies_of_the_server(name: str, place: Path, tmp_path: Path) -> None:
    """Whatever bytes come back: an error that names the reply, and no control characters on the terminal."""
    server, config = _serve(SERVERS[name], tmp_path)
    try:
        subject = runs(place, COMMANDS, config=config)
        results = run_all(subject)
    finally:
        server.stop(0).wait()
    for run, result in zip(subject, results, strict=True):
        check(run, result, lines=6)
        assert "\x1b" not in result.err + result.out, run

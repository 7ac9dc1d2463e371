"""What kctl says: of commands that it does not have, of configuration that is not there, and in completion scripts."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import contexts, main
from cli.commands import completion
from cli.complaints import sentence
from cli.creating import generators
from cli.describing.containers import container_lines
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Invalid, NotFound, Unavailable


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonsense", 'unknown command "nonsense" for "kctl" (kctl --help lists them)'),
        ("-x", 'unknown flag "-x" before the command: -n, --namespace, --context, --config may stand there, others follow it'),
    ],
)
def test_an_unknown_word_gets_the_way_on(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, on stderr."""
    assert main.run([word, "x"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"error: {said}\n")


def test_a_context_that_is_not_there_is_no_matter_of_the_server(tmp_path: Path) -> None:
    """The error lists the contexts there are."""
    file = tmp_path / "config"
    file.write_text("contexts:\n- name: lab-a\n  context: {cluster: lab-a, user: lab-a}\n")
    flags = SimpleNamespace(config=str(file), context="prod", namespace="")
    with pytest.raises(BadRequest, match=r'context "prod" does not exist in the configuration \(it has: lab-a\)'):
        contexts.current(flags)


@pytest.mark.parametrize(("line", "offered"), [("lab ", "up"), ("image pr", "prune"), ("to", "top"), ("get no", "nodes")])
def test_completion_offers_commands_their_verbs_and_kinds(line: str, offered: str, capsys: pytest.CaptureFixture[str]) -> None:
    """bash runs the script that `kctl completion bash` prints."""
    completion.run(["bash"])
    words = f"kctl {line}".split(" ")
    array = " ".join(f'"{word}"' for word in words)
    script = f'{capsys.readouterr().out}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _kctl; echo "${{COMPREPLY[@]}}"'
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert offered in result.stdout.split()


def test_completion_has_the_verbs_of_every_parser(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """All of them and no others; of `create`, which has no parser of verbs, a word for each kind that it makes of flags."""
    verbs = {
        name: " ".join(sorted(item.dest for item in action._choices_actions))
        for name, parser in parsers.items()
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    }
    assert {name: words for name, words in completion.VERBS.items() if name != "create"} == verbs
    words = set(completion.VERBS["create"].split()) - {"token"}
    made = (*generators.GENERATORS, *generators.TYPED)
    assert [len(words & set(kind.words)) for kind in made] == [1] * len(made)
    assert len(words) == len(made)


@pytest.mark.parametrize(("line", "offered"), [("net trace ", "web"), ("net capture ", "web"), ("net verify ", "")])
def test_completion_offers_pods_to_commands_that_follow_packets(
    line: str, offered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the verb; a kctl that lists one pod stands in for the real one."""
    fake = tmp_path / "kctl"
    fake.write_text("#!/bin/sh\necho web\n")
    fake.chmod(0o755)
    completion.run(["bash"])
    words = " ".join(f'"{word}"' for word in f"kctl {line}".split(" "))
    script = f'{capsys.readouterr().out}\nCOMP_WORDS=({words}); COMP_CWORD=3; _kctl; echo "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True, env=environment)
    assert result.stdout.strip() == offered


def _container() -> Any:
    container = kinds.POD.cls().spec.containers.add(name="c", image="busybox")
    container.ports.add(containerPort=80, hostPort=8080, protocol="TCP")
    container.envFrom.add(prefix="DB_").secretRef.localObjectReference.name = "db"
    return container


def test_describe_shows_host_ports_and_where_the_environment_is_from() -> None:
    """As kubectl does."""
    lines = [line.strip() for line in container_lines(_container(), None)]
    assert "Host Ports:   8080/TCP" in lines
    assert "db  Secret with prefix 'DB_'  Optional: false" in lines


def test_describe_gives_no_beginning_to_what_never_began() -> None:
    """A container that could not be started has an end only."""
    status = kinds.POD.cls().status.containerStatuses.add(name="c")
    status.state.terminated.reason = "StartError"
    status.state.terminated.exitCode = 127
    status.state.terminated.finishedAt.seconds = 1_800_000_000
    text = "\n".join(container_lines(_container(), status))
    assert "Finished:" in text
    assert "Started:" not in text


def test_a_full_disk_is_an_error_of_one_line() -> None:
    """Output that cannot be written ends with exit code 1; a reader that has gone ends kctl by SIGPIPE, as kubectl."""
    command = [sys.executable, "-P", "-m", "cli.main", "explain", "pod.spec"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (1, "error: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    gone = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    os.close(writer)
    assert (gone.returncode, gone.stderr) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFound.of("pods", "x"), 'Error from server (NotFound): pods "x" not found'),
        (Unavailable("cannot reach it"), "error: cannot reach it"),
        (Invalid("f.yaml:3: spec.x: unknown field"), "f.yaml:3: spec.x: unknown field"),
    ],
)
def test_errors_say_whose_they_are(error: ApiError, said: str) -> None:
    """The server's carry their reason; a fault in a file begins with the place."""
    assert sentence(error) == said

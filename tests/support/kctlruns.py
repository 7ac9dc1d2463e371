"""Every kctl command, run in environments that a shell can give it: one warm process forks for each run.

As a program it reads runs as JSON from standard input and prints their results. Not in pytest's own process: its threads and
file descriptors would be the child's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = float(os.environ.get("PINNACE_TEST_PATIENCE", "1"))
# Every command and verb with arguments that reach the server, where it has something to ask there. {file} is a manifest,
# {out} a path that may be written, {tree} a directory with a Dockerfile.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("get", "pods"), ("get", "pod", "web", "-o", "json"), ("get", "pods", "-w"), ("get", "-f", "{file}"), ("get", "pods", "-o", "jsonpath={.items}"),
    ("describe", "pod", "web"), ("describe", "nodes"), ("apply", "-f", "{file}"), ("apply", "-f", "-"), ("create", "-f", "{file}"), ("replace", "-f", "{file}"),
    ("create", "namespace", "x"), ("create", "secret", "generic", "x", "--from-literal=a=b"),
    ("patch", "pod", "web", "-p", "{}"), ("scale", "pod/web", "--replicas=1"), ("autoscale", "pod/web", "--max=2"), ("delete", "pod", "web"), ("delete", "-f", "{file}"), ("delete", "pod", "web", "--dry-run=client"),
    ("logs", "web"), ("logs", "-l", "a=b", "--all-containers"), ("exec", "web", "--", "true"), ("exec", "-it", "web", "--", "sh"),
    ("attach", "web"), ("debug", "web", "--image=busybox", "--attach"), ("port-forward", "web", ":80"), ("proxy", "--port=0"),
    ("cp", "{file}", "web:/tmp/x"), ("cp", "web:/etc/hosts", "{out}"), ("cp", "web:/etc/hosts", "-"),
    ("top", "nodes"), ("top", "pods"), ("wait", "pod/web", "--for=condition=Ready", "--timeout=0"), ("wait", "pod/web", "--for=delete", "--timeout=1s"),
    ("events",), ("events", "--for", "pod/web"), ("why", "pod/web"), ("version",), ("config", "use-context", "a"), ("config", "delete-context", "a"),
    ("node", "join-command"), ("node", "cordon", "n"), ("node", "uncordon", "n"), ("cordon", "n"), ("uncordon", "n"), ("drain", "n", "--force"),
    ("get", "--raw", "/version"), ("api-versions",), ("cluster-info",), ("replace", "--force", "-f", "{file}"), ("diff", "-f", "{file}"), ("edit", "pod", "web"), ("run", "x", "--image=i"), ("run", "x", "--image=i", "--attach", "--rm"), ("taint", "node", "n", "a=b:NoSchedule"), ("label", "pod", "web", "a=b"), ("annotate", "pod", "web", "a=b"), ("label", "-f", "{file}", "a=b"),
    ("image", "list"), ("image", "pull", "busybox"), ("image", "load", "{tree}", "--name", "x"), ("image", "build", "{tree}", "-t", "x"),
    ("image", "rm", "busybox"), ("image", "prune"), ("image", "inspect", "busybox"), ("image", "history", "busybox"), ("image", "tag", "busybox", "x"),
    ("image", "push", "x"), ("image", "save", "busybox", "-o", "{out}"), ("auth", "can-i", "get", "pods"), ("auth", "whoami"), ("api-resources",), ("get", "nonsense"),
    ("rollout", "status", "deployment/web"), ("rollout", "history", "deployment/web"), ("rollout", "undo", "deployment/web"),
    ("set", "image", "deployment/web", "main=i"), ("set", "env", "deployment/web", "A=b"), ("tree", "pod/web"), ("timeline", "pod/web"), ("timeline", "pod", "web", "-w"), ("logs", "deployment/web"),
    ("create", "deployment", "x", "--image=i"), ("expose", "pod", "web", "--port=80"), ("net", "verify"), ("net", "verify", "--fix"),
    ("net", "trace", "web", "service/web"), ("net", "capture", "web", "-w", "{out}"),
)  # fmt: skip
# Commands that need no server and no configuration, or only the latter.
LOCAL: tuple[tuple[str, ...], ...] = (
    (), ("--help",), ("get", "--help"), ("explain", "pod.spec"), ("version", "--client"), ("completion", "bash"), ("completion", "fish"),
    ("create", "-f", "{file}", "--dry-run=client", "-o", "yaml"), ("apply", "-f", "{file}", "--dry-run=client"), ("nonsense",), ("get", "--nonsense"),
    ("doctor",), ("get",), ("lab", "up", "--nodes", "0"), ("lab", "down", "--name", "none-such"), ("lab", "status", "--name", "none-such"), ("lab", "start", "--name", "none-such"),
    ("lab", "stop", "--name", "none-such"), ("lab", "clock", "--name", "none-such"), ("lab", "list"), ("lab", "node", "add", "--name", "none-such"),
    ("lab", "cut", "node-1", "--name", "none-such"), ("lab", "heal", "node-1", "--name", "none-such"), ("lab", "fill", "node-1", "--name", "none-such"),
    ("lab", "free", "node-1", "--name", "none-such"), ("config", "kubeconfig"),
    ("config", "view"), ("config", "view", "--raw", "--minify"), ("config", "get-contexts"), ("config", "current-context"),
    ("config", "set-context", "--current", "--namespace", "x"), ("config", "set-context", "--current"), ("explain", "pod.nope"), ("run", "x", "--image=i", "--dry-run=client", "-o", "yaml"),
)  # fmt: skip


@dataclass(slots=True)
class Run:
    """`closed` and `full` are numbers of standard streams, `broken` those whose reader has gone; `send` is a signal after 0.5 s."""

    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    stdin: str = ""
    send: int = 0
    within: float = 20.0


@dataclass(slots=True)
class Result:
    """`code` is negative after a signal; None when the run had to be killed."""

    code: int | None
    out: str
    err: str
    took: float = 0.0


def run_all(runs: list[Run]) -> list[Result]:
    """Raises AssertionError when the driver fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        [sys.executable, "-P", __file__], input=json.dumps([asdict(run) for run in runs]), capture_output=True, text=True,
        timeout=sum(run.within for run in runs) * PATIENCE + 60, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return [Result(**item) for item in json.loads(said.stdout)]


def _run(run: Run) -> Result:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _become(run, out.fileno(), err.fileno())
        begun = time.monotonic()
        code = _await(pid, run)
        took = time.monotonic() - begun
        for file in (out, err):
            file.seek(0)
        return Result(code, out.read().decode(errors="replace"), err.read().decode(errors="replace"), took)


def _become(run: Run, out: int, err: int) -> Any:
    """In the child: the streams, the environment, kctl. Does not return."""
    code = 70
    try:
        reader, writer = os.pipe()
        os.write(writer, run.stdin.encode())
        os.close(writer)
        os.dup2(reader, 0)
        for number, target in ((1, out), (2, err)):
            os.dup2(target, number)
        for number in run.full:
            os.dup2(os.open("/dev/full", os.O_WRONLY), number)
        for number in run.broken:
            gone, end = os.pipe()
            os.close(gone)
            os.dup2(end, number)
        os.environ.update(run.environment)
        sys.argv = ["kctl", *run.argv]
        sys.stdin, sys.stdout, sys.stderr = (
            None if number in run.closed else open(number, mode, closefd=False)
            for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )  # type: ignore[assignment]
        for number in run.closed:
            os.close(number)
        from cli import main

        main.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc(file=open(err, "w", closefd=False))
    os._exit(code)


def _await(pid: int, run: Run) -> int | None:
    begun = time.monotonic()
    sent = not run.send
    while time.monotonic() - begun < run.within * PATIENCE:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if not sent and time.monotonic() - begun > 0.5:
            os.kill(pid, run.send)
            sent = True
        time.sleep(0.002)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return None


def _warm() -> None:
    """What kctl imports, so that a child does not."""
    import importlib

    from cli import main

    importlib.import_module("cli.client")
    for module in {module for module, _ in main.COMMANDS.values()}:
        importlib.import_module(f"cli.commands.{module}")


if __name__ == "__main__":
    wanted = [Run(**item) for item in json.loads(sys.stdin.read())]
    _warm()
    print(json.dumps([asdict(_run(item)) for item in wanted]))

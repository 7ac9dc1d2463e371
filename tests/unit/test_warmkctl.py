"""A run of kctl forked from the warm process is as one with an interpreter of its own (tests/support/warmkctl.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.deathsignal import has_ended
from tests.support.labs import PATIENCE, eventually
from tests.support.warmkctl import Warm, fits

DEADLINE = 30.0 * PATIENCE
MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "ä" * 100_000}}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    found = Warm()
    yield found
    found.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PINNACE_CONFIG": str(tmp_path / "none"), "KUBECONFIG": str(tmp_path / "kubeconfig")}


def cold(arguments: tuple[str, ...], data: bytes | None, environment: dict[str, str]) -> tuple[int, bytes, bytes]:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, env=environment, timeout=DEADLINE, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (("get", "pods"), None),
        (("get", "--help"), None),
        (("get", "--nonsense"), None),
        (("explain", "pod.spec"), b""),
        (("create", "-f", "-", "--dry-run=client", "-o", "yaml"), json.dumps(MANIFEST).encode()),
        (("create", "-f", "-", "--dry-run=client"), b"\xff"),
        (("version", "--client"), None),
        (("nonsense", "\udcff"), b"not read" * 100_000),
    ],
)  # fmt: skip
def test_code_and_output_are_those_of_a_process_of_its_own(
    warm: Warm, environment: dict[str, str], arguments: tuple[str, ...], data: bytes | None
) -> None:
    """Whatever is read and printed, and however much."""
    done = warm.run(arguments, data, environment, within=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == cold(arguments, data, environment)


def test_standard_input_has_the_newlines_of_a_process_of_its_own(
    warm: Warm, environment: dict[str, str], tmp_path: Path
) -> None:
    """Python translates them in other files, and not in standard input."""
    manifest = tmp_path / "pod.json"
    manifest.write_text(json.dumps(POD))
    arguments, data = ("set", "env", "--local", "-f", str(manifest), "-", "-o", "json"), b"A=1\rB=2\r\nC=3\n"
    done = warm.run(arguments, data, environment, within=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == cold(arguments, data, environment)
    [container] = json.loads(done.stdout)["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "1\rB=2"}, {"name": "C", "value": "3"}]


def test_a_run_has_the_directory_umask_and_environment_of_its_caller(
    warm: Warm, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of that moment, and nothing of an earlier run."""
    for number, (own, given) in enumerate([(0o027, -1), (0o027, 0o077)]):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.chdir(place)
        before = os.umask(own)
        try:
            with waiting(warm, environment, umask=given) as child:
                eventually(lambda child=child, place=place: os.readlink(child / "cwd") == str(place))  # type: ignore[misc]
                umask = f"Umask:\t{0o027 if given < 0 else given:04o}\n"
                eventually(lambda child=child, umask=umask: umask in (child / "status").read_text())  # type: ignore[misc]
        finally:
            os.umask(before)
        done = warm.run(("get", "pods"), None, {**environment, "PINNACE_CONFIG": f"c{number}"}, within=DEADLINE)
        assert f"configured in c{number}" in done.stderr.decode()


@contextmanager
def waiting(warm: Warm, environment: dict[str, str], *, umask: int = -1, within: float = DEADLINE) -> Iterator[Path]:
    """A directory of /proc: of a run that reads from standard input until the end of the block. Raises what the run raises."""
    reader, writer = os.pipe()
    saved = os.dup(0)
    os.dup2(reader, 0)
    os.close(reader)
    arguments = ("create", "-f", "-", "--dry-run=client")
    try:
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(warm.run, arguments, None, environment, umask=umask, within=within)
            try:
                yield Path(f"/proc/{eventually(lambda: children(warm))[0]}")
            finally:
                os.close(writer)
                run.result()
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def begins(child: Path) -> None:
    """The run, whose umask is 077, has its streams, and reads."""
    eventually(lambda: "Umask:\t0077\n" in (child / "status").read_text())


def children(warm: Warm) -> list[str]:
    try:
        return Path(f"/proc/{warm.pid}/task/{warm.pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def test_runs_at_once_do_not_meet(warm: Warm, environment: dict[str, str]) -> None:
    """Each has its own answer."""
    names = [f"kind{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda name: warm.run((name,), None, environment, within=DEADLINE), names))
    assert [run.stderr.decode().split('"')[1] for run in done] == names


def test_a_run_that_takes_too_long_is_killed(warm: Warm, environment: dict[str, str]) -> None:
    """As subprocess does it; the warm process stays."""
    reader, writer = os.pipe()
    saved = os.dup(0)
    os.dup2(reader, 0)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            warm.run(("create", "-f", "-", "--dry-run=client"), None, environment, within=0.2)
    finally:
        os.dup2(saved, 0)
        for opened in (saved, reader, writer):
            os.close(opened)
    eventually(lambda: not children(warm))
    assert warm.run(("version", "--client"), None, environment, within=DEADLINE).returncode == 0


def test_a_run_whose_output_something_else_holds_open_takes_too_long(warm: Warm, environment: dict[str, str]) -> None:
    """As with subprocess: such as a process that the run has started, and that outlives it."""
    assert warm.run(("version", "--client"), None, environment, within=DEADLINE).returncode == 0
    late = pytest.raises(subprocess.TimeoutExpired)
    with ExitStack() as stack, late, waiting(warm, environment, umask=0o077, within=3 * PATIENCE) as child:
        begins(child)
        stack.callback(os.close, os.open(child / "fd/1", os.O_WRONLY))


def test_ctrl_c_ends_runs_and_not_the_warm_process(warm: Warm, environment: dict[str, str]) -> None:
    """It is in the process group of pytest, and finalizers run kctl after Ctrl-C."""
    assert warm.run(("version", "--client"), None, environment, within=DEADLINE).returncode == 0
    pid = warm.pid
    with waiting(warm, environment, umask=0o077) as child:
        begins(child)
        os.kill(pid, signal.SIGINT)
        os.kill(int(child.name), signal.SIGINT)
        eventually(lambda: not children(warm))
    assert warm.run(("version", "--client"), None, environment, within=DEADLINE).returncode == 0
    assert warm.pid == pid


def test_a_warm_process_that_was_killed_takes_its_runs_along_and_has_a_successor(environment: dict[str, str]) -> None:
    """What waits for such a run does not take that for a failed check, which `eventually` repeats."""
    with closing(Warm()) as warm:
        with pytest.raises(ChildProcessError), waiting(warm, environment, umask=0o077) as child:
            begins(child)
            os.kill(warm.pid, signal.SIGKILL)
            eventually(lambda: has_ended(int(child.name)))
        assert warm.run(("version", "--client"), None, environment, within=DEADLINE).returncode == 0


def test_what_is_read_before_main_has_a_process_of_its_own() -> None:
    """So have commands that start processes which stay."""
    environment = dict(os.environ)
    assert fits(("get", "pods"), environment)
    assert fits(("get", "pods"), {**environment, "HOME": "/none"})
    assert not fits(("lab", "up"), environment)
    assert not fits(("get", "pods"), {**environment, "PYTHONIOENCODING": "latin-1"})

"""kctl in processes that need not start Python and import everything: one warm process forks for each run.

The child has the arguments, environment, directory, umask and standard streams of a process that was started for the run, runs
the same `main`, and ends as Python ends. Most of a run's time is its start, and the tests have thousands of runs. `kctl lab`, runs
that tests start in the background or at a terminal, and runs with variables that matter before `main` start Python.

As a program it is the warm process; its argument is the file descriptor that requests arrive at, and it ends when that is closed.
Runs end with it.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import io
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nodeagent.linux import syscalls

KCTL = (sys.executable, "-P", "-m", "cli.main")
# Read by Python, the C library or a module before `main` runs.
EARLY = ("PYTHON", "LC_", "LANG", "LD_", "GRPC_", "TZ", "SSL_", "PINNACE_DEBUG")


@dataclass(frozen=True, slots=True)
class Request:
    arguments: list[str]
    environment: dict[str, str]
    cwd: str
    umask: int


def fits(arguments: tuple[str, ...], environment: dict[str, str]) -> bool:
    """Whether a fork of the warm process is as good as a process of its own."""
    return arguments[:1] != ("lab",) and _early(environment) == _early(dict(os.environ))


def _early(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(EARLY)}


@dataclass(slots=True)
class Warm:
    """The warm process of this one, started by the first run."""

    _requests: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(
        self, arguments: tuple[str, ...], data: bytes | None, environment: dict[str, str], *,
        umask: int = -1, cwd: Path | None = None, within: float,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        """As `run`, from the warm process. Raises ChildProcessError if that has ended before the run."""
        deadline, command = time.monotonic() + within, ["kctl", *arguments]
        request = Request(list(arguments), environment, str(cwd or Path.cwd()), _umask() if umask < 0 else umask)
        with contextlib.ExitStack() as ours:
            with contextlib.ExitStack() as theirs:
                stdin, feed = _pipe(theirs, ours)
                out, stdout = _pipe(ours, theirs)
                err, stderr = _pipe(ours, theirs)
                given, taken = (
                    stack.enter_context(end) for stack, end in zip((ours, theirs), socket.socketpair(), strict=True)
                )
                self._send(
                    request, [0 if data is None else stdin.fileno(), *(item.fileno() for item in (stdout, stderr, taken))]
                )
            try:
                output, errors, code = _exchange(feed, data or b"", [out, err, given], deadline)
            except TimeoutError:
                # The run is killed when nothing waits for it any more.
                raise subprocess.TimeoutExpired(command, within) from None
        if not code:
            raise ChildProcessError("the warm process has ended")
        return subprocess.CompletedProcess(command, int(code), output, errors)

    def _send(self, request: Request, numbers: list[int]) -> None:
        with os.fdopen(os.memfd_create("request"), "w+b") as file, self._lock:
            file.write(json.dumps(asdict(request)).encode())
            file.flush()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [*numbers, file.fileno()]))]
            try:
                self._started().sendmsg([b"run"], rights)
            except ConnectionError:
                # Something has killed it.
                self.close()
                self._started().sendmsg([b"run"], rights)

    def _started(self) -> socket.socket:
        if self._requests is None:
            self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-P", str(Path(__file__)), str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
            theirs.close()
        return self._requests

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def close(self) -> None:
        if self._requests is not None and self._process is not None:
            self._requests.close()
            self._process.wait(60)
            self._requests = self._process = None


warm = Warm()


def run(
    arguments: tuple[str, ...],
    data: bytes | None,
    environment: dict[str, str],
    *,
    umask: int = -1,
    cwd: Path | None = None,
    within: float,
) -> subprocess.CompletedProcess[bytes]:
    """kctl with captured output, from the warm process where that makes no difference; any exit code. `umask` and `cwd` are by
    default those of this process. Raises TimeoutExpired."""
    if fits(arguments, environment):
        return warm.run(arguments, data, environment, umask=umask, cwd=cwd, within=within)
    return subprocess.run(
        [*KCTL, *arguments], input=data, capture_output=True, env=environment, timeout=within, check=False, umask=umask, cwd=cwd
    )


def _umask() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask:")]
    return int(line.split()[1], 8)


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    """Its two ends, each closed with its owner."""
    read, written = os.pipe()
    return reader.enter_context(io.FileIO(read, "rb")), writer.enter_context(io.FileIO(written, "wb"))


def _exchange(feed: io.FileIO, data: bytes, outputs: list[io.FileIO | socket.socket], deadline: float) -> list[bytes]:
    """Write the data, and read each output to its end, all at the same time. Raises TimeoutError."""
    os.set_blocking(feed.fileno(), False)
    rest, read = memoryview(data), {output.fileno(): bytearray() for output in outputs}
    with selectors.DefaultSelector() as waiting:
        waiting.register(feed, selectors.EVENT_WRITE)
        for number in read:
            waiting.register(number, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(deadline - time.monotonic())
            if time.monotonic() > deadline:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is not feed:
                    read[key.fd] += (found := os.read(key.fd, 65536))
                    ended = not found
                else:
                    rest = _write(feed, rest)
                    ended = not rest
                if ended:
                    waiting.unregister(key.fd)
                    if key.fileobj is feed:
                        feed.close()
    return [bytes(found) for found in read.values()]


def _write(feed: io.FileIO, rest: memoryview) -> memoryview:
    """What is left to write."""
    try:
        return rest[os.write(feed.fileno(), rest) :]
    except BrokenPipeError:
        # As with subprocess: not everything need be read.
        return rest[:0]


# In the warm process


@dataclass(frozen=True, slots=True)
class Run:
    pid: int
    ended: int
    answer: int


def serve(requests: socket.socket) -> None:
    """Fork for each request; returns in the child, as the process that was asked for. The warm process itself ends in here."""
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    # By each of its file descriptors: that of its process (pidfd_open(2)), and the socket that its exit code is sent to.
    runs: dict[int, Run] = {}
    while True:
        # One at a time: what it closes may be opened again by the next.
        number = poll.poll()[0][0]
        if number in runs:
            end(runs[number], number, runs, poll)
            continue
        _, rights, _, _ = socket.recv_fds(requests, 16, 5)
        if not rights:
            os._exit(0)
        *streams, answer, described = rights
        with os.fdopen(described, "rb") as file:
            file.seek(0)
            request = Request(**json.loads(file.read()))
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != own:
                os._exit(1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for opened in (requests.detach(), answer, *runs):
                os.close(opened)
            become(request, streams)
            return
        for opened in streams:
            os.close(opened)
        run = Run(pid, os.pidfd_open(pid), answer)
        for opened in (run.ended, run.answer):
            runs[opened] = run
            poll.register(opened, select.POLLIN)


def end(run: Run, number: int, runs: dict[int, Run], poll: select.poll) -> None:
    """The run has ended, or, when `number` is that of its answer, nothing waits for it any more."""
    if number == run.answer:
        os.kill(run.pid, signal.SIGKILL)
    _, status = os.waitpid(run.pid, 0)
    with contextlib.suppress(OSError):
        os.write(run.answer, str(os.waitstatus_to_exitcode(status)).encode())
    for opened in (run.ended, run.answer):
        poll.unregister(opened)
        os.close(opened)
        del runs[opened]


def become(request: Request, streams: list[int]) -> None:
    """The process that was asked for."""
    for number, opened in enumerate(streams):
        os.dup2(opened, number)
        os.close(opened)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old, mode, buffering = getattr(sys, name), "r" if number == 0 else "w", 1 if number == 2 else -1
        # Its newlines are not translated: on Linux, Python opens the three so.
        stream = open(number, mode, buffering, encoding=old.encoding, errors=old.errors, newline="\n", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(request.cwd)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = [str(Path(importlib.import_module("cli.main").__file__ or "")), *request.arguments]


def main() -> None:
    # Ctrl-C reaches the whole process group, and pytest runs kctl after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from cli import main as kctl

    importlib.import_module("cli.client")
    for module in sorted({module for module, _ in kctl.COMMANDS.values()}):
        importlib.import_module(f"cli.commands.{module}")
    gc.freeze()
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
    except KeyboardInterrupt:
        os._exit(130)
    kctl.main()


if __name__ == "__main__":
    main()

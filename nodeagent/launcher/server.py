"""The launcher: a warm, small, single-threaded process that forks containers for the agent.

It must never import gRPC, protobuf, asyncio or anything of the agent. It listens on a Unix socket (SEQPACKET, one JSON
request a message); a fork does the work of each and answers, so that the launcher is free at once and a slow start delays
nobody. To fork Python takes longer than much of the work: so one fork is made ahead and waits, and brief requests go to one
that stays, the keeper.

Requests and answers are those of `protocol`. A fork that was killed is answered for (`lost`); after an answer of its own that
means nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
from collections import deque

from nodeagent.launcher import work
from nodeagent.launcher.protocol import MAX_MESSAGE
from nodeagent.linux import syscalls as sc
from nodeagent.linux import terminals

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeagent.launcher.protocol import Answer

MAX_CLIENTS = 8
# Milliseconds without a request before the fork that waits is replaced: not while the start that it does wants the cores.
IDLE = 10
# Signals whose action cannot be set, and those that Python has set for itself.
_KEPT_SIGNALS = {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}
# Requests that the keeper may have unanswered: what its socket holds, and some more.
MAX_KEPT = 1024


class Server:
    """The listening process. `_working` has the client and the request's id, by the pid of the fork that works on it;
    `_spare` and `_keeper` are a fork that waits and the one that stays, each with the socket on which it gets requests;
    `_kept` has what the keeper was given lately."""

    def __init__(self, path: str, version: str) -> None:
        """`version` is what `protocol.GetVersion` is answered."""
        self._version = version
        _lock(f"{path}.lock")
        self._listener = _listen(path)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._clients: dict[int, socket.socket] = {}
        self._working: dict[int, tuple[socket.socket, int]] = {}
        self._spare: tuple[int, socket.socket] | None = None
        self._keeper: tuple[int, socket.socket] | None = None
        self._kept: deque[tuple[socket.socket, int]] = deque(maxlen=MAX_KEPT)
        self._poll = select.poll()
        for fd in (self._listener.fileno(), self._wake_read):
            self._poll.register(fd, select.POLLIN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        # Forks share memory until they write; a collector that runs in each of them would write everywhere.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._spare, self._keeper = self._fork(work.wait), self._fork(work.keep)
        while True:
            ready = self._poll.poll(IDLE if self._spare is None else None)
            if not ready:
                self._spare = self._fork(work.wait)
            for fd, events in ready:
                if fd == self._wake_read:
                    os.read(fd, 4096)
                    self._reap()
                elif fd == self._listener.fileno():
                    self._accept()
                elif events & (select.POLLHUP | select.POLLERR):
                    # Requests of an agent that has gone are not begun: it will look at what is there and ask again.
                    self._forget(fd)
                else:
                    self._receive(fd)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if len(self._clients) >= MAX_CLIENTS:
            client.close()
            return
        self._clients[client.fileno()] = client
        self._poll.register(client, select.POLLIN)

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._clients.pop(fd).close()

    def _receive(self, fd: int) -> None:
        client = self._clients[fd]
        data, descriptors = terminals.receive(client, MAX_MESSAGE)
        if not data:
            self._forget(fd)
            return
        request = json.loads(data)
        if request["op"] == "version":
            self._answer(client, {"id": request["id"], "ok": {"version": self._version}})
        elif not (work.brief(request) and self._keep(client, data, request["id"])):
            self._working[self._begin(client, data, descriptors)] = client, request["id"]
        for descriptor in descriptors:
            os.close(descriptor)

    def _keep(self, client: socket.socket, request: bytes, number: int) -> bool:
        """Give it to the keeper; False when that has too much to do already."""
        if self._keeper is None:
            self._keeper = self._fork(work.keep)
        try:
            terminals.send(self._keeper[1].fileno(), request, client.fileno())
        except OSError:
            return False
        self._kept.append((client, number))
        return True

    def _begin(self, client: socket.socket, request: bytes, descriptors: list[int]) -> int:
        """Have a fork do it: the one that waits, or a new one. Returns its pid."""
        spare, self._spare = self._spare, None
        if spare is not None:
            pid, channel = spare
            with channel, contextlib.suppress(OSError):
                terminals.send(channel.fileno(), request, client.fileno(), *descriptors)
                return pid
            # It was killed.
        pid = os.fork()
        if pid == 0:
            self._leave(client)
            work.run(client, json.loads(request), descriptors)
        return pid

    def _fork(self, then: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
        """A fork that gets requests; it ends when we do, for then its socket has no other end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._leave(None)
            then(theirs)
        theirs.close()
        return pid, ours

    def _leave(self, mine: socket.socket | None) -> None:
        """In a fork: let go of what is the launcher's."""
        for fork in (self._spare, self._keeper):
            if fork is not None:
                fork[1].close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self._wake_read, self._wake_write):
            os.close(fd)
        for other in (*self._clients.values(), self._listener):
            if other is not mine:
                other.close()

    def _reap(self) -> None:
        """Forks that have ended. One that was killed could not answer, so it is answered for."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if self._keeper is not None and ended[0] == self._keeper[0]:
                    self._keeper[1].close()
                    self._keeper = None
                    lost = list(self._kept)
                    self._kept.clear()
                else:
                    # The fork that waits may have been killed: the next request finds that out.
                    lost = [self._working.pop(ended[0])] if ended[0] in self._working else []
                if ended[1]:
                    self._lose(lost, ended[1])

    def _lose(self, requests: list[tuple[socket.socket, int]], status: int) -> None:
        """Answer for a fork that was killed. A client that has its answer already ignores it."""
        text = f"the process that worked on it was killed (wait status {status})"
        for client, number in requests:
            if client in self._clients.values():
                self._answer(client, {"id": number, "lost": text})

    def _answer(self, client: socket.socket, answer: Answer) -> None:
        """Without waiting: the agent may be stopped."""
        with contextlib.suppress(OSError):
            client.send(json.dumps(answer).encode(), socket.MSG_DONTWAIT)


def _lock(path: str) -> None:
    """One launcher a node: an agent that was killed while it started one starts another. Exits when there is one.

    A POSIX lock: forks do not inherit it, and it ends with this process."""
    try:
        fcntl.lockf(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another launcher serves here")


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    # Before bind, so that its file is private from the beginning.
    os.fchmod(listener.fileno(), 0o600)
    listener.bind(path)
    listener.listen(MAX_CLIENTS)
    return listener


def main() -> None:
    # The parent process may ignore signals (a shell does, for what runs in the background), and containers would inherit it.
    for number in set(range(1, 65)) - _KEPT_SIGNALS:
        sc.default_action(number)
    # The agent's death does not end the launcher, and its own end takes no container with it.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sc.prctl(sc.PR_SET_PDEATHSIG, 0)
    # Of every fork: an OCI runtime makes mount points with it.
    os.umask(0o022)
    # Executed through a descriptor: its number is no name, and it is no longer needed.
    sc.set_name(b"launcher")
    os.closerange(3, 256)
    Server(sys.argv[1], sys.argv[2]).serve()

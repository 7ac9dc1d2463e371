"""What a monitor does while its container runs: output to the log and to attached clients, and their input back.

The log comes first. A client that reads too slowly misses output and is told how much; only for a container that is made
to be spoken to (stdin) is output held back, as long as the client takes some of it every `PATIENCE` seconds.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from nodeagent.launcher.attached import Client
from nodeagent.launcher.attachments import BadFrame
from nodeagent.linux import terminals

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodeagent.launcher.logfile import LogFile
    from nodeagent.launcher.oom import Watch
    from nodeagent.launcher.protocol import Terminal

CHUNK = 32 << 10
MAX_CLIENTS = 16
# Seconds to go on reading output after the end: processes outside the pid namespace may hold the pipes open. They may
# even go on writing; that is listened to no longer than LAST.
DRAIN, LAST = 0.5, 5.0
# Seconds that a client may read nothing before the container's output continues without it.
PATIENCE = 2.0
_KINDS = {b"stdout": b"o", b"stderr": b"e"}
# Ctrl-D: a terminal has no half-close.
_END_OF_INPUT = b"\x04"


class Tender:
    def __init__(
        self, listener: socket.socket, outputs: dict[int, bytes], stdin: int, *, terminal: Terminal, log: LogFile,
        watch: Watch,
    ):  # fmt: skip
        """`outputs` are descriptors and their streams; `stdin` feeds the program, -1 for none. With a terminal both are
        its master. `terminal` is that of the container's config. `watch` is told when memory runs out."""
        self._listener = listener
        self._outputs = outputs
        self._stdin = stdin
        self._terminal = terminal
        self._log = log
        self._watch = watch
        self._clients: dict[int, Client] = {}
        # Input that the program has not taken yet; while there is some, no more is read.
        self._pending = b""
        self._input_ends = False
        for fd in {*outputs, stdin} - {-1}:
            os.set_blocking(fd, False)

    def run(self, pid: int) -> int:
        """Until the process has ended and its output is dry. Returns the wait status."""
        pidfd = os.pidfd_open(pid)
        ended = 0.0
        deadline = 0.0
        while self._outputs or not ended:
            held = self._held_until()
            ready = self._ready(held=held, pidfd=-1 if ended else pidfd, deadline=deadline)
            now = time.monotonic()
            if ended and ((not ready and not held and now >= deadline) or now > ended + LAST):
                break
            for fd, events in sorted(ready, key=self._order):
                if fd == pidfd:
                    ended = now
                elif fd in self._watch.fds:
                    self._watch.notice()
                else:
                    self._handle(fd, events, held=bool(held))
            if (ended and not deadline) or (deadline and held):
                deadline = now + DRAIN
        self._finish()
        return os.waitpid(pid, 0)[1]

    def _held_until(self) -> float:
        """Until when the program has to wait for a client, on the monotonic clock; 0 when it has not to."""
        if not self._terminal["stdin"]:
            return 0.0
        now = time.monotonic()
        waits = [item.since + PATIENCE for item in self._clients.values() if item.behind]
        return min((wait for wait in waits if wait > now), default=0.0)

    def _ready(self, *, held: float, pidfd: int, deadline: float) -> list[tuple[int, int]]:
        """What has come to pass. Set up anew each time: what is waited for follows from what is so."""
        wanted = {self._listener.fileno(): select.POLLIN if len(self._clients) < MAX_CLIENTS else 0}
        wanted |= dict.fromkeys(self._watch.fds, select.POLLIN)
        if not held:
            wanted |= dict.fromkeys(self._outputs, select.POLLIN)
        if self._pending:
            wanted[self._stdin] = wanted.get(self._stdin, 0) | select.POLLOUT
        for fd, client in self._clients.items():
            wanted[fd] = (0 if self._pending else select.POLLIN) | (select.POLLOUT if client.behind else 0)
        if pidfd >= 0:
            wanted[pidfd] = select.POLLIN
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        until = min(filter(None, (held, deadline)), default=0.0)
        return poll.poll(max(0.0, until - time.monotonic()) * 1000 + 1 if until else None)

    def _order(self, event: tuple[int, int]) -> int:
        """Who leaves makes room for who comes, and who has come hears what is said next."""
        if event[0] in self._clients and event[1] & select.POLLHUP:
            return 0
        return 1 if event[0] == self._listener.fileno() else 2

    def _handle(self, fd: int, events: int, *, held: bool) -> None:
        if fd == self._listener.fileno():
            self._accept()
        elif fd in self._clients:
            self._converse(fd, events)
        else:
            if fd == self._stdin and self._pending:
                self._feed()
                for client in list(self._clients.values()):
                    self._obey(client)
            if fd in self._outputs and not held:
                self._copy(fd)

    def _copy(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            # A terminal that no process has open any more.
            data = b""
        if not data:
            del self._outputs[fd]
            if fd == self._stdin:
                self._stdin, self._pending = -1, b""
            os.close(fd)
            return
        self._log.write(self._outputs[fd], data)
        now = time.monotonic()
        for number, client in list(self._clients.items()):
            try:
                client.offer(_KINDS[self._outputs[fd]], data, now)
            except OSError:
                self._drop(number)

    # Clients

    def _accept(self) -> None:
        """All that wait, as many as there may be."""
        while len(self._clients) < MAX_CLIENTS:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._clients[sock.fileno()] = Client(sock)

    def _converse(self, fd: int, events: int) -> None:
        client = self._clients[fd]
        try:
            if events & select.POLLOUT and client.behind:
                client.flush(time.monotonic())
            if events & select.POLLIN:
                if not client.receive():
                    self._drop(fd)
                    return
                self._obey(client)
            elif events & (select.POLLHUP | select.POLLERR):
                self._drop(fd)
        except (OSError, BadFrame):
            self._drop(fd)

    def _obey(self, client: Client) -> None:
        """Its frames, until there is input that the program does not take."""
        while not self._pending and (frame := client.frame()) is not None:
            kind, payload = frame
            if kind == b"a":
                client.feeds = True
            elif kind == b"i" and client.feeds and self._terminal["stdin"] and not self._input_ends:
                self._pending = payload
                self._feed()
            elif kind == b"c" and client.feeds:
                self._end_session()
            elif kind == b"r" and self._terminal["tty"] and self._stdin >= 0:
                terminals.resize(self._stdin, *struct.unpack("!HH", payload))

    def _drop(self, fd: int) -> None:
        client = self._clients.pop(fd)
        client.close(0.0)
        if client.feeds:
            self._end_session()

    # Input

    def _feed(self) -> None:
        try:
            self._pending = self._pending[os.write(self._stdin, self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self._pending, self._input_ends = b"", True
        if self._input_ends and not self._pending:
            self._close_input()

    def _end_session(self) -> None:
        """Kubernetes' stdinOnce: the first session that feeds input is the only one."""
        if not self._terminal["once"] or self._input_ends:
            return
        self._input_ends = True
        if self._terminal["tty"]:
            self._pending += _END_OF_INPUT
        if self._pending:
            self._feed()
        else:
            self._close_input()

    def _close_input(self) -> None:
        if self._stdin >= 0 and self._stdin not in self._outputs:
            os.close(self._stdin)
            self._stdin = -1

    def _finish(self) -> None:
        now = time.monotonic()
        for client in self._clients.values():
            client.close(max(0.0, client.since + PATIENCE - now) if self._terminal["stdin"] else 0.0)
        self._listener.close()

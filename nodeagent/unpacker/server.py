"""Forks a process for each request of the agent; ends with the agent, or when it has not been used for a while.

A request is one message on a Unix socket (SEQPACKET): JSON, with the descriptors of the packed file, the directory, the
recipe and a channel of its own. The fork sends one answer on the channel. When the agent lets go of the channel, nobody waits
for the answer, and the fork is killed; when the agent lets go of the socket, all are.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket

from nodeagent.linux import syscalls as sc
from nodeagent.linux import terminals
from nodeagent.unpacker import work

_GONE = select.POLLIN | select.POLLHUP | select.POLLERR


class Server:
    """`idle` is in seconds. `_forks` has the pid of each fork by our copy of its channel."""

    def __init__(self, control: socket.socket, idle: float) -> None:
        self._control = control
        self._idle = round(idle * 1000)
        self._receives = True
        # It is started for a request, however long that takes to come.
        self._used = False
        self._retired = False
        self._forks: dict[int, tuple[int, socket.socket]] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll = select.poll()
        for fd in (control.fileno(), self._wake_read):
            self._poll.register(fd, select.POLLIN)

    def serve(self) -> None:
        """Until the agent has gone, or nothing has been asked for `idle` seconds."""
        while self._receives or self._forks:
            ready = {fd for fd, _ in self._poll.poll(self._idle if self._used and not self._forks else None)}
            if not ready:
                self._retire()
            # Channels before anything that closes one: their numbers are used again.
            for channel in ready & self._forks.keys():
                # What the agent sends on a channel is nothing but its end.
                self._kill(channel)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._receive():
                self._stop_receiving()

    def _retire(self) -> None:
        """Requests that were sent before are still done; the next one fails at once, and the agent starts another process."""
        self._retired = True
        self._control.shutdown(socket.SHUT_RD)

    def _stop_receiving(self) -> None:
        self._receives = False
        self._poll.unregister(self._control.fileno())
        if not self._retired:
            # The agent has gone.
            for channel in self._forks:
                self._kill(channel)

    def _receive(self) -> bool:
        data, descriptors = terminals.receive(self._control, work.MAX_REQUEST)
        if not data:
            return False
        self._used = True
        *files, channel = descriptors
        pid = os.fork()
        if pid == 0:
            self._leave()
            work.run(json.loads(data), files, socket.socket(fileno=channel))
        for descriptor in files:
            os.close(descriptor)
        self._forks[channel] = pid, socket.socket(fileno=channel)
        self._poll.register(channel, _GONE)
        return True

    def _leave(self) -> None:
        """In a fork: let go of what is the server's, and end with it."""
        sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self._wake_read, self._wake_write):
            os.close(fd)
        self._control.close()
        for _, channel in self._forks.values():
            channel.close()

    def _kill(self, channel: int) -> None:
        """The fork's end closes the channel, which tells the agent that the directory is its own again."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._forks[channel][0], signal.SIGKILL)
        with contextlib.suppress(KeyError):
            self._poll.unregister(channel)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for channel, (pid, kept) in list(self._forks.items()):
                    if pid == ended[0]:
                        del self._forks[channel]
                        with contextlib.suppress(KeyError):
                            self._poll.unregister(channel)
                        self._finish(kept, ended[1])

    @staticmethod
    def _finish(channel: socket.socket, status: int) -> None:
        if os.WIFSIGNALED(status):
            # After an answer of its own this one means nothing. The agent may be gone.
            with contextlib.suppress(OSError):
                channel.send(json.dumps({"lost": work.why(os.WTERMSIG(status))}).encode(), socket.MSG_DONTWAIT)
        channel.close()


def main(control: int, idle: float) -> None:
    sc.set_name(b"unpacker")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0)
    os.chdir("/")
    work.rehearse()
    # Forks share memory until they write.
    gc.collect()
    gc.freeze()
    Server(socket.socket(fileno=control), idle).serve()

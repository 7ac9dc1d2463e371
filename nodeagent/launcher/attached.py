"""One client that is attached to a container, as its monitor sees it: bounded both ways, never waited for."""

from __future__ import annotations

import socket

from nodeagent.launcher import attachments


class Client:
    """Holds back at most one frame in each direction; the rest is the kernel's, whose buffers are bounded too.

    `since` is when it last took something, in seconds of the monotonic clock, while it is behind; `feeds` that it sends
    standard input."""

    __slots__ = ("_inbox", "_outbox", "_skipped", "feeds", "since", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.feeds = False
        self.since = 0.0
        self._inbox = b""
        self._outbox = b""
        self._skipped = 0

    @property
    def behind(self) -> bool:
        """Whether it has not yet taken what it was given."""
        return bool(self._outbox)

    def offer(self, kind: bytes, data: bytes, now: float) -> None:
        """Send it, or count it as missed when the client has not taken what came before. Raises OSError."""
        if self._outbox:
            self._skipped += len(data)
            return
        missed = attachments.frame(b"s", b"%d" % self._skipped) if self._skipped else b""
        self._skipped = 0
        self._outbox = missed + attachments.frame(kind, data)
        self.since = now
        self.flush(now)

    def flush(self, now: float) -> None:
        """Raises OSError when the client has gone."""
        try:
            sent = self.sock.send(self._outbox, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        self.since = now
        self._outbox = self._outbox[sent:]

    def receive(self) -> bool:
        """Take what has come; False at the end. Raises OSError."""
        try:
            data = self.sock.recv(attachments.MAX_PAYLOAD, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        self._inbox += data
        return bool(data)

    def frame(self) -> tuple[bytes, bytes] | None:
        """The next whole frame, None while there is none. Raises BadFrame."""
        if len(self._inbox) < attachments.HEADER_SIZE:
            return None
        kind, length = attachments.header(self._inbox)
        end = attachments.HEADER_SIZE + length
        if len(self._inbox) < end:
            return None
        payload, self._inbox = self._inbox[attachments.HEADER_SIZE : end], self._inbox[end:]
        return kind, payload

    def close(self, patience: float) -> None:
        """With `patience`, wait that many seconds for it to take the rest."""
        if patience and self._outbox:
            self.sock.settimeout(patience)
            try:
                self.sock.sendall(self._outbox)
            except OSError:
                pass
        self.sock.close()

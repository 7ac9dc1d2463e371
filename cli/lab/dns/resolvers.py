"""The resolvers of this machine, asked in the order of its resolv.conf, as its own resolver would ask."""

from __future__ import annotations

from pathlib import Path

from cli.lab import resolvconf
from pinnace.clock import Clock
from pinnace.dns import messages, upstream
from pinnace.dns.serving import Answer

# Seconds for one resolver, and between looks at resolv.conf.
ANSWER_WITHIN = 3.0
REREAD = 1.0


class Resolvers:
    """The name servers of a resolv.conf, read again when it changes."""

    def __init__(self, path: Path, clock: Clock, port: int = upstream.PORT) -> None:
        self._path = path
        self._clock = clock
        self.port = port
        self._read_at = float("-inf")
        self._servers: list[str] = []

    def servers(self) -> list[str]:
        """The last ones known while the file cannot be read."""
        now = self._clock.monotonic()
        if now - self._read_at >= REREAD:
            self._read_at = now
            try:
                self._servers = resolvconf.servers(self._path.read_text(errors="replace"))
            except OSError:
                self._servers = self._servers or resolvconf.servers("")
        return self._servers

    def answer(self, query: bytes, tcp: bool) -> Answer:
        """Pass a query on; what is none is refused here."""
        code = messages.refusal(query)
        if code is None:
            return self._resolve(query, tcp)
        return b"" if code < 0 else messages.failure(query, code)

    async def _resolve(self, query: bytes, tcp: bool) -> bytes:
        """Never raises for what a resolver does."""
        return await upstream.ask_in_turn(self.servers(), query, tcp=tcp, within=ANSWER_WITHIN, port=self.port)

"""How many connections and handshakes there may be, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts of connections; durations in seconds; handshakes of one address: `burst` at once, `rate` per second."""

    connections: int = 256
    per_peer: int = 64
    serving: int = 64
    clients: int = 1024
    per_user: int = 512
    request: float = 10.0
    response: float = 10.0
    shutdown: float = 2.0
    rate: float = 50.0
    burst: float = 200.0
    buffer: int = 32 << 10

    @classmethod
    def within(cls, open_files: int) -> Limits:
        """Of the process's descriptors strangers have an eighth at most and clients a quarter: the gRPC port and the store have
        the others."""
        clients = max(64, min(8192, open_files // 4))
        return cls(connections=max(16, min(256, open_files // 8)), clients=clients, per_user=clients // 2)

"""Joins of simulated nodes: the same request as `pinnace-nodeagent join`, without blocking the other nodes of the process."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass

from pinnace import csr, errors, pki

# Seconds for one request; bytes of an answer.
DEADLINE = 15.0
MAX_ANSWER = 64 << 10


@dataclass(frozen=True, slots=True)
class Joined:
    """The certificate and key of a node in PEM, and the gRPC endpoint."""

    pair: pki.Pair
    server: str


class Joiner:
    def __init__(self, endpoint: str, ca: bytes, *, at_once: int) -> None:
        """`endpoint` is the HTTPS port, HOST:PORT, that `ca` (PEM) authenticates; `at_once`: the most requests."""
        host, _, port = endpoint.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._room = asyncio.Semaphore(at_once)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._tls.load_verify_locations(cadata=ca.decode())

    async def join(self, node: str, index: int, token: str, key: bytes) -> Joined:
        """Become the node. On loopback node number `index` has an address of its own, as hosts have: limits of the control
        plane are per address. Raises ApiError, OSError."""
        request = csr.of(key, pki.NODE_PREFIX + node, (pki.NODES,))
        body = json.dumps({"node": node, "token": token, "csr": request.certificate.decode()}).encode()
        async with self._room, asyncio.timeout(DEADLINE):
            status, answer = await self._post("/join", body, index)
        found = json.loads(answer)
        if status != 200:
            raise errors.BY_REASON.get(found.get("reason"), errors.Internal)(str(found.get("message"))[:1000])
        return Joined(pki.Pair(found["certificate"].encode(), key), found["server"])

    async def _post(self, path: str, body: bytes, index: int) -> tuple[int, bytes]:
        loopback = self._host in ("127.0.0.1", "localhost")
        source = (f"127.1.{index // 250 % 250}.{index % 250 + 1}", 0) if loopback else None
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, server_hostname=pki.SERVER_NAME, local_addr=source, limit=MAX_ANSWER
        )
        try:
            head = (
                f"POST {path} HTTP/1.1\r\nhost: {pki.SERVER_NAME}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.read(-1)
        finally:
            writer.close()
        status, _, rest = answer.partition(b"\r\n")
        words = status.split()
        if len(words) < 2 or not words[1].isdigit():
            raise errors.Unavailable("the connection ended early")
        return int(words[1]), rest.partition(b"\r\n\r\n")[2]

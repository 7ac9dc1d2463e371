"""Keys and signing requests, made by a process of its own: `cryptography` would cost a running agent 13 MB for good.

`python -m nodeagent.control.keys NODE` reads a JSON object {"key": of the old certificate or "", "next": a key that was made
before or ""} and writes {"key", "csr", "proof"}. Keys travel through pipes only. `proof` is empty without an old key.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from dataclasses import dataclass

from pinnace import csr, pki
from pinnace.errors import Internal

# Seconds until the process must have answered, also on a machine that is busy.
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A signing request for `key`; `proof` is its signature by the old key, in base64. PEM."""

    key: bytes
    csr: bytes
    proof: str


def make(node: str, *, old: bytes = b"", key: bytes = b"") -> Request:
    """A signing request of the node for `key` or a new one, with proof of the `old` key if there is one."""
    made = csr.of(key or pki.key_pem(pki.new_key()), pki.NODE_PREFIX + node, (pki.NODES,))
    proof = base64.b64encode(csr.prove(old, made.certificate)).decode() if old else ""
    return Request(made.key, made.certificate, proof)


async def make_apart(node: str, *, old: bytes, key: bytes) -> Request:
    """`make`, in a process that ends. Raises Internal."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", __name__, node,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told = json.dumps({"key": old.decode("ascii", "replace"), "next": key.decode("ascii", "replace")}).encode()
    try:
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate(told)
    except TimeoutError:
        raise Internal(f"no signing request within {DEADLINE:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
        # Reaped, and its pipes read to their ends: they would be left to a loop that may have ended.
        await process.communicate()
    if process.returncode:
        raise Internal(f"making a signing request failed: {err.decode(errors='replace').strip()[-300:]}")
    try:
        made = json.loads(out)
        return Request(made["key"].encode(), made["csr"].encode(), made["proof"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Internal("making a signing request failed: the answer is incomplete") from None


def main() -> None:
    told = json.load(sys.stdin)
    made = make(sys.argv[1], old=told["key"].encode(), key=told["next"].encode())
    json.dump({"key": made.key.decode(), "csr": made.csr.decode(), "proof": made.proof}, sys.stdout)


if __name__ == "__main__":
    main()

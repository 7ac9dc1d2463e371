"""nftables through libnftables, the library that `nft` is made of: one transaction a call, in milliseconds.

Instead of running `nft`: a process for each pod that starts would cost more than the pod's network does. The commands are
those of libnftables-json(5). Blocking; one thread at a time, in the network namespace that the rules are for.
"""

from __future__ import annotations

import ctypes
import json
from typing import Any

from nodeagent.network.interface import NetworkError

LIBRARY = "libnftables.so.1"
# nftables/libnftables.h, NFT_CTX_OUTPUT_JSON: commands are JSON too.
_OUTPUT_JSON = 1 << 4
# What a command is made of.
Json = dict[str, Any]


class Nftables:
    """A context of the library, opened on first use. Raises NetworkError when the library is missing."""

    def __init__(self) -> None:
        self._library: Any = None
        self._context: Any = None

    def _open(self) -> None:
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise NetworkError(f"{LIBRARY} is missing (Debian: apt-get install nftables)") from None
        library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [ctypes.c_uint32], ctypes.c_void_p
        library.nft_ctx_free.argtypes = library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
        library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(library, name).argtypes, getattr(library, name).restype = [ctypes.c_void_p], ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        context = library.nft_ctx_new(0)
        if not context:
            raise NetworkError(f"{LIBRARY} cannot be used")
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_ctx_output_set_flags(context, _OUTPUT_JSON)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        self._library, self._context = library, context

    def run(self, commands: list[Json]) -> None:
        """All of the commands, or none. Raises NetworkError with what the library says."""
        if self._context is None:
            self._open()
        payload = json.dumps({"nftables": commands}).encode()
        failed = self._library.nft_run_cmd_from_buffer(self._context, payload)
        # Read even if unused: the buffers grow until they are.
        self._library.nft_ctx_get_output_buffer(self._context)
        error = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise NetworkError(f"nftables: {error.decode(errors='replace').strip()[:500]}")

    def close(self) -> None:
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None


def table(family: str, name: str) -> list[Json]:
    """An empty table, whether or not it was there: `add` first, so that `delete` cannot fail."""
    named = {"table": {"family": family, "name": name}}
    return [{"add": named}, {"delete": named}, {"add": named}]


def chain(family: str, name: str, chain_: str, **base: Any) -> Json:
    """`base` has `type`, `hook`, `prio` and `policy` of a base chain."""
    return {"add": {"chain": {"family": family, "table": name, "name": chain_, **base}}}


def rule(family: str, name: str, chain_: str, *expressions: Json) -> Json:
    return {"add": {"rule": {"family": family, "table": name, "chain": chain_, "expr": list(expressions)}}}


def match(left: Json, right: Any, operator: str = "==") -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def meta(key: str) -> Json:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def prefix(cidr: str) -> Json:
    address, _, length = cidr.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


DROP: Json = {"drop": None}
ACCEPT: Json = {"accept": None}

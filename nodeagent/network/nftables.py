"""nftables through libnftables, the library that `nft` is made of: one transaction a call, in milliseconds.

Instead of running `nft`: a process for each pod that starts would cost more than the pod's network does. The commands are
those of libnftables-json(5), or text as in nft(8). Blocking; one thread at a time, in the network namespace that the rules
are for.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Iterable
from typing import Any

from nodeagent.network.interface import NetworkError

LIBRARY = "libnftables.so.1"
# nftables/libnftables.h, NFT_CTX_OUTPUT_JSON and NUMERIC_PROTO. Commands may be JSON then, or text.
_OUTPUT = 1 << 4 | 1 << 7
# NFT_CTX_OUTPUT_STATELESS and HANDLE.
_SHOWN = 1 << 2 | 1 << 3
# The library has state that its contexts share: two threads in it corrupt its memory.
_ONE = threading.Lock()
# What a command is made of.
Json = dict[str, Any]


class Nftables:
    """A context of the library, opened on first use. Raises NetworkError when the library is missing."""

    def __init__(self) -> None:
        self._library: Any = None
        self._context: Any = None
        # Transactions that have changed something, as the kernel counts them.
        self.commits = 0

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
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_ctx_set_dry_run.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        self._library = library
        self._context = self._new()

    def _new(self) -> Any:
        context = self._library.nft_ctx_new(0)
        if not context:
            raise NetworkError(f"{LIBRARY} cannot be used")
        self._library.nft_ctx_output_set_flags(context, _OUTPUT)
        self._library.nft_ctx_buffer_output(context)
        self._library.nft_ctx_buffer_error(context)
        return context

    def run(self, commands: list[Json]) -> None:
        """All of the commands, or none. Raises NetworkError with the library's message."""
        if commands:
            self._run(json.dumps({"nftables": commands}).encode())
            self.commits += 1

    def run_text(self, commands: str) -> None:
        """All of the commands in nft(8)'s syntax, or none. Raises NetworkError."""
        self._run(commands.encode())
        self.commits += 1

    def check(self, commands: str) -> None:
        """Whether the kernel would do all of the commands: it does none of them. Raises NetworkError."""
        with _ONE:
            if self._context is None:
                self._open()
            self._library.nft_ctx_set_dry_run(self._context, True)
            try:
                self._run_alone(commands.encode())
            finally:
                self._library.nft_ctx_set_dry_run(self._context, False)

    def read(self, what: str) -> list[Json]:
        """The objects that `list` lists, such as `table inet pinnace`, which costs as much as all sets have elements (see
        `nftread`). Raises NetworkError."""
        return self.read_each([what])

    def read_each(self, whats: Iterable[str]) -> list[Json]:
        """The objects that `list` lists of each, such as `set inet pinnace peers_4`: that reads nothing else. Raises
        NetworkError."""
        self._renew()
        found = [item for what in whats for item in json.loads(self._run(f"list {what}".encode()))["nftables"]]
        self._renew()
        return [item for item in found if "metainfo" not in item]

    def show(self, what: str) -> str:
        """What `nft -sa list` prints. Raises NetworkError."""
        with _ONE:
            if self._context is None:
                self._open()
            self._library.nft_ctx_output_set_flags(self._context, _SHOWN)
            try:
                return self._run_alone(f"list {what}".encode()).decode(errors="replace")
            finally:
                self._library.nft_ctx_output_set_flags(self._context, _OUTPUT)

    def _run(self, commands: bytes) -> bytes:
        with _ONE:
            return self._run_alone(commands)

    def _run_alone(self, commands: bytes) -> bytes:
        if self._context is None:
            self._open()
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands)
        # Read even if unused: the buffers grow until they are.
        output = self._library.nft_ctx_get_output_buffer(self._context) or b""
        error = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise NetworkError(f"nftables: {error.decode(errors='replace').strip()[:500]}")
        return bytes(output)

    def _renew(self) -> None:
        """Drop the library's cache, which holds all that was listed."""
        with _ONE:
            if self._context is not None:
                self._library.nft_ctx_free(self._context)
                self._context = None
                self._context = self._new()

    def close(self) -> None:
        with _ONE:
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


DROP: Json = {"drop": None}
ACCEPT: Json = {"accept": None}

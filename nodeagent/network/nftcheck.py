"""Whether the node's nftables tables are as programmed: chains, rules, sets and their elements.

The kernel counts its transactions: while it has counted ours alone, nothing has changed, which costs one question whatever the
tables hold. Else they are listed, and compared with the same commands' result in a network namespace of a moment: so rules are
compared as the kernel shows them, whatever libnftables makes of the text.

Source: linux/netfilter/nf_tables.h (NFT_MSG_GETGEN, NFTA_GEN_ID).
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from nodeagent.linux import syscalls
from nodeagent.network import elements, nlsocket
from nodeagent.network.elements import Element
from nodeagent.network.interface import Deviation, NetworkError
from nodeagent.network.nftables import Json, Nftables
from nodeagent.network.nlsocket import NetlinkSocket, Request

NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16
_GENERATION_ID = 1
# Seconds for a namespace with our tables.
WITHIN = 20.0
# Rules that add elements.
_UPDATE, _TIMEOUT = re.compile(r"\bupdate @(\w+) \{([^}]*)\}"), re.compile(r"\btimeout (\d+)s\b")
# Of a table: canonical text of each chain with its rules, each set and map, and the table's own flags.
Shape = dict[str, str]


def generation(kernel: NetlinkSocket) -> int:
    """Of the ruleset of this network namespace: one more with each transaction. Raises OSError."""
    [message] = kernel.run(Request(_GET_GENERATION, struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)))
    return int.from_bytes(nlsocket.attributes(message.body[4:]).get(_GENERATION_ID, b""), "big")


class Generation:
    """Whether anyone else has changed nftables since `settle`."""

    def __init__(self, nft: Nftables, kernel: NetlinkSocket) -> None:
        self._nft, self._kernel = nft, kernel
        self._settled = -1

    def undisturbed(self) -> bool:
        """Raises OSError."""
        return self._expected() == self._settled

    def settle(self, expected: int) -> None:
        """All was well at `expected`, which `mark` gave before the tables were read."""
        self._settled = expected

    def mark(self) -> int:
        return self._expected()

    def _expected(self) -> int:
        """The kernel's count less our own transactions: it stays while there are ours alone."""
        return (generation(self._kernel) - self._nft.commits) & 0xFFFFFFFF


def shape(objects: Iterable[Json]) -> Shape:
    """From what libnftables lists of a table in JSON. Pure."""
    found = Shape()
    for item in objects:
        [(kind, body)] = item.items()
        kept = {key: _without_counts(value) for key, value in body.items() if key not in ("handle", "elem")}
        text = json.dumps(kept, sort_keys=True)
        if kind == "table":
            found["flags"] = json.dumps(body.get("flags", []))
        elif kind == "rule":
            found[f"chain {body['chain']}"] += "\n" + text
        elif kind in ("chain", "set", "map"):
            found[f"{kind} {body['name']}"] = text
    return found


def _without_counts(value: Any) -> Any:
    if isinstance(value, list):
        return [{"counter": None} if isinstance(item, dict) and "counter" in item else item for item in value]
    return value


def differences(table: str, want: Mapping[str, str], have: Mapping[str, str]) -> list[Deviation]:
    """Of the shapes of a table, such as `inet pinnace`. Pure."""
    if want and not have:
        return [Deviation("nft", f"table {table}", "present", "")]
    return [
        Deviation("nft", f"{table} {item}", _summary(want.get(item)), _summary(have.get(item), changed=item in want))
        for item in sorted(want.keys() | have.keys())
        if want.get(item) != have.get(item)
    ]


def foreign(objects: Collection[Json], texts: Iterable[str]) -> list[tuple[Element, int]]:
    """Elements of sets with a timeout that none of the rules of `texts` has added, with their timeout. Which ones packets add
    is not known, but how long they stay is. Pure."""
    known = dict[str, set[int]]()
    for name, update in (found.groups() for text in texts for found in _UPDATE.finditer(text)):
        timeout = _TIMEOUT.search(update)
        known.setdefault(name, set()).add(int(timeout[1]) if timeout is not None else 0)
    defaults = {item["set"]["name"]: item["set"].get("timeout", 0) for item in objects if "set" in item}

    def expected(name: str) -> set[int]:
        return {timeout or defaults[name] for timeout in known.get(name, ())}

    return [(item, timeout) for item, timeout in elements.timed(objects) if timeout not in expected(item.container)]


def _summary(text: str | None, *, changed: bool = False) -> str:
    if text is None:
        return ""
    rules = text.count("\n")
    return f"{'changed: ' if changed else ''}{rules} rule{'' if rules == 1 else 's'}"


def read(nft: Nftables, table: str) -> list[Json]:
    """The objects of a table; none when it is not there. Raises NetworkError."""
    family, _, name = table.partition(" ")
    tables = (item["table"] for item in nft.read("tables") if "table" in item)
    there = any((item["family"], item["name"]) == (family, name) for item in tables)
    return nft.read(f"table {table}") if there else []


def elsewhere(program: Callable[[Nftables], None], tables: Iterable[str]) -> dict[str, Shape]:
    """The shapes that tables get from `program`, in a network namespace of its own. Raises NetworkError."""
    found, errors = dict[str, Shape](), list[BaseException]()

    def run() -> None:
        nft = Nftables()
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            program(nft)
            found.update({table: shape(read(nft, table)) for table in tables})
        except BaseException as error:
            errors.append(error)
        finally:
            nft.close()

    thread = threading.Thread(target=run, name="nftables", daemon=True)
    thread.start()
    thread.join(WITHIN)
    if thread.is_alive() or errors:
        raise NetworkError(f"nftables in a namespace: {errors[0] if errors else 'no answer'}")
    return found

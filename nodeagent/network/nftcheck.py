"""Whether the node's nftables tables are as programmed: chains, rules, sets and their elements.

The kernel counts its transactions: while it has counted ours alone, nothing has changed, which costs one question whatever the
tables hold. Else they are read, and compared with the same commands' result in a network namespace of a moment: so rules are
compared as the kernel has them, whatever libnftables makes of the text.

Source: linux/netfilter/nf_tables.h (NFT_MSG_GETGEN, NFTA_GEN_ID).
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping

from nodeagent.linux import syscalls
from nodeagent.network import nftread, nlsocket
from nodeagent.network.elements import Element
from nodeagent.network.interface import Deviation, NetworkError
from nodeagent.network.nftables import Nftables
from nodeagent.network.nftread import Shape
from nodeagent.network.nlsocket import NetlinkSocket, Request

_GET_GENERATION = 10 << 8 | 16
_GENERATION_ID = 1
# Seconds for a namespace with our tables.
WITHIN = 20.0
# Sets, and rules that add elements.
_SET = re.compile(r"\bset (\w+) \{")
_UPDATE, _TIMEOUT = re.compile(r"\bupdate @(\w+) \{([^}]*)\}"), re.compile(r"\btimeout (\d+)s\b")


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


def differences(table: str, want: Mapping[str, str], have: Mapping[str, str]) -> list[Deviation]:
    """Of the shapes of a table, such as `inet pinnace`. Pure."""
    if want and not have:
        return [Deviation("nft", f"table {table}", "present", "")]
    return [
        Deviation("nft", f"{table} {item}", _summary(want.get(item)), _summary(have.get(item), changed=item in want))
        for item in sorted(want.keys() | have.keys())
        if want.get(item) != have.get(item)
    ]


def foreign(table: str, texts: Iterable[str]) -> list[tuple[Element, int]]:
    """Elements of the sets with a timeout in `texts` that none of the rules in there has added, with their timeout. Which ones
    packets add is not known, but how long they stay is. Other sets and maps are harmless while no rule of ours refers to them,
    and their keys may be of any type. Raises NetworkError."""
    parts = tuple(texts)
    known: dict[str, set[int]] = {name: set() for text in parts for name in _SET.findall(text)}
    for name, update in (found.groups() for text in parts for found in _UPDATE.finditer(text)):
        timeout = _TIMEOUT.search(update)
        known.setdefault(name, set()).add(int(timeout[1]) if timeout is not None else 0)
    found = list[tuple[Element, int]]()
    for item in nftread.containers(table):
        if item.is_timed and not item.is_map and item.name in known:
            expected = {timeout or item.timeout for timeout in known[item.name]}
            clients = nftread.clients(table, item, but=expected)
            found += [(Element(item.name, client.key), client.timeout) for client in clients]
    return found


def _summary(text: str | None, *, changed: bool = False) -> str:
    if text is None:
        return ""
    rules = text.count("\n")
    return f"{'changed: ' if changed else ''}{rules} rule{'' if rules == 1 else 's'}"


def elsewhere(program: Callable[[Nftables], None], tables: Iterable[str]) -> dict[str, Shape]:
    """The shapes that tables get from `program`, in a network namespace of its own. Raises NetworkError."""
    found, errors = dict[str, Shape](), list[BaseException]()

    def run() -> None:
        nft = Nftables()
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            program(nft)
            found.update({table: nftread.shape(table) for table in tables})
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

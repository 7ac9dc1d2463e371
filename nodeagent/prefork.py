"""`pinnace-nodeagent prefork`: agents of one machine's hosts, forked from a process that has imported the agent once.

To import it takes most of a second of a core, for each agent anew. `kctl lab up` makes hosts meanwhile (`cli/lab/agents.py`)
and then writes a JSON object and a line feed for each agent:

    name          what ps(1) shows of it, for its command line is that of this process
    arguments     those of the agent's own command line
    stdin         what it reads from standard input: the join token
    log           the file that its output is appended to
    namespaces    files of the network and mount namespaces to enter, in this order

It is answered by the agent's pid in a line of its own. A process with threads is not forked, nor one that has used gRPC:
neither survives it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import threading
from typing import BinaryIO, TypedDict

from nodeagent.control import keys
from nodeagent.linux import syscalls

# What an agent imports when it joins, and when it runs.
_LATER = ("nodeagent.control.join", "nodeagent.agent", "encodings.idna")


class Order(TypedDict):
    """See above."""

    name: str
    arguments: list[str]
    stdin: str
    log: str
    namespaces: list[str]


def serve() -> list[str] | None:
    """Fork as asked until standard input ends; then None. In a fork: the arguments of the agent that it is to be."""
    _warm()
    with open(0, "rb", buffering=0, closefd=False) as orders:
        while (line := _line(orders)) is not None:
            order: Order = json.loads(line)
            if threading.active_count() > 1:
                raise RuntimeError("a process with threads is not to be forked")
            pid = os.fork()
            if pid == 0:
                _become(order)
                return order["arguments"]
            os.write(1, f"{pid}\n".encode())
    return None


def _warm() -> None:
    """What every agent that joins does first, once: `cryptography` is imported by the first key."""
    # What is imported is there to stay: to look for garbage in it would take a tenth of the time.
    gc.disable()
    for module in _LATER:
        importlib.import_module(module)
    keys.make("node")
    # Forks share memory until it is written to; a collector would write to all of it.
    gc.collect()
    gc.freeze()
    gc.enable()


def _line(orders: BinaryIO) -> bytes | None:
    """The next one; None at the end, also in the middle of a line: its writer is gone."""
    line = orders.readline()
    return line if line.endswith(b"\n") else None


def _become(order: Order) -> None:
    """In a fork: its session, standard streams and namespaces are those of the agent. Raises OSError."""
    os.setsid()
    syscalls.set_name(order["name"].encode()[:15])
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.write(writer, order["stdin"].encode())
    for target, source in enumerate((reader, log, log)):
        os.dup2(source, target)
    for descriptor in (reader, writer, log):
        os.close(descriptor)
    # All of them first: in another mount namespace their paths lead elsewhere.
    for descriptor in [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in order["namespaces"]]:
        syscalls.setns(descriptor, 0)
        os.close(descriptor)
    os.chdir("/")

"""The launcher: a warm, small, single-threaded process that forks containers for the agent.

It must never import gRPC, protobuf, asyncio or anything of the agent. It listens on a Unix socket (SEQPACKET, one JSON
request a message) and forks for every request; the fork does the work and answers, so that the launcher is free at
once and a slow start delays nobody.

Requests: {"id", "op": "sandbox" | "unpin" | "start" | "exec", ...}. Answers: {"id", "ok": ...} or {"id", "error": text}.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys

from nodeagent.runtime.native import execs, monitor, sandbox
from nodeagent.runtime.native import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_MESSAGE = 64 << 10
MAX_CLIENTS = 8


def serve(path: str) -> None:
    listener = _listen(path)
    clients: dict[int, socket.socket] = {}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    # Forks share memory until they write; a collector that runs in each of them would write everywhere.
    gc.collect()
    gc.freeze()
    gc.disable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        for fd, events in poll.poll():
            if fd == listener.fileno():
                _accept(listener, clients, poll)
            elif events & (select.POLLHUP | select.POLLERR):
                # Requests of an agent that has gone are not begun: it will look at what is there and ask again.
                poll.unregister(fd)
                clients.pop(fd).close()
            else:
                _receive(listener, clients, poll, fd)


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    os.umask(0o077)
    listener.bind(path)
    listener.listen(MAX_CLIENTS)
    return listener


def _accept(listener: socket.socket, clients: dict[int, socket.socket], poll: Any) -> None:
    client, _ = listener.accept()
    if len(clients) >= MAX_CLIENTS:
        client.close()
        return
    clients[client.fileno()] = client
    poll.register(client, select.POLLIN)


def _receive(listener: socket.socket, clients: dict[int, socket.socket], poll: Any, fd: int) -> None:
    client = clients[fd]
    data, ancillary, _, _ = client.recvmsg(MAX_MESSAGE, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC)
    if not data:
        poll.unregister(fd)
        clients.pop(fd).close()
        return
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    pid = os.fork()
    if pid == 0:
        for other in (*clients.values(), listener):
            if other is not client:
                other.close()
        _work(client, data, list(descriptors))
    for descriptor in descriptors:
        os.close(descriptor)


def _work(client: socket.socket, data: bytes, descriptors: list[int]) -> None:
    """In the fork: do one request, answer once, and end."""
    answered = False

    def answer(value: dict[str, Any]) -> None:
        nonlocal answered
        answered = True
        client.send(json.dumps({"id": request["id"], **value}).encode())
        client.close()

    request = {"id": 0}
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request = json.loads(data)
        _dispatch(request, descriptors, answer)
        if not answered:
            answer({"ok": {}})
    except BaseException as error:
        if not answered:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            with contextlib.suppress(OSError):
                answer({"error": text or type(error).__name__})
    finally:
        os._exit(0)


def _dispatch(request: dict[str, Any], descriptors: list[int], answer: Callable[[dict[str, Any]], None]) -> None:
    match request["op"]:
        case "sandbox":
            sandbox.create(request["folder"], request["hostname"], request["host_network"])
        case "unpin":
            sandbox.remove(request["folder"])
        case "start":
            monitor.run(request["bundle"], lambda state: answer({"ok": state}))
        case "exec":
            execs.run(request["bundle"], request, descriptors, lambda state: answer({"ok": state}))
        case _:
            raise ValueError(f"unknown request {request['op']}")


def main() -> None:
    # The agent's death does not end the launcher, and its own end takes no container with it.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sc.prctl(sc.PR_SET_PDEATHSIG, 0)
    serve(sys.argv[1])


if __name__ == "__main__":
    main()

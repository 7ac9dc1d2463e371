"""What the launcher's forks do: one request, answered once, and the end; or brief ones, one after the other."""

from __future__ import annotations

import contextlib
import json
import os
import socket

from nodeagent.launcher import copies, execs, init, monitor, oom, sandbox
from nodeagent.launcher.logfile import LogFile
from nodeagent.launcher.oci import Starter
from nodeagent.launcher.protocol import MAX_MESSAGE
from nodeagent.linux import procfs, terminals

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeagent.launcher.protocol import Answer, Request


def wait(channel: socket.socket) -> None:
    """In a fork that was made ahead: wait for a request, whose first descriptor is its client; end with the launcher."""
    try:
        _rehearse()
        with channel:
            data, descriptors = terminals.receive(channel, MAX_MESSAGE)
        if data:
            client, *rest = descriptors
            run(socket.socket(fileno=client), json.loads(data), rest)
    finally:
        os._exit(0)


def brief(request: Request) -> bool:
    """Whether the keeper may do it: it waits for no process, and leaves none."""
    if request["op"] == "sandbox":
        return not request["ids"] and not request["shared_pid"]
    return request["op"] == "unpin" and not sandbox.has_process(request["folder"])


def keep(channel: socket.socket) -> None:
    """In the fork that stays: brief requests as they come; it ends with the launcher."""
    try:
        home = sandbox.Home()
        while True:
            data, descriptors = terminals.receive(channel, MAX_MESSAGE)
            if not data:
                return
            try:
                perform(socket.socket(fileno=descriptors[0]), json.loads(data), [], close=True)
            finally:
                # A namespace lives as long as a process is in it.
                home.go_back()
    finally:
        os._exit(0)


def _rehearse() -> None:
    """What every start does first, once: the pages that it writes to are copied now, and not during a start."""
    json.loads(json.dumps({"id": 0, "op": "start", "mounts": [{"read_only": False}], "ids": None, "cgroups": ["/"]}))
    log = LogFile(os.devnull, 1 << 20, 2)
    procfs.start_time(os.getpid())
    streams = monitor.Streams({"terminal": {"tty": False, "stdin": False, "once": False}, "ids": None, "user": 0})
    streams.settle(runs=False)
    for descriptor in (*streams.outputs, init.unified(["/"]), *os.pipe2(os.O_CLOEXEC)):
        os.close(descriptor)
    oom.Watch(["/"]).killed()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listener:
        # Without a name of ours the kernel gives it an unknown one.
        listener.bind("")
        listener.listen(monitor.BACKLOG)
    init.rlimits()
    os.path.exists("/")
    log.close()


def run(client: socket.socket, request: Request, descriptors: list[int]) -> None:
    """In a fork: do the request, and end."""
    try:
        os.setsid()
        perform(client, request, descriptors, close=True)
    finally:
        os._exit(0)


def perform(client: socket.socket, request: Request, descriptors: list[int], *, close: bool = False) -> None:
    """Do a request and answer it; `close` lets go of the client then, for the work may go on for long."""
    answered = False

    def answer(value: Answer) -> None:
        nonlocal answered
        answered = True
        # The agent may be gone. A start that has begun continues: the next agent finds it.
        with contextlib.suppress(OSError):
            client.send(json.dumps({"id": request["id"], **value}).encode())
        if close:
            client.close()

    try:
        _dispatch(request, descriptors, answer)
        if not answered:
            answer({"ok": {}})
    except BaseException as error:
        if not answered:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            answer({"error": text or type(error).__name__})


def _dispatch(request: Request, descriptors: list[int], answer: Callable[[Answer], None]) -> None:
    if request["op"] == "sandbox":
        sandbox.create(request)
    elif request["op"] == "unpin":
        sandbox.remove(request["folder"])
    elif request["op"] == "start":
        starter = Starter(request["oci"]) if "oci" in request else monitor.NativeStarter()
        monitor.run(request["bundle"], starter, lambda state: answer({"ok": state}))
    elif request["op"] == "exec":
        execs.run(request["bundle"], request, descriptors, lambda started: answer({"ok": started}))
    elif request["op"] == "copy":
        copies.run(request["bundle"], request, descriptors, lambda started: answer({"ok": started}))
    else:
        raise ValueError(f"unknown request {request['op']}")

"""The resolver's process: sockets first, then no privilege, then the first packet.

It binds to the cluster DNS addresses whether or not the node has them yet, and needs neither the agent nor a file from then
on: its root is an empty directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
from typing import TextIO

from nodeagent.dns.answers import Answers
from nodeagent.dns.control import MAX_LINE, Control, Settings
from nodeagent.dns.forwarding import Forwarder
from nodeagent.dns.index import Index
from nodeagent.dns.metrics import Metrics
from nodeagent.dns.options import Options, from_text
from nodeagent.dns.wire import Responder
from nodeagent.dns.zone import Zone
from nodeagent.linux import syscalls as sc
from pinnace import memory
from pinnace.clock import Clock, SystemClock
from pinnace.dns.bursts import keep_bursts
from pinnace.dns.reporting import Reports
from pinnace.dns.serving import Server

log = logging.getLogger("pinnace.dns")
# A user of its own: not `nobody`, as whom containers run too.
USER = 65_531
_BACKLOG = 128
# Sockets: see the bounds of `serving` and `forwarding`. Bytes of memory, ten times what an index of 10,000 Services takes; of
# any file, and of the log, which begins anew then.
_MAX_FILES, _MAX_MEMORY, _MAX_FILE, MAX_LOG = 4096, 1 << 30, 16 << 20, 8 << 20
# linux/in.h, in6.h
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78


class Log(logging.StreamHandler[TextIO]):
    """To standard error, a file that this process can empty but not open."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            if os.fstat(self.stream.fileno()).st_size > MAX_LOG:
                os.ftruncate(self.stream.fileno(), 0)
        super().emit(record)


def main(text: str) -> None:
    """Serve until SIGTERM. Ends the process with a message for an address that cannot be used."""
    options = from_text(text)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", handlers=[Log()])
    sc.set_name(b"pinnace-dns")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    udp, tcp = _sockets(options)
    control = listening(options.control)
    _confine(options)
    # What is imported is there to stay.
    gc.collect()
    gc.freeze()
    memory.trim()
    asyncio.run(serve(options, udp, tcp, control))


def _sockets(options: Options) -> tuple[list[socket.socket], list[socket.socket]]:
    """Exits with a message when an address is another server's."""
    found: dict[socket.SocketKind, list[socket.socket]] = {socket.SOCK_DGRAM: [], socket.SOCK_STREAM: []}
    for address in options.addresses:
        for kind, sockets in found.items():
            try:
                sockets.append(bound(address, options.port, kind))
            except OSError as error:
                raise SystemExit(f"{address} port {options.port}: {error.strerror}") from None
    for sock in found[socket.SOCK_STREAM]:
        sock.listen(_BACKLOG)
    return found[socket.SOCK_DGRAM], found[socket.SOCK_STREAM]


def bound(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    if kind == socket.SOCK_STREAM:
        # Connections of an earlier process may be in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        keep_bursts(sock)
    sock.bind((address, port))
    return sock


def listening(path: str) -> socket.socket:
    """The agent's socket, which no other user may connect to."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Before bind, so that its file is private from the beginning.
    os.fchmod(sock.fileno(), 0o600)
    sock.bind(path)
    sock.listen(4)
    sock.setblocking(False)
    return sock


def _read(path: str) -> bytes:
    """Not pathlib: to import it takes half a megabyte."""
    with open(path, "rb") as file:
        return file.read()


def _confine(options: Options) -> None:
    """As root. Without libseccomp on the node there is no filter, as for containers."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_FILES, _MAX_FILES))
    resource.setrlimit(resource.RLIMIT_DATA, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The log is the only file that it writes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    logging.raiseExceptions = False
    filter_ = _read(options.seccomp) if options.seccomp else b""
    os.chroot(options.root)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    # The kernel clears all capabilities with the uid, and nothing that is not root's may trace this process.
    os.setresuid(USER, USER, USER)
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    sc.prctl(sc.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if filter_:
        sc.load_seccomp(filter_)


async def serve(
    options: Options, udp: list[socket.socket], tcp: list[socket.socket], control: socket.socket, clock: Clock | None = None
) -> None:
    """Until SIGTERM, or cancelled."""
    clock = clock or SystemClock()
    index, metrics = Index(), Metrics()
    forwarder = Forwarder(clock, metrics)
    answers = Answers(Responder(int(clock.now())), forwarder, metrics, clock.monotonic)

    def use(settings: Settings) -> None:
        answers.use(Zone(index, domain=settings.domain, networks=settings.networks, servers=settings.servers))
        forwarder.use(settings.upstream)
        log.info("settings domain=%s upstream=%s", settings.domain, ",".join(settings.upstream.default))

    served = Control(index, metrics, options.version, use)
    task = asyncio.ensure_future(Server(answers.resolve, metrics.dropped).serve(udp, tcp))
    loop = asyncio.get_running_loop()
    reports = Reports(clock.monotonic)
    loop.set_exception_handler(lambda _, context: reports.exception(str(context.get("message")), context.get("exception")))
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    probes = asyncio.ensure_future(forwarder.loops.run())
    async with await asyncio.start_unix_server(served.connected, sock=control, limit=MAX_LINE):
        log.info("serving addresses=%s", ",".join(options.addresses))
        with contextlib.suppress(asyncio.CancelledError):
            await task
    probes.cancel()
    await asyncio.gather(probes, return_exceptions=True)
    await forwarder.close()

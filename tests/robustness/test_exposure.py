"""Strangers at the ports of a real control plane: they hold connections, and joins and calls do not notice."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from nodeagent.control.join import join
from pinnace import kinds
from pinnace.clock import SystemClock
from tests.support.labs import PATIENCE, eventually
from tests.support.planes import Plane, plane

# Seconds that a join or a call may take under attack. Undisturbed they take some tens of milliseconds, and an attack that
# succeeds costs ten seconds.
PROMPT = 1.0 * PATIENCE
# Descriptors of the control plane: fewer than the attacks use.
FILES = 1500


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Plane]:
    with plane(tmp_path, store="memory", files=FILES) as found:
        yield found


def silent(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    """TCP connections that never say anything."""
    made = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(count)]
    return made


def idle_tls(stack: ExitStack, port: int, count: int) -> None:
    """Connections that stop after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(count):
        [sock] = silent(stack, port, 1)
        stack.enter_context(context.wrap_socket(sock))


def prompt(found: Plane, folder: Path, name: str) -> None:
    """A call on a new connection, a token and a join: each at once."""
    for number in range(3):
        for step in (found.version, lambda number=number: enroll(found, folder / f"{name}-{number}", f"{name}-{number}")):
            began = time.monotonic()
            step()
            assert time.monotonic() - began < PROMPT


def enroll(found: Plane, folder: Path, name: str) -> None:
    token = found.token()
    join(found.endpoint, node=name, token=token.token, ca_hash=token.caHash, folder=folder, clock=SystemClock())


def descriptors(found: Plane) -> int:
    assert found.process is not None
    return len(os.listdir(f"/proc/{found.process.pid}/fd"))


def test_the_limit_of_open_files_is_raised_at_start(attacked: Plane) -> None:
    """To the hard one, as Go programs do."""
    assert attacked.process is not None
    limits = Path(f"/proc/{attacked.process.pid}/limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [[str(FILES)] * 2]


def test_sixty_four_idle_tls_connections_delay_no_join(attacked: Plane, tmp_path: Path) -> None:
    """They used to hold every slot of the port for ten seconds."""
    with ExitStack() as stack:
        idle_tls(stack, attacked.web, 64)
        prompt(attacked, tmp_path, "idle")


def test_a_thousand_idle_connections_leave_descriptors_to_the_grpc_port(attacked: Plane, tmp_path: Path) -> None:
    """They used to take the whole API down; now the port keeps an eighth of the descriptors at most."""
    before = descriptors(attacked)
    with ExitStack() as stack:
        silent(stack, attacked.web, 1000)
        idle_tls(stack, attacked.web, 64)
        prompt(attacked, tmp_path, "thousand")
        assert descriptors(attacked) - before < FILES // 8 + 64


def test_two_thousand_silent_connections_to_the_grpc_port_delay_no_call(attacked: Plane, tmp_path: Path) -> None:
    """Neither on a new connection nor on one from before; nor do they take a descriptor, of which there are fewer."""
    before = descriptors(attacked)
    with ExitStack() as stack:
        client = stack.enter_context(attacked.client())
        client.list(kinds.NODE, "")
        silent(stack, attacked.port, 2000)
        began = time.monotonic()
        client.list(kinds.NODE, "")
        assert time.monotonic() - began < PROMPT
        prompt(attacked, tmp_path, "grpc")
        assert descriptors(attacked) - before < 100


def test_connections_that_stop_within_the_handshake_are_dropped_within_seconds(attacked: Plane) -> None:
    """More of them than there is room for: a new client waits as long as a handshake may take, and not for the attack's end."""
    with ExitStack() as stack:
        for sock in silent(stack, attacked.port, 2000):
            with suppress(OSError):
                # The first byte of a TLS record.
                sock.send(b"\x16")
        began = time.monotonic()
        eventually(attacked.answers, within=15)
        assert time.monotonic() - began < 8 * PATIENCE


def test_a_client_that_hesitates_is_served(attacked: Plane) -> None:
    """Its connection waits in the kernel until it speaks."""
    with ExitStack() as stack:
        [sock] = silent(stack, attacked.port, 1)
        time.sleep(1.5)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        assert stack.enter_context(context.wrap_socket(sock)).selected_alpn_protocol() == "h2"

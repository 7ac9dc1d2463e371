"""Connections that say nothing are not accepted."""

from __future__ import annotations

import os
import socket

from controlplane.deferredaccept import defer_accept


def test_a_connection_is_accepted_when_it_speaks() -> None:
    """Of the port, and of no other; no descriptor is left open."""
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as port, socket.create_server(("127.0.0.1", 0)) as other:
        assert defer_accept(port.getsockname()[1])
        for listening, deferred in ((port, True), (other, False)):
            listening.settimeout(0.3)
            with socket.create_connection(listening.getsockname()) as client:
                try:
                    listening.accept()[0].close()
                    assert not deferred
                except TimeoutError:
                    assert deferred
                    client.send(b"x")
                    listening.accept()[0].close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_port_that_nothing_listens_on_is_left_alone() -> None:
    """The control plane goes on without."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not defer_accept(bound.getsockname()[1])

"""A simulated agent's session, against a control plane of a few lines with real TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from nodeagent.control import session
from nodeagent.simulated import agent
from nodeagent.simulated.agent import Shape, SimulatedAgent
from pinnace import pki, wire
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc
from pinnace.clock import SystemClock
from tests.support.awaiting import eventually

CA = pki.new_ca(time.time())


class Control(nodes_pb2_grpc.NodesServicer):
    """Welcomes sessions, the first one with a pod CIDR that is none."""

    def __init__(self) -> None:
        self.sessions = 0

    async def Session(self, messages: Any, context: Any) -> AsyncIterator[nodes_pb2.ControlMessage]:
        self.sessions += 1
        cidr = "10.0.0.0/24" if self.sessions > 1 else "nonsense"
        yield nodes_pb2.ControlMessage(welcome=nodes_pb2.Welcome(podCIDR=cidr, heartbeatMillis=50))
        await asyncio.sleep(3600)


async def test_a_session_that_fails_in_the_agent_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the reason in the log; the agent does not end."""
    monkeypatch.setattr("nodeagent.node.supervisor.FIRST_RETRY", 0.05)
    control, server = Control(), grpc.aio.server()
    nodes_pb2_grpc.add_NodesServicer_to_server(control, server)
    own = pki.issue(CA, pki.SERVER_NAME, (), now=time.time(), hosts=(pki.SERVER_NAME,))
    credentials = grpc.ssl_server_credentials([(own.key, own.certificate)], CA.certificate, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()

    async def join(*_: Any) -> Any:
        return SimpleNamespace(server=f"127.0.0.1:{port}", pair=pki.issue(CA, "system:node:sim-0", (), now=time.time()))

    made = SimulatedAgent("sim-0", 0, Shape(), SystemClock())
    joiner: Any = SimpleNamespace(join=join)
    task = asyncio.ensure_future(made.run(joiner, CA.certificate, ""))
    try:
        await eventually(lambda: made.open.is_set() or task.done())
        assert not task.done()
        assert "part_failed name=sim-0 session" in caplog.text
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop(0)


@pytest.mark.parametrize("module", [agent, session])
async def test_agents_notice_a_control_plane_that_does_not_answer(module: Any) -> None:
    """A connection that was cut, and that nothing ends."""
    assert set(wire.KEEPALIVE) <= set(module._OPTIONS)

"""A server with one pod, of which nothing may be left when a test ends."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from tests.support.awaiting import eventually
from tests.support.streamserver import StreamServer, serving


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[StreamServer]:
    async with serving() as found:
        yield found
        for client in found.clients:
            client.close()
        # Of the node's streams and of connections, whatever the test did to them.
        await eventually(lambda: not found.router.open and not found.tasks)
    # An exception that escaped was logged.
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []

"""Which addresses of the node its pods report, and when."""

from __future__ import annotations

import asyncio

from nodeagent.node.announcement import Announcement
from pinnace.api.v1 import nodes_pb2


async def test_pods_have_the_addresses_of_the_hello_that_was_answered() -> None:
    """Not those that the node has by now; the first report waits for the first answer."""
    present = ("192.0.2.1",)
    announcement, sent = Announcement(lambda: present), list[int]()

    async def send() -> None:
        sent.append(len(sent))

    reporting = asyncio.ensure_future(announcement.report(send))
    await asyncio.sleep(0)
    assert (announcement.host_ips(), sent) == (("192.0.2.1",), [])
    announcement.greet(nodes_pb2.Hello)
    assert announcement.welcomed()
    await reporting
    present = ("192.0.2.77",)
    assert (announcement.host_ips(), announcement.welcomed(), sent) == (("192.0.2.1",), False, [0])
    announcement.greet(nodes_pb2.Hello)
    assert announcement.host_ips() == ("192.0.2.1",)
    assert announcement.welcomed()
    assert announcement.host_ips() == ("192.0.2.77",)

"""`pinnace-controlplane`: the process. Signals stop it in order; everything else is in `server`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator

from controlplane.config import Config
from controlplane.flags import parse
from pinnace import labclock, memory, openfiles
from pinnace.clock import RandomIds, SystemClock
from pinnace.errors import ApiError

# Bytes: messages of large objects, of which hundreds may be on their way at once.
LARGE = 256 << 10


async def serve(config: Config) -> None:
    from controlplane.server import ControlPlane

    ready, stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        clock = labclock.opened(SystemClock(), config.lab_clock)
        group.create_task(ControlPlane(config, clock, RandomIds()).run(ready, stop))
        notice = group.create_task(_notify(ready))
        await stop.wait()
        notice.cancel()


async def _notify(ready: asyncio.Event) -> None:
    """Tell systemd (Type=notify) when the listeners are open."""
    await ready.wait()
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Groups of tasks are in others."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


def main() -> None:
    config = parse(sys.argv[1:])
    openfiles.raise_limit()
    memory.limit(large=LARGE)
    # What is imported and made from here on is there to stay. `memory.keep_collecting` switches it on again.
    gc.disable()
    logging.basicConfig(level=config.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(serve(config))
    except* (ApiError, OSError) as group:
        for error in _causes(group):
            print(f"pinnace-controlplane: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

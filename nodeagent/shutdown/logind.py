"""systemd-logind over D-Bus: the lock that delays a shutdown, and the signal that announces one.

dbus-fast is imported here alone, and only where a shutdown grace period is set. Source: org.freedesktop.login1(5) and
https://systemd.io/INHIBITOR_LOCKS.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from typing import Any

_NAME, _PATH, _INTERFACE = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
# Seconds for one call.
WITHIN = 10.0


class LogindError(Exception):
    """logind cannot be reached, or refuses; the text is for the log."""


def available() -> bool:
    """Whether the D-Bus library is installed."""
    return importlib.util.find_spec("dbus_fast") is not None


class Logind:
    """One connection; `connect` makes it."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        # True: a shutdown begins, False: it was cancelled, None: the connection has ended.
        self._announced: asyncio.Queue[bool | None] = asyncio.Queue()

    async def longest_delay(self) -> float:
        """Seconds that logind waits for locks (InhibitDelayMaxSec). Raises LogindError."""
        reply = await self._call("Get", "ss", [_INTERFACE, "InhibitDelayMaxUSec"], "org.freedesktop.DBus.Properties")
        return float(reply.body[0].value) / 1e6

    async def inhibit(self) -> int:
        """Delay shutdowns until the file descriptor that is returned is closed. Raises LogindError."""
        why = "Pods are stopped in the order of their priority"
        reply = await self._call("Inhibit", "ssss", ["shutdown", "pinnace-nodeagent", why, "delay"])
        return int(reply.unix_fds[reply.body[0]])

    async def announced(self) -> bool:
        """The next announcement: True for a shutdown, False when it was cancelled. Raises LogindError at the end."""
        value = await self._announced.get()
        if value is None:
            raise LogindError("the connection to D-Bus has ended")
        return value

    def close(self) -> None:
        self._bus.disconnect()

    async def listen(self) -> None:
        """Before anything is awaited of it. Raises LogindError."""
        rule = f"type='signal',sender='{_NAME}',interface='{_INTERFACE}',member='PrepareForShutdown'"
        self._bus.add_message_handler(self._heard)
        await self._call("AddMatch", "s", [rule], "org.freedesktop.DBus", ("org.freedesktop.DBus", "/org/freedesktop/DBus"))
        self._watch = asyncio.ensure_future(self._watched())

    def _heard(self, message: Any) -> None:
        if (message.interface, message.member) == (_INTERFACE, "PrepareForShutdown") and message.signature == "b":
            self._announced.put_nowait(bool(message.body[0]))

    async def _watched(self) -> None:
        try:
            await self._bus.wait_for_disconnect()
        except (OSError, EOFError):
            pass
        finally:
            self._announced.put_nowait(None)

    async def _call(
        self, member: str, signature: str, body: list[Any], interface: str = _INTERFACE, place: tuple[str, str] = (_NAME, _PATH)
    ) -> Any:
        from dbus_fast import Message, MessageType

        message = Message(
            destination=place[0], path=place[1], interface=interface, member=member, signature=signature, body=body
        )
        try:
            async with asyncio.timeout(WITHIN):
                reply = await self._bus.call(message)
        except (OSError, EOFError, TimeoutError) as error:
            raise LogindError(f"{member}: {error or 'no answer'}") from error
        if reply is None or reply.message_type is MessageType.ERROR:
            raise LogindError(f"{member}: {reply.error_name if reply is not None else 'no answer'}")
        return reply


async def connect() -> Logind:
    """Over the system bus (DBUS_SYSTEM_BUS_ADDRESS). Raises LogindError."""
    from dbus_fast import BusType
    from dbus_fast.aio import MessageBus
    from dbus_fast.errors import DBusError, InvalidAddressError

    try:
        async with asyncio.timeout(WITHIN):
            bus = await MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect()
    except (OSError, TimeoutError, DBusError, InvalidAddressError) as error:
        raise LogindError(f"no system bus: {error}") from error
    found = Logind(bus)
    try:
        await found.listen()
    except LogindError:
        found.close()
        raise
    return found


def release(lock: int) -> None:
    os.close(lock)

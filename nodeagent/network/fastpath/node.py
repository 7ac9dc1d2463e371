"""The fast path as a part of the node's network: optional, and a failure of it leaves the slow path."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from nodeagent.network import vxlan
from nodeagent.network.fastpath.fastpath import FastPath
from nodeagent.network.guard import BRIDGE, Binding

log = logging.getLogger("pinnace.network")


class Devices(Protocol):
    """The node's, in the kernel."""

    @property
    def mtu(self) -> int: ...

    def index(self, name: str) -> int | None:
        """None: there is no such device."""


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("fast_path_failed error=%s", error)


class NodeFastPath:
    def __init__(self, fast_path: FastPath | None) -> None:
        """None: all packets take the slow path."""
        self._fast_path = fast_path

    def open(self) -> bool:
        """In the node's network namespace. Returns whether there is a fast path."""
        if self._fast_path is not None and not self._fast_path.is_open:
            try:
                self._fast_path.open()
            except OSError as error:
                # An older kernel, say.
                log.warning("no_fast_path error=%s", error)
                self._fast_path = None
        return self._fast_path is not None

    def bump(self) -> None:
        """Something has changed that packets depend on: flows that were learnt until now do not count."""
        with _logged():
            if self._fast_path is not None:
                self._fast_path.bump()

    def show(self, devices: Devices, bindings: Mapping[str, Sequence[Binding]]) -> None:
        """The devices and ports that there are: some may have been made again."""
        device, bridge = devices.index(vxlan.DEVICE), devices.index(BRIDGE)
        with _logged():
            if self._fast_path is not None and device is not None and bridge is not None:
                self._fast_path.configure(vxlan=device, bridge=bridge, mtu=devices.mtu)
        for items in bindings.values():
            self.bind(devices, items)

    def bind(self, devices: Devices, bindings: Sequence[Binding]) -> None:
        """All of one port."""
        for name in {item.device for item in bindings}:
            index = devices.index(name)
            with _logged():
                if self._fast_path is not None and index is not None:
                    self._fast_path.bind(name, index, [item.address for item in bindings])

    def unbind(self, device: str) -> None:
        with _logged():
            if self._fast_path is not None:
                self._fast_path.unbind(device)

    def packets(self) -> dict[str, int]:
        """By result; empty without a fast path."""
        found = dict[str, int]()
        with _logged():
            if self._fast_path is not None:
                found = self._fast_path.packets()
        return found

    def close(self) -> None:
        with _logged():
            if self._fast_path is not None:
                self._fast_path.close()

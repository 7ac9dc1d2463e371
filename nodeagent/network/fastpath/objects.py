"""The fast path's maps and programs in the kernel. They end with the file descriptors. All raise OSError."""

from __future__ import annotations

import contextlib
import errno
import os
import struct

from nodeagent.network.fastpath import bpf, forward, layout, learn
from nodeagent.network.fastpath.bpf import INGRESS

# An index that no device has.
_NO_DEVICE = 0x7FFFFFFF


class Objects:
    def __init__(self) -> None:
        """Make the maps and load the programs. Raises OSError where the kernel is too old, or does not allow it."""
        with contextlib.ExitStack() as undo:
            self._config = bpf.create_map(bpf.ARRAY, "config", key=4, value=layout.CONFIG.size, entries=1)
            undo.callback(self._config.close)
            self._ports = bpf.create_map(bpf.HASH, "ports", key=16, value=4, entries=layout.PORTS)
            undo.callback(self._ports.close)
            self.flows = bpf.create_map(
                bpf.LRU_HASH, "flows", key=layout.KEY.size, value=layout.FLOW.size, entries=layout.FLOWS
            )  # fmt: skip
            undo.callback(self.flows.close)
            self._counters = bpf.create_map(bpf.PERCPU_ARRAY, "counters", key=4, value=8, entries=len(layout.RESULTS))
            undo.callback(self._counters.close)
            config, flows, counters = self._config.fd, self.flows.fd, self._counters.fd
            self.learn = bpf.load_program(
                "pinnace_learn", learn.program(config=config, ports=self._ports.fd, flows=flows, counters=counters)
            )
            undo.callback(os.close, self.learn)
            self.forward = bpf.load_program("pinnace_fwd", forward.program(config=config, flows=flows, counters=counters))
            undo.callback(os.close, self.forward)
            _probe(self.forward)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def configure(self, generation: int, *, vxlan: int, bridge: int, limit: int) -> None:
        self._config.update(bytes(4), layout.CONFIG.pack(generation, vxlan, bridge, limit))

    def add_port(self, address: str, index: int) -> None:
        self._ports.update(layout.packed(address), struct.pack("=I", index))

    def remove_port(self, address: str, index: int) -> None:
        """Unless the address is another port's by now."""
        if self._ports.lookup(layout.packed(address)) == struct.pack("=I", index):
            self._ports.delete(layout.packed(address))

    def attach(self, index: int, place: int) -> int:
        """The file descriptor of the link of a device and the program for this place."""
        return bpf.attach(self.forward if place == INGRESS else self.learn, index, place)

    def packets(self) -> dict[str, int]:
        """By result, since the maps were made."""
        found = {}
        for number, name in enumerate(layout.RESULTS):
            raw = self._counters.lookup(struct.pack("=I", number)) or b""
            found[name] = sum(struct.unpack(f"={len(raw) // 8}Q", raw))
        return found


def _probe(program: int) -> None:
    """Raises OSError where a program cannot be linked to a device: before Linux 6.6."""
    try:
        os.close(bpf.attach(program, _NO_DEVICE, INGRESS))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise

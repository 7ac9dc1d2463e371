"""bpf(2): maps, programs and links. Each call raises OSError.

File descriptors are closed on exec, as the kernel makes them so. Source: linux/bpf.h, union bpf_attr.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_NUMBER = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT, _PROG_LOAD, _LINK_CREATE = 0, 1, 2, 3, 4, 5, 28
_PROG_TEST_RUN = 10
HASH, ARRAY, PERCPU_ARRAY, LRU_HASH = 1, 2, 6, 9
# BPF_PROG_TYPE_SCHED_CLS, and the places of a device's packets.
_CLASSIFIER = 3
INGRESS, EGRESS = 46, 47
# Characters of the verifier's log that are read, of which the end tells why.
_LOG = 1 << 16
_SHOWN = 800
# Of an attribute: the kernel takes missing bytes as zeros.
_ATTRIBUTE = 128

_syscall = ctypes.CDLL(None, use_errno=True)["syscall"]
_syscall.argtypes, _syscall.restype = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint], ctypes.c_long


def _call(command: int, attribute: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attribute, _ATTRIBUTE)
    result = int(_syscall(_NUMBER, command, ctypes.addressof(buffer), _ATTRIBUTE))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


@dataclass(frozen=True, slots=True)
class Map:
    """A map that is open. Keys and values have these sizes; of one for each CPU, `value_size` is that of all together."""

    fd: int
    key_size: int
    value_size: int

    def lookup(self, key: bytes) -> bytes | None:
        raw, value = ctypes.create_string_buffer(key, self.key_size), ctypes.create_string_buffer(self.value_size)
        try:
            _call(_MAP_LOOKUP, struct.pack("=IxxxxQQQ", self.fd, _address(raw), _address(value), 0), "bpf map lookup")
        except FileNotFoundError:
            return None
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        raw, new = ctypes.create_string_buffer(key, self.key_size), ctypes.create_string_buffer(value, self.value_size)
        _call(_MAP_UPDATE, struct.pack("=IxxxxQQQ", self.fd, _address(raw), _address(new), 0), "bpf map update")

    def delete(self, key: bytes) -> None:
        """No error if there is none."""
        raw = ctypes.create_string_buffer(key, self.key_size)
        try:
            _call(_MAP_DELETE, struct.pack("=IxxxxQ", self.fd, _address(raw)), "bpf map delete")
        except FileNotFoundError:
            pass

    def keys(self) -> Iterator[bytes]:
        """While nothing changes them; of a map that does, some more than once or not at all."""
        found, following = None, ctypes.create_string_buffer(self.key_size)
        while True:
            before = _address(found) if found is not None else 0
            try:
                _call(_MAP_NEXT, struct.pack("=IxxxxQQ", self.fd, before, _address(following)), "bpf map keys")
            except FileNotFoundError:
                return
            yield following.raw
            found = ctypes.create_string_buffer(following.raw, self.key_size)

    def close(self) -> None:
        os.close(self.fd)


def create_map(kind: int, name: str, *, key: int, value: int, entries: int) -> Map:
    """`name` has at most 15 characters; `value` is the size of one."""
    raw = struct.pack("=5I8x16s", kind, key, value, entries, 0, name.encode())
    cpus = _cpus() if kind == PERCPU_ARRAY else 1
    return Map(_call(_MAP_CREATE, raw, f"bpf map {name}"), key, ((value + 7) & ~7) * cpus if cpus > 1 else value)


def _cpus() -> int:
    """Those that may be there, of which the kernel counts each."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        return int(file.read().strip().replace(",", "-").rpartition("-")[2]) + 1


def load_program(name: str, code: bytes) -> int:
    """The file descriptor of a classifier of packets. Raises OSError with the end of the verifier's log."""
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")

    def load(log: ctypes.Array[ctypes.c_char] | None) -> int:
        details = (1, len(log), _address(log)) if log is not None else (0, 0, 0)
        head = struct.pack("=IIQQ", _CLASSIFIER, len(code) // 8, _address(instructions), _address(licence))
        return _call(_PROG_LOAD, head + struct.pack("=IIQI4x16s", *details, 0, name.encode()), f"bpf program {name}")

    try:
        return load(None)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise
        log = ctypes.create_string_buffer(_LOG)
        try:
            return load(log)
        except OSError as again:
            text = log.value.decode(errors="replace").strip()[-_SHOWN:]
            raise OSError(again.errno, f"{again.strerror}: {text}") from None


def attach(program: int, device: int, place: int) -> int:
    """The file descriptor of a link, which ends with it. `device` is an index, `place` INGRESS or EGRESS."""
    return _call(_LINK_CREATE, struct.pack("=4I", program, device, place, 0), "bpf link")

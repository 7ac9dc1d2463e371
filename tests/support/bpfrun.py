"""A BPF program run on one frame, by BPF_PROG_TEST_RUN: nothing is sent. Source: linux/bpf.h."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass

_NUMBER = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_TEST_RUN = 10
_CONTEXT = 192
_MARK, _PRIORITY, _ARRIVED, _DEVICE, _SEGMENTS, _SEGMENT = 8, 32, 36, 40, 164, 176


@dataclass(frozen=True, slots=True)
class Context:
    """Of a frame: indexes of the device that the program runs at, and of the one that it arrived at; `segment`: bytes of each
    segment of a frame that is divided later."""

    device: int
    arrived: int = 0
    mark: int = 0
    priority: int = 0
    segment: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    frame: bytes
    mark: int
    priority: int


def run(program: int, frame: bytes, context: Context) -> Outcome:
    """In the network namespace of the calling thread. Raises OSError."""
    packed = bytearray(_CONTEXT)
    for offset, value in (
        (_MARK, context.mark), (_PRIORITY, context.priority), (_ARRIVED, context.arrived), (_DEVICE, context.device),
        (_SEGMENT, context.segment), (_SEGMENTS, 2 if context.segment else 0),
    ):  # fmt: skip
        struct.pack_into("=I", packed, offset, value)
    data, out = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(1 << 16)
    before, after = ctypes.create_string_buffer(bytes(packed), _CONTEXT), ctypes.create_string_buffer(_CONTEXT)
    raw = struct.pack(
        "=IIIIQQIIIIQQIIIxxxx", program, 0, len(frame), len(out), ctypes.addressof(data), ctypes.addressof(out), 1, 0, _CONTEXT,
        _CONTEXT, ctypes.addressof(before), ctypes.addressof(after), 0, 0, 0,
    )  # fmt: skip
    attribute = ctypes.create_string_buffer(raw, len(raw))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_NUMBER, _TEST_RUN, ctypes.byref(attribute), len(raw)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf test run: {os.strerror(number)}")
    code, _, size = struct.unpack_from("=iII", attribute.raw, 4)
    mark, priority = (struct.unpack_from("=I", after.raw, offset)[0] for offset in (_MARK, _PRIORITY))
    return Outcome(code, out.raw[:size], mark, priority)

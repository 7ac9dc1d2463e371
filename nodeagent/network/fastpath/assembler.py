"""An assembler for eBPF: instructions as method calls, jumps to labels. Pure.

    code = Assembler()
    code.load(R1, R6, 16, size=4)        # r1 = *(u32 *)(r6 + 16)
    code.jump("!=", R1, 8, to="pass")    # if r1 != 8 goto pass
    code.label("pass")
    code.set(R0, 0)
    code.exit()

It has the instructions that `program` needs. Source: Documentation/bpf/standardization/instruction-set.rst, linux/bpf.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# r0 has results; r1 to r5 are arguments, which a call destroys; r6 to r9 stay; r10 is the end of the stack's 512 bytes.
R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)

_INSTRUCTION = struct.Struct("<BBhi")
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_LD, _LDX, _ST, _STX, _JMP, _ALU64 = 0x00, 0x01, 0x02, 0x03, 0x05, 0x07
_MEMORY, _REGISTER, _MOVE = 0x60, 0x08, 0xB0
_ALWAYS, _CALL, _EXIT = 0x00, 0x80, 0x90
# Unsigned, of 64 bits; `&` jumps if both have a bit in common.
_JUMPS = {"==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
_OPERATIONS = {"+": 0x00, "-": 0x10, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70}
# The source register of a 64-bit load whose value is the file descriptor of a map.
_MAP = 1


@dataclass(frozen=True, slots=True)
class _Instruction:
    """`to`: the label of a jump, which becomes the offset."""

    code: int
    target: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0
    to: str = ""


class Assembler:
    def __init__(self) -> None:
        self._instructions: list[_Instruction] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        """The next instruction's. Raises ValueError if there is one of this name."""
        if name in self._labels:
            raise ValueError(f"label {name} is defined twice")
        self._labels[name] = len(self._instructions)

    def set(self, target: int, value: int) -> None:
        """To a number of 32 bits, with its sign."""
        self._add(_ALU64 | _MOVE, target, value=value)

    def copy(self, target: int, source: int) -> None:
        self._add(_ALU64 | _MOVE | _REGISTER, target, source)

    def compute(self, target: int, operation: str, value: int) -> None:
        """`target` becomes `target operation value`; a number has 32 bits, with its sign."""
        self._add(_ALU64 | _OPERATIONS[operation], target, value=value)

    def combine(self, target: int, operation: str, source: int) -> None:
        """`target` becomes `target operation source`, both registers."""
        self._add(_ALU64 | _OPERATIONS[operation] | _REGISTER, target, source)

    def load(self, target: int, address: int, offset: int, *, size: int) -> None:
        """`size` bytes at the address in a register, extended by zeros."""
        self._add(_LDX | _MEMORY | _SIZES[size], target, address, offset)

    def store(self, address: int, offset: int, source: int, *, size: int) -> None:
        self._add(_STX | _MEMORY | _SIZES[size], address, source, offset)

    def store_number(self, address: int, offset: int, value: int, *, size: int) -> None:
        self._add(_ST | _MEMORY | _SIZES[size], address, offset=offset, value=value)

    def map(self, target: int, fd: int) -> None:
        """The map with this file descriptor."""
        self._add(_LD | _SIZES[8], target, _MAP, value=fd)
        self._add(0)

    def jump(self, condition: str, register: int, value: int, *, to: str) -> None:
        self._add(_JMP | _JUMPS[condition], register, value=value, to=to)

    def compare(self, condition: str, first: int, second: int, *, to: str) -> None:
        """A jump by the values of two registers."""
        self._add(_JMP | _JUMPS[condition] | _REGISTER, first, second, to=to)

    def go(self, to: str) -> None:
        self._add(_JMP | _ALWAYS, to=to)

    def call(self, helper: int) -> None:
        self._add(_JMP | _CALL, value=helper)

    def exit(self) -> None:
        self._add(_JMP | _EXIT)

    def _add(self, code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0, to: str = "") -> None:
        self._instructions.append(_Instruction(code, target, source, offset, value, to))

    def assemble(self) -> bytes:
        """Raises ValueError for a jump to a label that is not there, and struct.error for a number that is too large."""
        return b"".join(self._encode(index, item) for index, item in enumerate(self._instructions))

    def _encode(self, index: int, item: _Instruction) -> bytes:
        offset = item.offset
        if item.to:
            if item.to not in self._labels:
                raise ValueError(f"there is no label {item.to}")
            offset = self._labels[item.to] - index - 1
        return _INSTRUCTION.pack(item.code, item.target | item.source << 4, offset, item.value)

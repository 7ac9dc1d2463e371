"""The encoding of instructions, by examples of the instruction set's documentation and of clang."""

from __future__ import annotations

import pytest

from nodeagent.network.fastpath.assembler import R0, R1, R2, R3, R6, R10, Assembler


def test_instructions_have_the_documented_encoding() -> None:
    code = Assembler()
    code.set(R0, -1)
    code.copy(R6, R1)
    code.compute(R2, "+", -8)
    code.compute(R1, ">>", 2)
    code.combine(R1, "-", R3)
    code.load(R1, R6, 16, size=4)
    code.load(R1, R6, 2, size=1)
    code.store(R10, -8, R1, size=8)
    code.store_number(R10, -4, 7, size=2)
    code.call(12)
    code.exit()
    assert code.assemble().hex() == (
        "b7000000ffffffff" "bf16000000000000" "07020000f8ffffff" "7701000002000000" "1f31000000000000"
        "6161100000000000" "7161020000000000" "7b1af8ff00000000" "6a0afcff07000000" "850000000c000000" "9500000000000000"
    )  # fmt: skip


def test_a_map_takes_two_instructions() -> None:
    code = Assembler()
    code.map(R1, 5)
    assert code.assemble().hex() == "18110000050000000000000000000000"


def test_jumps_count_instructions_from_the_next_one() -> None:
    code = Assembler()
    code.label("begin")
    code.jump("==", R1, 8, to="end")
    code.compare(">", R1, R2, to="begin")
    code.go("end")
    code.set(R0, 0)
    code.label("end")
    code.exit()
    assert code.assemble().hex() == (
        "1501030008000000" "2d21feff00000000" "0500010000000000" "b700000000000000" "9500000000000000"
    )  # fmt: skip


def test_a_jump_needs_its_label() -> None:
    code = Assembler()
    code.go("nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        code.assemble()


def test_a_label_is_defined_once() -> None:
    code = Assembler()
    code.label("here")
    with pytest.raises(ValueError, match="twice"):
        code.label("here")

"""Thresholds as flags say them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nodeagent.eviction.thresholds import HARD, Threshold, parse, seconds


def test_a_quantity_and_a_percentage() -> None:
    """In units of the signal, or of the capacity."""
    memory, disk = parse("memory.available<100Mi,nodefs.available<12.5%")
    assert (memory.value, memory.hard, memory.condition, memory.resource) == (100 << 20, True, "MemoryPressure", "memory")
    assert (disk.part, disk.amount(800)) == (Fraction(1, 8), 100)


def test_kubelets_defaults() -> None:
    """Memory, disk and inodes; 0% of anything is never less than there is."""
    assert [item.signal for item in parse(HARD)] == [
        "memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree",
    ]  # fmt: skip
    assert parse("nodefs.available<0%")[0].amount(1000) == 0
    assert parse("") == ()


def test_a_soft_threshold_has_its_grace_and_its_reclaim() -> None:
    """Both are told by signal."""
    [soft] = parse("", "pid.available<10", "pid.available=1m30s", "pid.available=5")
    assert soft == Threshold("pid.available", 10, grace=90.0, reclaim=5, text="10")
    assert not soft.hard


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("memory.available",), "expected SIGNAL<QUANTITY"),
        (("memory.free<1Mi",), "unknown signal memory.free"),
        (("memory.available<1Xi",), "expected a quantity"),
        (("memory.available<-1",), "must not be negative"),
        (("nodefs.available<101%",), "between 0% and 100%"),
        (("nodefs.available<x%",), "x% is not a percentage"),
        (("", "memory.available<1Mi"), "needs a grace period"),
        (("", "", "memory.available=1m"), "no soft threshold"),
        (("", "", "", "memory.available"), "expected SIGNAL=VALUE"),
    ],
)
def test_a_wrong_flag_names_its_part(flags: tuple[str, ...], message: str) -> None:
    """One error, in words."""
    with pytest.raises(ValueError, match=message):
        parse(*flags)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("1m30s", 90), ("1h", 3600), ("250ms", 0.25), ("5", 5), ("0", 0)])
def test_durations(text: str, value: float) -> None:
    """Go's, and plain seconds."""
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "x", "-1", "1d", "s", "1m 30s", "nan", "inf"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)

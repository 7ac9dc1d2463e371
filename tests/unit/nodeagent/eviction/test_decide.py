"""What follows from what is left: conditions, and what is due."""

from __future__ import annotations

from nodeagent.eviction.decide import Decision, Observation, State, decide
from nodeagent.eviction.thresholds import Config, parse

HARD = Config(parse("memory.available<100,pid.available<10"), transition=60.0)
SOFT = Config(
    parse("memory.available<50", "memory.available<100", "memory.available=30s", "memory.available=20"), transition=60.0
)


def memory(left: int, pids: int = 100) -> dict[str, Observation]:
    return {"memory.available": Observation(left, 1000), "pid.available": Observation(pids, 1000)}


def after(config: Config, *looks: tuple[float, int]) -> Decision:
    """The decision of the last of several looks, each a time and the memory that was left."""
    state = State()
    for now, left in looks:
        decision = decide(config, state, memory(left), now)
        state = decision.state
    return decision


def signals(decision: Decision) -> list[str]:
    return [item.signal for item in decision.due]


def test_enough_is_no_reason_to_do_anything() -> None:
    """Exactly the threshold is enough."""
    decision = after(HARD, (0, 100))
    assert (decision.conditions, decision.due) == (frozenset(), ())


def test_a_hard_threshold_is_due_at_once() -> None:
    """With the condition that belongs to it."""
    decision = after(HARD, (0, 99))
    assert (decision.conditions, signals(decision)) == ({"MemoryPressure"}, ["memory.available"])


def test_memory_is_more_urgent_than_processes() -> None:
    """One thing at a time, the most urgent first."""
    decision = decide(HARD, State(), memory(1, 1), 0)
    assert signals(decision) == ["memory.available", "pid.available"]
    assert decision.conditions == {"MemoryPressure", "PIDPressure"}


def test_disk_is_more_urgent_than_inodes_and_images() -> None:
    """Kubelet's order, not that of the flag or the alphabet."""
    names = [
        "memory.available",
        "nodefs.available",
        "nodefs.inodesFree",
        "imagefs.available",
        "imagefs.inodesFree",
        "pid.available",
    ]
    config = Config(parse(",".join(f"{name}<10" for name in sorted(names))), transition=60.0)
    assert signals(decide(config, State(), dict.fromkeys(names, Observation(1, 1000)), 0)) == names


def test_a_condition_outlasts_its_threshold_by_the_transition_period() -> None:
    """Counted from the last time that it was met."""
    assert after(HARD, (0, 99), (50, 99), (109, 500)).conditions == {"MemoryPressure"}
    assert after(HARD, (0, 99), (50, 99), (109, 500)).due == ()
    assert after(HARD, (0, 99), (50, 99), (110, 500)).conditions == frozenset()


def test_without_a_transition_period_a_condition_holds_while_its_threshold_is_met() -> None:
    """And not a moment longer."""
    config = Config(parse("memory.available<100"), transition=0.0)
    assert after(config, (0, 99)).conditions == {"MemoryPressure"}
    assert after(config, (0, 99), (1, 100)).conditions == frozenset()


def test_a_soft_threshold_is_due_after_its_grace_and_not_before() -> None:
    """The condition is there from the first moment."""
    early = after(SOFT, (0, 90), (29, 90))
    assert (early.conditions, early.due) == ({"MemoryPressure"}, ())
    assert signals(after(SOFT, (0, 90), (30, 90))) == ["memory.available"]


def test_a_break_starts_the_grace_again() -> None:
    """It must be short all the time."""
    assert after(SOFT, (0, 90), (20, 100), (21, 90), (40, 90)).due == ()
    assert after(SOFT, (0, 90), (20, 100), (21, 90), (51, 90)).due


def test_what_was_acted_on_is_over_only_with_its_reclaim() -> None:
    """Or the next byte would bring it back."""
    assert signals(after(SOFT, (0, 90), (30, 90), (40, 110))) == ["memory.available"]
    assert after(SOFT, (0, 90), (30, 90), (40, 120)).due == ()
    # Nothing was done yet: the threshold alone counts.
    assert after(SOFT, (0, 90), (20, 110)).due == ()


def test_a_signal_that_cannot_be_read_meets_nothing() -> None:
    """No reading is no reason to end a pod."""
    assert decide(HARD, State(), {}, 0) == Decision(State(), frozenset(), ())

"""The queue of keys, against a model that is too simple to be wrong."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controlplane.controllers.workqueue import FIRST_BACKOFF, MAX_BACKOFF, WorkQueue

KEYS = st.sampled_from("abcd")
SECONDS = st.integers(0, 5)


class Model(RuleBasedStateMachine):
    """A key is wanted or not, given out or not; the oldest wanted key that is not given out comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = WorkQueue()
        self.now = 0.0
        self.wanted: list[str] = []
        self.given: set[str] = set()
        self.later: dict[str, float] = {}

    def want(self, key: str) -> None:
        if key not in self.wanted:
            self.wanted.append(key)

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.want(key)

    @rule(key=KEYS, delay=SECONDS)
    def add_at(self, key: str, delay: int) -> None:
        due = self.now + delay
        self.queue.add_at(key, due)
        self.later[key] = min(due, self.later.get(key, due))

    @rule(seconds=SECONDS)
    def advance(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def get(self) -> None:
        for key in [key for key, due in self.later.items() if due <= self.now]:
            del self.later[key]
            self.want(key)
        found = self.queue.get(self.now)
        ready = {key for key in self.wanted if key not in self.given}
        assert (found is None) == (not ready)
        if found is not None:
            assert found in ready
            self.wanted.remove(found)
            self.later.pop(found, None)
            self.given.add(found)

    @rule(key=KEYS)
    def done(self, key: str) -> None:
        if key in self.given:
            self.given.discard(key)
            self.queue.done(key)

    @invariant()
    def it_knows_when_to_look_again(self) -> None:
        """No later than the first delayed key."""
        assert self.queue.next_due() == min(self.later.values(), default=None)


Model.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestModel = Model.TestCase


def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    """Each once, however often it was added."""
    queue = WorkQueue()
    for key in "abcabca":
        queue.add(key)
    assert [queue.get(0.0) for _ in range(4)] == ["a", "b", "c", None]


def test_a_key_that_is_added_while_it_is_processed_is_processed_again() -> None:
    """After that, never at the same time."""
    queue = WorkQueue()
    queue.add("a")
    assert queue.get(0.0) == "a"
    queue.add("a")
    assert queue.get(0.0) is None
    queue.done("a")
    assert queue.get(0.0) == "a"
    queue.done("a")
    assert queue.get(0.0) is None


def test_the_back_off_grows_to_its_maximum_and_stays() -> None:
    """Also after thousands of failures, where two to their power is no float."""
    queue = WorkQueue()
    delays = [queue.fail("a") for _ in range(5000)]
    assert delays[:3] == [FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF]
    assert (max(delays), delays[-1]) == (MAX_BACKOFF, MAX_BACKOFF)
    assert queue.fail("b") == FIRST_BACKOFF
    queue.forgive("a")
    assert queue.fail("a") == FIRST_BACKOFF

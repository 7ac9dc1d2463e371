"""Rate limits of events: similar ones are combined, and each object has a budget.

The rules and numbers are client-go's (tools/record, EventCorrelator), which kubelet uses:

- Events alike in object, type and reason: after ten different messages within ten minutes, the rest have one message, so that
  the control plane counts them as one event.
- Of one object: 25 at once, then one every five minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
# Different messages, and seconds after which they are forgotten.
MAX_SIMILAR, SIMILAR_WITHIN = 10, 600.0
BURST, REFILL_EVERY = 25, 300.0
# Keys that are remembered; the least recent are forgotten.
MAX_KEYS = 4096
COMBINED = "(combined from similar events): "


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    # What all further ones say.
    combined: str = ""
    last: float = 0.0


@dataclass(slots=True)
class _Budget:
    tokens: float = BURST
    at: float = 0.0


class _Recent(Generic[T]):
    """A map of the keys that were used last."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[str, ...], T] = OrderedDict()

    def get(self, key: tuple[str, ...], new: T) -> T:
        found = self._items.setdefault(key, new)
        self._items.move_to_end(key)
        if len(self._items) > MAX_KEYS:
            self._items.popitem(last=False)
        return found


class EventLimits:
    def __init__(self) -> None:
        self._similar: _Recent[_Similar] = _Recent()
        self._budgets: _Recent[_Budget] = _Recent()

    def admit(self, about: tuple[str, ...], kind: tuple[str, str], message: str, now: float) -> str | None:
        """The message to send, or None to drop the event. `about` names the object, `kind` is type and reason; `now` in
        monotonic seconds."""
        message = self._combine((*about, *kind), message, now)
        budget = self._budgets.get(about, _Budget(at=now))
        budget.tokens = min(BURST, budget.tokens + (now - budget.at) / REFILL_EVERY)
        budget.at = now
        if budget.tokens < 1:
            return None
        budget.tokens -= 1
        return message

    def _combine(self, key: tuple[str, ...], message: str, now: float) -> str:
        similar = self._similar.get(key, _Similar())
        if now - similar.last > SIMILAR_WITHIN:
            similar.messages.clear()
            similar.combined = ""
        similar.last = now
        if message in similar.messages or len(similar.messages) < MAX_SIMILAR:
            similar.messages.add(message)
            return message
        similar.combined = similar.combined or COMBINED + message
        return similar.combined

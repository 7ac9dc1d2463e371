"""Interned taint sets: nodes hold the number of theirs, and each tuple of tolerations has its verdict on every set once.

A thousand nodes have a handful of different taint sets, and all pods of a workload have the same tolerations.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Counts, Mask
from controlplane.scheduler.nodeinfo import Taint
from controlplane.scheduler.podinfo import Toleration
from controlplane.scheduler.tolerated import Tolerated
from pinnace.wellknown import TAINT_UNSCHEDULABLE

# Tuples of tolerations whose verdicts are kept, and tolerations in them.
MAX_VERDICTS, MAX_TOLERATIONS = 128, 50_000
# Numbers of sets that no node has; more of them are given to other sets.
MAX_UNUSED = 64
REJECTING = ("NoSchedule", "NoExecute")
# What Kubernetes gives a cordoned node.
UNSCHEDULABLE = Taint(TAINT_UNSCHEDULABLE, "", "NoSchedule")


@dataclass(slots=True)
class Verdicts:
    """What one tuple of tolerations leaves of each taint set, by the set's number.

    `blocking`: a taint rejects the pod; `blocker` is the first such taint. `avoided`: untolerated PreferNoSchedule taints.
    """

    cordoned: bool
    blocking: Mask
    avoided: Counts
    blocker: list[Taint | None] = field(default_factory=list)


class TaintSets:
    def __init__(self) -> None:
        self._numbers: dict[tuple[Taint, ...], int] = {(): 0}
        self._sets: list[tuple[Taint, ...]] = [()]
        self._uses = [0]
        # Numbers without a use, in the order in which they lost it.
        self._unused: dict[int, None] = {}
        self._verdicts: OrderedDict[tuple[Toleration, ...], Verdicts] = OrderedDict()
        # Tolerations in the keys of the verdicts.
        self._kept = 0
        # Nodes with any taint.
        self.tainted = 0

    def acquire(self, taints: tuple[Taint, ...]) -> int:
        """The number of a set, for one more node."""
        number = self._numbers.get(taints)
        if number is None:
            number = self._numbers[taints] = self._new(taints)
        self._unused.pop(number, None)
        self._uses[number] += 1
        self.tainted += bool(taints)
        return number

    def release(self, number: int) -> None:
        """One node fewer has the set."""
        self._uses[number] -= 1
        self.tainted -= bool(self._sets[number])
        if number and not self._uses[number]:
            self._unused[number] = None

    def _new(self, taints: tuple[Taint, ...]) -> int:
        if len(self._unused) <= MAX_UNUSED:
            self._sets.append(taints)
            self._uses.append(0)
            return len(self._sets) - 1
        number = next(iter(self._unused))
        del self._numbers[self._sets[number]]
        self._sets[number] = taints
        # They hold what was decided of the set that had the number before.
        self._verdicts.clear()
        self._kept = 0
        return number

    def verdicts(self, tolerations: tuple[Toleration, ...]) -> Verdicts:
        """The verdicts of these tolerations on all sets."""
        found = self._verdicts.get(tolerations)
        if found is None:
            cordoned = not Tolerated(tolerations).includes(UNSCHEDULABLE)
            found = Verdicts(cordoned, np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.int32))
            self._keep(tolerations, found)
        else:
            self._verdicts.move_to_end(tolerations)
        if len(found.blocker) < len(self._sets):
            self._extend(found, tolerations)
        return found

    def _keep(self, tolerations: tuple[Toleration, ...], verdicts: Verdicts) -> None:
        """Keep the verdicts that were used last, within the limits; the newest in any case."""
        self._verdicts[tolerations] = verdicts
        self._kept += len(tolerations)
        while len(self._verdicts) > 1 and (len(self._verdicts) > MAX_VERDICTS or self._kept > MAX_TOLERATIONS):
            old, _ = self._verdicts.popitem(last=False)
            self._kept -= len(old)

    def _extend(self, verdicts: Verdicts, tolerations: tuple[Toleration, ...]) -> None:
        """Judge the sets that came since."""
        tolerated = Tolerated(tolerations)
        left = [[taint for taint in taints if not tolerated.includes(taint)] for taints in self._sets[len(verdicts.blocker) :]]
        blockers = [next((taint for taint in taints if taint.effect in REJECTING), None) for taints in left]
        avoided = [sum(taint.effect == "PreferNoSchedule" for taint in taints) for taints in left]
        verdicts.blocker += blockers
        verdicts.blocking = np.append(verdicts.blocking, np.array([taint is not None for taint in blockers], dtype=np.bool_))
        verdicts.avoided = np.append(verdicts.avoided, np.array(avoided, dtype=np.int32))

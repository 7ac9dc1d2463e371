"""Gates that hold a pod back from scheduling, and what may change of a pod while it has some.

A gated pod's node selector and required node affinity may be narrowed, never widened: so a queueing system decides where the
pod runs before it lets it go. Source: validateSchedulingGates, ValidatePodCreate and ValidatePodUpdate of core/v1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import codec, fielderrors, formats
from pinnace.admission import meta
from pinnace.equality import same
from pinnace.errors import Cause
from pinnace.messages import clone, includes

_PATH = "spec.schedulingGates"
_TERMS = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
_ADDITIONS = "only additions are allowed (no mutations or deletions)"


def validate(gates: Any) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        yield from meta.each(f"{_PATH}[{index}]", gate.name, formats.qualified_name)
        if gate.name in seen:
            yield fielderrors.duplicate(f"{_PATH}[{index}]", gate.name)
        seen.add(gate.name)


def validate_create(spec: Any) -> Iterator[Cause]:
    if spec.schedulingGates and spec.nodeName:
        yield fielderrors.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def validate_update(old: Any, new: Any) -> Iterator[Cause]:
    """Of two specs."""
    known = {gate.name for gate in old.schedulingGates}
    for index, gate in enumerate(new.schedulingGates):
        if gate.name not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            yield fielderrors.forbidden(f"{_PATH}[{index}].name", text)
    if old.schedulingGates:
        yield from _selector(old.nodeSelector, new.nodeSelector)
        yield from _terms(_required(old), _required(new))


def with_changes(spec: Any, new: Any) -> None:
    """Give an old spec what `validate_update` judges, as the new one has it."""
    if spec.schedulingGates:
        spec.ClearField("nodeSelector")
        spec.nodeSelector.update(new.nodeSelector)
        _take_node_affinity(spec, new)
    spec.ClearField("schedulingGates")
    spec.schedulingGates.MergeFrom(new.schedulingGates)


def _take_node_affinity(spec: Any, new: Any) -> None:
    """An affinity without rules, and none at all, mean the same here."""
    affinity = clone(spec.affinity)
    affinity.ClearField("nodeAffinity")
    if new.affinity.HasField("nodeAffinity"):
        affinity.nodeAffinity.CopyFrom(new.affinity.nodeAffinity)
    spec.ClearField("affinity")
    if new.HasField("affinity") or affinity.ListFields():
        spec.affinity.CopyFrom(affinity)


def _selector(old: Any, new: Any) -> Iterator[Cause]:
    if not includes(new, old):
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield fielderrors.invalid("spec.nodeSelector", dict(new), text)


def _required(spec: Any) -> Any:
    return spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms


def _terms(old: Any, new: Any) -> Iterator[Cause]:
    """Terms are alternatives, so that another one would widen the choice; the requirements of a term all hold."""
    if old and len(old) != len(new):
        text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield fielderrors.invalid(_TERMS, _shown(new), text)
        return
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        if not _has_only_additions(before, after):
            yield fielderrors.invalid(f"{_TERMS}[{index}]", _shown([after])[0], _ADDITIONS)


def _has_only_additions(old: Any, new: Any) -> bool:
    """An empty term matches no node, and stays so."""
    if not old.matchExpressions and not old.matchFields and (new.matchExpressions or new.matchFields):
        return False
    pairs = (old.matchExpressions, new.matchExpressions), (old.matchFields, new.matchFields)
    return all(
        len(after) >= len(before) and all(same(*pair) for pair in zip(before, after, strict=False)) for before, after in pairs
    )


def _shown(terms: Any) -> list[Any]:
    return [codec.encode(term) for term in terms]

"""A record of the timeline in words: who, and what as a list of short pieces. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.timelines import fields
from pinnace.api.v1.timeline_pb2 import TimelineRecord

# Pieces of one record, and characters of a value, that are shown unless all is asked for.
MAX_PIECES, MAX_VALUE = 8, 100
# Fields that say when something else of the record changed.
_MOMENTS = ("lastTransitionTime", "lastProbeTime", "lastUpdateTime", "lastHeartbeatTime", "observedGeneration")
_NODE = "system:node:"
_CONTROLLER = "controller:"
# Components of the control plane that write events. Who gives a certificate of such a name to a user trusts that user.
_COMPONENTS = ("default-scheduler", "dispatcher", "join", "election", "bootstrap")


def who(record: Any, *, wide: bool = False) -> str:
    """The user, component or agent; of a user's request with the field manager."""
    actor = str(record.actor)
    if actor.startswith(_NODE):
        actor = f"node/{actor.removeprefix(_NODE)}"
    elif actor.startswith(_CONTROLLER):
        actor = f"{actor.removeprefix(_CONTROLLER)}-controller"
    if record.type == TimelineRecord.EVENT:
        return _reporter(record, actor, wide=wide)
    if not actor:
        return f"({record.fieldManager})" if record.fieldManager else "-"
    return f"{actor} ({record.fieldManager})" if record.fieldManager and (record.verb or wide) else actor


def _reporter(record: Any, actor: str, *, wide: bool) -> str:
    """The component that an event names as its source. A user may name any, so the user is shown too."""
    trusted = not actor or record.actor.startswith((_NODE, _CONTROLLER)) or record.actor in _COMPONENTS
    said = str(record.reporter or actor or "-")
    if wide and record.host:
        said = f"{said}, {record.host}"
    return said if trusted else f"{actor} ({said})"


def what(record: Any, *, wide: bool = False) -> list[str]:
    """In pieces, at which a line may be broken."""
    type_ = record.type
    if type_ == TimelineRecord.EVENT:
        times = f" (x{record.count})" if record.count > 1 else ""
        return [f"event {record.eventType} {record.reason}{times}: {_plain(record.message)}"]
    if type_ == TimelineRecord.ATTEMPT:
        return [_attempt(record)]
    if type_ == TimelineRecord.GAP:
        number = f"up to {record.count} changes" if record.count else "changes"
        return [f"{number} not recorded: {record.message} (revisions {record.afterRevision + 1} to {record.revision})"]
    if type_ == TimelineRecord.DELETED:
        return ["deleted"]
    found = _Words(wide).changes(record)
    return ["created", *found] if type_ == TimelineRecord.CREATED else found or ["field owners changed"]


def _attempt(record: Any) -> str:
    tried = f"attempt {record.attempt}" if record.attempt > 1 else "attempt"
    if record.node:
        return f"{tried}: node {record.node} chosen, {record.feasible} of {record.nodes} fit"
    return f"{tried}: {_plain(record.message)}"


@dataclass(frozen=True, slots=True)
class _Words:
    """`wide`: all changes, with their values in full."""

    wide: bool

    def changes(self, record: Any) -> list[str]:
        """One piece for each change, and one for those that are not shown."""
        every = list(record.changes)
        marked = next((change for change in every if change.path == "metadata.deletionTimestamp"), None)
        if marked is not None and not marked.HasField("old") and not self.wide:
            others = [change for change in every if not change.path.startswith("metadata.deletion")]
            return [_marked(every), *self._pieces(others)]
        shown = every if self.wide else list(filter(_tells, every)) or every
        out = self._pieces(shown)
        return [*out, "and more that was not recorded"] if record.truncated else out

    def _pieces(self, shown: Sequence[Any]) -> list[str]:
        """A field next to the one before is named without the path that they share."""
        out, parent = list[str](), ""
        # What a container did says more than addresses and times, of which a pod's first status has many.
        groups = sorted(fields.grouped(shown), key=lambda group: _order(group[0], group[1][0].path))
        for above, group in groups:
            out.append(self._group(above, group) or self._change(_named(above, group[0], parent), group[0]))
            parent = above
        out = _merged(out)
        most = len(out) if self.wide else MAX_PIECES
        return [*out[:most], f"{len(out) - most} more (-o wide)"] if len(out) > most else out

    def _group(self, above: str, group: Sequence[Any]) -> str:
        """A condition, or the state of a container, as one piece; empty for any other change."""
        place = fields.item(above)
        if place is None:
            return ""
        listed, name = place
        if listed.endswith("status.conditions"):
            return self._condition(name, group)
        return f"container {name}: {', '.join(self._states(group))}" if listed.endswith("ontainerStatuses") else ""

    def _condition(self, name: str, group: Sequence[Any]) -> str:
        """`Ready: False → True (MinimumReplicasAvailable: ...)`."""
        known = {fields.leaf(change.path): change for change in group}
        status = known.get("status")
        text = f"condition {name}" + (f": {self._transition(status)}" if status is not None else "")
        reason, message = (known[key].new if key in known else "" for key in ("reason", "message"))
        why = ": ".join(self._value(part) for part in (reason, message) if part)
        others = [self._change(f".{key}", item) for key, item in known.items() if key not in _CONDITION]
        return ", ".join([f"{text} ({why})" if why else text, *others])

    def _states(self, group: Sequence[Any]) -> Iterator[str]:
        """What changed of a container: its state first."""
        below = {fields.below(change.path): change for change in group}
        if self.wide:
            yield from (self._change(path.removeprefix("state."), change) for path, change in below.items())
            return
        shown = [*_state(below, "state."), *(f"before: {text}" for text in _state(below, "lastState."))]
        shown += [self._change(path, below[path]) for path in ("ready", "restartCount") if path in below]
        yield from shown or (self._change(path, change) for path, change in below.items())

    def _change(self, path: str, change: Any) -> str:
        if change.concealed or not (change.HasField("old") or change.HasField("new")):
            return f"{path} changed"
        if not change.HasField("new"):
            return f"{path} removed (was {self._value(change.old)})"
        return f"{path}: {self._transition(change)}"

    def _transition(self, change: Any) -> str:
        new = self._value(change.new) if change.HasField("new") else "none"
        return f"{self._value(change.old)} → {new}" if change.HasField("old") else new

    def _value(self, text: str) -> str:
        """Without line ends; an empty string can be seen."""
        plain = _plain(text) or '""'
        return plain if self.wide or len(plain) <= MAX_VALUE else plain[: MAX_VALUE - 1] + "…"


_CONDITION = ("type", "status", "reason", "message")
# A condition without a reason.
_BARE = re.compile(r"condition (\w+): (\w+|\w+ → \w+)")


def _order(above: str, path: str) -> int:
    """Of a status: the phase, containers, conditions, the rest. What is not in the status stays where it is, in front."""
    if not path.startswith("status") or path == "status.phase":
        return 0
    return 1 if above.endswith("]") and "ontainerStatuses[" in above else 2 if ".conditions[" in above else 3


def _merged(texts: Sequence[str]) -> list[str]:
    """`conditions A, B: True` in the place of two that changed alike."""
    out, names = list[str](), dict[str, list[str]]()
    for text in texts:
        found = _BARE.fullmatch(text)
        if found is not None and found[2] in names:
            names[found[2]].append(found[1])
            continue
        if found is not None:
            names[found[2]] = [found[1]]
        out.append(text)
    return [_together(text, names) for text in out]


def _together(text: str, names: Mapping[str, Sequence[str]]) -> str:
    found = _BARE.fullmatch(text)
    alike = names[found[2]] if found is not None else ()
    return f"conditions {', '.join(alike)}: {found[2]}" if found is not None and len(alike) > 1 else text


def _state(below: Mapping[str, Any], prefix: str) -> list[str]:
    """`running → terminated (Error, exit code 3)`, out of the changed fields below `state.` or `lastState.`; nothing if that
    did not change."""
    changed = {path.removeprefix(prefix): change for path, change in below.items() if path.startswith(prefix)}
    before, after = _phase(changed, "old"), _phase(changed, "new")
    if not changed:
        return []
    if prefix != "state.":
        # Without a parenthesis it ended as the time before.
        return [after] if "(" in after else []
    if before == after == "running":
        return ["restarted"]
    return [f"{before} → {after}" if before and after and before != after else after or f"no longer {before}"]


def _phase(changed: Mapping[str, Any], which: str) -> str:
    """The state of the values before or after, with what is known of it."""
    values = {path: getattr(change, which) for path, change in changed.items() if change.HasField(which)}
    phase = next((path.partition(".")[0] for path in values), "")
    reason, code = values.get(f"{phase}.reason", ""), values.get(f"{phase}.exitCode", "0")
    parts = [*([reason] if reason else []), *([f"exit code {code}"] if code != "0" else [])]
    return f"{phase} ({', '.join(parts)})" if parts else phase


def _tells(change: Any) -> bool:
    """Not the time of another change, nor the key of an item, which is in its path."""
    leaf = fields.leaf(change.path)
    return leaf not in _MOMENTS and not fields.parent(change.path).endswith(f"[{change.new or change.old}]")


def _named(above: str, change: Any, parent: str) -> str:
    leaf = fields.leaf(change.path)
    if not above or above != parent:
        return str(change.path)
    return leaf if leaf.startswith("[") else f".{leaf}"


def _marked(every: Sequence[Any]) -> str:
    grace = next((change.new for change in every if change.path == "metadata.deletionGracePeriodSeconds"), "")
    return f"marked for deletion, {grace} s grace" if grace and grace != "0" else "marked for deletion"


def _plain(text: str) -> str:
    return " ".join(text.split())

"""ApplySets: a parent object, and its members, which carry the label of its ID.

The parent's annotations name the kinds and namespaces in which members may be. They are widened before anything is applied and
narrowed after everything was pruned, so that whatever fails in between leaves no member that is not found again.
Source: KEP-3659, and kubectl's pkg/cmd/apply/applyset.go.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli import discovery
from cli.complaints import report
from cli.files import Item
from cli.pruning import removal
from cli.pruning.removal import Applied
from pinnace import __version__, kinds
from pinnace.errors import ApiError, BadRequest, Cause, NotFound
from pinnace.kinds import Kind

TOOL = "kctl"
MANAGER = f"{TOOL}-applyset"
TOOLING = "applyset.kubernetes.io/tooling"
NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
KINDS = "applyset.kubernetes.io/contains-group-kinds"
ID = "applyset.kubernetes.io/id"
PART_OF = "applyset.kubernetes.io/part-of"
PARENT_TYPE = "applyset.kubernetes.io/is-parent-type"


@dataclass(frozen=True, slots=True)
class Parent:
    """The object that tracks an ApplySet; `namespace` is empty for one of a cluster-wide kind."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.plural}.{self.kind.group}/{self.name}"

    @property
    def is_built_in(self) -> bool:
        return self.kind in (kinds.SECRET, kinds.CONFIG_MAP)

    @property
    def id(self) -> str:
        """The label that parent and members share."""
        text = ".".join((self.name, self.namespace, self.kind.kind, self.kind.group))
        hashed = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        return f"applyset-{hashed}-v1"


@dataclass(slots=True)
class Extent:
    """Where members may be."""

    kinds: set[Kind] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)

    def __or__(self, other: Extent) -> Extent:
        return Extent(self.kinds | other.kinds, self.namespaces | other.namespaces)


def parent_of(args: Any) -> Parent:
    """The parent that --applyset names. Raises BadRequest, NotFound."""
    word, slash, name = args.applyset.partition("/")
    if not slash:
        word, name = "secrets", word
    if not name:
        raise BadRequest(f'invalid parent reference "{args.applyset}": name cannot be blank')
    try:
        kind = discovery.by_word(word)
    except NotFound as error:
        raise BadRequest(f'invalid parent reference "{args.applyset}": {error.message}') from None
    # Not the context's: the set must not depend on it.
    return Parent(kind, args.namespace if kind.namespaced else "", name)


class ApplySet:
    def __init__(self, client: Any, args: Any) -> None:
        """Raises ApiError."""
        self._client = client
        self._args = args
        self.parent = parent_of(args)
        # Before this apply, and by it.
        self._present, self._wanted = Extent(), Extent()
        errors = [*self._errors()]
        if errors:
            raise BadRequest(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")

    def _errors(self) -> Iterable[str]:
        kind = self.parent.kind
        if kind.namespaced and not self.parent.namespace:
            yield "namespace is required to use namespace-scoped ApplySet"
        if not self.parent.is_built_in:
            allowed = self._client.list(kinds.CUSTOM_RESOURCE_DEFINITION, "", labels=PARENT_TYPE)
            if kind.resource not in {item.metadata.name for item in allowed}:
                yield f'resource "{kind.group}/{kind.version}, Resource={kind.plural}" is not permitted as an ApplySet parent'

    def prepare(self, items: list[Item]) -> list[Item]:
        """Label the objects as members, and widen the parent to them. Raises ApiError."""
        for item in items:
            self._label(item)
            self._wanted.kinds.add(item.kind)
            if item.kind.namespaced:
                self._wanted.namespaces.add(item.namespace or self._client.context.namespace)
        self._present = self._fetch()
        self._update(self._present | self._wanted)
        return items

    def _label(self, item: Item) -> None:
        """Raises BadRequest. The control plane refuses labels that are no map."""
        meta = item.value.setdefault("metadata", {})
        if not isinstance(meta, dict):
            return
        labels = meta["labels"] = meta.get("labels") or {}
        if not isinstance(labels, dict):
            return
        if PART_OF in labels:
            raise BadRequest(f'ApplySet label "{PART_OF}" already set in input data')
        labels[PART_OF] = self.parent.id

    def _fetch(self) -> Extent:
        """Raises BadRequest for an object that is not the parent of a set of this tool."""
        parent = self.parent
        try:
            meta = self._client.get(parent.kind, parent.namespace, parent.name).metadata
        except NotFound:
            if parent.is_built_in:
                return Extent()
            raise BadRequest("custom resource ApplySet parents cannot be created automatically") from None
        except ApiError as error:
            raise type(error)(f'failed to fetch ApplySet parent object "{parent}": {error.message}') from None
        self._check(dict(meta.labels), dict(meta.annotations))
        namespaces = {parent.namespace, *meta.annotations.get(NAMESPACES, "").split(",")} - {""}
        return Extent(self._kinds(meta.annotations[KINDS]), namespaces)

    def _check(self, labels: dict[str, str], annotations: dict[str, str]) -> None:
        named = f'ApplySet parent object "{self.parent}"'
        if TOOLING not in annotations:
            raise BadRequest(f'{named} already exists and is missing required annotation "{TOOLING}"')
        tool = annotations[TOOLING].rpartition("/")[0] or annotations[TOOLING]
        if tool != TOOL:
            raise BadRequest(f'{named} already exists and is managed by tooling "{tool}" instead of "{TOOL}"')
        if ID not in labels:
            raise BadRequest(f"{named} exists and does not have required label {ID}")
        if labels[ID] != self.parent.id:
            raise BadRequest(
                f'{named} exists and has incorrect value for label "{ID}" (got: {labels[ID]}, want: {self.parent.id})'
            )
        if KINDS not in annotations:
            text = f'kctl requires the "{KINDS}" annotation to be set on all ApplySet parent objects'
            raise BadRequest(f'parsing ApplySet annotation on "{self.parent}": {text}')

    def _kinds(self, annotation: str) -> set[Kind]:
        """Raises BadRequest for one that is not served any more."""
        served = {item.kind.group_kind: item.kind for item in discovery.served()}
        words = [word for word in annotation.split(",") if word]
        for word in words:
            if word not in served:
                name, _, group = word.partition(".")
                text = (
                    f'could not find mapping for kind in "{KINDS}" annotation: no matches for kind "{name}" in group "{group}"'
                )
                raise BadRequest(f'parsing ApplySet annotation on "{self.parent}": {text}')
        return {served[word] for word in words}

    def _update(self, extent: Extent) -> None:
        """Write the extent into the parent. Raises ApiError."""
        for force in (False, True):
            error = self._apply(extent, force=force)
            if error is None:
                return
            if force or not any(_of_manager(cause) for cause in error.causes):
                raise type(error)(f"failed to update ApplySet: {error.message}")
            text = f"ApplySet field manager {MANAGER} should own these fields. Retrying with conflicts forced."
            report(f"Warning: failed to update ApplySet: {error.message}\n{text}")

    def _apply(self, extent: Extent, *, force: bool) -> ApiError | None:
        from pinnace import wire
        from pinnace.api.v1 import objects_pb2

        parent = self.parent
        request = objects_pb2.ApplyRequest(
            namespace=parent.namespace or self._client.context.namespace, fieldManager=MANAGER, force=force,
            dryRun=self._args.dry_run == "server",
        )  # fmt: skip
        body = json.dumps(_manifest(parent, extent)).encode()
        request.objects.add(apiVersion=parent.kind.api_version, kind=parent.kind.kind, json=body)
        [result] = self._client.call(self._client.objects.Apply, request).results
        return wire.from_status(result.error) if result.outcome == objects_pb2.ApplyResult.FAILED else None

    def prune(self, applied: Sequence[Applied]) -> None:
        """Delete members that were not applied, then narrow the parent to those that were. Raises ApiError."""
        found = [
            (kind, item)
            for kind in sorted(self._present.kinds, key=lambda kind: kind.group_kind)
            for namespace in (sorted(self._present.namespaces) if kind.namespaced else ("",))
            for item in self._members(kind, namespace, applied)
        ]
        for kind, item in found:
            removal.remove(self._client, kind, item, self._args)
        try:
            self._update(self._wanted)
        except ApiError as error:
            raise type(error)(f"apply and prune succeeded, but ApplySet update failed: {error.message}") from None

    def _members(self, kind: Kind, namespace: str, applied: Sequence[Applied]) -> list[Any]:
        try:
            return removal.members(self._client, kind, namespace, f"{PART_OF}={self.parent.id}", applied)
        except ApiError as error:
            named = f"{kind.group}/{kind.version}, Kind={kind.kind}"
            raise type(error)(f"listing {named} objects for pruning: {error.message}") from None


def _manifest(parent: Parent, extent: Extent) -> dict[str, Any]:
    annotations = {
        TOOLING: f"{TOOL}/v{__version__}",
        KINDS: ",".join(sorted({kind.group_kind for kind in extent.kinds})),
        NAMESPACES: ",".join(sorted(extent.namespaces - {parent.namespace})),
    }
    meta = {"name": parent.name, "annotations": annotations, "labels": {ID: parent.id}}
    meta |= {"namespace": parent.namespace} if parent.namespace else {}
    return {"apiVersion": parent.kind.api_version, "kind": parent.kind.kind, "metadata": meta}


def _of_manager(cause: Cause) -> bool:
    return cause.reason == "FieldManagerConflict"

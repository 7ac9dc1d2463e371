"""The text of docs/kinds.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.controllers.runner import Controller
from controlplane.kindtable.fields import Type, Types
from controlplane.kindtable.upstream import Upstream
from controlplane.requests.discovery import ServedGroup, ServedResource, ServedSubresource
from controlplane.resources.resource import VERBS
from pinnace.kinds import Kind

_HEAD = """# Kinds and their fields

Every kind that the API serves, and each of its fields, compared with Kubernetes {release}. This page is generated (`make
generate`) from the messages of the API, the registry of resources, the controllers and the names in Kubernetes' OpenAPI
document; `make check` fails if it is stale. [custom-resources.md](custom-resources.md) is about kinds of
CustomResourceDefinitions, [pod-fields.md](pod-fields.md) has the tests that show the fields of pods, and
[validation-rules.md](validation-rules.md) all rules of validation.

- **supported**: as in Kubernetes.
- **rejected**: an object that sets the field is rejected with an error that names it. It stands for all fields below it.
- **unknown**: only Kubernetes has the field. kctl and `fieldValidation=Strict` (kubectl's default) reject an object that sets
  it; `Warn` leaves it out with a warning.

*Limits* are the differences to Kubernetes of fields that are supported in part, from their tests.
"""
_TYPES = "| Type | Supported | Rejected | Unknown |", "|---|---|---|---|"


@dataclass(frozen=True)
class Notes:
    """Facts that the registry does not have: limits of supported fields by `Type.field`, and by kind the rules of validation
    that Kubernetes does not have."""

    limits: Mapping[str, str]
    rules: Mapping[str, Sequence[str]]


def text(upstream: Upstream, groups: Sequence[ServedGroup], controllers: Iterable[Controller], notes: Notes) -> str:
    served = [item for group in groups for version in group.versions for item in version.resources]
    kinds = [item.kind for item in served]
    below = _below(served)
    types = Types(upstream)
    for kind in (*kinds, *below):
        types.add(kind)
    watching = list(controllers)
    parts = [
        _HEAD.format(release=upstream.release), *_totals(types, (*kinds, *below)), *_kinds(served, types, watching),
        *_every(watching), *(line for kind in (*kinds, *below) for line in _section(kind, types, upstream, notes)),
        *_shared(types, notes), *_absent(upstream, kinds),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _below(served: Sequence[ServedResource]) -> list[Kind]:
    """Kinds as which subresources alone are read and written."""
    own = {item.kind for item in served}
    found = {part.kind: None for item in served for part in item.subresources if part.kind not in own}
    return sorted(found, key=lambda kind: (kind.group, kind.kind))


def _totals(types: Types, kinds: Sequence[Kind]) -> Iterator[str]:
    every = {id(found): found for kind in kinds for found in types.of(kind)}.values()
    counts = [(sum(len(getattr(item, state)) for item in every), state) for state in ("supported", "rejected", "unknown")]
    same = sum(len(item.forbidden) for item in every)
    yield f"{', '.join(f'{number} fields {state}' for number, state in counts)}, {same} rejected as in Kubernetes."


def _kinds(served: Sequence[ServedResource], types: Types, controllers: Sequence[Controller]) -> Iterator[str]:
    yield from ("", "## Kinds", "")
    yield "| Kind | Version | Resource | Scope | Verbs | Subresources | Controllers | Fields |"
    yield "|---|---|---|---|---|---|---|---|"
    for item in served:
        kind = item.kind
        names = ", ".join((kind.plural, *(f"`{name}`" for name in kind.short_names)))
        own = ", ".join(each.name for each in controllers if kind.storage in each.watches)
        parts = ", ".join(_part(part) for part in item.subresources)
        found = types.of(kind)
        present, absent = sum(each.present for each in found), sum(each.missing for each in found)
        cells = [
            f"[{kind.kind}](#{_anchor(kind)})", kind.api_version, names, "namespace" if kind.namespaced else "cluster",
            _verbs(item.verbs), parts, own, f"{present} of {present + absent}",
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _part(part: ServedSubresource) -> str:
    return part.name if set(part.verbs) == {"get", "patch", "update"} else f"{part.name} ({_verbs(part.verbs)})"


def _verbs(verbs: Sequence[str]) -> str:
    lacking = [verb for verb in VERBS if verb not in verbs]
    if len(lacking) > 2 or set(verbs) - set(VERBS):
        return ", ".join(verbs)
    return f"all but {', '.join(lacking)}" if lacking else "all"


def _every(controllers: Sequence[Controller]) -> Iterator[str]:
    every = ", ".join(each.name for each in controllers if not each.watches)
    yield from ("", f"*all* verbs: {', '.join(VERBS)}. Subresources without verbs: get, patch, update.")
    yield f"*Controllers*: those that act on changes of the kind; of every kind: {every}."
    yield "*Fields*: supported, of all that Kubernetes has, in the types of the kind."


def _anchor(kind: Kind) -> str:
    """As GitHub derives it from the heading of the section."""
    return f"{kind.kind}-{kind.api_version}".lower().replace("/", "").replace(".", "")


def _section(kind: Kind, types: Types, upstream: Upstream, notes: Notes) -> Iterator[str]:
    yield from ("", f"## {kind.kind} ({kind.api_version})", "")
    if not upstream.type_of(kind):
        yield from ("Not in Kubernetes' own OpenAPI document.", "")
    own = types.own(kind)
    yield from _table(own, notes)
    used = sorted({name for item in own for name in item.uses} - {item.name for item in own})
    yield from ("", f"With [shared types](#shared-types): {', '.join(used)}.") if used else ()
    rules = notes.rules.get(kind.group_kind, ()) or (notes.rules.get(kind.kind, ()) if kind.stored is None else ())
    yield from ("", "Other rules than Kubernetes':", "", *(f"- {rule}" for rule in rules)) if rules else ()


def _shared(types: Types, notes: Notes) -> Iterator[str]:
    yield from ("", "## Shared types", "", *_table(types.shared(), notes))


def _table(found: Sequence[Type], notes: Notes) -> Iterator[str]:
    yield from _TYPES
    for item in (each for each in found if each.present or each.missing):
        rejected = [*item.rejected, *(f"{name} (by Kubernetes too)" for name in item.forbidden)]
        yield f"| {item.name} | {', '.join(item.supported)} | {', '.join(rejected)} | {', '.join(item.unknown)} |"
    remarks = [line for item in found for line in _remarks(item, notes)]
    yield from ("", *(f"- {line}" for line in remarks)) if remarks else ()


def _remarks(item: Type, notes: Notes) -> Iterator[str]:
    for name in sorted({*item.supported, *item.beyond, *item.as_json}):
        path = f"{item.name}.{name}"
        if path in notes.limits:
            yield f"Limit of {path}: {notes.limits[path]}."
        if name in item.beyond:
            yield f"{path} is not in Kubernetes' OpenAPI document of this release."
        if name in item.as_json:
            yield f"{path} is read as JSON, without a table of its fields here."


def _absent(upstream: Upstream, served: Sequence[Kind]) -> Iterator[str]:
    yield from (
        "",
        "## Kinds that are not served",
        "",
        "Requests for them are answered with 404.",
        "",
        "| Version | Kinds |",
        "|---|---|",
    )
    present = {(kind.api_version, kind.kind) for kind in served}
    for version, found in sorted(upstream.kinds.items()):
        lacking = [name for name in sorted(found) if (version, name) not in present]
        if lacking:
            yield f"| {version} | {', '.join(lacking)} |"

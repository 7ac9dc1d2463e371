"""Rules of CustomResourceDefinitions, as functions of the objects alone.

Source: apiextensions-apiserver's pkg/apis/apiextensions/validation/validation.go and v1/defaults.go.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from controlplane.customresources import celcheck, defaulting, pruning, schemaparser, structuralcheck, validation
from controlplane.customresources.structural import UNSET, Structural
from pinnace import fielderrors, formats, jsonpath
from pinnace.admission import meta
from pinnace.errors import BadRequest, Cause

APPROVAL = "api-approved.kubernetes.io"
MAX_SELECTABLE = 8
_PROTECTED = ("k8s.io", "kubernetes.io")
# A path of keys: what columns, scale and selectable fields of custom resources are made of, in all but rare cases.
SIMPLE_PATH = re.compile(r"(\.[A-Za-z_][-A-Za-z0-9_]*)+")


def default(item: Any) -> None:
    """Names that follow from others."""
    names = item.spec.names
    names.singular = names.singular or names.kind.lower()
    names.listKind = names.listKind or (f"{names.kind}List" if names.kind else "")
    if not item.spec.conversion.strategy:
        item.spec.conversion.strategy = "None"


def validate(item: Any) -> list[Cause]:
    """Every error of a definition."""
    spec = item.spec
    return [*_identity(item), *_names(spec.names), *_versions(spec)]


def validate_update(old: Any, new: Any) -> list[Cause]:
    """What may not change once a kind may have objects."""
    errors = []
    for path, before, after in (
        ("spec.group", old.spec.group, new.spec.group),
        ("spec.scope", old.spec.scope, new.spec.scope),
        ("spec.names.plural", old.spec.names.plural, new.spec.names.plural),
        ("spec.names.kind", old.spec.names.kind, new.spec.names.kind),
    ):
        if before != after:
            errors.append(fielderrors.invalid(path, after, "field is immutable"))
    return errors + _stored(new)


def _stored(item: Any) -> list[Cause]:
    """The versions in which objects may be stored: present ones, and the storage version among them."""
    path, stored = "status.storedVersions", item.status.storedVersions
    if not stored:
        return [fielderrors.invalid(path, [], "must have at least one stored version")]
    storage = [version.name for version in item.spec.versions if version.storage and version.name not in stored]
    if storage:
        return [fielderrors.invalid(path, list(stored), f"must have the storage version {storage[0]}")]
    known = {version.name for version in item.spec.versions}
    return [
        fielderrors.invalid(f"status.storedVersions[{at}]", name, "must appear in spec.versions")
        for at, name in enumerate(item.status.storedVersions)
        if name not in known
    ]


def _identity(item: Any) -> Iterator[Cause]:
    spec = item.spec
    expected = f"{spec.names.plural}.{spec.group}"
    if item.metadata.name and spec.group and item.metadata.name != expected:
        yield fielderrors.invalid("metadata.name", item.metadata.name, 'must be spec.names.plural+"."+spec.group')
    if spec.group:
        yield from meta.each("spec.group", spec.group, formats.dns_subdomain)
    if spec.group and "." not in spec.group:
        yield fielderrors.invalid("spec.group", spec.group, "should be a domain with at least one dot")
    protected = any(spec.group == suffix or spec.group.endswith(f".{suffix}") for suffix in _PROTECTED)
    if protected and not item.metadata.annotations.get(APPROVAL):
        detail = f'protected groups must have approval annotation "{APPROVAL}", see https://github.com/kubernetes/enhancements/pull/1111'
        yield fielderrors.required(f"metadata.annotations[{APPROVAL}]", detail)
    if spec.preserveUnknownFields:
        detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield fielderrors.invalid("spec.preserveUnknownFields", True, detail)


def _names(names: Any) -> Iterator[Cause]:
    for path, value in (("spec.names.plural", names.plural), ("spec.names.singular", names.singular)):
        if value:
            yield from meta.each(path, value, formats.dns_label)
    for path, value in (("spec.names.kind", names.kind), ("spec.names.listKind", names.listKind)):
        for detail in formats.dns_label(value.lower()) if value else ():
            yield fielderrors.invalid(path, value, f"may have mixed case, but should otherwise match: {detail}")
    for field, values in (("shortNames", names.shortNames), ("categories", names.categories)):
        for at, value in enumerate(values):
            yield from meta.each(f"spec.names.{field}[{at}]", value, formats.dns_label)
    if names.kind and names.kind == names.listKind:
        yield fielderrors.invalid("spec.names.listKind", names.listKind, "kind and listKind may not be the same")


def _versions(spec: Any) -> Iterator[Cause]:
    names = [version.name for version in spec.versions]
    for at, name in enumerate(names):
        if name in names[:at]:
            yield fielderrors.invalid("spec.versions", names, "must contain unique version names")
            break
    if spec.versions and sum(version.storage for version in spec.versions) != 1:
        yield fielderrors.invalid("spec.versions", names, "must have exactly one version marked as storage version")
    for at, version in enumerate(spec.versions):
        yield from _version(version, f"spec.versions[{at}]")


def _version(version: Any, path: str) -> Iterator[Cause]:
    here = f"{path}.schema.openAPIV3Schema"
    if not version.schema.openAPIV3Schema.raw:
        yield fielderrors.required(here, "schemas are required")
        return
    schema, errors = schemaparser.parse(json.loads(version.schema.openAPIV3Schema.raw), here)
    errors = errors or structuralcheck.check(schema, here)
    yield from errors
    if not errors:
        yield from _defaults(schema, here)
        yield from celcheck.check(schema, here)
        yield from _selectable(version, schema, f"{path}.selectableFields")
    if version.subresources.HasField("scale"):
        yield from _scale(version.subresources.scale, f"{path}.subresources.scale")
    for at, column in enumerate(version.additionalPrinterColumns):
        yield from _column(column.jsonPath, f"{path}.additionalPrinterColumns[{at}].jsonPath")
    if version.HasField("deprecationWarning") and not version.deprecated:
        yield fielderrors.invalid(
            f"{path}.deprecationWarning", version.deprecationWarning, "can only be set for deprecated versions"
        )


def _column(text: str, path: str) -> Iterator[Cause]:
    """One path, so that it still is one between the braces in which clients put it."""
    try:
        simple = text.startswith(".") and jsonpath.relaxed(text) == f"{{{text.strip()}}}"
        jsonpath.Template(f"{{{text}}}")
    except BadRequest:
        simple = False
    if not simple:
        yield fielderrors.invalid(path, text, "must be a simple json path starting with .")


def _scale(scale: Any, path: str) -> Iterator[Cause]:
    for name, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status."), ("labelSelectorPath", "")):
        value = getattr(scale, name)
        if value and not SIMPLE_PATH.fullmatch(value):
            yield fielderrors.invalid(f"{path}.{name}", value, "should be a json path of keys")
        elif value and not value.startswith(root or (".spec.", ".status.")):
            yield fielderrors.invalid(f"{path}.{name}", value, f"should be a json path under {root or '.spec. or .status.'}")


def _selectable(version: Any, schema: Structural, path: str) -> Iterator[Cause]:
    paths = [field.jsonPath for field in version.selectableFields]
    if len(paths) > MAX_SELECTABLE:
        yield fielderrors.too_many(path, len(paths), MAX_SELECTABLE)
    for at, text in enumerate(paths):
        here = f"{path}[{at}].jsonPath"
        found: Structural | None = schema
        for key in text.split(".")[1:]:
            found = found.properties.get(key) if found is not None else None
        if text in paths[:at]:
            yield fielderrors.duplicate(here, text)
        elif not SIMPLE_PATH.fullmatch(text) or text.startswith(".metadata"):
            yield fielderrors.invalid(here, text, "is an invalid path: must be a path of fields that is not in metadata")
        elif found is None or found.type not in ("string", "boolean", "integer"):
            yield fielderrors.invalid(
                here, text, "is an invalid path: must point to a string, boolean or integer of the schema"
            )


def _defaults(schema: Structural, path: str) -> Iterator[Cause]:
    """A default has the form that its schema wants, so that a stored object never breaks it."""
    for name, below in schema.nested():
        here = f"{path}.{name}"
        if below.default is not UNSET:
            value = copy.deepcopy(below.default)
            wrapper = Structural(keywords={"type": "object"}, properties={"default": below})
            if pruning.prune({"default": value}, wrapper):
                yield fielderrors.invalid(f"{here}.default", below.default, "must not have unknown fields")
            defaulting.apply_defaults(value, below)
            for cause in validation.validate(value, below, "default"):
                yield Cause(f"{here}.{cause.field}", cause.message, cause.reason)
        yield from _defaults(below, here)


def validate_status(new: Any, old: Any) -> list[Cause]:
    """Of a status written by a client; `old` sets it no bounds."""
    return _stored(new)

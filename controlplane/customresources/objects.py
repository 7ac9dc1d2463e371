"""The rules of one version of a custom kind: KindRules over its structural schema.

A custom object is a message whose fields hold JSON; the rules work on the tree of the whole object.
Source: apiextensions-apiserver's pkg/registry/customresource.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from controlplane.customresources import (
    celrules,
    celtypes,
    defaulting,
    numbers,
    pruning,
    ratcheting,
    schemaparser,
    structural,
    validation,
)
from controlplane.customresources.content import PARTS, put_tree, tree_of
from controlplane.customresources.scale import ScalePaths
from controlplane.customresources.structural import Structural
from pinnace import codec
from pinnace.admission.kindrules import KindRules
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.errors import Cause, Invalid
from pinnace.messages import clone
from pinnace.remembered import Remembered

# Objects of one version of a kind of which each step is remembered.
REMEMBERED = 32


def value_at(tree: Any, path: str) -> Any:
    """The value at a path of keys such as `.spec.replicas`; None where there is none."""
    for key in path.split(".")[1:]:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def selectable_text(path: str) -> Callable[[CustomResource], str]:
    """A field as a field selector compares it."""

    def read(item: CustomResource) -> str:
        value = value_at(tree_of(item), path)
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)

    return read


class Rules:
    """The behaviour of one version; its schema is parsed when the first object is seen."""

    def __init__(
        self, api_version: str, kind: str, raw_schema: bytes, *, scale: ScalePaths | None = None, stored: Rules | None = None
    ) -> None:
        """`scale`: where the replicas are, of a kind that can be scaled.

        `stored`: the rules of the storage version, where that has another schema."""
        self._api_version = api_version
        self._kind = kind
        self._group_kind = f"{kind}.{api_version.partition('/')[0]}"
        self._raw = raw_schema
        self._scale = scale
        self._stored = stored
        self._prepared = Remembered(self._prepare, REMEMBERED)
        self._errors = Remembered(self._validate, REMEMBERED)
        self._broken = Remembered(lambda bare: celrules.validate(self._whole(bare), None, self._root), REMEMBERED)

    @cached_property
    def schema(self) -> Structural:
        return schemaparser.parse(json.loads(self._raw or b"{}"), "schema")[0]

    def kind_rules(self) -> KindRules[CustomResource]:
        return KindRules[CustomResource](
            prepare=self.prepare, validate=self.validate, validate_create=self.validate_create,
            validate_update=self.validate_update, validate_status=self.validate_status,
        )  # fmt: skip

    def prepare(self, item: CustomResource, old: CustomResource | None) -> None:
        """Prune, and fill in defaults. Raises Invalid for fields that the schema does not have,
        and for values that cannot be stored as JSON.

        What the stored object has of such fields, from an earlier schema, is removed without a word, and so is what the storage
        version does not have."""
        try:
            made, dropped = self._prepared(self._bare(item))
        except codec.FieldError as error:
            raise error.invalid(self._group_kind) from None
        if dropped:
            known = set(pruning.prune(tree_of(old), self.schema)) if old is not None else set()
            causes = tuple(Cause(path, "unknown field") for path in dropped[: structural.MAX_ERRORS] if path not in known)
            if causes:
                raise Invalid.of(self._group_kind, item.metadata.name[:253], causes)
        for name in (*PARTS, "rest"):
            item.ClearField(name)
        item.MergeFrom(made)

    def _prepare(self, bare: CustomResource) -> tuple[CustomResource, list[str]]:
        """The fields of an object as they are stored, and the paths of those that were dropped. Raises FieldError."""
        tree, made = tree_of(bare), CustomResource()
        numbers.settle(tree)
        dropped = pruning.prune(tree, self.schema)
        defaulting.prune_nulls(tree, self.schema)
        defaulting.apply_defaults(tree, self.schema)
        if self._stored is not None:
            pruning.prune(tree, self._stored.schema)
        put_tree(made, tree)
        return made, dropped

    def _bare(self, item: CustomResource) -> CustomResource:
        """The object without the metadata that its schema cannot see: equal ones prepare and validate in the same way."""
        bare = clone(item)
        bare.ClearField("metadata")
        if self._sees_names:
            bare.metadata.name, bare.metadata.generateName = item.metadata.name, item.metadata.generateName
        return bare

    @cached_property
    def _sees_names(self) -> bool:
        """Whether errors may depend on the name: the schema says something of metadata, or of the object as a whole."""
        schema = self.schema
        whole = schema.rules or schema.enum is not None or isinstance(schema.additional, Structural)
        return bool(whole or "metadata" in schema.properties or any(True for _ in schema.junctors()))

    @cached_property
    def _root(self) -> Structural:
        """As rules see it."""
        return celtypes.root_of(self.schema)

    def validate(self, item: CustomResource) -> list[Cause]:
        """The replicas; what the schema says depends on the old object."""
        return list(self._scale.errors(self._whole(item))) if self._scale is not None else []

    def _validate(self, bare: CustomResource) -> list[Cause]:
        return validation.validate(self._whole(bare), self.schema)

    def _whole(self, item: CustomResource) -> dict[str, Any]:
        meta = {"name": item.metadata.name, "generateName": item.metadata.generateName}
        named = {key: value for key, value in meta.items() if value}
        return {**tree_of(item), "apiVersion": self._api_version, "kind": self._kind, "metadata": named}

    def validate_create(self, item: CustomResource) -> list[Cause]:
        errors = self._errors(self._bare(item))
        return list(errors) if errors else self._run_rules(item, None)

    def validate_update(self, old: CustomResource, new: CustomResource) -> list[Cause]:
        """Of what the update changes. Rules rely on the types of the schema, and run when the rest fits."""
        errors = self._errors(self._bare(new))
        left = ratcheting.remaining(errors, self._whole(new), self._whole(old), self.schema) if errors else []
        mistyped = any(error.reason == "FieldValueTypeInvalid" for error in errors)
        return left if left or mistyped else self._run_rules(new, old)

    def _run_rules(self, new: CustomResource, old: CustomResource | None) -> list[Cause]:
        if not self.schema.ruled:
            return []
        if old is None:
            return self._broken(self._bare(new))
        return celrules.validate(self._whole(new), self._whole(old), self._root)

    def validate_status(self, new: CustomResource, old: CustomResource) -> list[Cause]:
        self.prepare(new, old)
        return [*self.validate(new), *self.validate_update(old, new)]

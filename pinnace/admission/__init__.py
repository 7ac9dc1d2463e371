"""What a new or changed object passes before it is stored: defaults, then validation. Pure functions of messages.

docs/validation-rules.md lists every rule with its source in Kubernetes and the test that shows it. Checks that need other
objects are the control plane's (`controlplane.requests.admission`).
"""

from __future__ import annotations

from typing import Any

from pinnace import rules
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.errors import Cause, Invalid
from pinnace.fieldpaths import FieldError, overlap
from pinnace.kinds import Kind


def rules_of(kind: Kind) -> KindRules:
    """The rules of a built-in kind, and none for others."""
    from pinnace.admission import builtin

    return builtin.RULES.get(kind) or KindRules()


def admit(kind: Kind, message: Any, *, old: Any | None = None, own: KindRules | None = None) -> None:
    """Default `message` in place and check it, alone and against `old`. Raises Invalid with every error.

    `own` are the kind's rules, by default those of the built-in kind."""
    own = own or rules_of(kind)
    default(message, own, old=old)
    validate(kind, message, own, old=old)


def default(message: Any, own: KindRules, *, old: Any | None = None) -> None:
    """Fill in what a manifest leaves out."""
    own.prepare(message, old)
    rules.apply_defaults(message)
    own.default(message)


def validate(kind: Kind, message: Any, own: KindRules, *, old: Any | None = None) -> None:
    """Check an object that has its defaults. Raises Invalid with every error."""
    errors = [*meta.validate(kind, message, old, name=own.name), *rules.validate(message), *own.validate(message)]
    if old is None:
        errors += own.validate_create(message)
    else:
        errors += [*rules.changed_immutable(old, message), *own.validate_update(old, message)]
    raise_errors(kind, message.metadata.name or message.metadata.generateName, errors)


def validate_metadata(kind: Kind, message: Any, own: KindRules, *, old: Any) -> None:
    """Check changed metadata. Raises Invalid with every error."""
    raise_errors(kind, message.metadata.name, meta.validate(kind, message, old, name=own.name))


def admit_status(kind: Kind, message: Any, old: Any, *, own: KindRules | None = None) -> None:
    """Check a changed status. Raises Invalid with every error."""
    own = own or rules_of(kind)
    errors = [*rules.validate_field(message, "status"), *own.validate_status(message, old)]
    raise_errors(kind, message.metadata.name, errors)


def explain(kind: Kind, error: FieldError, *, whole: bool = True, own: KindRules | None = None) -> Invalid:
    """Every error of an object that does not decode: the values that do not fit, then what the rules refuse in the rest.

    Rules about an undecodable field, and about what contains it, are left out: they would judge an absent value. Of an
    object that is not `whole`, such as one applied on top of another, only unsupported fields are named.
    """
    found = error.causes()
    name = ""
    if isinstance(error.partial, dict):
        message: Any = kind.cls(**error.partial)
        name = message.metadata.name[:253]
        if kind.namespaced and not message.metadata.namespace:
            message.metadata.namespace = "default"
        paths = [path for path, _ in error.found]
        more = [cause for cause in _errors(kind, message, own) if not any(overlap(cause.field, path) for path in paths)]
        found += tuple(cause for cause in more if whole or cause.reason == "FieldValueNotSupported")
    return Invalid.of(kind.group_kind, name, found)


def _errors(kind: Kind, message: Any, own: KindRules | None) -> tuple[Cause, ...]:
    try:
        admit(kind, message, own=own)
    except Invalid as error:
        return error.causes
    return ()


def raise_errors(kind: Kind, name: str, errors: list[Cause]) -> None:
    """Raise Invalid with each error once, unless there is none."""
    if errors:
        raise Invalid.of(kind.group_kind, name[:253], tuple(dict.fromkeys(errors)))

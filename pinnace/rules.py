"""Defaults and validation from field options: what a schema can say, it says once, in proto/.

Pure functions of a message. Rules between fields are in the kind's admission module, syntaxes in `pinnace.formats`.
"""

from __future__ import annotations

from google.protobuf.message import Message

from pinnace import fielderrors, ruleplan, schema
from pinnace.errors import Cause


def apply_defaults(message: Message) -> None:
    """Fill every absent field that has a default, in the messages that are present."""
    ruleplan.of(schema.of(message)).default(message)


def validate(message: Message) -> list[Cause]:
    """Every error that the field options can name."""
    errors: list[Cause] = []
    ruleplan.of(schema.of(message)).validate(message, errors)
    return errors


def validate_field(message: Message, name: str) -> list[Cause]:
    """The errors in one message field of the top level, such as `status`."""
    if not message.HasField(name):
        return []
    errors = validate(getattr(message, name))
    fielderrors.put_under(name, errors)
    return errors


def changed_immutable(old: Message, new: Message) -> list[Cause]:
    """Errors for fields of the top level whose `immutable` rule the change breaks."""
    return [
        fielderrors.invalid(item.name, getattr(new, item.name), "field is immutable")
        for item in schema.of(new).fields.values()
        if item.rules.immutable and getattr(old, item.name) != getattr(new, item.name)
    ]

"""Defaults and validation from field options: what a schema can say, it says once, in proto/.

Pure functions of a message. Rules between fields live with the kind's admission, not here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.message import Message

from pinnace import codec, manifest, schema
from pinnace.codec import join
from pinnace.errors import Cause
from pinnace.schema import Field, Schema

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z", re.ASCII)
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII)
_NAME_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z", re.ASCII)
_PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*\Z", re.ASCII)


def is_label(text: str) -> str | None:
    return None if LABEL.match(text) else "must be a DNS label: at most 63 of a-z, 0-9 and '-', no '-' at an end"


def is_subdomain(text: str) -> str | None:
    if len(text) <= 253 and SUBDOMAIN.match(text):
        return None
    return "must be a DNS subdomain: at most 253 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"


def is_qualified_name(text: str) -> str | None:
    prefix, slash, name = text.rpartition("/")
    if _NAME_PART.match(name) and (not slash or is_subdomain(prefix) is None):
        return None
    return "must be a qualified name such as 'app' or 'example.com/app', each part at most 63 characters after the '/'"


def is_label_value(text: str) -> str | None:
    if text == "" or _NAME_PART.match(text):
        return None
    return "must be empty or at most 63 of a-z, A-Z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit"


def is_port_name(text: str) -> str | None:
    return None if _PORT_NAME.match(text) else "must be at most 15 of a-z, 0-9 and '-', with a letter, no '--'"


def _is_env_name(text: str) -> str | None:
    fine = text.isascii() and text.isprintable() and "=" not in text
    return None if fine else "must be printable ASCII without '='"


def _is_ip(text: str) -> str | None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "must be an IP address"
    return None


def _is_absolute(text: str) -> str | None:
    if not text.startswith("/") or "\0" in text:
        return "must be an absolute path"
    return None


def _is_container_path(text: str) -> str | None:
    if ":" in text or "\0" in text:
        return "must not contain ':'"
    return "must not be '/'" if text.rstrip("/") == "" else None


def _is_host_path(text: str) -> str | None:
    return "must not contain '..'" if ".." in text.split("/") else _is_absolute(text)


def _is_relative(text: str) -> str | None:
    # A name that begins with two dots is the atomic writer's own.
    if text.startswith(("/", "..")) or ".." in text.split("/") or "\0" in text or not text.strip("./"):
        return "must be a relative path without '..'"
    return None


FORMATS: dict[str, Callable[[str], str | None]] = {
    "dns-label": is_label, "dns-subdomain": is_subdomain, "qualified-name": is_qualified_name,
    "port-name": is_port_name, "env-name": _is_env_name, "ip": _is_ip, "absolute-path": _is_absolute,
    "container-path": _is_container_path, "host-path": _is_host_path, "relative-path": _is_relative,
}  # fmt: skip


def apply_defaults(message: Message) -> None:
    """Fill every absent field that has a default, in the messages that are present."""
    _default(schema.of(message), message)


def validate(message: Message) -> list[Cause]:
    """Every fault that the field options can name."""
    faults: list[Cause] = []
    _validate(schema.of(message), message, "", faults)
    return faults


def changed_immutable(old: Message, new: Message) -> list[Cause]:
    """Faults for fields of the top level whose `immutable` rule the change breaks."""
    return [
        Cause(item.name, "field is immutable")
        for item in schema.of(new).fields.values()
        if item.rules.immutable and getattr(old, item.name) != getattr(new, item.name)
    ]


@cache
def _ruled(full_name: str) -> tuple[Field, ...]:
    """The fields of a message that have a rule somewhere in them; the walk skips the rest."""
    spec = _BY_NAME[full_name]
    return tuple(item for item in spec.fields.values() if item.rules.ByteSize() or _nested(item))


def _nested(item: Field) -> bool:
    if item.message is None:
        return False
    _BY_NAME[item.message.full_name] = item.message
    return bool(_ruled(item.message.full_name))


_BY_NAME: dict[str, Schema] = {}


def _walk(spec: Schema) -> tuple[Field, ...]:
    _BY_NAME.setdefault(spec.full_name, spec)
    return _ruled(spec.full_name)


def _default(spec: Schema, message: Any) -> None:
    for item in _walk(spec):
        if item.rules.default and not _present(item, message):
            setattr(message, item.name, manifest.resolve(item.rules.default))
        elif item.message is not None and not item.map and not item.unsupported and _present(item, message):
            value = getattr(message, item.name)
            for nested in value if item.repeated else (value,):
                _default(item.message, nested)


def _present(item: Field, message: Any) -> bool:
    if item.repeated or item.map or not item.presence:
        return bool(getattr(message, item.name))
    present: bool = message.HasField(item.name)
    return present


def _validate(spec: Schema, message: Any, path: str, faults: list[Cause]) -> None:
    for item in _walk(spec):
        here = path if item.inline else join(path, item.name)
        if not _present(item, message):
            if item.required:
                faults.append(Cause(here, "Required value", "FieldValueRequired"))
        elif item.unsupported:
            faults.append(Cause(here, "Pinnace does not support this field yet", "FieldValueNotSupported"))
        elif item.repeated:
            for index, value in enumerate(getattr(message, item.name)):
                _check(item, value, f"{here}[{index}]", faults)
        elif not item.map:
            _check(item, getattr(message, item.name), here, faults)


def _check(item: Field, value: Any, path: str, faults: list[Cause]) -> None:
    if item.message is not None:
        _validate(item.message, value, path, faults)
        return
    rules = item.rules
    if rules.enum and value and value not in rules.enum:
        allowed = ", ".join(f'"{choice}"' for choice in rules.enum)
        faults.append(Cause(path, f"Unsupported value: {codec.describe(value)}: supported values: {allowed}"))
    if rules.HasField("minimum") and value < rules.minimum:
        faults.append(Cause(path, f"Invalid value: {value}: must be at least {rules.minimum}"))
    if rules.HasField("maximum") and value > rules.maximum:
        faults.append(Cause(path, f"Invalid value: {value}: must be at most {rules.maximum}"))
    if rules.format and value:
        wrong = FORMATS[rules.format](value)
        if wrong:
            faults.append(Cause(path, f"Invalid value: {codec.describe(value)}: {wrong}"))

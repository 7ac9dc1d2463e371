"""`RUN --mount`: its options, as BuildKit has them (frontend/dockerfile/instructions/commands_runmount.go). Pure."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

from nodeagent.building.errors import BuildError
from nodeagent.building.flags import suggestion
from pinnace import dockerunits

Kind = Literal["bind", "cache", "tmpfs", "secret"]
Sharing = Literal["shared", "private", "locked"]
MAX_OPTIONS = 64
_KINDS, _SHARINGS = ("bind", "cache", "tmpfs", "secret"), ("shared", "private", "locked")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_FLAGS = ("readonly", "readwrite", "required")
_KEYS = (
    "type", "from", "source", "target", "id", "sharing", "size", "mode", "uid", "gid", "env", *_FLAGS,
)  # fmt: skip
_ID = re.compile(r"[0-9]{1,10}")
_MODE = re.compile(r"[0-7]{1,5}")
MAX_ID = 0xFFFFFFFE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMount:
    """`source` is a path in what is mounted, `origin` a stage or an image (empty: the context), `size` in bytes (0: the
    default). `env` is the variable that a secret is given in; None: a file at `target` only."""

    kind: Kind = "bind"
    origin: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = True
    size: int = 0
    id: str = ""
    sharing: Sharing = "shared"
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def secret_id(self) -> str:
        return self.source or self.id or posixpath.basename(self.target)

    @property
    def cache_id(self) -> str:
        return self.id or posixpath.normpath(self.target)


def parse(text: str, line: int, expand: Callable[[str], str] = lambda word: word) -> RunMount:
    """`expand` replaces the variables of a value. Raises BuildError."""
    options = dict(_options(text, line, expand))
    kind = _kind(options.pop("type", "bind"), line)
    for key, kinds in (("required", ("secret",)), ("size", ("tmpfs",)), ("sharing", ("cache",))):
        if key in options and kind not in kinds:
            raise BuildError(f"--mount: unexpected key '{key}' for mount type '{kind}'", line)
    for key in ("mode", "uid", "gid"):
        if key in options and kind not in ("secret", "cache"):
            raise BuildError(f"--mount: {key} not allowed for '{kind}' type mounts", line)
    mount = RunMount(
        kind=kind, origin=options.get("from", ""), source=options.get("source", ""), target=options.get("target", ""),
        read_only=_read_only(kind, options, line), size=_size(options.get("size", "0"), line), id=options.get("id", ""),
        sharing=_sharing(options.get("sharing", "shared"), line), env=options.get("env"),
        required=_boolean("required", options.get("required", "false"), line),
        mode=_number("mode", options["mode"], _MODE, 8, line) if "mode" in options else None,
        uid=_number("uid", options["uid"], _ID, 10, line) if "uid" in options else None,
        gid=_number("gid", options["gid"], _ID, 10, line) if "gid" in options else None,
    )  # fmt: skip
    return _checked(mount, line)


def origin_of(text: str, line: int) -> str:
    """The stage or image that a mount is from, before variables are known. Raises BuildError."""
    origin = dict(_options(text, line, lambda word: word)).get("from", "")
    if "$" in origin[:-1]:
        raise BuildError("--mount: 'from' doesn't support variable expansion, define alias stage instead", line)
    return origin


def _options(text: str, line: int, expand: Callable[[str], str]) -> list[tuple[str, str]]:
    try:
        [fields] = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise BuildError(f"--mount={text[:60]}: {error}", line) from None
    if len(fields) > MAX_OPTIONS:
        raise BuildError(f"--mount has more than {MAX_OPTIONS} options", line)
    found = []
    for option in fields:
        name, equals, value = option.partition("=")
        key = _ALIASES.get(name.lower(), name.lower())
        if key not in _KEYS:
            hint = suggestion(key, (*_KEYS, *_ALIASES))
            raise BuildError(f"--mount: unexpected key '{name[:40]}' in '{option[:60]}'{hint}", line)
        if not equals and key not in _FLAGS:
            raise BuildError(f"--mount: invalid field '{option[:60]}' must be a key=value pair", line)
        found.append((key, expand(value) if equals and key != "from" else value or "true"))
    return found


def _kind(text: str, line: int) -> Kind:
    kind = text.lower()
    if kind == "ssh":
        raise BuildError("--mount=type=ssh is not supported: no agent of the client is forwarded; use type=secret", line)
    if kind not in _KINDS:
        raise BuildError(f'--mount: unsupported mount type "{text[:40]}"{suggestion(kind, _KINDS)}', line)
    return cast(Kind, kind)


def _sharing(text: str, line: int) -> Sharing:
    if text.lower() not in _SHARINGS:
        raise BuildError(f'--mount: unsupported sharing value "{text[:40]}"{suggestion(text.lower(), _SHARINGS)}', line)
    return cast(Sharing, text.lower())


def _boolean(key: str, text: str, line: int) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise BuildError(f"--mount: invalid value for {key}: {text[:40]}", line)


def _read_only(kind: Kind, options: dict[str, str], line: int) -> bool:
    """The one that is given last counts; without any, caches and tmpfs are writable."""
    found = kind not in ("cache", "tmpfs")
    for key in options:
        if key == "readonly":
            found = _boolean(key, options[key], line)
        elif key == "readwrite":
            found = not _boolean(key, options[key], line)
    return found


def _number(key: str, text: str, pattern: re.Pattern[str], base: int, line: int) -> int:
    if not pattern.fullmatch(text) or int(text, base) > MAX_ID:
        raise BuildError(f"--mount: invalid value {text[:40]} for {key}", line)
    return int(text, base)


def _size(text: str, line: int) -> int:
    try:
        return dockerunits.ram_bytes(text)
    except ValueError:
        raise BuildError(f"--mount: invalid value for size: {text[:40]}", line) from None


def _checked(mount: RunMount, line: int) -> RunMount:
    if mount.kind == "secret":
        if mount.origin:
            raise BuildError("--mount: secret mount should not have a from", line)
        if not mount.secret_id:
            raise BuildError("--mount: invalid secret mount. one of source, target required", line)
        if mount.source and mount.id:
            raise BuildError("--mount: both source and id can't be set", line)
        if not mount.target and mount.env is None:
            return replace(mount, target=f"/run/secrets/{posixpath.basename(mount.secret_id)}")
    elif not mount.target:
        raise BuildError(f"--mount: a {mount.kind} mount needs a target", line)
    return mount

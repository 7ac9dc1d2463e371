"""Config maps and secrets from literals, files and environment files.

Source: kubectl's pkg/cmd/create (create_configmap.go, create_secret.go), pkg/cmd/util/env_file.go and pkg/util/hash.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Any

from cli.creating.workloads import split
from pinnace import fielderrors, formats
from pinnace.errors import BadRequest

# Bytes of a file, several times as many as an object may have.
MAX_FILE = 4 << 20
PIECE = 64 << 10
# Vowels, and what looks like one, become consonants in the suffix of a name.
_CONSONANTS = str.maketrans("013ae", "ghkmt")
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def add_sources(parser: Any) -> None:
    parser.add_argument("--from-literal", action="append", default=[], metavar="KEY=VALUE", help="key and value (repeatable)")
    add_files(parser)
    parser.add_argument(
        "--from-env-file", action="append", default=[], metavar="PATH", help="file of KEY=VALUE lines (repeatable)"
    )  # fmt: skip
    add_hash(parser)


def add_files(parser: Any) -> None:
    parser.add_argument(
        "--from-file", action="append", default=[], metavar="[KEY=]PATH",
        help="comma-separated files or directories; KEY defaults to the file name (repeatable)",
    )  # fmt: skip


def add_hash(parser: Any) -> None:
    parser.add_argument("--append-hash", action="store_true", help="append a hash of the content to the name")


class Data:
    """Values by key, each key once. `kind` as errors name the object."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.found: dict[str, bytes] = {}

    def put(self, key: str, value: bytes) -> None:
        """Raises BadRequest."""
        if errors := formats.config_key(key):
            raise BadRequest(f"{fielderrors.quoted(key[:80])} is not a valid key name for a {self._kind}: {','.join(errors)}")
        if key in self.found:
            raise BadRequest(f'cannot add key "{key}", another key by that name already exists')
        self.found[key] = value

    def add_literals(self, items: list[str]) -> None:
        """Raises BadRequest."""
        for item in items:
            key, sign, text = item.partition("=")
            if not sign or not key:
                raise BadRequest(f"invalid literal source {item[:80]}, expected key=value")
            self.put(key, text.encode())

    def add_files(self, items: list[str], *, key: str = "") -> None:
        """`key` is that of items without one, by default the name of the file. Raises BadRequest."""
        for item in items:
            name, path = _file_source(item)
            if path.is_dir():
                if name:
                    raise BadRequest("cannot give a key name for a directory path")
                for entry in _entries(path):
                    self.put(entry.name, read(entry))
            else:
                self.put(name or key or path.name, read(path))

    def add_env_files(self, paths: list[str]) -> None:
        """A key without a value has that of this process's environment. Raises BadRequest."""
        for path in paths:
            if Path(path).is_dir():
                raise BadRequest("env config file cannot be a directory")
            for number, line in enumerate(read(Path(path)).split(b"\n"), 1):
                self._add_line(path, number, line.removesuffix(b"\r"))

    def _add_line(self, path: str, number: int, line: bytes) -> None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"env file {path} contains invalid utf8 bytes at line {number}") from None
        text = (text.removeprefix("\ufeff") if number == 1 else text).lstrip()
        if not text or text.startswith("#"):
            return
        key, sign, value = text.partition("=")
        if errors := formats.plain_env_name(key):
            raise BadRequest(f"{fielderrors.quoted(key[:80])} is not a valid key name: {';'.join(errors)}")
        self.put(key, (value if sign else os.environ.get(key, "")).encode())


def _file_source(item: str) -> tuple[str, Path]:
    """Key, empty without one, and path of `[KEY=]PATH`. Raises BadRequest."""
    key, sign, path = item.partition("=")
    if not sign:
        return "", Path(item)
    if "=" in path:
        raise BadRequest("key names or file paths cannot contain '='")
    if not key or not path:
        missing = f"key name for file path {path}" if not key else f"file path for key name {key}"
        raise BadRequest(f"{missing} missing")
    return key, Path(path)


def _entries(path: Path) -> list[Path]:
    """Regular files of a directory, by name. Raises BadRequest."""
    try:
        return [entry for entry in sorted(path.iterdir()) if entry.is_file() and not entry.is_symlink()]
    except OSError as error:
        raise BadRequest(f"error listing files in {path}: {error.strerror}") from None


def read(path: Path) -> bytes:
    """Raises BadRequest."""
    try:
        # In pieces: files of /proc/sys refuse to be read by more than some megabytes.
        with path.open("rb") as file:
            data = b"".join(itertools.islice(iter(lambda: file.read(PIECE), b""), MAX_FILE // PIECE + 1))
    except OSError as error:
        raise BadRequest(f"error reading {path}: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise BadRequest(f"error reading {path}: more than {MAX_FILE} bytes")
    return data


def collected(args: Any, kind: str) -> dict[str, bytes]:
    """What the flags of `add_sources` name. Raises BadRequest."""
    if args.from_env_file and (args.from_file or args.from_literal):
        raise BadRequest("from-env-file cannot be combined with from-file or from-literal")
    data = Data(kind)
    data.add_files(split(args.from_file))
    data.add_literals(args.from_literal)
    data.add_env_files(split(args.from_env_file))
    return data.found


def config_map(args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest."""
    texts, binary = dict[str, str](), dict[str, str]()
    for key, value in collected(args, "ConfigMap").items():
        try:
            texts[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = encoded(value)
    content = {"data": texts, **({"binaryData": binary} if binary else {})}
    found: dict[str, Any] = {key: value for key, value in content.items() if value}
    return named(found, args, {**content, "kind": "ConfigMap"})


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def named(value: dict[str, Any], args: Any, hashed: dict[str, Any]) -> dict[str, Any]:
    """The object; its name ends with a hash of `hashed` where flags ask for it."""
    if not args.append_hash:
        return value
    return {"metadata": {"name": f"{args.name}-{suffix({**hashed, 'name': args.name})}"}, **value}


def suffix(value: dict[str, Any]) -> str:
    """Ten characters of a hash of a value, as kubectl and kustomize make them."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character, escape in _ESCAPED.items():
        text = text.replace(character, escape)
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_CONSONANTS)

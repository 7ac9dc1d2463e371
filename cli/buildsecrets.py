"""`kctl image build --secret`: what the Dockerfile's RUN --mount=type=secret may read, as docker build takes it."""

from __future__ import annotations

import csv
import os
from collections.abc import MutableMapping

from pinnace.errors import BadRequest

MAX_SECRET = 500 << 10
_ALIASES = {"src": "source"}


def read(words: list[str], secrets: MutableMapping[str, bytes]) -> str:
    """Add the secrets that `words` describe; returns the pull secret among them, a word that is a plain name.

    Raises BadRequest.
    """
    pull_secret = ""
    for word in words:
        if "=" not in word:
            if pull_secret:
                raise BadRequest(f"--secret {word}: the pull secret is {pull_secret} already")
            pull_secret = word
            continue
        options = _options(word)
        secret = options.get("id", "")
        if not secret:
            raise BadRequest(f"--secret {word}: id=ID is missing")
        secrets[secret] = _value(secret, options, word)
    return pull_secret


def _options(word: str) -> dict[str, str]:
    try:
        [fields] = csv.reader([word], strict=True)
    except (csv.Error, ValueError) as error:
        raise BadRequest(f"--secret {word}: {error}") from None
    found = {}
    for field in fields:
        name, equals, value = field.partition("=")
        key = _ALIASES.get(name.lower(), name.lower())
        if key not in ("id", "source", "env", "type") or not equals:
            raise BadRequest(f"--secret {word}: unexpected '{field}' (id, src and env are known)")
        found[key] = value
    if found.get("type", "file") not in ("file", "env"):
        raise BadRequest(f"--secret {word}: unsupported type '{found['type']}' (file or env)")
    return found


def _value(secret: str, options: dict[str, str], word: str) -> bytes:
    """Of a file, or of a variable; by default of the variable that is called as the secret, else of the file."""
    source, variable = options.get("source", ""), options.get("env", "")
    if options.get("type") == "env" and not variable:
        source, variable = "", source or secret
    if not source and not variable and secret in os.environ:
        variable = secret
    if variable:
        if variable not in os.environ:
            raise BadRequest(f"--secret {word}: the variable {variable} is not set")
        data = os.environb[os.fsencode(variable)]
    else:
        data = _file(os.path.expanduser(source or secret), word)
    if len(data) > MAX_SECRET:
        raise BadRequest(f"--secret {word}: larger than {MAX_SECRET >> 10} KiB")
    return data


def _file(path: str, word: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_SECRET + 1)
    except OSError as error:
        raise BadRequest(f"--secret {word}: {path}: {error.strerror}") from None

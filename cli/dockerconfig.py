"""Credentials for registries from this machine's own files, as docker, podman and skopeo keep them.

The files are $REGISTRY_AUTH_FILE alone where it is set, else podman's auth.json and docker's config.json. Neither a program's
arguments nor a message has a secret. Source: docker's config.json, docker-credential-helpers' README, containers-auth.json(5).
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pinnace.errors import BadRequest
from pinnace.oci.reference import DOCKER_HUB, BadReference, Reference, parse

# Bytes of a file, and of what a helper prints; seconds that a helper has, which may wait for the user to unlock a key.
MAX_FILE, MAX_ANSWER, HELPER_WITHIN = 1 << 20, 64 << 10, 60.0
# Docker's own name of its registry, in files and for helpers.
_HUB = "https://index.docker.io/v1/"
_HUB_HOSTS = ("index.docker.io", "registry-1.docker.io")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# By which a helper names a token of OAuth instead of a user.
_TOKEN = "<token>"

Entries = dict[str, dict[str, str]]


def for_images(names: Iterable[str], environment: Mapping[str, str], *, within: float = HELPER_WITHIN) -> bytes:
    """A Docker configuration with the credentials for the registries of these images and no others; empty without any.

    `within` is the time of one helper in seconds. Raises BadRequest."""
    references = _references(names)
    files = [found for path in _paths(environment) if (found := _read(path)) is not None]
    auths: Entries = {}
    for host in dict.fromkeys(reference.host for reference in references):
        for path, config in files:
            entries = _of_host(path, config, host, environment, within)
            if entries:
                auths |= entries
                break
    return json.dumps({"auths": auths}).encode() if auths else b""


def _references(names: Iterable[str]) -> list[Reference]:
    """Those that are names of images; the node refuses the others."""
    out = []
    for name in names:
        try:
            out.append(parse(name))
        except BadReference:
            continue
    return out


def _paths(environment: Mapping[str, str]) -> Iterator[Path]:
    """Raises BadRequest for a file that was named and is absent."""
    named = environment.get("REGISTRY_AUTH_FILE")
    if named:
        if not Path(named).is_file():
            raise BadRequest(f"REGISTRY_AUTH_FILE: {named}: no such file")
        yield Path(named)
        return
    if environment.get("XDG_RUNTIME_DIR"):
        yield Path(environment["XDG_RUNTIME_DIR"], "containers", "auth.json")
    home = environment.get("HOME")
    if environment.get("DOCKER_CONFIG"):
        yield Path(environment["DOCKER_CONFIG"], "config.json")
    elif home:
        yield Path(home, ".docker", "config.json")


def _read(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """None: there is no such file. Raises BadRequest."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        value = json.loads(data) if len(data) <= MAX_FILE else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadRequest(f"{path}: is not a Docker configuration (a JSON object of at most {MAX_FILE >> 20} MiB)")
    return path, value


def _of_host(path: Path, config: dict[str, Any], host: str, environment: Mapping[str, str], within: float) -> Entries:
    """From the helper of the host, the store of all, or the file itself, in docker's order."""
    helpers = config.get("credHelpers")
    server = _HUB if host == DOCKER_HUB else host
    helper = _helper_of(helpers, host) or config.get("credsStore")
    if helper:
        found = _ask(path, helper, server, environment, within)
        if found is not None:
            return {server: found}
    auths = config.get("auths")
    entries = auths.items() if isinstance(auths, dict) else ()
    return {key: _usable(path, key, entry) for key, entry in entries if _host_of(key) == host and _is_filled(entry)}


def _helper_of(helpers: Any, host: str) -> Any:
    if not isinstance(helpers, dict):
        return None
    return next((name for key, name in helpers.items() if _host_of(key) == host), None)


def _host_of(key: str) -> str:
    host = urlsplit(key if "://" in key else f"https://{key}").netloc
    return DOCKER_HUB if host in _HUB_HOSTS else host


def _is_filled(entry: Any) -> bool:
    """Docker leaves an empty entry where a helper has the credential."""
    return isinstance(entry, dict) and any(entry.get(name) for name in ("auth", "username", "identitytoken"))


def _usable(path: Path, key: str, entry: dict[str, Any]) -> dict[str, str]:
    if entry.get("identitytoken"):
        raise _no_token(f"{path}: {key}")
    return {name: str(entry[name]) for name in ("auth", "username", "password") if entry.get(name)}


def _ask(path: Path, helper: Any, server: str, environment: Mapping[str, str], within: float) -> dict[str, str] | None:
    """What a credential helper has for a server; None: nothing. Raises BadRequest."""
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise BadRequest(f"{path}: the name of a credential helper is not valid")
    name = f"docker-credential-{helper}"
    program = shutil.which(name, path=environment.get("PATH"))
    if program is None:
        raise BadRequest(f"{name}: executable file not found in $PATH (named by {path})")
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=within, check=False, env=dict(environment),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        # Without the context, which has the output.
        raise BadRequest(f"{name} has not answered within {within:.0f} s") from None
    except OSError as error:
        raise BadRequest(f"{name}: {error.strerror}") from None
    if done.returncode:
        if b"credentials not found" in done.stdout:
            return None
        raise BadRequest(f"{name} get failed with exit code {done.returncode} for {server}")
    return _answer(name, done.stdout)


def _answer(name: str, output: bytes) -> dict[str, str]:
    try:
        value = json.loads(output) if len(output) <= MAX_ANSWER else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("Username"), str) or not isinstance(value.get("Secret"), str):
        raise BadRequest(f"{name} get did not print a credential in JSON")
    if value["Username"] == _TOKEN:
        raise _no_token(name)
    pair = f"{value['Username']}:{value['Secret']}"
    return {"auth": base64.b64encode(pair.encode()).decode()}


def _no_token(where: str) -> BadRequest:
    return BadRequest(f"{where}: identity tokens are not supported; use a user and a password or an access token (--secret)")

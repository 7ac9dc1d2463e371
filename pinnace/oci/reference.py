"""Image names, as Docker and containerd read them: `busybox` is `docker.io/library/busybox:latest`.

Source: the grammar of distribution/reference and the OCI distribution-spec ("Pulling manifests").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?\Z")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_MAX_NAME = 255


class BadReference(ValueError):
    """Text that names no image."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name in full. With a `digest` the tag is only decoration, and is left out."""

    host: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.host}/{self.repository}"

    @property
    def version(self) -> str:
        """What a registry is asked for."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse(text: str) -> Reference:
    """Raises BadReference."""
    name, at, digest = normalise(text).partition("@")
    host, _, rest = name.partition("/")
    head, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    repository = f"{head}{slash}{last}"
    if not _HOST.match(host) or not _REPOSITORY.match(repository) or len(f"{host}/{repository}") > _MAX_NAME:
        hint = " (repository names are lower case)" if repository != repository.lower() else ""
        raise BadReference(f'"{text[:200]}" is not the name of an image{hint}')
    if (tag or not at) and not _TAG.match(tag):
        raise BadReference(f'"{text[:200]}" has no valid tag')
    if at and not is_digest(digest):
        raise BadReference(f'"{text[:200]}" has no valid digest: sha256: and 64 of 0-9a-f')
    return Reference(host, repository, "" if at else tag, digest)


def is_digest(text: str) -> bool:
    return _DIGEST.match(text) is not None


def normalise(text: str) -> str:
    """The full form of a name, which need not be valid."""
    name, at, digest = text.partition("@")
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = DOCKER_HUB, name
    if host == "index.docker.io":
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    if not at and ":" not in rest.rpartition("/")[2]:
        rest += ":latest"
    return f"{host}/{rest}{at}{digest}"


def familiar(text: str) -> str:
    """The short form that people write."""
    return text.removeprefix("docker.io/").removeprefix("library/")

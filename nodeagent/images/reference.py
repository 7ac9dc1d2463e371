"""Image names, normalised as Docker and containerd do: `busybox` is `docker.io/library/busybox:latest`."""

from __future__ import annotations


def normalise(text: str) -> str:
    name, at, digest = text.partition("@")
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "docker.io", name
    if host == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    if not at and ":" not in rest.rpartition("/")[2]:
        rest += ":latest"
    return f"{host}/{rest}{at}{digest}"


def familiar(text: str) -> str:
    """The short form that people write."""
    return text.removeprefix("docker.io/").removeprefix("library/")

"""A kubeconfig for other clients of the cluster, such as kubectl and Helm: which file, and a context in it.

Everything else in the file stays. Source: clientcmd of k8s.io/client-go, from which the choice of the file, its form and the
lock file are.
"""

from __future__ import annotations

import contextlib
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli import contexts
from cli.contexts import Context
from pinnace.errors import BadRequest

# Seconds to wait for another program that changes the file.
LOCKED_WITHIN = 5.0


def path(flag: str = "") -> Path:
    """The file to change: `flag`, the first that exists in $KUBECONFIG or else its last, or ~/.kube/config. Raises BadRequest
    without a home directory."""
    if flag:
        return Path(flag)
    listed = [Path(item) for item in os.environ.get("KUBECONFIG", "").split(os.pathsep) if item]
    if listed:
        return next((item for item in listed if item.exists()), listed[-1])
    try:
        return Path.home() / ".kube" / "config"
    except RuntimeError:
        raise BadRequest("there is no home directory: set KUBECONFIG, or use --kubeconfig FILE") from None


def document(context: Context, server: str) -> dict[str, Any]:
    """A kubeconfig with one context. `server` is an https:// URL."""

    def encoded(data: bytes) -> str:
        return b64encode(data).decode()

    name = context.name
    cluster = {"server": server, "certificate-authority-data": encoded(context.ca)}
    user = {"client-certificate-data": encoded(context.certificate), "client-key-data": encoded(context.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": context.namespace}}],
        "current-context": name,
    }


def write(file: Path, added: dict[str, Any]) -> None:
    """Put the one context of `added` into a file, and make it the current one. Raises BadRequest."""
    with _locked(file):
        config = contexts.load(file)
        for kind in contexts.KINDS:
            [item] = added[kind]
            contexts.put(config, kind, item["name"], kind[:-1], item[kind[:-1]])
        config |= {"apiVersion": "v1", "kind": "Config", "current-context": added["current-context"]}
        contexts.save(file, config)


def remove(file: Path, name: str) -> None:
    """Take a context with its cluster and user out of a file. Raises BadRequest."""
    if not file.exists():
        return
    with _locked(file):
        config = contexts.load(file)
        if any(item["name"] == name for kind in contexts.KINDS for item in config[kind]):
            contexts.drop(config, name)
            contexts.save(file, config)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """kubectl's lock: a second file next to it. Raises BadRequest when another program holds it."""
    lock = file.with_name(f"{file.name}.lock")
    deadline = time.monotonic() + LOCKED_WITHIN
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise BadRequest(f"{file} is locked by another program (if there is none, remove {lock})") from None
            time.sleep(0.05)
        except OSError as error:
            raise BadRequest(f"{file} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)

"""kctl's own certificate: replaced when two thirds of its lifetime are over, by any command that finds it so, also while it
runs (`Renewed`).

On the control plane's machine, and in a lab, the control plane keeps its administrator's context fresh, and kctl takes the
certificate from there, even when its own has expired. Elsewhere it asks the control plane for a new one, which needs one
that is still valid. A configuration that kctl cannot write, or that names files instead of holding the certificate, is left
to its owner.
"""

from __future__ import annotations

import base64
import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cli import contexts
from cli.contexts import Context
from pinnace import certificate
from pinnace.errors import ApiError, BadRequest, Unauthenticated

# Seconds for the request: the command that was meant has to wait for it.
WITHIN = 5.0
# Part of the lifetime that is left when a renewal that fails is worth a warning.
URGENT = 0.1
# Seconds between tries of one command.
MIN_RETRY, MAX_RETRY = 1.0, 3600.0
LABS = Path("/var/lib/pinnace/labs")


def fresh(context: Context, file: Path) -> Context:
    """The context with a certificate that lasts: `context` itself, unless it was time for a new one.

    Raises Unauthenticated when the certificate has expired and there is no new one here."""
    try:
        validity = certificate.validity(context.certificate)
    except ValueError as error:
        raise BadRequest(f'the client certificate of context "{context.name}" in {file}: {error}') from None
    now = time.time()
    if now < validity.renewal:
        return context
    found, problem = _renewed(context, file, expired=now > validity.end)
    if found is not None:
        return found
    if now > validity.end:
        raise Unauthenticated(
            f'the client certificate of context "{context.name}" in {file} expired on '
            f"{datetime.fromtimestamp(validity.end, UTC):%Y-%m-%d %H:%M} UTC: copy admin.yaml from the control plane again"
        )
    if problem and validity.end - now < (validity.end - validity.start) * URGENT:
        days = (validity.end - now) / 86_400
        print(
            f"warning: the client certificate expires in {days:.1f} days and could not be renewed: {problem}", file=sys.stderr
        )
    return context


class Renewed:
    """A context for a command that may outlast its certificate. For several threads."""

    def __init__(self, context: Context, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._context = context
        # When to look for another certificate, in seconds since the epoch.
        self._next = 0.0

    def context(self) -> Context:
        """With a certificate that lasts; most calls return at once. Raises as `fresh`."""
        if time.time() < self._next:
            return self._context
        with self._lock:
            if time.time() >= self._next:
                self._context = fresh(self._context, self._file)
                self._next = self._due(time.time())
            return self._context

    def _due(self, now: float) -> float:
        """Where there is no new certificate yet: ten times more, but not with every call."""
        validity = certificate.validity(self._context.certificate)
        return max(validity.renewal, now + min(max((validity.end - now) / 10, MIN_RETRY), MAX_RETRY))


def _renewed(context: Context, file: Path, *, expired: bool) -> tuple[Context | None, str]:
    """The context with a new certificate, stored; or None and the reason."""
    try:
        # Its owner may have renewed it: another command, the control plane its own, a user files that are named.
        if (now := _current(context, file)).certificate != context.certificate:
            return now, ""
        if (file.parent / "pki/ca.key").exists():
            return None, ""
        with _locked(file):
            user = _user(context, file)
            if user is None:
                return None, f"{file} does not hold the certificate itself"
            if (now := _current(context, file)).certificate != context.certificate:
                return now, ""
            pair = _of_control_plane(context) or (None if expired else _asked_for(context))
            if pair is None:
                return None, ""
            _store(context, file, user, pair)
    except ApiError as error:
        return None, error.message
    except OSError as error:
        return None, f"{file}: {error.strerror or error}"
    return pair, ""


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Of several commands that find the certificate old, one renews it. Raises OSError where nothing can be written."""
    descriptor = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _user(context: Context, file: Path) -> str | None:
    """The user entry that holds the context's certificate; None when it names files."""
    config = contexts.load(file)
    name = str(contexts.entry(config, "contexts", context.name).get("user") or "")
    body = contexts.entry(config, "users", name)
    return name if body.get("client-certificate-data") and body.get("client-key-data") else None


def _current(context: Context, file: Path) -> Context:
    """The context as it is in the file now: another command may have renewed it meanwhile."""
    return contexts.current(SimpleNamespace(config=str(file), context=context.name, namespace=context.namespace))


def _of_control_plane(context: Context) -> Context | None:
    """The administrator's certificate in the files of a control plane on this machine, when it is of the same cluster, of the
    same user and newer."""
    from pinnace import pki

    lab = context.name.removeprefix("lab-")
    for path in (contexts.ADMIN, LABS / lab / "control/admin.yaml"):
        if not os.access(path, os.R_OK):
            continue
        try:
            found = contexts.current(SimpleNamespace(config=str(path), context="", namespace=context.namespace))
            newer = certificate.validity(found.certificate).end > certificate.validity(context.certificate).end
        except (ApiError, ValueError):
            continue
        if found.ca == context.ca and newer and pki.subject(found.certificate) == pki.subject(context.certificate):
            return replace(context, certificate=found.certificate, key=found.key)
    return None


def _asked_for(context: Context) -> Context:
    """With a certificate that the control plane has issued for a new key. Raises ApiError."""
    from cli.client import Client
    from pinnace import csr, pki
    from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

    user, groups = pki.subject(context.certificate)
    request = csr.new(user, groups)
    client = Client(context)
    try:
        stub = cluster_pb2_grpc.ClusterStub(client.channel)
        asked = cluster_pb2.RenewClientCertificateRequest(csr=request.certificate)
        answer = client.call(stub.RenewClientCertificate, asked, timeout=WITHIN)
    finally:
        client.channel.close()
    try:
        made = pki.Pair(certificate.canonical(answer.certificate), request.key)
        good = pki.matches(made) and pki.signed_by(made.certificate, context.ca)
    except ValueError:
        good = False
    if not good:
        raise Unauthenticated("the control plane sent no certificate for the key that was made for it")
    return replace(context, certificate=made.certificate, key=made.key)


def _store(context: Context, file: Path, user: str, pair: Context) -> None:
    """Raises OSError, ApiError."""
    config = contexts.load(file)
    body: dict[str, Any] = contexts.entry(config, "users", user)
    for key, value in (("client-certificate-data", pair.certificate), ("client-key-data", pair.key)):
        body[key] = base64.b64encode(value).decode()
    contexts.put(config, "users", user, "user", body)
    contexts.save(file, config)

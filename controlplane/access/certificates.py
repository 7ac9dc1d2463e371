"""The control plane's own certificates: the CA, the server's, and the administrator's context, renewed while it runs.

The CA is made on the first start, lasts ten years and is never replaced by itself, because every node and client trusts
exactly it: deploy/README.md says how to replace it, and warnings begin a year before its end. The server's and the
administrator's certificates are replaced after two thirds of their lifetime. New connections get the new server
certificate; open ones are not touched.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from controlplane import metrics
from controlplane.access.identity import MASTERS
from pinnace import certificate, pki
from pinnace.clock import Clock
from pinnace.errors import Internal, Invalid
from pinnace.manifest import writing
from pinnace.pki import Pair

log = logging.getLogger("pinnace.certificates")
# What clients on this machine and in pods call the server (Kubernetes' names of the API's Service).
_NAMES = (
    pki.SERVER_NAME, "localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
)  # fmt: skip
ADMINISTRATOR = "kubernetes-admin"
# Seconds: how often the time is compared, because a machine may sleep and its clock may be set; until another try after a
# failure; and before the CA's end that warnings begin.
PERIOD, RETRY, CA_WARNING = 3600.0, 60.0, 365 * pki.DAY


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Of certificates, in seconds."""

    server: float = pki.SERVER_LIFETIME
    admin: float = pki.ADMIN_LIFETIME


class Certificates:
    def __init__(
        self, folder: Path, clock: Clock, *, endpoint: str, lifetimes: Lifetimes, host: str = "", rest: str = "",
        names: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Read or make everything under `folder`; `endpoint` is what the administrator's context dials, `rest` the URL of the
        REST API, `host` what other machines dial, and `names` further names and addresses of the server. Raises Invalid."""
        self._folder = folder
        self._clock = clock
        self._endpoint = endpoint
        self._lifetimes = lifetimes
        self._rest = rest
        self._hosts = tuple(dict.fromkeys(name for name in (*_NAMES, *names, socket.gethostname(), host) if name))
        self.ca = self._read_ca()
        self.server = self._current("server", self._issue_server, hosts=self._hosts)
        self._tls = self._tls_context()
        self._write_admin()

    def _read_ca(self) -> Pair:
        now, stem = self._clock.now(), self._folder / "ca"
        ensure_ca(self._folder, now)
        try:
            ca = _read(stem)
            matching = pki.matches(ca)
        except FileNotFoundError as error:
            raise Invalid(f"{error.filename} is missing: restore it, or on a cluster without nodes remove {stem}.*") from None
        except ValueError as error:
            raise Invalid(f"{stem}.crt: {error}") from None
        if not matching:
            raise Invalid(f"{stem}.key is not the key of {stem}.crt: restore both from the same backup")
        end = certificate.validity(ca.certificate).end
        if now >= end:
            raise Invalid(
                f"{self._folder}/ca.crt expired {now - end:.0f} s ago: deploy/README.md, The CA, says how to replace it"
            )
        return ca

    def _issue_server(self, now: float) -> Pair:
        return pki.issue(self.ca, pki.SERVER_NAME, (), now=now, lifetime=self._lifetimes.server, hosts=self._hosts)

    def _issue_admin(self, now: float) -> Pair:
        return pki.issue(self.ca, ADMINISTRATOR, (MASTERS,), now=now, lifetime=self._lifetimes.admin)

    def _current(self, name: str, issue: Callable[[float], Pair], *, hosts: tuple[str, ...] = ()) -> Pair:
        """The pair in the files unless it is due for renewal, of another CA or not for all `hosts`; else a new one."""
        now, stem = self._clock.now(), self._folder / name
        try:
            pair = _read(stem)
            if self._is_good(pair, now) and pki.hosts_of(pair.certificate).issuperset(hosts):
                return pair
        except (FileNotFoundError, ValueError):
            pass
        pair = issue(now)
        _write(stem, pair)
        log.info("certificate_issued name=%s expires=%.0f", name, certificate.validity(pair.certificate).end)
        return pair

    def _is_good(self, pair: Pair, now: float) -> bool:
        validity = certificate.validity(pair.certificate)
        # One that is not valid yet was made while the clock was wrong.
        if not validity.start <= now < validity.renewal:
            return False
        return pki.matches(pair) and pki.signed_by(pair.certificate, self.ca.certificate)

    def _write_admin(self) -> None:
        admin = self._current("admin", self._issue_admin)
        content = context_file(self.ca, admin, self._endpoint, self._rest)
        path = self._folder.parent / "admin.yaml"
        if not path.exists() or path.read_bytes() != content:
            pki.write_private(path, content)

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            try:
                delay = await asyncio.to_thread(self.renew)
            except (OSError, Invalid, Internal) as error:
                log.error("certificate_renewal_failed error=%s", error)
                delay = RETRY
            await self._clock.sleep(delay)

    def renew(self) -> float:
        """Replace what is due; returns the seconds until the next look. Raises OSError."""
        server = self._current("server", self._issue_server, hosts=self._hosts)
        if server != self.server:
            self.server = server
            self._tls = self._tls_context()
        self._write_admin()
        now = self._clock.now()
        due = [self._observe(name, now) for name in ("ca", "server", "admin")]
        return max(min(PERIOD, *(moment - now for moment in due[1:])), 1.0)

    def _observe(self, name: str, now: float) -> float:
        """Publish when the certificate ends, and return when it is renewed."""
        validity = certificate.validity((self._folder / f"{name}.crt").read_bytes())
        metrics.certificate_expiry.labels(name).set(validity.end)
        if name == "ca" and validity.end - now < CA_WARNING:
            days = (validity.end - now) / pki.DAY
            log.warning("ca_expires days=%.0f action=%s", days, "replace it before: deploy/README.md, The CA")
        return validity.renewal

    def tls(self) -> ssl.SSLContext:
        """For a new connection to the HTTPS port."""
        return self._tls

    def _tls_context(self) -> ssl.SSLContext:
        """TLS 1.2 or later; a client certificate is verified when there is one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        # Strangers' connections are for one request, and clients keep theirs: there is nothing to resume.
        context.num_tickets = 0
        context.load_verify_locations(cadata=self.ca.certificate.decode())
        context.load_cert_chain(self._folder / "server.crt", self._folder / "server.key")
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """Of one gRPC port: a client certificate is required, and new connections get the present server certificate."""
        fetched = self.server

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            # On a thread of gRPC's. None keeps what the port has, and the TLS context that gRPC has made of it.
            nonlocal fetched
            if fetched is self.server:
                return None
            fetched = self.server
            return self._grpc_configuration()

        # The type stubs leave out that the callback may return None.
        return grpc.dynamic_ssl_server_credentials(
            self._grpc_configuration(),
            fetch,  # type: ignore[arg-type]
            require_client_authentication=True,
        )

    def _grpc_configuration(self) -> grpc.ServerCertificateConfiguration:
        pairs = [(self.server.key, self.server.certificate)]
        return grpc.ssl_server_certificate_configuration(pairs, root_certificates=self.ca.certificate)


def ensure_ca(folder: Path, now: float) -> None:
    """Make a CA where there is none. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(folder, 0o700)
    stem = folder / "ca"
    if not stem.with_suffix(".crt").exists() and not stem.with_suffix(".key").exists():
        _write(stem, pki.new_ca(now))


def _read(stem: Path) -> Pair:
    """NAME.crt and NAME.key. Raises FileNotFoundError; ValueError for a second certificate, which would be trusted too."""
    return Pair(certificate.canonical(stem.with_suffix(".crt").read_bytes()), stem.with_suffix(".key").read_bytes())


def _write(stem: Path, pair: Pair) -> None:
    """The key first: a certificate without its key could not be told from a lost key."""
    pki.write_private(stem.with_suffix(".key"), pair.key)
    pki.write_private(stem.with_suffix(".crt"), pair.certificate)


def context_file(ca: Pair, client: Pair, endpoint: str, rest: str = "") -> bytes:
    """A kctl configuration with one context, shaped like a kubeconfig. `rest`: the URL of the REST API, which other clients
    dial (`kctl config kubeconfig`); empty without one."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    cluster = {"server": endpoint, "certificate-authority-data": encoded(ca.certificate)}
    if rest:
        cluster["rest-server"] = rest
    user = {"client-certificate-data": encoded(client.certificate), "client-key-data": encoded(client.key)}
    config = {
        "apiVersion": "pinnace.dev/v1",
        "kind": "Config",
        "current-context": "default",
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "admin", "namespace": "default"}}],
        "clusters": [{"name": "default", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
    }
    return writing.dump(config).encode()

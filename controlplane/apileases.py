"""The addresses of control planes, as each of them announces its own: Leases `apiserver-...` in kube-system.

Where only one process can have the state open there is nothing to announce. Otherwise a control plane renews a Lease whose
holder is its address, and deletes it when it stops; the leader lists the addresses whose Leases change
(`controlplane.controllers.kubernetesservice`). Source: the lease reconciler of kube-apiserver (reconcilers/lease.go).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

from controlplane.store import Store, Tx, origin
from pinnace import codec, kinds
from pinnace.clock import Clock, suffix_of
from pinnace.coordination.v1.lease_pb2 import Lease
from pinnace.errors import ApiError
from pinnace.ipfamilies import NAMES, Family
from pinnace.wellknown import SYSTEM_NAMESPACE

log = logging.getLogger("pinnace.apileases")
PREFIX = "apiserver-"
IDENTITY_LABEL, IDENTITY = "apiserver.kubernetes.io/identity", "kube-apiserver"
# Seconds until an address whose Lease does not change is out of date, and between renewals.
DURATION, PERIOD = 15.0, 5.0
# Seconds for the deletion of the Lease on shutdown.
WITHDRAWAL = 2.0


def resolved(address: tuple[str, int], family: Family) -> tuple[str, int] | None:
    """An address with an IP of a family in place of a host name; None for none, for a name that is unknown, and for one without
    an address of that family. Blocks on DNS."""
    host, port = address
    if not host:
        return None
    try:
        found = [ipaddress.ip_address(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, ValueError) as error:
        log.warning("api_address_unknown host=%s error=%s", host, error)
        return None
    # A loopback address, which some machines have for their own name, is no use to pods. Nor is one of the other family: the
    # Service `kubernetes` is of the primary one.
    usable = [ip for ip in found if ip.version == family and not ip.is_loopback and not ip.is_link_local]
    if not usable:
        log.warning("api_address_unusable host=%s family=%s found=%s", host, NAMES[family], ",".join(map(str, found[:8])))
    return (str(usable[0]), port) if usable else None


def text_of(address: tuple[str, int]) -> str:
    """`10.0.0.1:6444`, `[fd00::1]:6444`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(text: str) -> tuple[str, int] | None:
    """As `text_of`; None for any other text."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not host or not 0 < int(port) < 65536:
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


class Announcement:
    """The Lease of this control plane."""

    def __init__(self, store: Store, clock: Clock, address: tuple[str, int] | None) -> None:
        """`address`: None for one that is not announced."""
        self._store = store
        self._clock = clock
        self._address = address

    async def run(self) -> None:
        """Renew until cancelled."""
        while self._address is not None:
            try:
                with origin.acting("apileases"):
                    await self._store.update(self._renew)
            except ApiError as error:
                log.warning("api_lease_failed error=%s", error)
            await self._clock.sleep(PERIOD)

    async def withdraw(self) -> None:
        """Delete the Lease, so that no client is sent here any more; gives up after WITHDRAWAL seconds."""
        if self._address is None:
            return
        name = _name(self._address)
        try:
            async with asyncio.timeout(WITHDRAWAL):
                await self._store.update(lambda tx: tx.delete(kinds.LEASE, SYSTEM_NAMESPACE, name))
        except (ApiError, TimeoutError) as error:
            log.warning("api_lease_not_deleted error=%s", error)

    def _renew(self, tx: Tx) -> None:
        assert self._address is not None
        now, name = self._clock.now(), _name(self._address)
        lease = tx.get(kinds.LEASE, SYSTEM_NAMESPACE, name)
        if lease is None:
            lease = Lease()
            lease.metadata.name, lease.metadata.namespace = name, SYSTEM_NAMESPACE
            lease.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
            lease.metadata.labels[IDENTITY_LABEL] = IDENTITY
            lease.spec.acquireTime.CopyFrom(codec.microtime_of(now))
        lease.spec.holderIdentity = text_of(self._address)
        lease.spec.leaseDurationSeconds = int(DURATION)
        lease.spec.renewTime.CopyFrom(codec.microtime_of(now))
        tx.put(kinds.LEASE, lease)


def _name(address: tuple[str, int]) -> str:
    return PREFIX + suffix_of(text_of(address))

"""The HTTPS port put together: which parts answer on it, and who listens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.access.auditlog import Log
from controlplane.access.authenticator import Authenticator
from controlplane.access.certificates import Certificates
from controlplane.access.control import AccessControl
from controlplane.access.joining import Joining
from controlplane.http.limits import Limits
from controlplane.http.listener import Listener
from controlplane.http.server import Application, Web
from controlplane.requests.execution import Executor
from controlplane.resources.registry import Registry
from controlplane.rest import issuer, pages
from controlplane.rest.auditing import Audited
from controlplane.rest.callers import Callers
from controlplane.rest.discovery import Discovery
from controlplane.rest.objects import Objects
from controlplane.rest.podstreams import PodStreams
from controlplane.rest.resourcemetrics import ResourceMetrics
from controlplane.rest.reviews import Reviews
from controlplane.rest.site import Site
from controlplane.rest.statistics import Statistics
from controlplane.store import Store
from pinnace import openfiles
from pinnace.clock import Clock, Ids


async def open_port(
    address: str, descriptors: Iterable[int], *, store: Store, clock: Clock, ids: Ids, executor: Executor,
    certificates: Certificates, authenticator: Authenticator, access: AccessControl, joining: Joining, audit: Log | None,
    switchboard: Any, statistics: Statistics, advertise: str,
) -> Listener:  # fmt: skip
    """Listen on sockets that are open already, and at `host:port` unless it is empty or one of them is bound to it;
    `advertise` is the host and port that clients dial. Raises OSError."""
    registry = Registry.of(store)
    site = Site(
        store,
        Objects(store, clock, ids, executor, access.authorizers),
        PodStreams(store, switchboard, clock),
        Discovery(registry, advertise),
        {
            **pages.routes(store, switchboard, certificates.ca.certificate),
            **issuer.routes(access, advertise),
            **joining.routes(),
        },
        callers=Callers(authenticator.of_certificate, access.tokens, access.authorizers, clock),
        virtual=(Reviews(access.reviews, clock), ResourceMetrics(store, statistics, clock)),
    )
    application: Application = site if audit is None else Audited(site, audit, registry, clock, ids)
    listener = Listener(Web(application).handle, certificates.tls, clock, Limits.within(openfiles.limit()))
    for descriptor in descriptors:
        listener.adopt(descriptor)
    if address:
        host, _, port = address.rpartition(":")
        await listener.open(host, int(port))
    return listener

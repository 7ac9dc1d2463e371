"""gRPC channels: no other module makes one (a test holds it), so that what is true of all of them stands here.

All connect directly. gRPC's C core obeys grpc_proxy, https_proxy and http_proxy of the environment, also for addresses of the
cluster; on a node these are there for image pulls, which read them on their own (`nodeagent.images.registry.proxies`). The
control plane, etcd and pods are reached without.
"""

from __future__ import annotations

from typing import Any

import grpc

Options = tuple[tuple[str, Any], ...]
_DIRECT: Options = (("grpc.enable_http_proxy", 0),)


def secure(target: str, credentials: grpc.ChannelCredentials, options: Options = ()) -> grpc.aio.Channel:
    """For asyncio. `target` is HOST:PORT, or unix:///PATH."""
    return grpc.aio.secure_channel(_resolved(target), credentials, options=options + _DIRECT)


def insecure(target: str, options: Options = ()) -> grpc.aio.Channel:
    """For asyncio, in plain text: etcd without TLS, and probes of pods."""
    return grpc.aio.insecure_channel(_resolved(target), options=options + _DIRECT)


def blocking(target: str, credentials: grpc.ChannelCredentials, options: Options = ()) -> grpc.Channel:
    """For threads."""
    return grpc.secure_channel(_resolved(target), credentials, options=options + _DIRECT)


def _resolved(target: str) -> str:
    """gRPC's name of a Unix socket has no slashes that are not the path's."""
    return target.replace("unix://", "unix:")

"""A pod behind the proxy of the HTTPS port, and a server that stands for its port: fixtures for tests of proxied requests.

A test module takes them by name: `rest, api, server = proxied.rest, proxied.api, proxied.server`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import objects
from tests.support.cluster import Cluster
from tests.support.front import Front, front
from tests.support.podserver import PodServer, pod_server
from tests.support.rest import Rest

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    """With the pod `web` on a node."""
    await cluster.create(objects.pod("web", nodeName="n1"))
    return Rest(cluster)


@pytest.fixture
async def api(rest: Rest, tmp_path: Path) -> AsyncIterator[Front]:
    async with front(tmp_path, rest.site) as made:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[PodServer]:
    async with pod_server() as made:
        yield made


def path(server: PodServer, rest: str = "/") -> str:
    """Of what the server has at `rest`."""
    return f"{PODS}/web:{server.port}/proxy{rest}"

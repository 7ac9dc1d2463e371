from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.api import Api
from tests.support.cluster import Cluster, running


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A control plane on virtual time, with no node yet."""
    async with running() as made:
        yield made


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return Api(cluster)

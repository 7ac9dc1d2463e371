"""Every test of the scheduler runs with small arrays, with NumPy's, and with both in one expression."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controlplane.scheduler import smallarrays


@pytest.fixture(scope="module", autouse=True, params=[64, 0, 4], ids=["small", "numpy", "mixed"])
def arrays(request: pytest.FixtureRequest) -> Iterator[None]:
    """The size up to which arrays are small."""
    before, smallarrays.SMALL = smallarrays.SMALL, request.param
    yield
    smallarrays.SMALL = before

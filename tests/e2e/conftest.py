"""One lab of three nodes for all end-to-end tests that do not break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.labs import LabUnderTest, running


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-e2e", tmp_path_factory.mktemp("e2e")) as found:
        yield found

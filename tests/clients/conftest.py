"""A lab of two nodes for real clients of Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.labs import LabUnderTest, running


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-clients", tmp_path_factory.mktemp("clients"), nodes=2) as found:
        # What a client keeps in its home directory belongs to this lab.
        found.environment["HOME"] = str(tmp_path_factory.mktemp("home"))
        yield found

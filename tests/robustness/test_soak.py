"""The short form of the soak (tests/support/soak.py): awkward pods and random kills for a minute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.soak import soak

pytestmark = pytest.mark.root
SECONDS = 45


def test_awkward_pods_and_random_kills_leave_nothing_and_lose_nothing(tmp_path: Path) -> None:
    """No leak, no lost pod, no gap in a log, no growth of what was not killed."""
    report = soak(tmp_path, SECONDS, seed=7)
    print(json.dumps(report.summary()))
    assert report.pods > 20
    assert not report.grown()

"""The short form of the soak of workloads (tests/support/workloadsoak.py): changes and kills for less than a minute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.workloadsoak import soak

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
SECONDS = 40


def test_workloads_match_their_specs_after_random_changes_and_kills(tmp_path: Path) -> None:
    """Nothing acknowledged is lost, no identity ran twice, and nothing is left on a node."""
    report = soak(tmp_path, SECONDS, seed=3)
    print(json.dumps(report.summary()))
    assert report.acknowledged > 5
    assert report.jobs
    assert report.strikes.total() > 2

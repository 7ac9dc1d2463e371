"""Labs need root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.commands import lab
from pinnace.errors import BadRequest


@pytest.mark.parametrize("flags", [[], ["--encrypt"]])
def test_without_root_lab_up_says_so(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First: what else it checks of this machine fails without root by other names, such as that of WireGuard."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BadRequest, match="needs root: sudo kctl lab"):
        lab.run(["up", "--config", str(tmp_path / "config"), *flags])

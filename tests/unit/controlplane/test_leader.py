"""Which controllers a leader runs."""

from __future__ import annotations

from pathlib import Path

from controlplane import leader
from controlplane.config import CONTROLLERS, Config
from controlplane.podusage import PodUsage


def controllers(**settings: object) -> list[str]:
    return [controller.name for controller in leader.controllers(Config(Path("/nowhere"), **settings), b"", PodUsage())]


def test_every_controller_can_be_disabled_by_its_name() -> None:
    """The command line knows all that run."""
    assert sorted(controllers()) == sorted(CONTROLLERS)
    assert controllers(disabled=frozenset(CONTROLLERS)) == []

"""The control plane put together."""

from __future__ import annotations

from pathlib import Path

from controlplane.config import CONTROLLERS, Config
from controlplane.podusage import PodUsage
from controlplane.server import ControlPlane
from pinnace.clock import RandomIds, VirtualClock


def controllers(**settings: object) -> list[str]:
    plane = ControlPlane(Config(Path("/nowhere"), **settings), VirtualClock(), RandomIds())
    return [controller.name for controller in plane.controllers(b"", PodUsage())]


def test_every_controller_can_be_disabled_by_its_name() -> None:
    """The command line knows all that run."""
    assert sorted(controllers()) == sorted(CONTROLLERS)
    assert controllers(disabled=frozenset(CONTROLLERS)) == []

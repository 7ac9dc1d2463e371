"""Mount points that containers find in a layer below their image's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from nodeagent.images import mountpointlayers
from nodeagent.images.mountpointlayers import TOKEN


def shown(layers: tuple[str, ...]) -> set[str]:
    return {str(path.relative_to(layer)) for layer in layers for path in Path(layer).rglob("*")}


def test_the_usual_mount_points_are_there(tmp_path: Path) -> None:
    """With the modes that the runtime would give them; made once."""
    found = mountpointlayers.below(tmp_path / "m", ["/layer"], ["/data"])
    assert shown(found) == {"dev", "proc", "sys", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf"}
    for layer in found:
        for path in (Path(layer), *Path(layer).rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    before = [Path(layer).stat().st_ino for layer in found]
    again = mountpointlayers.below(tmp_path / "m", ["/other"], [])
    assert [Path(layer).stat().st_ino for layer in again] == before


def test_the_path_of_a_token_is_there_only_where_one_is_mounted(tmp_path: Path) -> None:
    image = tmp_path / "layer"
    (image / "var").mkdir(parents=True)
    assert TOKEN[1:] in shown(mountpointlayers.below(tmp_path / "m", [str(image)], [TOKEN]))
    assert TOKEN[1:] not in shown(mountpointlayers.below(tmp_path / "m", [str(image)], []))


@pytest.mark.parametrize("target", ["/run", "../run"])
def test_a_token_is_mounted_in_run_where_the_image_has_a_symlink(tmp_path: Path, target: str) -> None:
    image = tmp_path / "layer"
    (image / "var").mkdir(parents=True)
    (image / "var/run").symlink_to(target)
    found = shown(mountpointlayers.below(tmp_path / "m", ["/upper", str(image)], [TOKEN]))
    assert TOKEN.removeprefix("/var/") in found
    assert TOKEN[1:] not in found


def test_a_symlink_of_an_image_is_not_followed(tmp_path: Path) -> None:
    """It may lead anywhere on the node."""
    image, elsewhere = tmp_path / "layer", tmp_path / "elsewhere"
    image.mkdir()
    elsewhere.mkdir()
    (elsewhere / "run").symlink_to("/run")
    (image / "var").symlink_to(elsewhere)
    assert TOKEN[1:] in shown(mountpointlayers.below(tmp_path / "m", [str(image)], [TOKEN]))

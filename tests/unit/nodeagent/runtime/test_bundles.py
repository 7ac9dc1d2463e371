"""A bundle's configuration: readable through the bundle, on the tmpfs only, gone with the bundle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nodeagent.launcher import bundle as names
from nodeagent.runtime import bundles
from nodeagent.runtime.interface import ContainerConfig

SECRET = "opensesame-4711"


def config(**more: object) -> ContainerConfig:
    return ContainerConfig(args=("sh",), env=(f"PASSWORD={SECRET}",), cwd="/", layers=("/l",), sandbox="/s", log="/log")


def test_a_configuration_is_in_memory_and_a_link_in_the_bundle(tmp_path: Path) -> None:
    bundle, memory = tmp_path / "disk/containers/main/0", tmp_path / "memory"
    (bundle / "oci").mkdir(parents=True)
    bundles.write_config(bundle, config(), memory)
    bundles.write_oci_config(bundle, {"process": {"env": [SECRET]}})
    assert SECRET in Path(names.config(bundle)).read_text()
    assert json.loads((bundle / "oci/config.json").read_text())["process"]["env"] == [SECRET]
    files = [path for path in (tmp_path / "disk").rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if SECRET in path.read_text()]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in memory.iterdir())


def test_a_discarded_bundle_leaves_nothing_in_memory(tmp_path: Path) -> None:
    bundle, memory = tmp_path / "containers/main/0", tmp_path / "memory"
    (bundle / "oci").mkdir(parents=True)
    for _ in range(2):
        # A start that failed is made again over the same bundle.
        bundles.write_config(bundle, config(), memory)
        bundles.write_oci_config(bundle, {})
    bundles.discard(bundle)
    assert not bundle.exists()
    assert list(memory.iterdir()) == []
    bundles.discard(bundle)


def test_after_a_reboot_a_configuration_counts_as_absent(tmp_path: Path) -> None:
    bundle, memory = tmp_path / "containers/main/0", tmp_path / "memory"
    bundle.mkdir(parents=True)
    bundles.write_config(bundle, config(), memory)
    bundles.forget_configs(memory)
    assert not Path(names.config(bundle)).exists()
    bundles.write_config(bundle, config(), memory)
    assert Path(names.config(bundle)).exists()


def test_configurations_of_ended_containers_of_an_earlier_version_are_deleted(tmp_path: Path) -> None:
    """Those of others stay: they move to memory."""
    ended, runs = tmp_path / "main/0", tmp_path / "main/1"
    for bundle in (ended, runs):
        (bundle / "oci").mkdir(parents=True)
        for name in ("config.json", "oci/config.json"):
            (bundle / name).write_text(json.dumps({"env": [SECRET]}))
    Path(names.exit_record(ended)).write_text("{}")
    bundles.forget_ended([ended, runs])
    assert sorted(path.name for path in ended.rglob("*")) == ["exit.json", "oci"]
    assert sorted(path.name for path in runs.rglob("*")) == ["config.json", "config.json", "oci"]


def test_a_configuration_of_an_earlier_version_moves_to_memory(tmp_path: Path) -> None:
    """Its container runs, and an exec reads the configuration through the bundle."""
    bundle, memory = tmp_path / "disk/containers/main/0", tmp_path / "memory"
    (bundle / "oci").mkdir(parents=True)
    for name in ("config.json", "oci/config.json"):
        (bundle / name).write_text(json.dumps({"env": [SECRET]}))
    for _ in range(2):
        bundles.move_to_memory(bundle, memory)
        assert json.loads(Path(names.config(bundle)).read_text()) == {"env": [SECRET]}
    files = [path for path in (tmp_path / "disk").rglob("*") if path.is_file() and not path.is_symlink()]
    assert files == []
    bundles.discard(bundle)
    assert list(memory.iterdir()) == []


def test_more_than_the_kernel_takes_is_refused(tmp_path: Path) -> None:
    """A small manifest can name a large value many times; the memory of all pods is one."""
    bundle, memory = tmp_path / "containers/main/0", tmp_path / "memory"
    bundle.mkdir(parents=True)
    huge = dataclasses.replace(config(), args=("sh", "x" * (bundles.MAX_ARGUMENTS + 1)))
    with pytest.raises(OSError, match="arguments and environment"):
        bundles.write_config(bundle, huge, memory)
    assert not memory.exists()


def test_an_ended_container_keeps_no_configuration(tmp_path: Path) -> None:
    bundle, memory = tmp_path / "containers/main/0", tmp_path / "memory"
    bundle.mkdir(parents=True)
    bundles.write_config(bundle, config(), memory)
    bundles.forget_config(bundle)
    assert list(memory.iterdir()) == []
    bundles.forget_config(bundle)

"""Image builds in a lab under test: contexts, builds, and what is on the node afterwards."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from tests.support.labs import LabUnderTest, eventually, pod

BUILDER = "node-1"


def leftovers(lab: LabUnderTest, node: str = BUILDER) -> list[str]:
    """What of builds can be found on a node: directories, cgroups, mounts, devices, processes."""
    state = lab.node_dir(node)
    found = [str(path) for path in (state / "builds").glob("*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/*{lab.name}*{node}*/build-*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*{lab.name}*{node}*/build-*")]
    with contextlib.suppress(OSError):
        # It has ended when it was killed.
        mounts = Path(f"/proc/{lab.pid(node)}/mounts").read_text().splitlines()
        found += [line for line in mounts if f"{state}/builds" in line]
    return found


def context(directory: Path, dockerfile: str, **files: str) -> Path:
    """A context; double underscores in a name are slashes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "Dockerfile").write_text(dockerfile)
    for name, text in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def build(lab: LabUnderTest, directory: Path, *arguments: str, tag: str = "t/built") -> str:
    return lab.kctl("image", "build", "--node", BUILDER, "-t", tag, *arguments, str(directory))


def refused(lab: LabUnderTest, directory: Path, *arguments: str) -> str:
    """What a build that fails says on standard error."""
    result = lab.run("image", "build", "--node", BUILDER, "-t", "t/refused", *arguments, str(directory))
    assert result.returncode == 1, result.stdout
    return result.stderr.decode()


def record(lab: LabUnderTest, name: str, node: str = BUILDER) -> dict[str, Any]:
    """The store's record of an image on a node."""
    for path in (lab.node_dir(node) / "images/images").glob("*.json"):
        found: dict[str, Any] = json.loads(path.read_text())
        if f"docker.io/{name}:latest" in found["references"]:
            return found
    raise KeyError(name)


def layer_files(lab: LabUnderTest, digest: str) -> set[str]:
    directory = lab.node_dir(BUILDER) / "images/layers" / digest.removeprefix("sha256:")[:24]
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def run_once(lab: LabUnderTest, image: str, node: str, *command: str) -> str:
    """The output of a pod of one run of `image` on `node`; without a command, the image's own."""
    container: dict[str, Any] = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
    item = pod("built", nodeSelector={"kubernetes.io/hostname": node}, restartPolicy="Never")
    item["spec"]["containers"] = [container | ({"command": list(command)} if command else {})]
    lab.apply(item)
    try:
        eventually(lambda: lab.get("pod", "built").get("status", {}).get("phase") in ("Succeeded", "Failed"))
        return lab.kctl("logs", "built")
    finally:
        lab.kctl("delete", "pod", "built", "--now")


def cached(said: str) -> list[bool]:
    """For each step that writes, whether it came from the cache."""
    return [line.endswith(" CACHED") for line in said.splitlines() if re.match(r"\[\d+/\d+\] (RUN|COPY)", line)]

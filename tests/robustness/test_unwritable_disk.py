"""A node whose disk cannot be written: its agent stays, its pods stay, and what was asked meanwhile is done afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.lab import layout, processes
from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
NODE = "node-1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-unwritable", tmp_path_factory.mktemp("unwritable"), nodes=1) as found:
        yield found


@contextmanager
def read_only(lab: LabUnderTest) -> Iterator[None]:
    """The agent's state directory as it is when the kernel has met errors on its disk: every write fails (EROFS)."""
    enter = ["nsenter", f"--mount=/run/pinnace/labs/{lab.name}/ns/{NODE}.mnt", "--wd=/"]
    folder = str(lab.node_dir(NODE))

    def mount(*arguments: str) -> None:
        subprocess.run([*enter, *arguments], check=True, timeout=20)

    # A mount of its own: what is mounted below (pods, memory) stays writable, as other file systems do.
    mount("mount", "--rbind", "--make-rslave", folder, folder)
    mount("mount", "-o", "remount,bind,ro", folder)
    try:
        yield
    finally:
        mount("umount", "--lazy", folder)


def agent(lab: LabUnderTest) -> layout.Process | None:
    found = layout.load(lab.name).processes.get(NODE)
    return found if processes.alive(found) else None


def test_an_agent_outlives_a_disk_that_cannot_be_written(lab: LabUnderTest) -> None:
    lab.apply(pod("before"))
    before = eventually(lambda: lab.all_running(["before"]))["before"]
    process = agent(lab)
    assert process is not None
    with read_only(lab):
        # A new session: what the control plane welcomes the node with is stored.
        lab.kill("control")
        lab.start_control()
        eventually(lambda: lab.get("node", NODE)["status"]["conditions"][-1]["status"] == "True")
        lab.apply(pod("meanwhile"))
        eventually(lambda: lab.pods()["meanwhile"]["spec"].get("nodeName") == NODE)
        lab.kctl("delete", "pod", "before", "--wait=false")
        eventually(lambda: lab.pods().get("meanwhile", {}).get("status", {}).get("phase") != "Running", within=3)
        assert agent(lab) == process
    eventually(lambda: lab.all_running(["meanwhile"]), within=60)
    eventually(lambda: "before" not in lab.pods(), within=60)
    assert agent(lab) == process
    assert lab.pods()["meanwhile"]["metadata"]["uid"] != before["metadata"]["uid"]


def test_an_agent_starts_on_a_disk_that_cannot_be_written(lab: LabUnderTest) -> None:
    """Killed in the middle of writing: what it left cannot be deleted. The node says that it is there, and its pods run on."""
    lab.apply(pod("stays"))
    stays = eventually(lambda: lab.all_running(["stays"]))["stays"]
    folder = lab.node_dir(NODE)
    lab.kill(NODE)
    for left in ("assignment/objects/.x.17", "assignment/peers/.x.17", "images/images/.x.17", "images/build-cache/.x.17",
                 ".welcome.pb.17", "images/recipes/left.gz"):  # fmt: skip
        (folder / left).touch()
    (folder / "images/layers/left").mkdir()
    (folder / "images/incoming/left").mkdir()
    with read_only(lab):
        lab.start_agent(NODE)
        process = agent(lab)
        assert process is not None
        eventually(lambda: lab.run("logs", "stays").returncode == 0)
        eventually(lambda: lab.get("node", NODE)["status"]["conditions"][-1]["status"] == "True")
        assert agent(lab) == process
    lab.apply(pod("afterwards"))
    eventually(lambda: lab.all_running(["stays", "afterwards"]), within=60)
    assert agent(lab) == process
    assert lab.pods()["stays"]["metadata"]["uid"] == stays["metadata"]["uid"]

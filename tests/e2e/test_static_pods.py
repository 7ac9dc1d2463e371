"""Pods from a directory of the node: they run whatever the control plane says, are seen in it, and subject to NetworkPolicies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.policymatrix import policy

pytestmark = pytest.mark.root
NODE = "node-1"
MIRROR = "kubernetes.io/config.mirror"
COUNT = "trap 'exit 0' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"


class Manifests:
    """The folder that the agent looks at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, value: dict[str, Any] | str) -> None:
        """At once, as a careful editor does."""
        hidden = self.folder / f".{name}"
        hidden.write_text(value if isinstance(value, str) else json.dumps(value))
        os.replace(hidden, self.folder / name)

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LabUnderTest, Manifests]]:
    folder = tmp_path_factory.mktemp("static")
    manifests = Manifests(folder / "manifests")
    manifests.folder.mkdir()
    with running("t-static", folder, nodes=1, agent=(f"--pod-manifest-path={manifests.folder}",)) as lab:
        yield lab, manifests
        manifests.clear()


@pytest.fixture
def lab(place: tuple[LabUnderTest, Manifests]) -> LabUnderTest:
    return place[0]


@pytest.fixture
def manifests(place: tuple[LabUnderTest, Manifests]) -> Iterator[Manifests]:
    yield place[1]
    place[1].clear()
    pods = place[0].node_dir(NODE) / "pods"
    eventually(lambda: not list(pods.iterdir()))
    eventually(lambda: not place[0].pods())


def static(name: str, script: str = COUNT, **spec: Any) -> dict[str, Any]:
    return pod(name, "sh", "-c", script, **spec)


def folder(lab: LabUnderTest, item: dict[str, Any]) -> Path:
    """Where the agent keeps the pod behind a mirror."""
    return lab.node_dir(NODE) / "pods" / item["metadata"]["annotations"][MIRROR]


def pid(lab: LabUnderTest, item: dict[str, Any]) -> int:
    return int(json.loads((folder(lab, item) / "containers/main/0/state.json").read_text())["pid"])


def mirror(lab: LabUnderTest, name: str) -> dict[str, Any]:
    return lab.all_running([f"{name}-{NODE}"])[f"{name}-{NODE}"]


def test_a_file_becomes_a_pod_that_is_seen(lab: LabUnderTest, manifests: Manifests) -> None:
    """With its status, logs, events and a way in; and goes with its file."""
    manifests.write("web.json", static("web"))
    item = eventually(lambda: mirror(lab, "web"))
    assert item["spec"]["nodeName"] == NODE
    assert item["status"]["podIP"]
    eventually(lambda: lab.kctl("logs", f"web-{NODE}").startswith("0\n1\n"))
    assert lab.kctl("exec", f"web-{NODE}", "--", "hostname").strip() == f"web-{NODE}"
    eventually(lambda: "Started container main" in lab.kctl("describe", "pod", f"web-{NODE}"))
    (manifests.folder / "web.json").unlink()
    eventually(lambda: f"web-{NODE}" not in lab.pods())


def test_a_deleted_mirror_comes_back_and_its_pod_never_noticed(lab: LabUnderTest, manifests: Manifests) -> None:
    """Only the file can end it."""
    manifests.write("web.json", static("web"))
    before = eventually(lambda: mirror(lab, "web"))
    running_as = pid(lab, before)
    lab.kctl("delete", "pod", f"web-{NODE}", "--wait=false")
    after = eventually(lambda: (found := mirror(lab, "web"))["metadata"]["uid"] != before["metadata"]["uid"] and found)
    assert pid(lab, after) == running_as
    lab.kctl("delete", "pod", f"web-{NODE}", "--force")
    eventually(lambda: mirror(lab, "web")["metadata"]["uid"] not in (before["metadata"]["uid"], after["metadata"]["uid"]))
    assert pid(lab, mirror(lab, "web")) == running_as


def test_a_changed_file_is_another_pod(lab: LabUnderTest, manifests: Manifests) -> None:
    """The old one ends with its grace before the new one starts; touching a file changes nothing."""
    slow = "trap 'echo bye; sleep 1; exit 0' TERM; while :; do sleep 0.1; done"
    manifests.write("web.yaml", static("web", slow, terminationGracePeriodSeconds=10))
    before = eventually(lambda: mirror(lab, "web"))
    os.utime(manifests.folder / "web.yaml")
    manifests.write("other.yaml", static("other"))
    eventually(lambda: mirror(lab, "other"))
    assert mirror(lab, "web")["metadata"]["uid"] == before["metadata"]["uid"]
    log = next((lab.node_dir(NODE) / "logs").glob("*_web-*")) / "main/0.log"
    ended = log.open()
    manifests.write("web.yaml", static("web"))
    after = eventually(lambda: (found := mirror(lab, "web"))["metadata"]["uid"] != before["metadata"]["uid"] and found)
    assert after["metadata"]["annotations"][MIRROR] != before["metadata"]["annotations"][MIRROR]
    assert "bye" in ended.read()
    ended.close()
    assert not folder(lab, before).exists()


def test_a_bad_file_is_told_and_the_others_go_on(lab: LabUnderTest, manifests: Manifests) -> None:
    """Once in the log with file and line, and as an event of the node."""
    manifests.write("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec:\n  containers: 5\n")
    manifests.write("good.yaml", static("good"))
    eventually(lambda: mirror(lab, "good"))
    place = f"{manifests.folder}/bad.yaml:5: spec.containers"
    eventually(lambda: place in lab.kctl("describe", "node", NODE))
    log = Path(f"/var/lib/pinnace/labs/{lab.name}/logs/{NODE}.log").read_text()
    assert log.count(place) == 1, log
    assert set(lab.pods()) == {f"good-{NODE}"}


def test_a_static_pod_needs_no_control_plane(lab: LabUnderTest, manifests: Manifests) -> None:
    """It starts, and ends, without; what came and what went is seen afterwards."""
    manifests.write("leaves.yaml", static("leaves"))
    leaving = folder(lab, eventually(lambda: mirror(lab, "leaves")))
    lab.kill("control")
    pods = lab.node_dir(NODE) / "pods"
    manifests.write("comes.yaml", static("comes"))
    eventually(lambda: [path for path in pods.glob("*/containers/main/0/state.json") if leaving not in path.parents])
    (manifests.folder / "leaves.yaml").unlink()
    eventually(lambda: not leaving.exists())
    lab.start_control()
    eventually(lambda: set(lab.pods()) == {f"comes-{NODE}"})
    eventually(lambda: mirror(lab, "comes"))


def test_an_agent_that_starts_again_knows_its_static_pods(lab: LabUnderTest, manifests: Manifests) -> None:
    """One goes on, one whose file went meanwhile ends, one whose file came meanwhile starts."""
    manifests.write("stays.yaml", static("stays"))
    manifests.write("leaves.yaml", static("leaves"))
    stays, leaves = eventually(lambda: (mirror(lab, "stays"), mirror(lab, "leaves")))
    running_as = pid(lab, stays)
    lab.kill(NODE)
    (manifests.folder / "leaves.yaml").unlink()
    manifests.write("comes.yaml", static("comes"))
    lab.start_agent(NODE)
    eventually(lambda: set(lab.pods()) == {f"stays-{NODE}", f"comes-{NODE}"})
    eventually(lambda: mirror(lab, "comes"))
    assert pid(lab, mirror(lab, "stays")) == running_as
    eventually(lambda: not folder(lab, leaves).exists())


class Shop:
    """A namespace whose pods may neither send nor receive, and a server outside of it."""

    SPACE, PORT = "shop", 9090

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        serving = pod("serving", "httpd", "-f", "-p", str(self.PORT), "-h", "/etc", nodeName=NODE)
        lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.SPACE}}, self.deny(), serving)
        self.address = eventually(lambda: lab.all_running(["serving"]))["serving"]["status"]["podIP"]

    def deny(self) -> dict[str, Any]:
        return policy(self.SPACE, "deny", policyTypes=["Ingress", "Egress"])

    def attempt(self) -> str:
        return f"echo GET / | nc -w 1 {self.address} {self.PORT} 2>/dev/null | grep -q . && echo reached || echo refused"

    def static(self, name: str, script: str, **spec: Any) -> dict[str, Any]:
        made = static(name, script, **spec)
        made["metadata"]["namespace"] = self.SPACE
        return made

    def log(self, name: str) -> Path:
        """Of a pod, also of one without a mirror pod."""
        found = list((self.lab.node_dir(NODE) / "logs").glob(f"{self.SPACE}_{name}-{NODE}_*/main/0.log"))
        assert found, name
        return found[0]

    def words(self, name: str) -> set[str]:
        return {line.split()[-1] for line in self.log(name).read_text().splitlines()}


@pytest.fixture
def shop(lab: LabUnderTest, manifests: Manifests) -> Iterator[Shop]:
    yield Shop(lab)
    manifests.clear()
    lab.kctl("delete", "namespace", Shop.SPACE)
    lab.kctl("delete", "pod", "serving", "--force")


def test_a_static_pod_is_isolated_without_a_mirror_pod(lab: LabUnderTest, manifests: Manifests, shop: Shop) -> None:
    """From its first process on, though its namespace has no other pod on the node and refuses the mirror pod; its node still
    reaches it. A policy that is deleted isolates it no more."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": Shop.SPACE}}
    lab.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    manifests.write(
        "closed.json", shop.static("closed", f"for i in 1 2 3 4 5; do {shop.attempt()}; done; echo done; sleep 600")
    )
    eventually(lambda: "done" in shop.words("closed"))
    assert shop.words("closed") == {"refused", "done"}
    assert not lab.get("pods", "-n", Shop.SPACE)["items"]
    lab.kctl("delete", "networkpolicy", "deny", "-n", Shop.SPACE)
    manifests.write("open.json", shop.static("open", f"while :; do {shop.attempt()}; sleep 0.1; done"))
    eventually(lambda: "reached" in shop.words("open"))


def test_a_static_pod_is_isolated_until_it_has_ended(lab: LabUnderTest, manifests: Manifests, shop: Shop) -> None:
    """While users delete its mirror pod, while its agent starts again, and while it ends and has no mirror pod any more."""
    last = f"for i in 1 2 3 4; do {shop.attempt()}; done; echo done; exit 0"
    manifests.write("web.json", shop.static("web", f"trap '{last}' TERM; while :; do {shop.attempt()}; done",
                                            terminationGracePeriodSeconds=60))  # fmt: skip
    before = ""
    for _ in range(3):
        mirrored = eventually(lambda: lab.get("pod", f"web-{NODE}", "-n", Shop.SPACE)["metadata"]["uid"])
        assert mirrored != before
        before = mirrored
        lab.kctl("delete", "pod", f"web-{NODE}", "-n", Shop.SPACE, "--force", "--grace-period=0")
    eventually(lambda: "refused" in shop.words("web"))
    lab.kill(NODE)
    lab.start_agent(NODE)
    eventually(lambda: lab.get("pod", f"web-{NODE}", "-n", Shop.SPACE)["status"]["phase"] == "Running")
    with shop.log("web").open() as ended:
        (manifests.folder / "web.json").unlink()
        eventually(lambda: not lab.get("pods", "-n", Shop.SPACE)["items"])
        words = list[str]()
        eventually(lambda: words.extend(ended.read().split()) or "done" in words, within=60)
    assert "reached" not in words
    eventually(lambda: not list((lab.node_dir(NODE) / "logs").glob(f"{Shop.SPACE}_*")))


def test_a_crashing_static_pod_is_restarted(lab: LabUnderTest, manifests: Manifests) -> None:
    """As any pod is; the mirror counts."""
    manifests.write("crash.yaml", static("crash", "exit 3"))
    eventually(lambda: lab.pods()[f"crash-{NODE}"]["status"]["containerStatuses"][0]["restartCount"] >= 1)

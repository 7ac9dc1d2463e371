"""The configuration that a container's manifest and image become, field by field: what isolates it is not lost on the way."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nodeagent.images.store import Image
from nodeagent.launcher import bundle as names
from nodeagent.linux.capabilities import DEFAULT, NAMES, held
from nodeagent.pods.spec import container as bundles
from nodeagent.pods.spec.environment import ConfigError
from nodeagent.pods.spec.security import Host
from nodeagent.runtime import seccomp
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.interface import IdRange, LogRotation
from nodeagent.volumes.manager import Volume
from tests.support.objects import container, pod

PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/:/bin/sh\n"


class Images:
    """Has the image's files, and one layer."""

    def lower_dirs(self, image: Image) -> tuple[str, ...]:
        return ("/layer",)

    def read_file(self, image: Image, name: str) -> bytes:
        return {"etc/passwd": PASSWD, "etc/group": b"web:x:33:app\n"}.get(name, b"")


class RecordingCgroups(Cgroups):
    """Cgroups in a directory; records what each was made with."""

    def __init__(self, root: Path) -> None:
        super().__init__("pinnace", root)
        self.made: list[tuple[str, Any, bool, bool]] = []

    def create(self, path: str, limits: Any, *, leaf: bool, all_devices: bool = False) -> tuple[str, ...]:
        self.made.append((path, limits, leaf, all_devices))
        return (f"/cg/{path}",)

    @property
    def hierarchies(self) -> list[str]:
        return ["memory"]


@dataclass
class Made:
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    cgroups: list[tuple[str, Any, bool, bool]] = field(default_factory=list)
    skipped: tuple[str, ...] = ()


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """A function that writes a bundle: `config` is the image's, `main` the container's, `place` changes its Place."""

    def make(
        main: dict[str, Any] | None = None, *, config: dict[str, Any] | None = None, place: dict[str, Any] | None = None,
        qos: str = "BestEffort", host: Host | None = None, **spec: Any,
    ) -> Made:  # fmt: skip
        item = pod("web", container("main", **(main or {})), meta={"uid": "u1"}, **spec)
        item.status.qosClass = qos
        where: dict[str, Any] = {
            "folder": tmp_path / "pod", "logs": tmp_path / "logs", "volumes": {"data": Volume("/v/data")},
            "facts": {"capacity.memory": str(1 << 30), "hostname": "web"}, "cgroup": "podu1", "memory": tmp_path / "memory",
        }  # fmt: skip
        cgroups, bundle = RecordingCgroups(tmp_path / "cgroups"), tmp_path / "pod/containers/main/0"
        (tmp_path / "cgroups").mkdir(exist_ok=True)
        skipped = bundles.write(
            bundle, item, item.spec.containers[0], Image("sha256:1", ("i",), config or {"Cmd": ["run"]}, ("sha256:2",)),
            bundles.Place(**{**where, **(place or {})}), images=Images(), cgroups=cgroups,  # type: ignore[arg-type]
            lookup=lambda kind, name: None, seccomp_folder=tmp_path / "seccomp", mount_points=tmp_path / "mountpoints", log=tmp_path / "logs/main/0.log",
            rotation=LogRotation(1234, 3), host=host,
        )  # fmt: skip
        found = json.loads(Path(names.config(str(bundle))).read_text())
        return Made(bundle, found, cgroups.made, skipped)

    return make


def test_by_default_a_container_is_confined(made: Any) -> None:
    """Masked, filtered, without the host's namespaces and devices, and with the default capabilities only."""
    found = made()
    config = found.config
    assert {name: config[name] for name in ("masked", "privileged", "host_network", "host_ipc", "pid_namespace", "ids")} == {
        "masked": True, "privileged": False, "host_network": False, "host_ipc": False, "pid_namespace": "own", "ids": None
    }  # fmt: skip
    assert config["capabilities"] == list(DEFAULT)
    assert Path(config["seccomp"]).parent == found.folder.parents[3] / "seccomp"
    assert Path(config["seccomp"]).read_bytes()
    [(path, _, leaf, all_devices)] = found.cgroups
    assert (path, leaf, all_devices) == ("podu1/main-0", True, False)
    assert config["cgroups"] == ["/cg/podu1/main-0"]
    assert config["hierarchies"] == ["memory"]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"allowPrivilegeEscalation": False}, {"no_new_privileges": True}),
        ({"allowPrivilegeEscalation": True}, {"no_new_privileges": False}),
        ({"readOnlyRootFilesystem": True}, {"read_only_root": True}),
        ({}, {"read_only_root": False, "no_new_privileges": False}),
        ({"procMount": "Unmasked"}, {"masked": False}),
        ({"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}, {"capabilities": ["CHOWN"]}),
        ({"privileged": True}, {"privileged": True, "masked": False, "seccomp": "", "capabilities": list(held())}),
        ({"seccompProfile": {"type": "Unconfined"}}, {"seccomp": ""}),
        ({"runAsUser": 1001, "runAsGroup": 7}, {"user": 1001, "group": 7, "groups": [7, 33]}),
    ],
)
def test_what_a_security_context_says_is_in_the_configuration(
    made: Any, context: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Each field, and not the one beside it."""
    config = made({"securityContext": context}).config
    assert {name: config[name] for name in expected} == expected


def test_a_privileged_container_may_use_the_nodes_devices(made: Any) -> None:
    """And no other may."""
    assert [item[3] for item in made({"securityContext": {"privileged": True}}).cgroups] == [True]


def test_the_apparmor_profile_is_in_the_configuration(made: Any) -> None:
    """The default one where the node has it loaded; empty where the node has no AppArmor."""
    host = Host(tuple(NAMES), frozenset({"pinnace-default", "mine"}))
    assert made(host=host).config["apparmor"] == "pinnace-default"
    mine = {"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}}
    assert made(mine, host=host).config["apparmor"] == "mine"
    assert made(host=Host(tuple(NAMES))).config["apparmor"] == ""


def test_a_local_seccomp_profile_is_compiled(made: Any, tmp_path: Path) -> None:
    """It is not the default one; one that is not there fails the container."""
    profile = {"type": "Localhost", "localhostProfile": "mine.json"}
    with pytest.raises(ConfigError, match=r"mine\.json"):
        made({"securityContext": {"seccompProfile": profile}})
    (tmp_path / "seccomp" / seccomp.PROFILES / "mine.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    mine = made({"securityContext": {"seccompProfile": profile}}).config["seccomp"]
    assert Path(mine).read_bytes()
    assert mine != made().config["seccomp"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hostNetwork": True}, {"host_network": True}),
        ({"hostIPC": True}, {"host_ipc": True}),
        ({"hostPID": True}, {"pid_namespace": "host"}),
        ({"shareProcessNamespace": True}, {"pid_namespace": "pod"}),
    ],
)
def test_the_hosts_namespaces_are_given_where_asked(made: Any, spec: dict[str, Any], expected: dict[str, Any]) -> None:
    """One by one."""
    config = made(**spec).config
    others = {"host_network": False, "host_ipc": False, "pid_namespace": "own"} | expected
    assert {name: config[name] for name in others} == others


def test_where_a_container_is_placed_is_in_its_configuration(made: Any) -> None:
    """The user namespace's ids, the process whose namespace it joins, its sandbox and its volumes."""
    found = made(
        {"volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}]},
        place={"ids": IdRange(65536, 65536), "target": (17, 4711)}, volumes=[{"name": "data", "emptyDir": {}}],
    )  # fmt: skip
    config = found.config
    assert config["ids"] == {"first": 65536, "size": 65536}
    assert (config["pid_target"], config["pid_namespace"]) == ([17, 4711], "container")
    assert config["sandbox"] == str(found.folder.parents[2] / "sandbox")
    assert config["layers"][0] == "/layer"
    [mount] = [item for item in config["mounts"] if item["target"] == "/data"]
    assert (mount["source"], mount["read_only"]) == ("/v/data", True)


def test_limits_become_those_of_the_cgroup(made: Any) -> None:
    """Millicores and bytes."""
    resources = {"requests": {"cpu": "250m", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}
    [(_, limits, _, _)] = made({"resources": resources}, qos="Burstable").cgroups
    assert (limits.cpu_request, limits.cpu_limit, limits.memory_limit) == (250, 1000, 64 << 20)


@pytest.mark.parametrize(
    ("qos", "requests", "expected"),
    [
        ("Guaranteed", {}, -997),
        ("BestEffort", {}, 1000),
        ("Burstable", {}, 999),
        ("Burstable", {"memory": "512Mi"}, 500),
        ("Burstable", {"memory": "1Gi"}, 3),
    ],
)
def test_the_kernel_kills_the_least_guaranteed_first(made: Any, qos: str, requests: dict[str, str], expected: int) -> None:
    """Of a node with 1 GiB; kubelet's formula."""
    assert made({"resources": {"requests": requests}}, qos=qos).config["oom_score_adj"] == expected


def test_streams_and_log(made: Any, tmp_path: Path) -> None:
    """As the manifest and the node's rotation say; the log's directory is there."""
    config = made({"stdin": True, "stdinOnce": True, "tty": True}).config
    assert config["terminal"] == {"stdin": True, "once": True, "tty": True}
    assert made({"stdin": True}).config["terminal"] == {"stdin": True, "once": False, "tty": False}
    assert (config["log"], config["log_max_bytes"], config["log_max_files"]) == (str(tmp_path / "logs/main/0.log"), 1234, 3)
    assert (tmp_path / "logs/main").is_dir()
    assert "TERM=xterm" in config["env"]


def test_secrets_in_the_environment_do_not_reach_the_disk(made: Any, tmp_path: Path) -> None:
    """The bundle has a link to memory; no other user may look into either."""
    found = made({"env": [{"name": "PASSWORD", "value": "opensesame"}]})
    assert "PASSWORD=opensesame" in found.config["env"]
    assert (found.folder / "config.json").is_symlink()
    assert (found.folder / "config.json").resolve().is_relative_to(tmp_path / "memory")
    assert stat.S_IMODE(found.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("main", "config", "args"),
    [
        ({}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/e", "c"]),
        ({"args": ["a"]}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/e", "a"]),
        ({"command": ["/x"]}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/x"]),
        ({"command": ["/x"], "args": ["$(A)"], "env": [{"name": "A", "value": "1"}]}, {"Cmd": ["c"]}, ["/x", "1"]),
    ],
)
def test_command_and_arguments(made: Any, main: dict[str, Any], config: dict[str, Any], args: list[str]) -> None:
    """`command` replaces the image's Entrypoint and Cmd, `args` its Cmd only."""
    assert made(main, config=config).config["args"] == args


def test_a_container_without_a_command_is_refused(made: Any) -> None:
    """Neither the manifest nor the image has one."""
    with pytest.raises(ConfigError, match="no command specified"):
        made(config={"Env": []})


@pytest.mark.parametrize(
    ("main", "config", "cwd"),
    [({}, {}, "/"), ({}, {"WorkingDir": "/srv"}, "/srv"), ({"workingDir": "/w"}, {"WorkingDir": "/srv"}, "/w")],
)
def test_the_working_directory(made: Any, main: dict[str, Any], config: dict[str, Any], cwd: str) -> None:
    """The manifest's, else the image's, else the root."""
    assert made(main, config={"Cmd": ["run"], **config}).config["cwd"] == cwd

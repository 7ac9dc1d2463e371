"""`kctl image build`: what a Dockerfile says is what runs, on any node; and nothing of a build stays behind, however it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builds import BUILDER, build, cached, context, layer_files, leftovers, record, refused, run_once
from tests.support.labs import ROOT, LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _nothing_is_left(lab: LabUnderTest) -> Iterator[None]:
    """After every test here, whatever it built."""
    yield
    eventually(lambda: not leftovers(lab))


WHOLE = """
ARG BASE=nothing
FROM ${BASE} AS tools
ARG GREETING=hello
RUN mkdir /out && echo "$GREETING from $(id -un)" > /out/said
FROM scratch AS unused
COPY nothing-that-exists /
FROM busybox
ENV WHO="a person" WHERE=/srv
ENV BOTH "$WHO at ${WHERE:-nowhere}"
LABEL one=1 two="2 3"
EXPOSE 80/tcp 53/udp
VOLUME ["/data"]
WORKDIR $WHERE/app
COPY --from=tools --chown=nobody:nogroup --chmod=640 /out/said .
COPY files/ ./files
ADD archive.tar.gz extracted/
USER nobody
RUN id -un > /tmp/who; pwd >> /tmp/who
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["cat said /tmp/who files/a extracted/inner; pwd; id -un; echo $BOTH; stat -c '%U %G %a' said"]
"""


def test_every_instruction_means_what_docker_says(lab: LabUnderTest, tmp_path: Path) -> None:
    """Built on one node from an image of its own making, run on another."""
    folder = context(tmp_path / "c", WHOLE, files__a="file a\n")
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("inner")
        info.size = 6
        tar.addfile(info, io.BytesIO(b"inner\n"))
    said = build(lab, folder, "--build-arg", "BASE=busybox", "--build-arg", "GREETING=good day", tag="t/whole")
    assert "RUN id -un > /tmp/who" in said
    assert "unused" not in said
    assert "image t/whole:latest built on node-1, and now on node-1, node-2, node-3" in said
    assert run_once(lab, "t/whole", "node-3").splitlines() == [
        "good day from root", "nobody", "/srv/app", "file a", "inner", "/srv/app", "nobody", "a person at /srv",
        "nobody nogroup 640",
    ]  # fmt: skip
    config = record(lab, "t/whole", "node-3")["config"]
    assert config["Labels"] == {"one": "1", "two": "2 3"}
    assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert config["Volumes"] == {"/data": {}}
    assert record(lab, "t/whole", "node-3")["id"] == record(lab, "t/whole")["id"]


def test_what_a_run_removes_is_gone_on_every_node(lab: LabUnderTest, tmp_path: Path) -> None:
    """A file of the base, and a folder that is made anew."""
    text = "FROM busybox\nRUN mkdir /d && touch /d/old /gone\nRUN rm /gone /bin/vi; rm -r /d; mkdir /d; touch /d/new"
    build(lab, context(tmp_path / "c", text), tag="t/removed")
    for node in (BUILDER, "node-2"):
        assert run_once(lab, "t/removed", node, "sh", "-c", "ls / /bin | grep -E '^(vi|gone)$'; ls /d") == "new\n"


def test_a_layer_that_comes_again_is_applied_again(lab: LabUnderTest, tmp_path: Path) -> None:
    """Built, spread to other nodes and run: an image that adds a file, removes it, and does both again with the same layers."""
    text = "FROM busybox\nCOPY f /x\nRUN rm /x\nCOPY f /x\nRUN rm /x\nRUN ls -l /x; echo seen\nCOPY f /x"
    said = build(lab, context(tmp_path / "c", text, f="content"), tag="t/again")
    assert "No such file" in said
    layers = record(lab, "t/again")["layers"]
    assert len(layers) > len(set(layers))
    for node in (BUILDER, "node-2"):
        assert run_once(lab, "t/again", node, "cat", "/x") == "content"


def test_a_layer_holds_what_the_run_wrote_and_nothing_of_ours(lab: LabUnderTest, tmp_path: Path) -> None:
    """No mount point of the runtime's; a RUN or WORKDIR that writes nothing makes no layer."""
    folder = context(tmp_path / "c", "FROM busybox\nRUN true\nWORKDIR /etc\nRUN touch /etc/mine\nWORKDIR /new")
    build(lab, folder, tag="t/layers")
    layers = record(lab, "t/layers")["layers"][1:]
    assert [layer_files(lab, digest) for digest in layers] == [{"etc", "etc/mine"}, {"new"}]


def test_a_second_build_runs_nothing(lab: LabUnderTest, tmp_path: Path) -> None:
    """All CACHED and the same image; a changed file, argument or line makes its step and those after it again."""
    text = "FROM busybox\nARG X=1\nCOPY a /a\nRUN echo ran-one > /one\nLABEL l=1\nCOPY b /b\nRUN echo $X > /two && echo ran-two"
    folder = context(tmp_path / "c", text, a="a", b="b")
    assert "CACHED" not in build(lab, folder, tag="t/cache")
    first = record(lab, "t/cache")["id"]
    again = build(lab, folder, tag="t/cache")
    assert again.count("CACHED") == 4
    assert "\nran-two" not in again
    assert record(lab, "t/cache")["id"] == first
    os.utime(folder / "b", (1, 1))
    assert build(lab, folder, tag="t/cache").count("CACHED") == 4
    (folder / "b").write_text("other")
    assert cached(build(lab, folder, tag="t/cache")) == [True, True, False, False]
    assert cached(build(lab, folder, "--build-arg", "X=2", tag="t/cache")) == [True, False, False, False]
    (folder / "Dockerfile").write_text(text.replace("LABEL l=1", "LABEL l=2"))
    assert cached(build(lab, folder, tag="t/cache")) == [True, True, True, True]
    assert record(lab, "t/cache")["config"]["Labels"] == {"l": "2"}
    assert cached(build(lab, folder, "--no-cache", tag="t/cache")) == [False] * 4


def test_a_build_names_only_its_own_tags(lab: LabUnderTest, tmp_path: Path) -> None:
    """The image has another name from an equal build, which is removed on another node: it is neither printed nor sent there."""
    folder = context(tmp_path / "c", "FROM busybox\nLABEL tags=own")
    build(lab, folder, tag="t/earlier")
    lab.kctl("image", "rm", "t/earlier", "--node", "node-2")
    said = build(lab, folder, "-t", "docker.io/t/third:1", tag="t/later")
    assert [line for line in said.splitlines() if line.startswith("image ")] == [
        f"image {name} built on node-1, and now on node-1, node-2, node-3" for name in ("t/later:latest", "t/third:1")
    ]
    names = {line.split()[0]: line.split()[-1] for line in lab.kctl("image", "list").splitlines()}
    assert (names["t/earlier:latest"], names["t/later:latest"]) == ("node-1,node-3", "node-1,node-2,node-3")


def test_a_failing_run_says_its_line_and_exit_code(lab: LabUnderTest, tmp_path: Path) -> None:
    """After its output; kctl's own exit code is 1, and there is no image."""
    folder = context(tmp_path / "c", "FROM busybox\n\n# why\nRUN echo before; \\\n  exit 42\nRUN echo never")
    result = lab.run("image", "build", "--node", BUILDER, "-t", "t/fails", str(folder))
    assert result.returncode == 1
    assert b"\nbefore\n" in result.stdout
    assert b"never" not in result.stdout
    assert result.stderr.decode() == f"error: {folder}/Dockerfile:4: RUN echo before; exit 42: exit code 42\n"
    assert "t/fails" not in lab.kctl("image", "list")


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        ("FROM busybox\nRUN --mount=type=ssh true", "Dockerfile:2: RUN: --mount=type=ssh is not supported"),
        ("FROM busybox\nRUN --network=host true", "Dockerfile:2: RUN --network=host needs the entitlement network.host"),
        ("FROM busybox\nRUN --security=insecure true", "Dockerfile:2: RUN --security=insecure needs the entitlement"),
        ("FROM busybox\nADD git@github.com:a/b.git /x", "Dockerfile:2: ADD: a git repository as the source"),
        ("FROM busybox\nRUN <<EOF\ntrue", "Dockerfile:2: unterminated heredoc"),
        ("FROM busybox\nRUNN true", "Dockerfile:2: unknown instruction: RUNN (did you mean RUN?)"),
        ("FROM busybox\nRUN --mount=source=nope,target=/x true", "--mount: 'nope': no such file in the context"),
        ("FROM busybox\nRUN --mount=source=out,target=/x true", "--mount: 'out': no such file in the context"),
        ("FROM busybox\nRUN --mount=type=secret,id=s,required true", "secret s: not found: give it by --secret id=s,src=FILE"),
        ("FROM busybox\n\nCOPY ../secret /", "Dockerfile:3: COPY ../secret /: '../secret': a source must not lead out of the context by '..'"),
        ("FROM busybox\nCOPY out /", "Dockerfile:2: COPY out /: 'out': no such file in the context"),
        ("FROM busybox\nCOPY nope* nope /x/", "Dockerfile:2: COPY nope* nope /x/: 'nope': no such file in the context"),
        ("FROM not-here:1", "image \"not-here:1\" is not on this node"),
        ("FROM busybox\nCOPY --from=not-here /a /b", "Dockerfile:2: COPY --from=not-here /a /b: "),
        ("FROM busybox\nUSER nobody-at-all\nRUN true", "Dockerfile:3: RUN true: the image has no user \"nobody-at-all\""),
        ("FROM busybox\nRUN [\"/no/such/program\"]", "could not be started: exec: \"/no/such/program\": no such file"),
        ("FROM scratch\nCMD [\"/x\"]", "the image has no file"),
        ("FROM busybox\nCOPY a /x\nCOPY a /x/y", "Dockerfile:3: COPY a /x/y: /x in the image is not a directory"),
    ],
)  # fmt: skip
def test_refusals_name_the_file_the_line_and_the_thing(lab: LabUnderTest, tmp_path: Path, dockerfile: str, words: str) -> None:
    """Nothing is passed over, and no link of the context leads out of it."""
    folder = context(tmp_path / "c", dockerfile, a="a")
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path / "secret", folder / "out")
    assert words in refused(lab, folder)


def test_a_run_that_takes_too_long_is_ended(lab: LabUnderTest, tmp_path: Path) -> None:
    """With all that it started."""
    folder = context(tmp_path / "c", "FROM busybox\nRUN sleep 4321 & sleep 4322")
    assert "did not end within 1 s" in refused(lab, folder, "--run-timeout", "1s")
    assert not processes("sleep 4321")


def test_a_run_is_over_when_its_monitor_is(lab: LabUnderTest, tmp_path: Path) -> None:
    """The monitor writes in the directory of the step, so the directory is deleted after its end."""
    with start_slow_build(lab, tmp_path / "c", arguments=("--run-timeout", "2s")) as client:
        monitor = monitor_of_run(lab)
        os.kill(monitor, signal.SIGSTOP)
        try:
            eventually(lambda: not processes("sleep 4333") and not processes("sleep 4334"))
            with pytest.raises(subprocess.TimeoutExpired):
                client.wait(1)
        finally:
            os.kill(monitor, signal.SIGCONT)
        assert b"did not end within 2 s" in client.communicate(timeout=60)[1]


def test_what_no_layer_can_hold_is_refused(lab: LabUnderTest, tmp_path: Path) -> None:
    """Names of whiteouts, and trees deeper than any path; all of it is removed."""
    deep = "i=0; while [ $i -lt 812 ]; do mkdir dddd && cd dddd || exit 1; i=$((i+1)); done"
    for command, words in (("touch /.wh.x", "/.wh.x: a layer cannot hold"), (f"cd /tmp; {deep}", "File name too long")):
        assert words in refused(lab, context(tmp_path / "c", f"FROM busybox\nRUN {command}"))


def test_only_so_many_builds_run_at_once(lab: LabUnderTest, tmp_path: Path) -> None:
    """One more is refused; it is not queued unseen."""
    clients = [start_slow_build(lab, tmp_path / str(number), wait=False) for number in range(4)]
    try:
        eventually(lambda: len(processes("sleep 4333")) == 4)
        assert "runs 4 builds already" in refused(lab, context(tmp_path / "c", "FROM busybox\nRUN true"))
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    eventually(lambda: not processes("sleep 4333"))


def processes(command: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().replace(b"\0", b" ").strip() == command.encode():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_run_is_confined_like_a_container_of_a_pod(lab: LabUnderTest, tmp_path: Path) -> None:
    """Its own processes, few capabilities, a seccomp filter, a bound on processes, no device nodes."""
    look = "grep -E 'CapEff|Seccomp:' /proc/self/status; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; echo pid $$"
    folder = context(tmp_path / "c", f"FROM busybox\nRUN {look}; mknod /n c 1 3 || echo no devices")
    lines = build(lab, folder).splitlines()
    assert "Seccomp:\t2" in lines
    assert "4096" in lines
    assert "pid 1" in lines
    assert "no devices" in lines
    [effective] = [line for line in lines if line.startswith("CapEff")]
    assert int(effective.split()[1], 16) == 0xA80425FB & ~(1 << 27)


def test_a_run_reaches_pods_on_other_nodes(lab: LabUnderTest, tmp_path: Path) -> None:
    """Its network is a pod's."""
    serve = "while :; do echo served | nc -l -p 8080; done"
    lab.apply(pod("server", "sh", "-c", serve, nodeSelector={"kubernetes.io/hostname": "node-2"}))
    lab.kctl("wait", "pod/server", "--for=condition=Ready")
    address = lab.get("pod", "server")["status"]["podIP"]
    try:
        folder = context(tmp_path / "c", f"FROM busybox\nRUN echo | nc -w 5 {address} 8080 | grep served")
        assert "\nserved\n" in build(lab, folder)
    finally:
        lab.kctl("delete", "pod", "server", "--now")


def test_the_dockerfile_may_lie_elsewhere_and_ignored_files_stay_at_home(lab: LabUnderTest, tmp_path: Path) -> None:
    """-f, .dockerignore, several names, and a stage as the target."""
    folder = context(tmp_path / "c", "FROM nothing", keep="keep", drop__a="a", drop__b="b")
    (folder / ".dockerignore").write_text("drop\nDockerfile\n.dockerignore\n!drop/b\n")
    other = tmp_path / "elsewhere"
    other.write_text("FROM busybox AS one\nCOPY . /all\nRUN find /all -type f | sort\nFROM one\nRUN echo never-run\n")
    said = build(lab, folder, "-f", str(other), "--target", "one", "-t", "t/second:2", tag="t/first")
    assert "\n/all/drop/b\n/all/keep\nimage " in said
    assert "image t/second:2 built" in said
    assert "never-run" not in said


def test_an_image_that_was_built_is_a_base_like_any_other(lab: LabUnderTest, tmp_path: Path) -> None:
    """And a build on another node continues from it."""
    build(lab, context(tmp_path / "a", "FROM busybox\nENV A=1\nRUN echo base > /base"), tag="t/base")
    folder = context(tmp_path / "b", "FROM t/base\nRUN echo $A $(cat /base) > /derived")
    lab.kctl("image", "build", "--node", "node-2", "-t", "t/derived", str(folder))
    assert run_once(lab, "t/derived", "node-3", "cat", "/derived") == "1 base\n"


def test_nodes_that_lack_the_base_get_it_too(lab: LabUnderTest, tmp_path: Path) -> None:
    """Its layer's tar is made again, to the byte: the image is the same one everywhere."""
    root = tmp_path / "root"
    subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(root)], check=True)
    (root / "only-here").write_text("base\n")
    os.link(root / "only-here", root / "linked")
    lab.kctl("image", "load", str(root), "--name", "t/own-base", "--node", BUILDER)
    build(lab, context(tmp_path / "c", "FROM t/own-base\nRUN rm /only-here"), tag="t/on-own-base")
    assert run_once(lab, "t/on-own-base", "node-2", "sh", "-c", "cat /linked; ls / | grep only") == "base\n"
    assert record(lab, "t/on-own-base", "node-2")["layers"] == record(lab, "t/on-own-base")["layers"]


def test_the_cache_outlives_other_images_and_goes_when_images_are_pruned(lab: LabUnderTest, tmp_path: Path) -> None:
    """Also layers that no image has; a removal is no reason to run a stage again."""
    text = "FROM busybox AS one\nRUN echo intermediate > /x\nFROM busybox\nCOPY --from=one /x /y"
    folder = context(tmp_path / "c", text)
    build(lab, folder, tag="t/pruned")
    lab.kctl("image", "rm", "t/pruned")
    assert cached(build(lab, folder, tag="t/pruned")) == [True, True]
    lab.kctl("image", "rm", "t/pruned")
    lab.kctl("image", "prune")
    assert cached(build(lab, folder, tag="t/pruned")) == [False, False]


def monitor_of_run(lab: LabUnderTest) -> int:
    """The monitor's pid of the only RUN that is under way."""
    [state] = (lab.node_dir(BUILDER) / "builds").glob("*/*/state.json")
    return int(json.loads(state.read_text())["monitor"])


def start_slow_build(
    lab: LabUnderTest, folder: Path, *, wait: bool = True, arguments: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """A build whose RUN is under way: kctl's process."""
    context(folder, "FROM busybox\nRUN sleep 4333 & sleep 4334")
    build_it = ["image", "build", "--node", BUILDER, "-t", "t/slow", *arguments, str(folder)]
    command = [sys.executable, "-P", "-m", "cli.main", *build_it]
    client = subprocess.Popen(command, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if wait:
        eventually(lambda: processes("sleep 4333") and processes("sleep 4334"))
    return client


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_ends_with_its_client(lab: LabUnderTest, tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted or killed: processes, folder, cgroup and address go."""
    with start_slow_build(lab, tmp_path / "c") as client:
        client.send_signal(number)
        client.communicate(timeout=30)
    eventually(lambda: not processes("sleep 4333") and not processes("sleep 4334") and not leftovers(lab))
    assert "t/slow" not in lab.kctl("image", "list")


def test_a_build_whose_agent_was_killed_leaves_nothing_after_its_restart(tmp_path: Path) -> None:
    """The next agent finds it and takes it away; and it builds again."""
    with running("t-bld", tmp_path, nodes=1) as lab:
        with start_slow_build(lab, tmp_path / "c") as client:
            lab.kill(BUILDER)
            client.communicate(timeout=60)
            assert client.returncode == 1
        assert processes("sleep 4333")
        assert leftovers(lab)
        lab.start_agent(BUILDER)
        eventually(lambda: not processes("sleep 4333") and not processes("sleep 4334") and not leftovers(lab))
        devices = subprocess.run(
            ["nsenter", f"--net=/run/pinnace/labs/{lab.name}/ns/{BUILDER}.net", "ip", "-o", "link"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert "pnc" not in devices.replace("pnc-", "")
        folder = context(tmp_path / "again", "FROM busybox\nRUN echo again")
        eventually(lambda: "\nagain\n" in build(lab, folder))

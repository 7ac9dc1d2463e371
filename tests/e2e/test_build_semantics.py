"""`kctl image build` gives what BuildKit gives, where a reading of the Dockerfile reference alone would not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.builds import BUILDER, build, context, layer_files, record, refused
from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root


ARGS = """
ARG BASE=nothing
ARG TOP=top-default
FROM ${BASE} AS one
ARG VERSION=1.0
RUN echo "one: [$VERSION] [$TOP]"
FROM ${BASE}:latest AS two
ARG VERSION TOP
RUN echo "two: [$VERSION] [$TOP]"
ENV TOP=from-env
ARG TOP=again
RUN echo "two again: [$TOP]"
FROM two
RUN echo "three: [$VERSION] [$TOP]"
"""


def test_a_stage_from_another_stage_inherits_its_arguments(lab: LabUnderTest, tmp_path: Path) -> None:
    """With their values; an ENV of the image wins at its begin, the later of ENV and ARG within a stage."""
    folder = context(tmp_path / "c", ARGS)
    said = build(lab, folder, "--build-arg", "VERSION=9", "--build-arg", "BASE=busybox", "--target", "one")
    assert "one: [9] []" in said
    said = build(lab, folder, "--build-arg", "VERSION=9", "--build-arg", "BASE=busybox")
    assert "two: [9] [top-default]" in said
    assert "two again: [again]" in said
    assert "three: [9] [from-env]" in said


OWNERS = """
FROM busybox AS b
RUN echo 'app:x:1500:1600::/home/app:/bin/sh' >> /etc/passwd; echo 'app:x:1600:' >> /etc/group
RUN mkdir -p /server/sub && chown -R 1500:0 /server && chmod 2775 /server && chmod 700 /server/sub
COPY --chown=app:app bar /home/app/foo/bar
COPY --chown=app bar/f /only/user/
COPY --chown=55 --chmod=600 bar /modes
COPY --chmod=u=rwX,go=r bar /symbolic
USER app
WORKDIR /made/by/user
WORKDIR /home
USER 77
WORKDIR /made/by/77
USER missing
WORKDIR /made/by/missing
USER root
RUN stat -c '%a %u:%g %n' /home /home/app/foo /home/app/foo/bar /home/app/foo/bar/f /only /only/user/f /modes /modes/f /symbolic/f
RUN stat -c '%a %u:%g %n' /made /made/by /made/by/user /made/by/77 /made/by/missing
FROM busybox
COPY --from=b /server /server
RUN stat -c '%a %u:%g %n' /server /server/sub
"""
OWNED = """
755 1500:1600 /home
755 1500:1600 /home/app/foo
755 1500:1600 /home/app/foo/bar
644 1500:1600 /home/app/foo/bar/f
755 1500:1600 /only
644 1500:1600 /only/user/f
600 55:55 /modes
600 55:55 /modes/f
644 0:0 /symbolic/f
755 1500:1600 /made
755 1500:1600 /made/by
755 1500:1600 /made/by/user
755 77:77 /made/by/77
755 0:0 /made/by/missing
755 0:0 /server
700 1500:0 /server/sub
"""


def test_owners_and_modes_of_what_is_made_and_copied(lab: LabUnderTest, tmp_path: Path) -> None:
    """WORKDIR makes directories for USER; --chown by name takes the group of the passwd entry."""
    said = build(lab, context(tmp_path / "c", OWNERS, bar__f="f"))
    assert [line for line in OWNED.split("\n") if line not in said.split("\n")] == []


def test_copy_from_keeps_hard_links(lab: LabUnderTest, tmp_path: Path) -> None:
    """Ten names are one inode in the next stage and in the layer."""
    text = """
FROM busybox AS a
RUN mkdir /s1 && head -c 300000 /dev/urandom > /s1/a && for i in 1 2 3 4 5 6 7 8 9; do ln /s1/a /s1/l$i; done
FROM busybox
COPY --from=a /s1 /s2
RUN echo "inodes $(ls -i /s2 | awk '{print $1}' | sort -u | wc -l), KiB $(du -s /s2 | awk '{print $1}')"
"""
    assert "inodes 1, " in build(lab, context(tmp_path / "c", text))


HEREDOCS = """
FROM busybox
ARG WHO=me
RUN <<EOT
set -e
echo "plain: $0 $WHO"
EOT
RUN <<-'EOT' cat
	input: $WHO
	EOT
RUN <<EOT
#!/bin/sh
echo "script: $0"
EOT
RUN cat <<A - <<'B' ; echo "after $WHO"
lost
A
second: $WHO
B
COPY <<a <<-"b" /docs/
it's "$WHO"
a
	tabbed $WHO
b
COPY --chmod=755 --chown=5:6 <<EOT /run-me
#!/bin/sh
echo ran by ${WHO:-none}
EOT
RUN cat /docs/a /docs/b; /run-me; stat -c "%a %u:%g %n" /docs/a /run-me; ls -A /dev/pipes 2>&1; true
"""


def test_here_documents(lab: LabUnderTest, tmp_path: Path) -> None:
    """As scripts, as input, with a shebang, and as files."""
    lines = build(lab, context(tmp_path / "c", HEREDOCS), "--build-arg", "WHO=you").splitlines()
    wanted = [
        "plain: /bin/sh you", "input: $WHO", "script: /dev/pipes/EOT", "second: $WHO", "after you", "it's \"you\"", "tabbed $WHO",
        "ran by you", "644 0:0 /docs/a", "755 5:6 /run-me", "ls: /dev/pipes: No such file or directory",
    ]  # fmt: skip
    assert [line for line in wanted if line not in lines] == []


SETTINGS = """
FROM busybox AS parent
MAINTAINER Me <me@example.org>
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --retries=3 CMD true
STOPSIGNAL USR1
EXPOSE 8000-8002 53/udp
ONBUILD COPY a /triggered
ONBUILD COPY --from=tools /etc/hostname-of-tools /from-tools
ONBUILD RUN echo "trigger ran in $PWD by $0"
WORKDIR /w
RUN false || true; echo "shell $0"
"""
CHILD = """
FROM busybox AS tools
RUN echo tools > /etc/hostname-of-tools
FROM busybox AS unused
RUN echo never-run
FROM t/parent
RUN cat /triggered /from-tools
"""


def test_settings_are_kept_and_triggers_run_in_the_child(lab: LabUnderTest, tmp_path: Path) -> None:
    """A trigger may copy from a stage that nothing else needs."""
    said = build(lab, context(tmp_path / "p", SETTINGS), tag="t/parent")
    assert "note: line 5: HEALTHCHECK is kept in the image, and Kubernetes ignores it" in said
    assert "shell /bin/sh" in said
    assert "\ntrigger ran" not in said
    config = record(lab, "t/parent")["config"]
    assert config["Shell"] == ["/bin/sh", "-ec"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 3}
    assert config["StopSignal"] == "USR1"
    assert set(config["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "8002/tcp", "53/udp"}
    assert len(config["OnBuild"]) == 3
    said = build(lab, context(tmp_path / "c", CHILD, a="file a\n"), tag="t/child")
    assert "trigger ran in /w by /bin/sh" in said
    assert "file a\ntools\n" in said
    assert "never-run" not in said
    assert "OnBuild" not in record(lab, "t/child")["config"]
    assert build(lab, context(tmp_path / "c", CHILD, a="file a\n"), tag="t/child").count("CACHED") == 5


def test_a_stage_runs_the_triggers_of_the_stage_it_begins_from(lab: LabUnderTest, tmp_path: Path) -> None:
    """In the same Dockerfile, once, and not in its own children."""
    text = 'FROM busybox AS a\nONBUILD RUN echo 1 >> /n\nFROM a AS b\nFROM b\nRUN echo "lines $(wc -l < /n)"'
    assert "lines 1\n" in build(lab, context(tmp_path / "c", text))


def test_a_linked_copy_survives_a_change_of_its_base(lab: LabUnderTest, tmp_path: Path) -> None:
    """Its layer comes from the cache; a symlink of the base is not followed."""
    text = "FROM busybox\nRUN echo {} > /base && ln -s /etc /link\nCOPY --link a /link/made/\nCOPY a /plain"
    build(lab, context(tmp_path / "c", text.format(1), a="a"), tag="t/link")
    said = build(lab, context(tmp_path / "c", text.format(2), a="a"), tag="t/link")
    assert "COPY --link a /link/made/ CACHED" in said
    assert "COPY a /plain CACHED" not in said
    layers = record(lab, "t/link")["layers"]
    assert layer_files(lab, layers[2]) == {"link", "link/made", "link/made/a"}


def test_parents_and_excludes(lab: LabUnderTest, tmp_path: Path) -> None:
    """COPY --parents keeps directories, --exclude leaves files out; a pattern may match nothing."""
    text = """
FROM busybox
COPY --parents x/y/./z/*.txt /p/
COPY --exclude=**/*.md --exclude=z x /e/
COPY optional* a /o/
RUN find /p /e /o -type f | sort
"""
    folder = context(tmp_path / "c", text, a="a", x__y__z__one="1", x__top="t")
    for name in ("x/y/z/t.txt", "x/y/n.md", "x/y/n.c"):
        (folder / name).write_text(name)
    assert "\n/e/top\n/e/y/n.c\n/e/y/z/one\n/e/y/z/t.txt\n/o/a\n/p/z/t.txt\n" in build(lab, folder)


def test_the_dockerfile_may_come_on_standard_input(lab: LabUnderTest, tmp_path: Path) -> None:
    """With a context, and without one."""
    folder = context(tmp_path / "c", "FROM nothing", a="file a\n")
    said = lab.kctl(
        "image", "build", "--node", BUILDER, "-t", "t/stdin", "-f", "-", str(folder), stdin="FROM busybox\nCOPY a /\nRUN cat /a"
    )
    assert "\nfile a\n" in said
    said = lab.kctl("image", "build", "--node", BUILDER, "-t", "t/stdin", "-", stdin="FROM busybox\nRUN echo no context")
    assert "\nno context\n" in said


def test_labels_and_arguments_of_the_command_line(lab: LabUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label of --label wins; a --build-arg without a value takes it from the environment."""
    monkeypatch.setitem(lab.environment, "FROM_ENVIRONMENT", "of the environment")
    text = "FROM busybox\nARG FROM_ENVIRONMENT=default UNSET=default\nLABEL a=1 b=2\nRUN echo $FROM_ENVIRONMENT, $UNSET"
    arguments = ("--label", "b=3", "--label", "c=x=y", "--build-arg", "FROM_ENVIRONMENT", "--build-arg", "UNSET")
    assert "\nof the environment, default\n" in build(lab, context(tmp_path / "c", text), *arguments, tag="t/labels")
    assert record(lab, "t/labels")["config"]["Labels"] == {"a": "1", "b": "3", "c": "x=y"}


def test_add_of_a_url(lab: LabUnderTest, tmp_path: Path) -> None:
    """With and without a checksum; an archive is not unpacked unless that is asked for; loopback is refused."""
    files = "mkdir -p /www/d && echo served > /www/f && echo 1 > /www/d/inner && tar -C /www -cf /www/d.tar d"
    lab.apply(
        pod("files", "sh", "-c", f"{files} && exec httpd -f -p 8080 -h /www", nodeSelector={"kubernetes.io/hostname": BUILDER})
    )
    lab.kctl("wait", "pod/files", "--for=condition=Ready")
    base = f"http://{lab.get('pod', 'files')['status']['podIP']}:8080"
    try:
        digest = hashlib.sha256(b"served\n").hexdigest()
        text = f"""
FROM busybox
ARG BASE={base}
ADD $BASE/f /into/
ADD --checksum=sha256:{digest} --chmod=755 --chown=5:6 {base}/f /summed
ADD {base}/d.tar /packed/
ADD --unpack=true {base}/d.tar /unpacked/
RUN cat /into/f; stat -c "%a %u:%g %n" /into/f /summed; find /packed /unpacked -type f
"""
        folder = context(tmp_path / "c", text)
        eventually(lambda: build(lab, folder))
        said = build(lab, folder, "--no-cache").splitlines()
        wanted = ["served", "600 0:0 /into/f", "755 5:6 /summed", "/packed/d.tar", "/unpacked/d/inner"]
        assert [line for line in wanted if line not in said] == []
        assert "digest mismatch" in refused(
            lab, context(tmp_path / "d", f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {base}/f /x")
        )
        assert "invalid response status 404" in refused(lab, context(tmp_path / "e", f"FROM busybox\nADD {base}/nope /x"))
        assert "the node's own" in refused(lab, context(tmp_path / "f", "FROM busybox\nADD http://localhost:1/x /x"))
        assert build(lab, folder).count("CACHED") == 5
        summed = context(tmp_path / "g", f"FROM busybox\nADD --checksum=sha256:{digest} {base}/f /x")
        build(lab, summed)
    finally:
        lab.kctl("delete", "pod", "files", "--now")
    # With a checksum the cache needs no server.
    assert "CACHED" in build(lab, summed)


def test_home_is_that_of_the_passwd_entry(lab: LabUnderTest, tmp_path: Path) -> None:
    """Of the user by name or id; ENV HOME wins."""
    text = """
FROM busybox
RUN echo "0: $HOME"; echo 'app:x:1500:1600::/home/app:/bin/sh' >> /etc/passwd
USER app
RUN echo "app: $HOME"
USER 1500:0
RUN echo "1500: $HOME"
USER 77
RUN echo "77: $HOME"
ENV HOME=/env
RUN echo "env: $HOME"
"""
    said = build(lab, context(tmp_path / "c", text)).splitlines()
    wanted = ["0: /root", "app: /home/app", "1500: /home/app", "77: /", "env: /env"]
    assert [line for line in wanted if line not in said] == []

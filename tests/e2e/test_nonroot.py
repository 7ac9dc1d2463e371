"""What programs of images that do not run as root rely on: their standard streams by name, HOME, low ports, ping."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import DEADLINE, LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
NGINX_LIKE = """\
FROM busybox
RUN mkdir -p /var/log/app && ln -s /dev/stdout /var/log/app/access.log && ln -s /dev/stderr /var/log/app/error.log
USER 101
CMD ["sh", "-c", "echo hit >> /var/log/app/access.log; echo oops >> /var/log/app/error.log; echo end"]
"""
STREAMS = "echo to-stdout > /dev/stdout; echo to-stderr > /dev/stderr; echo appended >> /proc/self/fd/1; echo done"
USER = {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm", "--all", "--now")


def logged(lab: LabUnderTest, name: str, lines: int) -> list[str]:
    """The lines of a pod's log, at least so many, sorted."""
    return sorted(read_log(lab, name, lines))


def read_log(lab: LabUnderTest, name: str, lines: int) -> list[str]:
    def read() -> list[str]:
        found = lab.kctl("logs", name).splitlines()
        assert len(found) >= lines, found
        return [line.rstrip("\r") for line in found]

    return list(eventually(read))


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_log_files_that_are_links_to_the_standard_streams(lab: LabUnderTest, tmp_path: Path, runtime: str) -> None:
    """As in nginx-unprivileged: both links are written to by a user who is not root."""
    (tmp_path / "Dockerfile").write_text(NGINX_LIKE)
    lab.kctl("image", "build", "-t", "t/nginxlike", str(tmp_path))
    made = pod("nginxlike", restartPolicy="Never", container={"image": "t/nginxlike"}, **handler(lab, runtime))
    del made["spec"]["containers"][0]["command"]
    lab.apply(made)
    assert logged(lab, "nginxlike", 3) == ["end", "hit", "oops"]


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_a_user_opens_its_streams_by_name(lab: LabUnderTest, runtime: str) -> None:
    """In the container, and in commands with and without input."""
    lab.apply(pod("streams", "sh", "-c", f"{STREAMS}; exec sleep 1000", **USER, **handler(lab, runtime)))
    lab.kctl("wait", "pod/streams", "--for=condition=Ready")
    assert logged(lab, "streams", 4) == ["appended", "done", "to-stderr", "to-stdout"]
    assert lab.kctl("exec", "streams", "--", "sh", "-c", STREAMS) == "to-stdout\nappended\ndone\n"
    assert lab.kctl("exec", "-i", "streams", "--", "sh", "-c", "cat /dev/stdin", stdin="fed") == "fed"


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_a_users_terminal_is_its_own(lab: LabUnderTest, runtime: str) -> None:
    """By every name that it has; its device belongs to the user."""
    script = "echo out > /dev/stdout; echo err > /dev/stderr; echo tty > /dev/tty; tty; stat -c '%u %a' $(tty); exec sleep 1000"
    container = {"tty": True, "stdin": True}
    lab.apply(pod("terminal", "sh", "-c", script, container=container, **USER, **handler(lab, runtime)))
    *names, device, owner = read_log(lab, "terminal", 5)
    assert names == ["out", "err", "tty"]
    assert device.startswith("/dev/")
    assert owner == "1000 620"


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_a_user_reads_what_an_attached_client_sends(lab: LabUnderTest, runtime: str) -> None:
    """By the name of its standard input, and answers by that of its output."""
    script = "cat /dev/stdin > /dev/stdout; echo end > /dev/stderr"
    container = {"stdin": True, "stdinOnce": True}
    lab.apply(pod("fed", "sh", "-c", script, restartPolicy="Never", container=container, **USER, **handler(lab, runtime)))
    eventually(lambda: lab.get("pod", "fed")["status"]["phase"] == "Running")
    assert "typed" in lab.kctl("attach", "-i", "fed", stdin="typed\n")
    assert logged(lab, "fed", 2) == ["end", "typed"]


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_home_comes_from_the_passwd_of_the_image(lab: LabUnderTest, tmp_path: Path, runtime: str) -> None:
    """For a user by name, and for another one that the manifest names by ID."""
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN echo 'app:x:1500:1600::/home/app:/bin/sh' >> /etc/passwd\nUSER app\n"
        'CMD ["sh", "-c", "echo $HOME; exec sleep 1000"]\n'
    )
    lab.kctl("image", "build", "-t", "t/home", str(tmp_path))
    for name, context, home in (
        ("named", {}, "/home/app"),
        ("by-id", {"runAsUser": 65534}, "/"),
        ("root", {"runAsUser": 0}, "/root"),
    ):
        made = pod(name, securityContext=context, container={"image": "t/home"}, **handler(lab, runtime))
        del made["spec"]["containers"][0]["command"]
        lab.apply(made)
        lab.kctl("wait", f"pod/{name}", "--for=condition=Ready")
        assert logged(lab, name, 1) == [home]
        assert lab.kctl("exec", name, "--", "sh", "-c", "echo $HOME") == f"{home}\n"


PING = """
import os, socket
os.setgroups([])
os.setgid(1000)
os.setuid(1000)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as ping:
    ping.settimeout(10)
    ping.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 1]), ("127.0.0.1", 0))
    assert ping.recv(64)[0] == 0
"""
SERVE = "mkdir -p /tmp/w && echo page > /tmp/w/index.html && exec httpd -f -p 80 -h /tmp/w"


@pytest.mark.parametrize("users", [True, False])
def test_a_user_binds_low_ports_and_may_ping(lab: LabUnderTest, users: bool) -> None:
    """Without any capability; in a user namespace too."""
    context = {"runAsUser": 1000, "runAsGroup": 1000}
    container = {"securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False}}
    lab.apply(pod("low", "sh", "-c", SERVE, securityContext=context, hostUsers=users, container=container))
    lab.kctl("wait", "pod/low", "--for=condition=Ready")
    script = "wget -qO- http://127.0.0.1/ && cat /proc/sys/net/ipv4/ping_group_range"
    groups = "2147483647" if users else "65535"
    assert eventually(lambda: lab.kctl("exec", "low", "--", "sh", "-c", script)).split() == ["page", "0", groups]
    if users:
        # Not in a user namespace, whose users this process does not have. BusyBox's ping knows raw sockets only.
        pid = lab.state(lab.get("pod", "low"))["pid"]
        subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", PING], timeout=DEADLINE, check=True)


def test_the_manifests_sysctls_win(lab: LabUnderTest) -> None:
    """And the node's own network is as it was."""
    sysctls = [
        {"name": "net/ipv4/ip_unprivileged_port_start", "value": "81"},
        {"name": "net.ipv4.ping_group_range", "value": "1 0"},
    ]
    context = {"runAsUser": 1000, "sysctls": sysctls}
    lab.apply(pod("set", securityContext=context), pod("host", hostNetwork=True))
    lab.kctl("wait", "pod/set", "pod/host", "--for=condition=Ready")
    show = "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range"
    assert lab.kctl("exec", "set", "--", "sh", "-c", show).split() == ["81", "1", "0"]
    assert lab.kctl("exec", "host", "--", "sh", "-c", show).split() == ["1024", "1", "0"]


def handler(lab: LabUnderTest, runtime: str) -> dict[str, str]:
    if runtime == "native":
        return {}
    name = f"nonroot-{runtime}"
    made = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": runtime}
    lab.kctl("apply", "-f", "-", stdin=json.dumps(made))
    return {"runtimeClassName": name}

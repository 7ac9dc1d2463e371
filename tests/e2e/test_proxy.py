"""Requests through the proxies of pods and nodes of a lab: to busybox' httpd and nc, and to the nodes' agents."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support import kubectls
from tests.support.labs import DEADLINE, LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
PODS = "/api/v1/namespaces/default/pods"
LARGE = 24 << 20
NEWEST = list(kubectls.installed().values())[-1:]
# Of the pod: pages, a large file, a program that counts what it is sent, and one that ends its server in the middle.
SETUP = f"""
mkdir -p /www/cgi-bin; cd /www
echo hello > index.html
dd if=/dev/zero of=large bs=1M count={LARGE >> 20} 2>/dev/null
cat > cgi-bin/count <<'END'
#!/bin/sh
size=$(wc -c)
printf 'Content-Type: text/plain\\r\\nX-Method: %s\\r\\n\\r\\n%s %s\\n' "$REQUEST_METHOD" "$size" "$QUERY_STRING"
END
cat > cgi-bin/environment <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
env
END
chmod 755 cgi-bin/*
(while :; do printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nhalf' | nc -l -p 8081 >/dev/null; done) &
(while :; do echo local | nc -l -s 127.0.0.1 -p 8082 >/dev/null; done) &
exec httpd -f -p 8080 -h /www
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Api:
    """The lab's REST API, for its administrator."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        pair = folder / "pair.pem"
        pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        self._tls.load_cert_chain(pair)

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPSConnection]:
        assert self._server.hostname is not None
        made = http.client.HTTPSConnection(self._server.hostname, self._server.port, context=self._tls, timeout=DEADLINE)
        try:
            yield made
        finally:
            made.close()

    def ask(self, method: str, path: str, body: Any = None, *, chunked: bool = False, **headers: str) -> Answer:
        with self.connection() as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def status(self, method: str, path: str) -> tuple[int, str, str]:
        """Of a refusal: the code, the reason and the message."""
        answer = self.ask(method, path)
        found = json.loads(answer.body)
        assert (found["kind"], found["code"]) == ("Status", answer.status)
        return answer.status, found["reason"], found["message"]


@pytest.fixture(scope="module")
def api(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    made = Api(lab.kubeconfig, tmp_path_factory.mktemp("proxy"))
    lab.apply(pod("web", "sh", "-c", SETUP, container={"ports": [{"containerPort": 8080}]}))
    eventually(lambda: made.ask("GET", f"{PODS}/web/proxy/").status == 200)
    yield made
    lab.run("delete", "pod", "--all", "--now")


def test_pages_of_a_pod(api: Api) -> None:
    """At its first port, or one that is named; what the pod does not have is its own 404."""
    for name in ("web", "web:8080", "http:web:8080", "http:web:"):
        assert api.ask("GET", f"{PODS}/{name}/proxy/index.html").body == b"hello\n"
    head = api.ask("HEAD", f"{PODS}/web/proxy/index.html")
    # How long a page of HTML is with its links below the proxy is known only when it was sent.
    assert (head.status, "content-length" in head.headers, head.body) == (200, False, b"")
    missing = api.ask("GET", f"{PODS}/web/proxy/missing")
    assert (missing.status, b"404" in missing.body, b"Status" in missing.body) == (404, True, False)
    moved = api.ask("GET", f"{PODS}/web/proxy?a=b")
    assert (moved.status, moved.headers["location"]) == (301, f"{PODS}/web/proxy/?a=b")
    inside = api.ask("GET", f"{PODS}/web/proxy/cgi-bin")
    assert inside.headers.get("location", f"{PODS}/web/proxy/cgi-bin/") == f"{PODS}/web/proxy/cgi-bin/"


def test_large_bodies_in_both_directions(api: Api) -> None:
    """Larger than what the API takes elsewhere, with a length and in chunks."""
    content = os.urandom(LARGE)
    answer = api.ask("POST", f"{PODS}/web/proxy/cgi-bin/count?a=1&b", content)
    assert (answer.status, answer.body, answer.headers["x-method"]) == (200, f"{LARGE} a=1&b\n".encode(), "POST")
    answer = api.ask("GET", f"{PODS}/web/proxy/large")
    assert (answer.status, len(answer.body), answer.headers["content-length"]) == (200, LARGE, str(LARGE))


def test_a_slow_reader_gets_everything(api: Api) -> None:
    """While it waits the pod's httpd waits too."""
    with api.connection() as connection:
        connection.request("GET", f"{PODS}/web/proxy/large")
        response, size = connection.getresponse(), 0
        while data := response.read(1 << 20):
            size += len(data)
            time.sleep(0.02)
    assert size == LARGE


def test_what_a_pod_learns_of_the_client(api: Api) -> None:
    """An address and the path, but no credential."""
    answer = api.ask(
        "GET", f"{PODS}/web/proxy/cgi-bin/environment", Authorization="Bearer secret", Cookie="a=secret", X_Forwarded_For="192.0.2.7",
        Impersonate_User="kubernetes-admin", Impersonate_Group="system:masters", X_Own="mine",
    )  # fmt: skip
    text = answer.body.decode()
    assert answer.status == 200
    assert "secret" not in text and "masters" not in text and "192.0.2.7" not in text  # noqa: PT018
    assert re.search("^HTTP_X_OWN=mine$", text, re.MULTILINE)
    assert re.search("^HTTP_X_FORWARDED_PROTO=https$", text, re.MULTILINE)
    assert re.search(f"^HTTP_X_FORWARDED_URI={PODS}/web/proxy/cgi-bin/environment$", text, re.MULTILINE)


def test_a_port_that_nothing_serves_is_unavailable(api: Api) -> None:
    """Nor does the proxy reach what the pod serves on its loopback alone, which port-forward does."""
    for port in (8090, 8082):
        code, reason, message = api.status("GET", f"{PODS}/web:{port}/proxy/")
        assert (code, reason) == (503, "ServiceUnavailable")
        assert re.fullmatch(
            r"error trying to reach service: cannot connect to 10\.[0-9.]+:\d+ in the pod: Connection refused", message
        )


def test_tls_to_a_port_without_it_is_unavailable(api: Api) -> None:
    """The handshake is the agent's. nc serves one connection after the other, with a moment in between."""

    def refused() -> bool:
        code, reason, message = api.status("GET", f"{PODS}/https:web:8081/proxy/")
        assert (code, reason) == (503, "ServiceUnavailable")
        return "no TLS handshake" in message

    eventually(refused)


def test_a_response_that_breaks_off_is_cut(api: Api) -> None:
    """The pod said more bytes than it sent."""

    def cut() -> bool:
        with api.connection() as connection:
            connection.request("GET", f"{PODS}/web:8081/proxy/")
            response = connection.getresponse()
            if response.status != 200:
                return False
            with pytest.raises(http.client.IncompleteRead) as found:
                response.read()
            return found.value.partial == b"half"

    eventually(cut)


def test_a_pod_that_is_deleted_ends_its_requests(api: Api, lab: LabUnderTest) -> None:
    """In the middle of a response, and before one."""
    begin = "{ printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nfirst'; sleep 1000; } | nc -l -p 80"
    lab.apply(pod("short", "sh", "-c", f"(sleep 1000 | nc -l -p 81) & {begin}"))
    eventually(lambda: all(f":{port} " in lab.kctl("exec", "short", "--", "netstat", "-ltn") for port in (80, 81)))
    with api.connection() as silent, api.connection() as begun:
        silent.request("GET", f"{PODS}/short:81/proxy/")
        begun.request("GET", f"{PODS}/short:80/proxy/")
        response = begun.getresponse()
        assert response.read(5) == b"first"
        lab.kctl("delete", "pod", "short", "--now", "--wait=false")
        with pytest.raises((http.client.IncompleteRead, OSError)):
            response.read()
        answer = silent.getresponse()
        assert (answer.status, json.loads(answer.read())["reason"]) == (503, "ServiceUnavailable")


def test_documents_of_a_node(api: Api, lab: LabUnderTest) -> None:
    """Health, pods, statistics and logs, of the node that the pod is on."""
    node = lab.get("pod", "web")["spec"]["nodeName"]
    base = f"/api/v1/nodes/{node}/proxy"
    assert api.ask("GET", f"{base}/healthz").body == b"ok"
    pods = json.loads(api.ask("GET", f"{base}/pods").body)
    assert ("web", "Running") in [(item["metadata"]["name"], item["status"]["phase"]) for item in pods["items"]]
    summary = json.loads(api.ask("GET", f"{base}/stats/summary").body)
    assert summary["node"]["nodeName"] == node
    [web] = [item for item in summary["pods"] if item["podRef"]["name"] == "web"]
    assert web["containers"][0]["memory"]["workingSetBytes"] > 0
    assert web["network"]["rxBytes"] > 0
    for page, text in (
        ("metrics", f'kubelet_node_name{{node="{node}"}} 1.0'), ("metrics/cadvisor", "container_processes{"),
        ("metrics/resource", 'container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"}'),
    ):  # fmt: skip
        assert text in api.ask("GET", f"{base}/{page}").body.decode()
    lab.kctl(
        "run",
        "talker",
        "--image=busybox",
        "--restart=Never",
        f'--overrides={{"spec":{{"nodeName":"{node}"}}}}',
        "--",
        "echo",
        "said",
    )
    logs = f"{base}/containerLogs/default/talker/talker"
    eventually(lambda: api.ask("GET", logs).body == b"said\n")
    assert api.ask("GET", f"{base}/run/default/web/main").status == 404
    assert api.status("GET", f"/api/v1/nodes/{node}:22/proxy/")[0] == 400


def test_raw_requests_of_kctl_and_kubectl(api: Api, lab: LabUnderTest) -> None:
    """As monitoring scripts make them."""
    node = lab.get("pod", "web")["spec"]["nodeName"]
    assert lab.kctl("get", "--raw", f"{PODS}/web/proxy/index.html") == "hello\n"
    assert json.loads(lab.kctl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))["node"]["nodeName"] == node
    for kubectl in NEWEST:
        command = [kubectl, "get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"]
        done = subprocess.run(command, capture_output=True, env=lab.environment, timeout=DEADLINE, check=True)
        assert json.loads(done.stdout)["node"]["nodeName"] == node
        refused = [kubectl, "get", "--raw", f"{PODS}/web:8090/proxy/"]
        done = subprocess.run(refused, capture_output=True, env=lab.environment, timeout=DEADLINE, check=False)
        assert b"error trying to reach service" in done.stderr


@contextmanager
def local_proxy(lab: LabUnderTest, *words: str) -> Iterator[str]:
    """`host:port` that a `proxy` command serves on."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=lab.environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("Starting to serve on 127.0.0.1:"), line
        yield line.split()[-1]
    finally:
        process.terminate()
        process.communicate()


def test_a_local_proxy_serves_the_api(api: Api, lab: LabUnderTest) -> None:
    """kctl's, and kubectl's where there is one: objects, pages of pods, bodies, and what the filter keeps away."""
    del api
    programs = [lab.command("proxy", "--port=0"), *([name, "proxy", "--port=0"] for name in NEWEST)]
    content = os.urandom(1 << 20)
    for words in programs:
        with local_proxy(lab, *words) as address:
            connection = http.client.HTTPConnection(address, timeout=DEADLINE)
            for method, path, body, headers, code, text in (
                ("GET", f"{PODS}/web", None, {}, 200, b'"kind":"Pod"'),
                ("GET", f"{PODS}/web/proxy/index.html", None, {}, 200, b"hello"),
                ("POST", f"{PODS}/web/proxy/cgi-bin/count", content, {}, 200, b"1048576"),
                ("POST", f"{PODS}/web/exec?command=ls", None, {}, 403, b"orbidden"),
                ("GET", f"{PODS}/web", None, {"Host": "evil.example"}, 403, b"orbidden"),
            ):  # fmt: skip
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                found = response.read()
                assert (words[-2], path, response.status) == (words[-2], path, code)
                assert text in found
            connection.close()

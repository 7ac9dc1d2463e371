"""An ingress controller: HAProxy, configured by the Ingresses of one controller name. It runs in a pod, with Python's own library.

    watches of the API ──► every Ingress, Service and EndpointSlice ──► configuration ──► reload ──► status of the Ingresses

Usage: controller.py CONTROLLER, with the address for statuses in $ADDRESS. It reads everything again after each event: right for a
test, not for a large cluster.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONFIG = Path("/run/haproxy/haproxy.cfg")
NETWORKING, DISCOVERY = "/apis/networking.k8s.io/v1", "/apis/discovery.k8s.io/v1"
WATCHED = (f"{NETWORKING}/ingresses", f"{NETWORKING}/ingressclasses", "/api/v1/services", f"{DISCOVERY}/endpointslices")
# Seconds between tries, and of one call.
RETRY, WITHIN = 0.5, 300
HEAD = """
global
  maxconn 200
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
backend nowhere
  http-request deny deny_status 404
frontend web
  bind :8080
  monitor-uri /healthz
"""


class Api:
    def __init__(self) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        self._base = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))

    def open(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        request = urllib.request.Request(self._base + path, method=method)
        request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/merge-patch+json")
        return urllib.request.urlopen(request, context=self._tls, timeout=WITHIN)

    def list(self, path: str) -> dict[str, Any]:
        with self.open(path) as answer:
            return dict(json.load(answer))


def follow(api: Api, path: str, changed: threading.Event) -> None:
    """Set `changed` with each event of the objects at `path`, for ever."""
    while True:
        try:
            version = api.list(path)["metadata"]["resourceVersion"]
            changed.set()
            with api.open(f"{path}?watch=1&resourceVersion={version}") as events:
                for _ in events:
                    changed.set()
        except (OSError, ValueError) as error:
            print(f"watch of {path}: {error}", flush=True)
            time.sleep(RETRY)


def of_controller(api: Api, controller: str) -> list[dict[str, Any]]:
    """The Ingresses whose class names the controller."""
    classes = {
        item["metadata"]["name"] for item in api.list(WATCHED[1])["items"] if item["spec"]["controller"] == controller
    }  # fmt: skip
    return [item for item in api.list(WATCHED[0])["items"] if item["spec"].get("ingressClassName") in classes]


def configuration(ingresses: list[dict[str, Any]], services: list[dict[str, Any]], slices: list[dict[str, Any]]) -> str:
    """Of HAProxy: the most specific rule first."""
    uses, backends, default = [], [], "nowhere"
    for item in ingresses:
        namespace = item["metadata"]["namespace"]
        for backend, condition, order in _routes(item["spec"]):
            name = f"backend-{len(backends)}"
            backends.append("\n".join([f"backend {name}", *_servers(namespace, backend, services, slices)]))
            if condition:
                uses.append((order, f"  use_backend {name} if {condition}"))
            else:
                default = name
    routes = [text for _, text in sorted(uses)]
    return "\n".join([HEAD.strip(), *routes, f"  default_backend {default}", *backends, ""])


def _routes(spec: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, tuple[int, ...]]]:
    """Backend, condition and order of each path; without a condition for the default backend."""
    if "defaultBackend" in spec:
        yield spec["defaultBackend"]["service"], "", ()
    for rule in spec.get("rules", []):
        host = rule.get("host", "")
        for path in rule.get("http", {}).get("paths", []):
            exact, text = path["pathType"] == "Exact", path.get("path", "/").rstrip("/")
            pattern = f"^{re.escape(path['path'])}$" if exact else f"^{re.escape(text)}(/|$)"
            of_host = "^[^.]+" + re.escape(host[1:]) + "$" if host.startswith("*") else f"^{re.escape(host)}$"
            wanted = [f"{{ hdr(host),field(1,:) -m reg -i {of_host} }}"] if host else []
            order = (not host, host.startswith("*"), -len(text), not exact)
            yield path["backend"]["service"], " ".join([*wanted, f"{{ path -m reg {pattern} }}"]), tuple(map(int, order))


def _servers(
    namespace: str, backend: dict[str, Any], services: list[dict[str, Any]], slices: list[dict[str, Any]]
) -> Iterator[str]:
    """The ready endpoints of a Service's port."""
    for service in services:
        if (service["metadata"]["namespace"], service["metadata"]["name"]) != (namespace, backend["name"]):
            continue
        for port in service["spec"]["ports"]:
            if port["port"] == backend["port"].get("number") or port.get("name", "") == backend["port"].get("name", "-"):
                found = sorted(_addresses(namespace, backend["name"], port.get("name", ""), slices))
                yield from (f"  server s{number} {address}" for number, address in enumerate(found))


def _addresses(namespace: str, service: str, port: str, slices: list[dict[str, Any]]) -> Iterator[str]:
    for item in slices:
        meta = item["metadata"]
        if (meta["namespace"], meta.get("labels", {}).get("kubernetes.io/service-name")) != (namespace, service):
            continue
        numbers = [found["port"] for found in item.get("ports") or [] if found.get("name", "") == port]
        for endpoint in item.get("endpoints") or []:
            if endpoint.get("conditions", {}).get("ready", True):
                yield from (f"{endpoint['addresses'][0]}:{number}" for number in numbers)


def report(api: Api, ingresses: list[dict[str, Any]], address: str) -> None:
    """Put the address into the statuses that lack it."""
    status = {"loadBalancer": {"ingress": [{"ip": address}]}}
    for item in ingresses:
        if item.get("status") != status:
            meta = item["metadata"]
            path = f"{NETWORKING}/namespaces/{meta['namespace']}/ingresses/{meta['name']}/status"
            api.open(path, method="PATCH", body={"status": status}).close()


def apply(text: str, proxy: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
    """Start HAProxy with the configuration, or have it reload; connections that are open go on."""
    fresh = CONFIG.with_suffix(".new")
    fresh.write_text(text)
    subprocess.run(["haproxy", "-c", "-q", "-f", str(fresh)], check=True)
    fresh.rename(CONFIG)
    if proxy is None or proxy.poll() is not None:
        return subprocess.Popen(["haproxy", "-W", "-db", "-f", str(CONFIG)])
    proxy.send_signal(signal.SIGUSR2)
    return proxy


def main(controller: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    api, changed = Api(), threading.Event()
    for path in WATCHED:
        threading.Thread(target=follow, args=(api, path, changed), daemon=True).start()
    proxy, present = None, ""
    while True:
        # Also without an event: what failed is tried again.
        changed.wait(10)
        changed.clear()
        try:
            ingresses = of_controller(api, controller)
            text = configuration(ingresses, api.list(WATCHED[2])["items"], api.list(WATCHED[3])["items"])
            if text != present:
                proxy, present = apply(text, proxy), text
            report(api, ingresses, os.environ["ADDRESS"])
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            print(f"not applied: {error}", flush=True)
            time.sleep(RETRY)


if __name__ == "__main__":
    main(sys.argv[1])

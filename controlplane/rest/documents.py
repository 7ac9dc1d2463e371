"""Documents about the server itself: its version, and what of its API is described elsewhere.

Source: version.Info of k8s.io/apimachinery.
"""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version

from controlplane.http.messages import Request, Response
from controlplane.rest import negotiation
from controlplane.rest.bodies import dumps
from pinnace.protowire import field

# The version of Kubernetes' API that clients may expect here.
MAJOR, MINOR = "1", "37"
_OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def respond(request: Request) -> Response | None:
    """None for a path that is none of these."""
    path = request.path.rstrip("/")
    if path == "/version":
        return Response(dumps(version_info()), negotiation.JSON)
    if path == "/openapi/v2":
        return Response(_empty_openapi_v2(), _OPENAPI_V2)
    return None


@functools.cache
def version_info() -> dict[str, str]:
    return {
        "major": MAJOR, "minor": MINOR, "gitVersion": f"v{MAJOR}.{MINOR}.0+pinnace", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": f"pinnace {version('pinnace')}",
        "compiler": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"linux/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }  # fmt: skip


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _empty_openapi_v2() -> bytes:
    """A Document with a version and a title alone: older clients need one, and check nothing against it.

    Source: openapi.v2.Document of gnostic: swagger = 1, info = 2 {title = 1, version = 2}."""
    info = field(1, b"Pinnace") + field(2, MINOR.encode())
    return field(1, b"2.0") + field(2, info)

"""Documents about the server itself: its version, and what of its API is described elsewhere.

Source: version.Info of k8s.io/apimachinery.
"""

from __future__ import annotations

import functools

from controlplane.http.messages import Request, Response
from controlplane.rest import negotiation
from controlplane.rest.bodies import dumps

# The version of Kubernetes' API that clients may expect here.
MAJOR, MINOR = "1", "37"


def respond(request: Request) -> Response | None:
    """None for a path that is none of these."""
    path = request.path.rstrip("/")
    if path == "/version":
        return Response(dumps(version_info()), negotiation.JSON)
    return None


@functools.cache
def version_info() -> dict[str, str]:
    # The metadata of packages needs the email package: 1.5 MB, for a page that few clients request.
    import platform
    from importlib.metadata import version

    return {
        "major": MAJOR, "minor": MINOR, "gitVersion": f"v{MAJOR}.{MINOR}.0+pinnace", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": f"pinnace {version('pinnace')}",
        "compiler": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"linux/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }  # fmt: skip


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

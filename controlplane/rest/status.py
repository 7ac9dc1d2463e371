"""Status documents: what errors, and deletions, look like to clients.

Source: meta/v1 Status and api/errors of k8s.io/apimachinery.
"""

from __future__ import annotations

from typing import Any

import orjson

from controlplane.http.messages import JSON, Response
from pinnace.errors import ApiError

# Causes that are sent; an object may have thousands of faults.
MAX_CAUSES = 100


def failure(error: ApiError) -> dict[str, Any]:
    """`details.kind` is the plural resource with its group apart, except for Invalid, which has the kind."""
    status: dict[str, Any] = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": error.message, "reason": error.reason, "code": error.http,
    }  # fmt: skip
    details = _details(error)
    if details:
        status["details"] = details
    return status


def _details(error: ApiError) -> dict[str, Any]:
    kind, _, group = error.kind.partition(".")
    details: dict[str, Any] = {"name": error.name, "group": group, "kind": kind}
    if error.causes:
        causes = error.causes[:MAX_CAUSES]
        details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    if error.retry_after:
        details["retryAfterSeconds"] = error.retry_after
    return {key: value for key, value in details.items() if value}


def refusal(error: ApiError) -> Response:
    headers = (("retry-after", str(error.retry_after)),) if error.retry_after else ()
    return Response(orjson.dumps(failure(error), default=str), JSON, error.http, headers)


def success(*, name: str = "", group: str = "", resource: str = "", uid: str = "") -> dict[str, Any]:
    """Of a deletion that is complete, or of something else that was done."""
    details = {"name": name, "group": group, "kind": resource, "uid": uid}
    shown = {key: value for key, value in details.items() if value}
    done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**done, "details": shown} if shown else done

"""How a stream ended, as the Status that exec and attach send last, or as the text of older protocols.

Source: the error channel of `v4.channel.k8s.io` (k8s.io/client-go's tools/remotecommand).
"""

from __future__ import annotations

import json
from typing import Any

from pinnace import errors
from pinnace.api.v1 import streams_pb2
from pinnace.errors import ApiError

SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}
# client-go reads the code as a number of eight bits.
MAX_CODE = 255
# Bytes of a message.
MAX_MESSAGE = 4 << 10


def of_exit(ended: streams_pb2.Exit, *, codes: bool) -> dict[str, Any]:
    """A Status. Without `codes` an exit code is no failure: attach has not run the process."""
    if ended.message:
        return of_error(errors.BY_REASON.get(ended.reason, errors.Internal)(ended.message))
    if not codes or not ended.code:
        return SUCCESS
    code = ended.code if 0 < ended.code <= MAX_CODE else MAX_CODE
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return _failure(f"command terminated with exit code {code}", "NonZeroExitCode", details={"causes": causes})


def of_error(error: ApiError) -> dict[str, Any]:
    return _failure(error.message, error.reason, code=error.http)


def _failure(message: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message[:MAX_MESSAGE], "reason": reason, **more}


def encoded(status: dict[str, Any], *, structured: bool = True) -> bytes:
    """Without `structured`, for protocols before v4: the message of a failure, and nothing for a success."""
    return json.dumps(status).encode() if structured else status.get("message", "").encode()

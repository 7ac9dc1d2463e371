"""The errors of the API: one class per Kubernetes status reason, each bound to one gRPC code.

Raise these anywhere; `pinnace.wire` alone translates them to and from the wire. Match on the class, never on text.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


# No dataclass: their module takes as long to import as all else that `kctl version --client` needs.
class Cause(NamedTuple):
    """One fault in one field. `field` is a path such as `spec.containers[0].image`."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiError(Exception):
    """A failure with a Kubernetes status reason, an HTTP code and a gRPC code name.

    `kind` and `name` say which object, `causes` which of its fields. `retry_after`: seconds after which the request may
    succeed, 0 if it will not.
    """

    reason: ClassVar[str] = "InternalError"
    http: ClassVar[int] = 500
    grpc: ClassVar[str] = "INTERNAL"

    def __init__(
        self, message: str, *, kind: str = "", name: str = "", causes: tuple[Cause, ...] = (), retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.name = name
        self.causes = causes
        self.retry_after = retry_after


class NotFound(ApiError):
    reason, http, grpc = "NotFound", 404, "NOT_FOUND"

    @classmethod
    def of(cls, plural: str, name: str) -> NotFound:
        return cls(f'{plural} "{name}" not found', kind=plural, name=name)


class AlreadyExists(ApiError):
    reason, http, grpc = "AlreadyExists", 409, "ALREADY_EXISTS"

    @classmethod
    def of(cls, plural: str, name: str) -> AlreadyExists:
        return cls(f'{plural} "{name}" already exists', kind=plural, name=name)


class Conflict(ApiError):
    """The object changed since it was read, or another manager owns a field."""

    reason, http, grpc = "Conflict", 409, "ABORTED"


class Invalid(ApiError):
    """The object breaks a rule; `causes` names every field at fault."""

    reason, http, grpc = "Invalid", 422, "INVALID_ARGUMENT"

    @classmethod
    def of(cls, kind: str, name: str, causes: tuple[Cause, ...]) -> Invalid:
        """`kind` with its group, as `Kind.group_kind`."""
        listed = ", ".join(str(cause) for cause in causes)
        # As kube-apiserver words it: one error, or a list of several.
        listed = listed if len(causes) == 1 else f"[{listed}]"
        return cls(f'{kind} "{name}" is invalid: {listed}', kind=kind, name=name, causes=causes)


class BadRequest(ApiError):
    """The request cannot be understood at all."""

    reason, http, grpc = "BadRequest", 400, "FAILED_PRECONDITION"


class NotAcceptable(ApiError):
    """The server has no representation of the kinds that the client accepts."""

    reason, http, grpc = "NotAcceptable", 406, "UNIMPLEMENTED"


class UnsupportedMediaType(ApiError):
    """The server does not read bodies, or patches, of this media type."""

    reason, http, grpc = "UnsupportedMediaType", 415, "UNIMPLEMENTED"


class MethodNotAllowed(ApiError):
    """The resource does not have this verb."""

    reason, http, grpc = "MethodNotAllowed", 405, "UNIMPLEMENTED"


class Forbidden(ApiError):
    reason, http, grpc = "Forbidden", 403, "PERMISSION_DENIED"


class Unauthenticated(ApiError):
    reason, http, grpc = "Unauthorized", 401, "UNAUTHENTICATED"


class Expired(ApiError):
    """The revision asked for is compacted, or the watcher fell behind: list again."""

    reason, http, grpc = "Expired", 410, "OUT_OF_RANGE"


class Timeout(ApiError):
    reason, http, grpc = "Timeout", 504, "DEADLINE_EXCEEDED"


class Unavailable(ApiError):
    """Try again: the peer is not there now."""

    reason, http, grpc = "ServiceUnavailable", 503, "UNAVAILABLE"


class TooLarge(ApiError):
    """More than the store takes in one transaction or object. Trying again does not help.

    Shares gRPC's code with TooManyRequests, as gRPC itself uses it for messages that are too large."""

    reason, http, grpc = "RequestEntityTooLarge", 413, "RESOURCE_EXHAUSTED"


class TooManyRequests(ApiError):
    reason, http, grpc = "TooManyRequests", 429, "RESOURCE_EXHAUSTED"


class Internal(ApiError):
    pass


ALL: tuple[type[ApiError], ...] = (
    NotFound, AlreadyExists, Conflict, Invalid, BadRequest, Forbidden, Unauthenticated, Expired, Timeout,
    Unavailable, TooLarge, TooManyRequests, UnsupportedMediaType, NotAcceptable, MethodNotAllowed, Internal,
)  # fmt: skip
BY_REASON = {cls.reason: cls for cls in ALL}
BY_GRPC = {cls.grpc: cls for cls in ALL}

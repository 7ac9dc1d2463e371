"""Query parameters and options of requests, each with its range.

Source: ListOptions, CreateOptions, PatchOptions and DeleteOptions of meta/v1, and their validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from controlplane.http.messages import Request
from controlplane.requests import unknownfields
from controlplane.requests.deletion import BACKGROUND, FOREGROUND, ORPHAN, DeleteOptions
from controlplane.requests.watching import parse_revision
from controlplane.rest import negotiation
from controlplane.rest.bodies import envelope
from pinnace import codec, manifest, schematree
from pinnace.errors import BadRequest, Cause, Invalid, TooLarge
from pinnace.meta.v1 import rest_pb2

MAX_INT64 = (1 << 63) - 1
MAX_MANAGER = 128
# Values of DeleteOptions in YAML, which has seven fields: 25 microseconds for each.
MAX_VALUES = 200
# Bytes of DeleteOptions in any form.
MAX_OPTIONS = 64 << 10
_DELETE_OPTIONS = schematree.of(rest_pb2.DeleteOptions)
EXACT, NOT_OLDER = "Exact", "NotOlderThan"


def flag(request: Request, name: str) -> bool:
    """Kubernetes' booleans: absent, `0` and `false` in any case are false, any other value is true."""
    return name in request.query and request.param(name).lower() not in ("0", "false")


def number(request: Request, name: str, default: int = 0) -> int:
    """Raises BadRequest for what is no number of 64 bits."""
    text = request.param(name)
    if not text:
        return default
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19 or int(digits) > MAX_INT64:
        raise BadRequest(f'{name}: "{text[:40]}" is not a number')
    return int(text)


def dry_run(request: Request) -> bool:
    """Raises Invalid."""
    return _dry_run(request.query.get("dryRun", []))


def _dry_run(values: list[str]) -> bool:
    values = [value for value in values if value]
    if any(value != "All" for value in values):
        raise _unsupported("dryRun", values[0], "All")
    return bool(values)


def manager(request: Request) -> str:
    """The fieldManager, or the program that the client says it is. Raises BadRequest."""
    name = request.param("fieldManager") or request.header("user-agent").partition("/")[0][:MAX_MANAGER].strip()
    if len(name) > MAX_MANAGER or not name.isprintable():
        raise BadRequest(f"fieldManager must be printable and at most {MAX_MANAGER} characters")
    return name or "unknown"


@dataclass(frozen=True, slots=True)
class ListOptions:
    """`revision` 0 and `any_revision`: whatever is there. `timeout` in seconds, 0 for the server's."""

    labels: str
    fields: str
    limit: int
    token: str
    revision: int
    any_revision: bool
    match: str
    bookmarks: bool
    initial: bool | None
    timeout: int

    @classmethod
    def of(cls, request: Request, *, watch: bool) -> ListOptions:
        """Raises BadRequest, Invalid."""
        version = request.param("resourceVersion")
        found = cls(
            request.param("labelSelector"), request.param("fieldSelector"), max(0, number(request, "limit")),
            request.param("continue"), parse_revision(version) if version else 0, version == "0",
            request.param("resourceVersionMatch"), flag(request, "allowWatchBookmarks"),
            flag(request, "sendInitialEvents") if "sendInitialEvents" in request.query else None,
            max(0, number(request, "timeoutSeconds")),
        )  # fmt: skip
        found._check(version, watch=watch)
        return found

    def _check(self, version: str, *, watch: bool) -> None:
        """Source: ValidateListOptions of meta/internalversion."""
        if self.initial is not None:
            if not watch:
                raise _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
            if self.match != NOT_OLDER:
                raise _forbidden(
                    "resourceVersionMatch", f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}"
                )
        elif self.match:
            if watch:
                raise _forbidden(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
                )
            self._check_match(version)
        if self.token and version not in ("", "0"):
            raise BadRequest("specifying resource version is not allowed when using continue")

    def _check_match(self, version: str) -> None:
        name = "resourceVersionMatch"
        if self.token:
            raise _forbidden(name, f"{name} is forbidden when continue is provided")
        if not version:
            raise _forbidden(name, f"{name} is forbidden unless resourceVersion is provided")
        if self.match not in (EXACT, NOT_OLDER):
            raise _unsupported(name, self.match, EXACT, NOT_OLDER)
        if self.match == EXACT and version == "0":
            raise _forbidden(name, f'{name} "{EXACT}" is forbidden for resourceVersion "0"')


def _forbidden(name: str, text: str) -> Invalid:
    return Invalid.of("ListOptions.meta.k8s.io", "", (Cause(name, f"Forbidden: {text}", "FieldValueForbidden"),))


def _unsupported(name: str, value: str, *known: str) -> Invalid:
    listed = ", ".join(f'"{item}"' for item in known)
    text = f'Unsupported value: "{value[:40]}": supported values: {listed}'
    return Invalid.of("Options", "", (Cause(name, text, "FieldValueNotSupported"),))


@dataclass(frozen=True, slots=True)
class Deletion:
    """`accepted`: the client takes a pending deletion as 202."""

    options: DeleteOptions
    dry_run: bool
    accepted: bool = False


def deletion(request: Request) -> Deletion:
    """From the body, or from the query without one. Raises BadRequest, Invalid, TooLarge."""
    found = _delete_options(request)
    policy = found.propagationPolicy
    if found.HasField("orphanDependents"):
        if policy:
            raise Invalid("propagationPolicy: Invalid value: orphanDependents and deletionPropagation cannot be both set")
        policy = ORPHAN if found.orphanDependents else BACKGROUND
    if policy not in ("", BACKGROUND, FOREGROUND, ORPHAN):
        raise _unsupported("propagationPolicy", policy, BACKGROUND, FOREGROUND, ORPHAN)
    grace = found.gracePeriodSeconds if found.HasField("gracePeriodSeconds") else None
    options = DeleteOptions(grace, found.preconditions.uid, found.preconditions.resourceVersion, policy)
    legacy = found.HasField("orphanDependents") and not found.orphanDependents
    return Deletion(options, _dry_run([*found.dryRun, *request.query.get("dryRun", [])]), legacy)


def _delete_options(request: Request) -> rest_pb2.DeleteOptions:
    if not request.body:
        return _of_query(request)
    if len(request.body) > MAX_OPTIONS:
        raise TooLarge(f"the DeleteOptions in the body are larger than {MAX_OPTIONS} bytes")
    known = (negotiation.JSON, negotiation.YAML, negotiation.PROTOBUF)
    media = negotiation.content_type(request.header("content-type"), known=known)
    if media == negotiation.PROTOBUF:
        try:
            return rest_pb2.DeleteOptions.FromString(envelope(request.body).raw)
        except DecodeError:
            raise BadRequest("the body is not DeleteOptions in protobuf") from None
    try:
        value = _yaml_options(request.body) if media == negotiation.YAML else codec.load_json(request.body)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        if value.get("kind") not in (None, "", "DeleteOptions"):
            raise ValueError(f"the kind in the data is {codec.describe(value['kind'])}")
        # As in Kubernetes, which knows more fields with every version.
        known_fields, _ = unknownfields.drop(_DELETE_OPTIONS, value)
        return codec.decode(rest_pb2.DeleteOptions, known_fields)
    except (ValueError, codec.FieldError) as error:
        raise BadRequest(f"the body is not DeleteOptions: {str(error)[:200]}") from None


def _yaml_options(body: bytes) -> Any:
    """Raises BadRequest. The number of values is limited, so that reading them delays no other request."""
    try:
        documents = manifest.load(body, "body", values=MAX_VALUES)
    except Invalid as error:
        raise BadRequest(f"the body is not YAML: {error.message[:400]}") from None
    if len(documents) != 1:
        raise BadRequest(f"the body must be one YAML document, not {len(documents)}")
    return documents[0].value


def _of_query(request: Request) -> rest_pb2.DeleteOptions:
    found = rest_pb2.DeleteOptions()
    if request.param("gracePeriodSeconds"):
        found.gracePeriodSeconds = number(request, "gracePeriodSeconds")
    if "propagationPolicy" in request.query:
        found.propagationPolicy = request.param("propagationPolicy")
    if "orphanDependents" in request.query:
        found.orphanDependents = flag(request, "orphanDependents")
    return found

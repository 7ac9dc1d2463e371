"""The definition of a resource: all that the API knows of one kind, as one value.

Generic code asks the resource and never names a kind. Nothing here awaits, logs or reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from controlplane.resources.columns import NAME_AND_AGE, Columns
from controlplane.resources.indexes import COMMON, Values, of_field
from controlplane.store import Tx
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.reference_pb2 import ObjectReference
from pinnace.equality import same
from pinnace.kinds import Kind
from pinnace.meta.v1.rest_pb2 import DeleteOptions

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")
R = TypeVar("R")

# Amounts by quota resource: thousandths of cpu, units of everything else.
Usage = Mapping[str, int]


class QuotaScope(NamedTuple):
    """A condition of a quota on the objects that it counts."""

    name: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Happening:
    """What an object tells of another one: type (Normal, Warning), reason and message, how often, and who reported it from
    which host."""

    about: ObjectReference
    type: str
    reason: str
    message: str
    count: int
    reporter: str
    host: str


# The verbs of a resource without restrictions.
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
# The verbs of a stream that passes HTTP requests on.
PROXIED = ("create", "delete", "get", "patch", "update")
# Field selectors that every kind has.
_FIELDS: dict[str, Callable[[Any], str]] = {
    "metadata.name": lambda item: str(item.metadata.name),
    "metadata.namespace": lambda item: str(item.metadata.namespace),
}


class Strategy(Generic[T]):
    """What generic verbs leave to the kind. Pure and synchronous; an override changes no object but its first argument."""

    # Whether an update may leave out the resourceVersion, and overwrite whatever there is.
    unconditional_update = True

    def prepare_for_create(self, new: T) -> None:
        """After defaults, before validation: the initial status, and fields that no client sets. The status is empty."""

    def prepare_for_update(self, new: T, old: T) -> None:
        """Restore what an update by this path may not change. The status is the old one's already."""

    def warnings(self, new: T, old: T | None) -> list[str]:
        """What the client should know of an object that is accepted."""
        return []

    def wants_more(self, new: T, old: T) -> bool:
        """Whether an update changes the desired state, which raises the generation."""
        after: Any = new
        before: Any = old
        return not same(after.spec, before.spec)

    def grace_period(self, stored: T, requested: int | None) -> int:
        """Seconds from the deletion request until the object is removed; 0: no graceful deletion."""
        return 0

    def prepare_for_delete(self, stored: T) -> None:
        """When deletion begins and the object stays for a while."""

    def is_settled(self, stored: T) -> bool:
        """Of an object marked for deletion without finalizers: whether nothing of its kind keeps it."""
        return True

    # What a quota can bound of the objects, besides their number.
    quota_resources: frozenset[str] = frozenset()
    # Whether an update of the object itself may use more.
    updates_use_quota = False

    def counts_for(self, name: str) -> bool:
        """Whether the objects may use something of a quota's bound of this name."""
        return name in self.quota_resources

    def quota_usage(self, item: T, now: float) -> Usage:
        """What the object uses of `quota_resources` now, in seconds since the epoch."""
        return {}

    def quota_missing(self, item: T, hard: Container[str]) -> str:
        """What the object has to state where these resources are bounded and does not, for an error."""
        return ""

    def in_quota_scope(self, item: T, scope: QuotaScope) -> bool:
        """Whether the object meets a condition that a quota has."""
        return False


class Subresource(Generic[T]):
    """A part of an object with an address, and permissions, of its own. This class is `status`."""

    # The resource as which it is read and written; None: the whole object.
    form: Resource[Any] | None = None
    # Whether a write is an update of the object, with admission, a new generation and an owner of what it changed.
    is_desired_state = False
    # Rules of such an update, where they differ from those of the object.
    rules: KindRules[T] | None = None
    # Whether such an update may need more of a quota.
    uses_quota = False
    # What clients may do with it, in discovery's words.
    verbs: tuple[str, ...] = ("get", "patch", "update")

    def applied(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """What of a manifest an apply of the part is about, with the keys of lists on the way; None: it cannot be applied."""
        return manifest

    def view(self, stored: T) -> Any:
        """The part in its form, for reading. Raises Internal."""
        return stored

    def base(self, stored: T) -> Any:
        """The part in its form, for a patch to be applied to."""
        return self.view(stored)

    def replace(self, stored: T, request: T) -> None:
        """Take the part from `request` into `stored`, and nothing else."""
        target: Any = stored
        source: Any = request
        target.ClearField("status")
        if source.HasField("status"):
            target.status.CopyFrom(source.status)

    def validate(self, kind: Kind[T], rules: KindRules[T], new: T, old: T) -> None:
        """Raises Invalid with every error of the part."""
        from pinnace import admission

        admission.admit_status(kind, new, old, own=rules)

    def check(self, tx: Tx, new: T) -> None:
        """What depends on other objects. Raises Conflict, Forbidden."""


class Stream(NamedTuple):
    """A subresource that carries bytes instead of objects: what clients may do with it in discovery's words, and the kind that
    discovery lists, which holds the options of the request (empty: the resource's own)."""

    verbs: tuple[str, ...]
    options: str = ""


class Encoding(NamedTuple):
    """Of a kind whose messages differ from Kubernetes' in some fields: an object from Kubernetes' protobuf, and to it.

    `decode` raises DecodeError, TooLarge."""

    decode: Callable[[bytes], bytes]
    encode: Callable[[bytes], bytes]


class Action(Generic[R, T]):
    """What is done to an object by creating a request of another kind below it, which is not stored."""

    # The resource as which requests are sent.
    form: Resource[Any]

    def perform(self, tx: Tx, stored: T, request: R, now: float) -> DeleteOptions | None:
        """Change the object and write it; what it returns is how the object is to be deleted then. Raises ApiError."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Resource(Generic[T]):
    """One kind as the API serves it: `Resource[Pod]`."""

    kind: Kind[T]
    # Defaults and validation of an object by itself.
    rules: KindRules[T] = field(default_factory=KindRules)
    strategy: Strategy[T] = field(default_factory=Strategy)
    # Groups of resources that a word such as `all` stands for.
    categories: tuple[str, ...] = ()
    # Besides `status`, which every kind with that field has.
    subresources: Mapping[str, Subresource[T]] = field(default_factory=dict)
    # Subresources that are only created.
    actions: Mapping[str, Action[Any, T]] = field(default_factory=dict)
    # Subresources that are created and answered by a source of virtual resources, by the kind of what is created.
    answered: Mapping[str, Kind] = field(default_factory=dict)
    streams: Mapping[str, Stream] = field(default_factory=dict)
    # Field selectors: the text of a field, by its path.
    selectable: Mapping[str, Callable[[T], str]] = field(default_factory=dict)
    # Those of them that have an index, and so are found without a look at the other objects.
    indexed: tuple[str, ...] = ()
    # Further indexes, for controllers.
    own_indexes: Mapping[str, Values] = field(default_factory=dict)
    # Of bodies in protobuf, of requests and responses of the REST API; None: those of the messages.
    encoding: Encoding | None = None
    # Of tables that show objects of the kind.
    columns: Columns[T] = NAME_AND_AGE
    # What clients may do with the resource, in discovery's words.
    verbs: tuple[str, ...] = VERBS

    # Of the timeline: fields of which it never records a value, fields whose change alone it does not record (paths as in
    # fieldpaths), and of a kind whose objects tell what happened to others: that.
    concealed: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    tells: Callable[[T], Happening] | None = None
    # Whether the answer to a deletion is the last state of the object.
    returns_deleted: bool = False
    # Whether an update of an object that is not there creates it (`AllowCreateOnUpdate` of kube-apiserver's strategies).
    creates_on_update: bool = False
    # None: as the message has the field. False: the field is a part of the object like any other.
    status: bool | None = None
    # Metadata that requests for the status may change as well. Source: PrepareForUpdate of kube-apiserver's status strategies.
    status_meta: tuple[str, ...] = ("labels", "annotations")
    # False: the version in which objects are stored, which no request may name.
    served: bool = True
    # What else changes when an object is removed, in the same transaction.
    removed: Callable[[Tx, T], None] | None = None
    # Of a kind whose objects define other kinds: follow a change of one, given its key and stored bytes (None: deleted).
    observe: Callable[[Any, str, bytes | None], None] | None = None

    @cached_property
    def has_spec(self) -> bool:
        return self._has("spec")

    @cached_property
    def has_status(self) -> bool:
        return self._has("status") if self.status is None else self.status

    def _has(self, name: str) -> bool:
        cls: Any = self.kind.cls
        return name in cls.DESCRIPTOR.fields_by_name

    @property
    def fields(self) -> Mapping[str, Callable[[T], str]]:
        """Every field that a field selector may name."""
        return {**_FIELDS, **self.selectable}

    @cached_property
    def indexes(self) -> Mapping[str, Values]:
        """Every index of the resource, by name."""
        fields = {path: of_field(self.selectable[path]) for path in self.indexed}
        return {**COMMON, **fields, **self.own_indexes}

    def subresource(self, name: str) -> Subresource[T] | None:
        if name == "status" and self.has_status:
            return self.subresources.get(name) or _STATUS
        return self.subresources.get(name)


_STATUS: Subresource = Subresource()

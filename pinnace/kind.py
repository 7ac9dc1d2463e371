"""Kind: the names and the message of one kind in one version. Kinds: those that a server or a client knows.

The built-in ones are in `kinds`, by which other modules import these classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from pinnace.errors import NotFound
from pinnace.storedforms import StoredForm

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from pinnace.schematree import Node

    # `Kind` alone is a kind of which nothing is known; a message has ObjectMeta in field 1.
    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


# Ten thousand values cost some tens of milliseconds. The largest known definitions of custom kinds have 25,000.
MAX_VALUES, MAX_CUSTOM_VALUES = 10_000, 50_000


@dataclass(frozen=True, eq=False)
class Kind(Generic[T]):
    """One kind in one version, whose objects are messages of `cls`: `Kind[Pod]`."""

    api_version: str
    kind: str
    plural: str
    cls: type[T]
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    # Empty: the kind in lower case.
    singular_name: str = ""
    # The schema of a kind whose message does not describe it; `schematree.of_kind` reads it.
    schema: KindSchema | None = None
    # Fields, list items and map entries that an object may have (`controlplane.requests.sizes`).
    most_values: int = MAX_VALUES
    # Of a kind whose objects are stored as those of another one.
    stored: StoredForm | None = None
    # What begins the store keys of its objects; it ends with a slash.
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        own = f"/registry/{self.group + '/' if self.group else ''}{self.plural}/"
        object.__setattr__(self, "prefix", own if self.stored is None else self.stored.kind.prefix)

    @property
    def storage(self) -> Kind:
        """The kind as which objects are stored: this one, for all but a few."""
        return self if self.stored is None else self.stored.kind

    @property
    def singular(self) -> str:
        return self.singular_name or self.kind.lower()

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    @property
    def resource(self) -> str:
        """`pods`, or `leases.coordination.k8s.io`: the plural with its group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """`pod`, or `lease.coordination.k8s.io`: the singular with its group, as clients name objects in their output."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    @property
    def group_kind(self) -> str:
        """`Pod`, or `Lease.coordination.k8s.io`: as errors about an object's fields name it."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def words(self) -> tuple[str, ...]:
        """What users may call it, in lower case: each name, alone and with the group."""
        names = (self.plural, self.singular, *self.short_names)
        return (*names, *(f"{name}.{self.group}" for name in names)) if self.group else names

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else f"{self.prefix}{name}"


# Stored bytes to those that a version serves: the same object where nothing changes.
Reader = Callable[[bytes], bytes]


class KindSchema:
    """The schema of a custom kind as a tree. It may change, while the kind stays the same for the objects of the store."""

    __slots__ = ("has_status", "reader", "tree", "upgrade")

    def __init__(
        self, tree: Node, *, has_status: bool = True, reader: Reader | None = None, upgrade: Reader | None = None
    ) -> None:
        """`has_status`: the status is a subresource; without one, it is a field like any other. `reader` is of this version,
        `upgrade` of the storage version: its result is stored with the next write. None: as stored."""
        self.tree = tree
        self.has_status = has_status
        self.reader = reader
        self.upgrade = upgrade

    def become(self, other: KindSchema) -> None:
        """Take the schema of a changed definition."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))


class Kinds:
    """The kinds that a cluster serves, found by each of their names. Kinds may be added and removed while it is in use."""

    def __init__(self, served: Iterable[Kind] = ()) -> None:
        self._by_gvk: dict[tuple[str, str], Kind] = {}
        self._by_plural: dict[tuple[str, str], Kind] = {}
        self._by_prefix: dict[str, Kind] = {}
        for kind in served:
            self.add_kind(kind)

    def __iter__(self) -> Iterator[Kind]:
        """In the order in which they were added; a copy, so that adding and removing is safe meanwhile."""
        return iter(tuple(self._by_prefix.values()))

    def add_kind(self, kind: Kind, *, served: bool = True) -> None:
        """Add a kind; one that is not served has objects, but `find` does not see it. One that is stored as another kind is one
        more version of that.

        Raises ValueError when a kind of these names exists."""
        if kind.stored is not None:
            self.add_version(kind)
            return
        if kind.prefix in self._by_prefix or (served and (kind.api_version, kind.kind) in self._by_gvk):
            raise ValueError(f"{kind.api_version} {kind.kind} is registered already")
        if served:
            self._serve(kind)
        self._by_prefix[kind.prefix] = kind

    def add_version(self, kind: Kind) -> None:
        """Another version of a kind that is there: the same objects under another apiVersion.

        Raises ValueError when another kind has its names."""
        if (kind.api_version, kind.kind) in self._by_gvk:
            raise ValueError(f"{kind.api_version} {kind.kind} is registered already")
        self._serve(kind)

    def _serve(self, kind: Kind) -> None:
        self._by_gvk[kind.api_version, kind.kind] = kind
        self._by_plural[kind.api_version, kind.plural] = kind

    def observe(self, key: str, value: bytes | None) -> None:
        """Called by the store for each change before anything else sees it; `value` None: deleted."""

    def index(self, kind: Kind, name: str) -> Callable[[Any], Sequence[str]]:
        """The values that an index has an object of a kind under. Raises KeyError: kinds alone have no indexes."""
        raise KeyError(name)

    def remove_kind(self, kind: Kind) -> None:
        if self._by_gvk.get((kind.api_version, kind.kind)) is kind:
            del self._by_gvk[kind.api_version, kind.kind]
        if self._by_plural.get((kind.api_version, kind.plural)) is kind:
            del self._by_plural[kind.api_version, kind.plural]
        if self._by_prefix.get(kind.prefix) is kind:
            del self._by_prefix[kind.prefix]

    def find(self, api_version: str, kind: str) -> Kind:
        """Raises NotFound, naming the kinds there are, for one that nothing serves."""
        found = self._by_gvk.get((api_version, kind))
        if found is None:
            served = ", ".join(f"{api_version}/{name}" for api_version, name in self._by_gvk)
            raise NotFound(f'no kind "{kind[:80]}" in apiVersion "{api_version[:80]}" (served: {served})', kind=kind[:80])
        return found

    def by_plural(self, api_version: str, plural: str) -> Kind | None:
        """The kind that a URL names; None for one that nothing serves."""
        return self._by_plural.get((api_version, plural))

    def owner(self, api_version: str, kind: str) -> Kind | None:
        """The kind that an ownerReference names, in whichever version: the group decides."""
        group = api_version.rpartition("/")[0]
        return next((item for item in self._every() if item.kind == kind and item.group == group), None)

    def by_word(self, word: str) -> Kind:
        """The kind that a user means by `po`, `pods`, `Pod`, `deploy.apps` or `leases.coordination.k8s.io`. Raises NotFound."""
        for kind in self.meant(word):
            return kind
        raise NotFound(f'the server doesn\'t have a resource type "{word[:80]}" (kctl api-resources lists those it has)')

    def meant(self, word: str) -> Iterator[Kind]:
        """The kinds that a user may mean by a word, the preferred first, some more than once."""
        lowered = word.lower()
        return (kind for kind in self._every() if lowered in kind.words)

    def _every(self) -> tuple[Kind, ...]:
        """Each kind, then each of its versions."""
        return (*self._by_prefix.values(), *self._by_gvk.values())

    def at(self, key: str) -> Kind | None:
        """The kind of the object at a store key; None for what is no object."""
        parts = key.split("/", 4)
        # "", "registry", plural | group, ...: no group has the name of a plural of the core group.
        found = self._by_prefix.get("/".join(parts[:3]) + "/")
        return found or self._by_prefix.get("/".join(parts[:4]) + "/")

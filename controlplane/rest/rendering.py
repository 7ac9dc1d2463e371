"""Objects, lists and watch events as bytes, in the form that the client accepts.

Lists are made piece by piece, so that none is in memory as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from controlplane.http.messages import Request
from controlplane.requests import tables
from controlplane.requests.tables import Include
from controlplane.resources.resource import Resource
from controlplane.rest import negotiation
from controlplane.rest.bodies import MAGIC, dumps
from controlplane.rest.kept import KEPT
from controlplane.rest.negotiation import Form
from controlplane.store import StoredObject
from pinnace.errors import BadRequest
from pinnace.meta.v1 import meta_pb2, rest_pb2
from pinnace.protowire import field, opened


@dataclass(frozen=True, slots=True)
class ListMeta:
    """Metadata of a list. `revision` None: of objects that are not stored. `remaining` 0: unknown, or none."""

    revision: int | None = None
    token: str = ""
    remaining: int = 0

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {} if self.revision is None else {"resourceVersion": str(self.revision)}
        if self.token:
            found["continue"] = self.token
        if self.remaining:
            found["remainingItemCount"] = self.remaining
        return found

    def message(self) -> bytes:
        found = meta_pb2.ListMeta(resourceVersion=self.document().get("resourceVersion", ""))
        setattr(found, "continue", self.token)
        if self.remaining:
            found.remainingItemCount = self.remaining
        return found.SerializeToString()


@dataclass(slots=True)
class Renderer:
    """Renders the objects of one request. `now` in seconds since the epoch, for ages in tables."""

    resource: Resource
    form: Form
    now: float
    include: Include = Include.METADATA
    # Whether the columns of a watch were sent.
    _headed: bool = dataclasses.field(default=False, init=False)

    @classmethod
    def of(cls, request: Request, resource: Resource, now: float, *, watch: bool = False) -> Renderer:
        """As the client asks for it. Raises NotAcceptable, BadRequest."""
        form = negotiation.form(request.header("accept"), protobuf=resource.kind.schema is None, stream=watch)
        try:
            return cls(resource, form, now, Include(request.param("includeObject") or Include.METADATA.value))
        except ValueError:
            raise BadRequest("includeObject: supported values: None, Metadata, Object") from None

    # One object

    def object(self, message: Any) -> bytes:
        form = self.form
        if form.media == negotiation.PROTOBUF:
            return self._envelope(self._raw(message))
        if form.shape == negotiation.TABLE:
            meta = {"resourceVersion": message.metadata.resourceVersion}
            made = tables.table(self.resource, [message], now=self.now, include=self.include, metadata=meta)
        else:
            made = tables.partial(message) if form.shape else tables.whole(self.resource.kind, message)
        document = self._version(made) if form.shape else made
        return _yaml(document) if form.media == negotiation.YAML else dumps(document)

    def _version(self, document: dict[str, Any]) -> dict[str, Any]:
        document["apiVersion"] = self._meta_version
        return document

    @property
    def _meta_version(self) -> str:
        """The apiVersion of tables and of metadata alone."""
        return f"meta.k8s.io/{self.form.version}"

    def _raw(self, message: Any) -> bytes:
        """An object in protobuf, or its metadata: field 1 in every kind, and in PartialObjectMetadata."""
        if self.form.shape:
            return field(1, message.metadata.SerializeToString())
        return self._foreign(message.SerializeToString())

    def _foreign(self, data: bytes) -> bytes:
        """An object's bytes as Kubernetes has them."""
        encoding = self.resource.encoding
        return data if encoding is None else encoding.encode(data)

    def _encoded(self, row: StoredObject) -> bytes:
        """A stored object as `_raw`, where possible without parsing it."""
        if self.form.shape:
            return self._raw(tables.item_of(self.resource, row))
        return self._foreign(row.encoded(self.resource.kind))

    def _type(self, *, list: bool = False) -> rest_pb2.TypeMeta:
        kind = self.resource.kind
        if self.form.shape:
            return rest_pb2.TypeMeta(
                apiVersion=self._meta_version, kind=negotiation.PARTIAL_LIST if list else negotiation.PARTIAL
            )
        return rest_pb2.TypeMeta(apiVersion=kind.api_version, kind=self._list_kind if list else kind.kind)

    def _envelope(self, raw: bytes) -> bytes:
        return MAGIC + rest_pb2.Unknown(typeMeta=self._type(), raw=raw).SerializeToString()

    # Lists

    def list(self, rows: Iterable[StoredObject], meta: ListMeta) -> bytes:
        """A whole list."""
        return self._whole(self.items(rows), meta)

    def list_of(self, items: Iterable[Any], meta: ListMeta) -> bytes:
        """A whole list of objects that are not stored."""
        return self._whole(map(self._item, items), meta)

    def _whole(self, items: Iterable[bytes], meta: ListMeta) -> bytes:
        made = [*items]
        return self.opening(meta, sum(map(len, made))) + self.separator.join(made) + self.closing

    @property
    def separator(self) -> bytes:
        """Between the items of a list."""
        return b"," if self.form.media == negotiation.JSON else b""

    @property
    def closing(self) -> bytes:
        """After the last item of a list."""
        return b"]}" if self.form.media == negotiation.JSON else b""

    def opening(self, meta: ListMeta, size: int = 0) -> bytes:
        """A list up to its first item. `size`: the bytes of all items, which is in the opening of protobuf, and tells YAML
        whether there are any."""
        if self.form.media == negotiation.PROTOBUF:
            beginning = field(1, meta.message())
            unknown = rest_pb2.Unknown(typeMeta=self._type(list=True)).SerializeToString()
            return MAGIC + unknown + opened(2, len(beginning) + size) + beginning
        head, name = self._head(meta), b"rows" if self.form.shape == negotiation.TABLE else b"items"
        if self.form.media == negotiation.YAML:
            return _yaml(head) + (b"\n%s:" if size else b"\n%s: []") % name
        return dumps(head)[:-1] + b',"%s":[' % name

    def _head(self, meta: ListMeta) -> dict[str, Any]:
        if self.form.shape == negotiation.TABLE:
            return _without_rows(self._version(tables.table(self.resource, (), now=self.now, metadata=meta.document())))
        if self.form.shape:
            kind, version = negotiation.PARTIAL_LIST, self._meta_version
        else:
            kind, version = self._list_kind, self.resource.kind.api_version
        return {"kind": kind, "apiVersion": version, "metadata": meta.document()}

    @property
    def _list_kind(self) -> str:
        return self.resource.kind.kind + "List"

    def items(self, rows: Iterable[StoredObject]) -> Iterable[bytes]:
        if self.form.media == negotiation.PROTOBUF:
            return (field(2, self._encoded(row)) for row in rows)
        if self.form.media == negotiation.YAML:
            return (self._item(tables.item_of(self.resource, row)) for row in rows)
        return map(self._stored, rows)

    def _stored(self, row: StoredObject) -> bytes:
        """A stored object as JSON: whole, as a row of a table, or its metadata."""
        if self.form.shape == negotiation.TABLE:
            return self._row(row)
        if self.form.shape:
            return KEPT.partial(self.resource, row, self._meta_version)
        return KEPT.whole(self.resource, row)

    def _row(self, row: StoredObject) -> bytes:
        """As `tables.row`. Cells tell the time, the object does not."""
        cells = dumps(tables.cells(self.resource, tables.item_of(self.resource, row), self.now))
        if self.include is Include.NONE:
            return b'{"cells":%s}' % cells
        kept = KEPT.partial if self.include is Include.METADATA else KEPT.whole
        return b'{"cells":%s,"object":%s}' % (cells, kept(self.resource, row))

    def _item(self, item: Any) -> bytes:
        """One item of a list."""
        if self.form.media == negotiation.PROTOBUF:
            return field(2, self._raw(item))
        if self.form.shape == negotiation.TABLE:
            document = tables.row(self.resource, item, now=self.now, include=self.include)
        elif self.form.shape:
            document = self._version(tables.partial(item))
        else:
            document = tables.whole(self.resource.kind, item)
        return b"\n" + _yaml([document]) if self.form.media == negotiation.YAML else dumps(document)

    # Watches

    def event(self, type_: str, row: StoredObject) -> bytes:
        """One event, with what ends it."""
        if self.form.media == negotiation.PROTOBUF:
            return _framed(type_, self._envelope(self._encoded(row)))
        return _line(type_, self._row_table(row) if self.form.shape == negotiation.TABLE else self._stored(row))

    def _row_table(self, row: StoredObject) -> bytes:
        meta, header = {"resourceVersion": str(row.revision)}, not self._headed
        self._headed = True
        table = self._version(tables.table(self.resource, (), now=self.now, metadata=meta, header=header))
        return b'%s,"rows":[%s]}' % (dumps(_without_rows(table))[:-1], self._row(row))

    def bookmark(self, revision: int, *, initial: bool) -> bytes:
        """An object with nothing but a resourceVersion; `initial`: the initial events are complete."""
        kind = self.resource.kind
        meta: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self.form.media == negotiation.PROTOBUF:
            message: Any = kind.cls()
            message.metadata.resourceVersion = str(revision)
            message.metadata.annotations.update(meta.get("annotations", {}))
            return _framed("BOOKMARK", self._envelope(self._raw(message)))
        if self.form.shape == negotiation.TABLE:
            table = tables.table(self.resource, (), now=self.now, metadata=meta, header=not self._headed)
            self._headed = True
            return _line("BOOKMARK", dumps(self._version(table)))
        if self.form.shape:
            return _line("BOOKMARK", dumps(self._version({"kind": negotiation.PARTIAL, "metadata": meta})))
        return _line("BOOKMARK", dumps({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}))

    def error(self, status: dict[str, Any]) -> bytes:
        """The last event of a watch that failed."""
        if self.form.media != negotiation.PROTOBUF:
            return _line("ERROR", dumps(status))
        message = meta_pb2.Status(
            status="Failure", message=status["message"], reason=status["reason"], code=status["code"]
        )  # fmt: skip
        type_ = rest_pb2.TypeMeta(apiVersion="v1", kind="Status")
        return _framed("ERROR", MAGIC + rest_pb2.Unknown(typeMeta=type_, raw=message.SerializeToString()).SerializeToString())


def _without_rows(table: dict[str, Any]) -> dict[str, Any]:
    """The beginning of a table whose rows are made apart."""
    return {name: value for name, value in table.items() if name != "rows"}


def _yaml(value: Any) -> bytes:
    """Loads what writes YAML when it is first asked for."""
    from pinnace.manifest.writing import dump

    return dump(value).encode()


def _line(type_: str, content: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), content)


def _framed(type_: str, content: bytes) -> bytes:
    """Four bytes of length, then a WatchEvent."""
    event = rest_pb2.WatchEvent(type=type_, object=rest_pb2.RawExtension(raw=content)).SerializeToString()
    return len(event).to_bytes(4, "big") + event

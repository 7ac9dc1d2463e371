from pinnace.meta.v1 import meta_pb2 as _meta_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Object(_message.Message):
    __slots__ = ("apiVersion", "kind", "protobuf", "json", "table")
    APIVERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROTOBUF_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    apiVersion: str
    kind: str
    protobuf: bytes
    json: bytes
    table: Table
    def __init__(self, apiVersion: _Optional[str] = ..., kind: _Optional[str] = ..., protobuf: _Optional[bytes] = ..., json: _Optional[bytes] = ..., table: _Optional[_Union[Table, _Mapping]] = ...) -> None: ...

class TableOptions(_message.Message):
    __slots__ = ("includeObject",)
    class Include(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        METADATA: _ClassVar[TableOptions.Include]
        NONE: _ClassVar[TableOptions.Include]
        OBJECT: _ClassVar[TableOptions.Include]
    METADATA: TableOptions.Include
    NONE: TableOptions.Include
    OBJECT: TableOptions.Include
    INCLUDEOBJECT_FIELD_NUMBER: _ClassVar[int]
    includeObject: TableOptions.Include
    def __init__(self, includeObject: _Optional[_Union[TableOptions.Include, str]] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("columnDefinitions", "rows")
    COLUMNDEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    columnDefinitions: _containers.RepeatedCompositeFieldContainer[TableColumnDefinition]
    rows: _containers.RepeatedCompositeFieldContainer[TableRow]
    def __init__(self, columnDefinitions: _Optional[_Iterable[_Union[TableColumnDefinition, _Mapping]]] = ..., rows: _Optional[_Iterable[_Union[TableRow, _Mapping]]] = ...) -> None: ...

class TableColumnDefinition(_message.Message):
    __slots__ = ("name", "type", "format", "description", "priority")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    format: str
    description: str
    priority: int
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., format: _Optional[str] = ..., description: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class TableRow(_message.Message):
    __slots__ = ("cells", "object")
    CELLS_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    cells: _containers.RepeatedCompositeFieldContainer[TableCell]
    object: Object
    def __init__(self, cells: _Optional[_Iterable[_Union[TableCell, _Mapping]]] = ..., object: _Optional[_Union[Object, _Mapping]] = ...) -> None: ...

class TableCell(_message.Message):
    __slots__ = ("text", "integer", "number", "boolean")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    text: str
    integer: int
    number: float
    boolean: bool
    def __init__(self, text: _Optional[str] = ..., integer: _Optional[int] = ..., number: _Optional[float] = ..., boolean: _Optional[bool] = ...) -> None: ...

class Reference(_message.Message):
    __slots__ = ("apiVersion", "kind", "namespace", "name")
    APIVERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    apiVersion: str
    kind: str
    namespace: str
    name: str
    def __init__(self, apiVersion: _Optional[str] = ..., kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("ref", "table", "subresource")
    REF_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    SUBRESOURCE_FIELD_NUMBER: _ClassVar[int]
    ref: Reference
    table: TableOptions
    subresource: str
    def __init__(self, ref: _Optional[_Union[Reference, _Mapping]] = ..., table: _Optional[_Union[TableOptions, _Mapping]] = ..., subresource: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("ref", "labelSelector", "fieldSelector", "limit", "continueToken", "table")
    REF_FIELD_NUMBER: _ClassVar[int]
    LABELSELECTOR_FIELD_NUMBER: _ClassVar[int]
    FIELDSELECTOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CONTINUETOKEN_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ref: Reference
    labelSelector: str
    fieldSelector: str
    limit: int
    continueToken: str
    table: TableOptions
    def __init__(self, ref: _Optional[_Union[Reference, _Mapping]] = ..., labelSelector: _Optional[str] = ..., fieldSelector: _Optional[str] = ..., limit: _Optional[int] = ..., continueToken: _Optional[str] = ..., table: _Optional[_Union[TableOptions, _Mapping]] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("items", "resourceVersion", "continueToken", "remainingItemCount", "table")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    RESOURCEVERSION_FIELD_NUMBER: _ClassVar[int]
    CONTINUETOKEN_FIELD_NUMBER: _ClassVar[int]
    REMAININGITEMCOUNT_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Object]
    resourceVersion: str
    continueToken: str
    remainingItemCount: int
    table: Table
    def __init__(self, items: _Optional[_Iterable[_Union[Object, _Mapping]]] = ..., resourceVersion: _Optional[str] = ..., continueToken: _Optional[str] = ..., remainingItemCount: _Optional[int] = ..., table: _Optional[_Union[Table, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("ref", "labelSelector", "fieldSelector", "resourceVersion", "table")
    REF_FIELD_NUMBER: _ClassVar[int]
    LABELSELECTOR_FIELD_NUMBER: _ClassVar[int]
    FIELDSELECTOR_FIELD_NUMBER: _ClassVar[int]
    RESOURCEVERSION_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ref: Reference
    labelSelector: str
    fieldSelector: str
    resourceVersion: str
    table: TableOptions
    def __init__(self, ref: _Optional[_Union[Reference, _Mapping]] = ..., labelSelector: _Optional[str] = ..., fieldSelector: _Optional[str] = ..., resourceVersion: _Optional[str] = ..., table: _Optional[_Union[TableOptions, _Mapping]] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("type", "object", "resourceVersion")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[WatchEvent.Type]
        ADDED: _ClassVar[WatchEvent.Type]
        MODIFIED: _ClassVar[WatchEvent.Type]
        DELETED: _ClassVar[WatchEvent.Type]
        BOOKMARK: _ClassVar[WatchEvent.Type]
    UNSPECIFIED: WatchEvent.Type
    ADDED: WatchEvent.Type
    MODIFIED: WatchEvent.Type
    DELETED: WatchEvent.Type
    BOOKMARK: WatchEvent.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    RESOURCEVERSION_FIELD_NUMBER: _ClassVar[int]
    type: WatchEvent.Type
    object: Object
    resourceVersion: str
    def __init__(self, type: _Optional[_Union[WatchEvent.Type, str]] = ..., object: _Optional[_Union[Object, _Mapping]] = ..., resourceVersion: _Optional[str] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[WatchEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[WatchEvent, _Mapping]]] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("object", "namespace", "fieldManager", "dryRun", "subresource", "ref")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    FIELDMANAGER_FIELD_NUMBER: _ClassVar[int]
    DRYRUN_FIELD_NUMBER: _ClassVar[int]
    SUBRESOURCE_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    object: Object
    namespace: str
    fieldManager: str
    dryRun: bool
    subresource: str
    ref: Reference
    def __init__(self, object: _Optional[_Union[Object, _Mapping]] = ..., namespace: _Optional[str] = ..., fieldManager: _Optional[str] = ..., dryRun: _Optional[bool] = ..., subresource: _Optional[str] = ..., ref: _Optional[_Union[Reference, _Mapping]] = ...) -> None: ...

class PatchRequest(_message.Message):
    __slots__ = ("ref", "type", "patch", "fieldManager", "dryRun", "subresource")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[PatchRequest.Type]
        JSON: _ClassVar[PatchRequest.Type]
        MERGE: _ClassVar[PatchRequest.Type]
        STRATEGIC: _ClassVar[PatchRequest.Type]
    UNSPECIFIED: PatchRequest.Type
    JSON: PatchRequest.Type
    MERGE: PatchRequest.Type
    STRATEGIC: PatchRequest.Type
    REF_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    FIELDMANAGER_FIELD_NUMBER: _ClassVar[int]
    DRYRUN_FIELD_NUMBER: _ClassVar[int]
    SUBRESOURCE_FIELD_NUMBER: _ClassVar[int]
    ref: Reference
    type: PatchRequest.Type
    patch: bytes
    fieldManager: str
    dryRun: bool
    subresource: str
    def __init__(self, ref: _Optional[_Union[Reference, _Mapping]] = ..., type: _Optional[_Union[PatchRequest.Type, str]] = ..., patch: _Optional[bytes] = ..., fieldManager: _Optional[str] = ..., dryRun: _Optional[bool] = ..., subresource: _Optional[str] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("objects", "namespace", "fieldManager", "force", "dryRun", "supersededManagers", "subresource")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    FIELDMANAGER_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    DRYRUN_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDEDMANAGERS_FIELD_NUMBER: _ClassVar[int]
    SUBRESOURCE_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[Object]
    namespace: str
    fieldManager: str
    force: bool
    dryRun: bool
    supersededManagers: _containers.RepeatedScalarFieldContainer[str]
    subresource: str
    def __init__(self, objects: _Optional[_Iterable[_Union[Object, _Mapping]]] = ..., namespace: _Optional[str] = ..., fieldManager: _Optional[str] = ..., force: _Optional[bool] = ..., dryRun: _Optional[bool] = ..., supersededManagers: _Optional[_Iterable[str]] = ..., subresource: _Optional[str] = ...) -> None: ...

class ApplyResult(_message.Message):
    __slots__ = ("outcome", "object", "error")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[ApplyResult.Outcome]
        CREATED: _ClassVar[ApplyResult.Outcome]
        CONFIGURED: _ClassVar[ApplyResult.Outcome]
        UNCHANGED: _ClassVar[ApplyResult.Outcome]
        FAILED: _ClassVar[ApplyResult.Outcome]
    UNSPECIFIED: ApplyResult.Outcome
    CREATED: ApplyResult.Outcome
    CONFIGURED: ApplyResult.Outcome
    UNCHANGED: ApplyResult.Outcome
    FAILED: ApplyResult.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    outcome: ApplyResult.Outcome
    object: Object
    error: _meta_pb2.Status
    def __init__(self, outcome: _Optional[_Union[ApplyResult.Outcome, str]] = ..., object: _Optional[_Union[Object, _Mapping]] = ..., error: _Optional[_Union[_meta_pb2.Status, _Mapping]] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ApplyResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ApplyResult, _Mapping]]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("ref", "gracePeriodSeconds", "uid", "resourceVersion", "propagationPolicy", "dryRun")
    REF_FIELD_NUMBER: _ClassVar[int]
    GRACEPERIODSECONDS_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    RESOURCEVERSION_FIELD_NUMBER: _ClassVar[int]
    PROPAGATIONPOLICY_FIELD_NUMBER: _ClassVar[int]
    DRYRUN_FIELD_NUMBER: _ClassVar[int]
    ref: Reference
    gracePeriodSeconds: int
    uid: str
    resourceVersion: str
    propagationPolicy: str
    dryRun: bool
    def __init__(self, ref: _Optional[_Union[Reference, _Mapping]] = ..., gracePeriodSeconds: _Optional[int] = ..., uid: _Optional[str] = ..., resourceVersion: _Optional[str] = ..., propagationPolicy: _Optional[str] = ..., dryRun: _Optional[bool] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("object", "gone")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    object: Object
    gone: bool
    def __init__(self, object: _Optional[_Union[Object, _Mapping]] = ..., gone: _Optional[bool] = ...) -> None: ...

class DiscoverRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DiscoverResponse(_message.Message):
    __slots__ = ("resources",)
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedCompositeFieldContainer[ServedResource]
    def __init__(self, resources: _Optional[_Iterable[_Union[ServedResource, _Mapping]]] = ...) -> None: ...

class ServedResource(_message.Message):
    __slots__ = ("apiVersion", "kind", "plural", "singular", "shortNames", "categories", "namespaced", "verbs", "subresources", "custom")
    APIVERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PLURAL_FIELD_NUMBER: _ClassVar[int]
    SINGULAR_FIELD_NUMBER: _ClassVar[int]
    SHORTNAMES_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    NAMESPACED_FIELD_NUMBER: _ClassVar[int]
    VERBS_FIELD_NUMBER: _ClassVar[int]
    SUBRESOURCES_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    apiVersion: str
    kind: str
    plural: str
    singular: str
    shortNames: _containers.RepeatedScalarFieldContainer[str]
    categories: _containers.RepeatedScalarFieldContainer[str]
    namespaced: bool
    verbs: _containers.RepeatedScalarFieldContainer[str]
    subresources: _containers.RepeatedCompositeFieldContainer[ServedSubresource]
    custom: bool
    def __init__(self, apiVersion: _Optional[str] = ..., kind: _Optional[str] = ..., plural: _Optional[str] = ..., singular: _Optional[str] = ..., shortNames: _Optional[_Iterable[str]] = ..., categories: _Optional[_Iterable[str]] = ..., namespaced: _Optional[bool] = ..., verbs: _Optional[_Iterable[str]] = ..., subresources: _Optional[_Iterable[_Union[ServedSubresource, _Mapping]]] = ..., custom: _Optional[bool] = ...) -> None: ...

class ServedSubresource(_message.Message):
    __slots__ = ("name", "apiVersion", "kind", "verbs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    APIVERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERBS_FIELD_NUMBER: _ClassVar[int]
    name: str
    apiVersion: str
    kind: str
    verbs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., apiVersion: _Optional[str] = ..., kind: _Optional[str] = ..., verbs: _Optional[_Iterable[str]] = ...) -> None: ...

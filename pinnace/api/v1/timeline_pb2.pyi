from pinnace.api.v1 import objects_pb2 as _objects_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TimelineRequest(_message.Message):
    __slots__ = ("ref", "uid", "sinceMicros", "limit", "types", "kinds", "alone", "watch")
    REF_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SINCEMICROS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    ref: _objects_pb2.Reference
    uid: str
    sinceMicros: int
    limit: int
    types: _containers.RepeatedScalarFieldContainer[TimelineRecord.Type]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    alone: bool
    watch: bool
    def __init__(self, ref: _Optional[_Union[_objects_pb2.Reference, _Mapping]] = ..., uid: _Optional[str] = ..., sinceMicros: _Optional[int] = ..., limit: _Optional[int] = ..., types: _Optional[_Iterable[_Union[TimelineRecord.Type, str]]] = ..., kinds: _Optional[_Iterable[str]] = ..., alone: _Optional[bool] = ..., watch: _Optional[bool] = ...) -> None: ...

class TimelineLife(_message.Message):
    __slots__ = ("uid", "createdMicros", "deletedMicros")
    UID_FIELD_NUMBER: _ClassVar[int]
    CREATEDMICROS_FIELD_NUMBER: _ClassVar[int]
    DELETEDMICROS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    createdMicros: int
    deletedMicros: int
    def __init__(self, uid: _Optional[str] = ..., createdMicros: _Optional[int] = ..., deletedMicros: _Optional[int] = ...) -> None: ...

class TimelineHead(_message.Message):
    __slots__ = ("lives", "uid", "beginMicros", "truncated", "hiddenObjects", "hiddenRecords", "late")
    LIVES_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    BEGINMICROS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    HIDDENOBJECTS_FIELD_NUMBER: _ClassVar[int]
    HIDDENRECORDS_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    lives: _containers.RepeatedCompositeFieldContainer[TimelineLife]
    uid: str
    beginMicros: int
    truncated: bool
    hiddenObjects: int
    hiddenRecords: int
    late: bool
    def __init__(self, lives: _Optional[_Iterable[_Union[TimelineLife, _Mapping]]] = ..., uid: _Optional[str] = ..., beginMicros: _Optional[int] = ..., truncated: _Optional[bool] = ..., hiddenObjects: _Optional[int] = ..., hiddenRecords: _Optional[int] = ..., late: _Optional[bool] = ...) -> None: ...

class TimelineChange(_message.Message):
    __slots__ = ("path", "old", "new", "concealed")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    CONCEALED_FIELD_NUMBER: _ClassVar[int]
    path: str
    old: str
    new: str
    concealed: bool
    def __init__(self, path: _Optional[str] = ..., old: _Optional[str] = ..., new: _Optional[str] = ..., concealed: _Optional[bool] = ...) -> None: ...

class TimelineRecord(_message.Message):
    __slots__ = ("type", "micros", "revision", "ref", "uid", "actor", "verb", "subresource", "fieldManager", "changes", "truncated", "eventType", "reason", "message", "count", "host", "attempt", "node", "nodes", "feasible", "rejected", "afterRevision", "reporter")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[TimelineRecord.Type]
        CREATED: _ClassVar[TimelineRecord.Type]
        CHANGED: _ClassVar[TimelineRecord.Type]
        STATUS: _ClassVar[TimelineRecord.Type]
        DELETED: _ClassVar[TimelineRecord.Type]
        EVENT: _ClassVar[TimelineRecord.Type]
        ATTEMPT: _ClassVar[TimelineRecord.Type]
        GAP: _ClassVar[TimelineRecord.Type]
    UNSPECIFIED: TimelineRecord.Type
    CREATED: TimelineRecord.Type
    CHANGED: TimelineRecord.Type
    STATUS: TimelineRecord.Type
    DELETED: TimelineRecord.Type
    EVENT: TimelineRecord.Type
    ATTEMPT: TimelineRecord.Type
    GAP: TimelineRecord.Type
    class RejectedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MICROS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    SUBRESOURCE_FIELD_NUMBER: _ClassVar[int]
    FIELDMANAGER_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    EVENTTYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    FEASIBLE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    AFTERREVISION_FIELD_NUMBER: _ClassVar[int]
    REPORTER_FIELD_NUMBER: _ClassVar[int]
    type: TimelineRecord.Type
    micros: int
    revision: int
    ref: _objects_pb2.Reference
    uid: str
    actor: str
    verb: str
    subresource: str
    fieldManager: str
    changes: _containers.RepeatedCompositeFieldContainer[TimelineChange]
    truncated: bool
    eventType: str
    reason: str
    message: str
    count: int
    host: str
    attempt: int
    node: str
    nodes: int
    feasible: int
    rejected: _containers.ScalarMap[str, int]
    afterRevision: int
    reporter: str
    def __init__(self, type: _Optional[_Union[TimelineRecord.Type, str]] = ..., micros: _Optional[int] = ..., revision: _Optional[int] = ..., ref: _Optional[_Union[_objects_pb2.Reference, _Mapping]] = ..., uid: _Optional[str] = ..., actor: _Optional[str] = ..., verb: _Optional[str] = ..., subresource: _Optional[str] = ..., fieldManager: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[TimelineChange, _Mapping]]] = ..., truncated: _Optional[bool] = ..., eventType: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., count: _Optional[int] = ..., host: _Optional[str] = ..., attempt: _Optional[int] = ..., node: _Optional[str] = ..., nodes: _Optional[int] = ..., feasible: _Optional[int] = ..., rejected: _Optional[_Mapping[str, int]] = ..., afterRevision: _Optional[int] = ..., reporter: _Optional[str] = ...) -> None: ...

class TimelineResponse(_message.Message):
    __slots__ = ("head", "records")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    head: TimelineHead
    records: _containers.RepeatedCompositeFieldContainer[TimelineRecord]
    def __init__(self, head: _Optional[_Union[TimelineHead, _Mapping]] = ..., records: _Optional[_Iterable[_Union[TimelineRecord, _Mapping]]] = ...) -> None: ...

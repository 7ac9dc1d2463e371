from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
RULES_FIELD_NUMBER: _ClassVar[int]
rules: _descriptor.FieldDescriptor
TYPE_RULES_FIELD_NUMBER: _ClassVar[int]
type_rules: _descriptor.FieldDescriptor

class FieldRules(_message.Message):
    __slots__ = ("required", "default", "immutable", "listMapKeys", "set", "atomic", "enum", "inline", "unsupported", "minimum", "maximum", "format", "forbidden", "patchStrategy", "patchMergeKey", "emptyAllowed")
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    IMMUTABLE_FIELD_NUMBER: _ClassVar[int]
    LISTMAPKEYS_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    ATOMIC_FIELD_NUMBER: _ClassVar[int]
    ENUM_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    FORBIDDEN_FIELD_NUMBER: _ClassVar[int]
    PATCHSTRATEGY_FIELD_NUMBER: _ClassVar[int]
    PATCHMERGEKEY_FIELD_NUMBER: _ClassVar[int]
    EMPTYALLOWED_FIELD_NUMBER: _ClassVar[int]
    required: bool
    default: str
    immutable: bool
    listMapKeys: _containers.RepeatedScalarFieldContainer[str]
    set: bool
    atomic: bool
    enum: _containers.RepeatedScalarFieldContainer[str]
    inline: bool
    unsupported: bool
    minimum: int
    maximum: int
    format: str
    forbidden: str
    patchStrategy: _containers.RepeatedScalarFieldContainer[str]
    patchMergeKey: str
    emptyAllowed: bool
    def __init__(self, required: _Optional[bool] = ..., default: _Optional[str] = ..., immutable: _Optional[bool] = ..., listMapKeys: _Optional[_Iterable[str]] = ..., set: _Optional[bool] = ..., atomic: _Optional[bool] = ..., enum: _Optional[_Iterable[str]] = ..., inline: _Optional[bool] = ..., unsupported: _Optional[bool] = ..., minimum: _Optional[int] = ..., maximum: _Optional[int] = ..., format: _Optional[str] = ..., forbidden: _Optional[str] = ..., patchStrategy: _Optional[_Iterable[str]] = ..., patchMergeKey: _Optional[str] = ..., emptyAllowed: _Optional[bool] = ...) -> None: ...

class TypeRules(_message.Message):
    __slots__ = ("atomic",)
    ATOMIC_FIELD_NUMBER: _ClassVar[int]
    atomic: bool
    def __init__(self, atomic: _Optional[bool] = ...) -> None: ...

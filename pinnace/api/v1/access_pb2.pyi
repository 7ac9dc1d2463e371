from pinnace.api.v1 import objects_pb2 as _objects_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReviewRequest(_message.Message):
    __slots__ = ("object", "impersonatedUser", "impersonatedGroups", "impersonatedUID")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    IMPERSONATEDUSER_FIELD_NUMBER: _ClassVar[int]
    IMPERSONATEDGROUPS_FIELD_NUMBER: _ClassVar[int]
    IMPERSONATEDUID_FIELD_NUMBER: _ClassVar[int]
    object: _objects_pb2.Object
    impersonatedUser: str
    impersonatedGroups: _containers.RepeatedScalarFieldContainer[str]
    impersonatedUID: str
    def __init__(self, object: _Optional[_Union[_objects_pb2.Object, _Mapping]] = ..., impersonatedUser: _Optional[str] = ..., impersonatedGroups: _Optional[_Iterable[str]] = ..., impersonatedUID: _Optional[str] = ...) -> None: ...

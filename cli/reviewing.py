"""Reviews of identities and permissions: a question of the API, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from pinnace.kinds import Kind

if TYPE_CHECKING:
    from cli.client import Client

M = TypeVar("M", bound=Message)


def ask(client: Client, kind: Kind[M], question: M, *, user: str = "", groups: Sequence[str] = (), uid: str = "") -> M:
    """The question with its answer, as another `user` where one is given. Raises ApiError."""
    from cli.client import opened
    from pinnace.api.v1 import access_pb2, access_pb2_grpc, objects_pb2

    item = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=question.SerializeToString())
    request = access_pb2.ReviewRequest(
        object=item, impersonatedUser=user, impersonatedGroups=groups, impersonatedUID=uid
    )  # fmt: skip
    answer = client.call(access_pb2_grpc.AccessStub(client.channel).Review, request)
    found: M = opened(kind, answer.protobuf)
    return found

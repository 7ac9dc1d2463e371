"""The administrator's side of simulated nodes: join tokens, asked for with the context that the control plane wrote."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml

from pinnace import channels, pki, wire
from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc
from pinnace.errors import BadRequest

# Tokens that are asked for at once.
AT_ONCE = 20
WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Context:
    """The control plane's gRPC endpoint, its CA, and the administrator's certificate and key, PEM."""

    server: str
    ca: bytes
    pair: pki.Pair

    @classmethod
    def read(cls, path: Path) -> Context:
        """From the control plane's admin.yaml. Raises BadRequest."""
        try:
            config = yaml.safe_load(path.read_text())
            cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
            ca, certificate, key = (
                base64.b64decode(item, validate=True)
                for item in (
                    cluster["certificate-authority-data"], user["client-certificate-data"], user["client-key-data"],
                )
            )  # fmt: skip
            return cls(str(cluster["server"]), ca, pki.Pair(certificate, key))
        except (OSError, ValueError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
            raise BadRequest(f"--config {path}: not a control plane's admin.yaml: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Tokens:
    """One for each node, and the HTTPS endpoint that takes them."""

    endpoint: str
    tokens: list[str]


async def make_tokens(context: Context, names: list[str]) -> Tokens:
    """A join token for each of the nodes. Raises AioRpcError."""
    credentials = grpc.ssl_channel_credentials(context.ca, context.pair.key, context.pair.certificate)
    options = (("grpc.ssl_target_name_override", pki.SERVER_NAME), *wire.WINDOW)
    room = asyncio.Semaphore(AT_ONCE)
    async with channels.secure(context.server, credentials, options) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)

        async def make(name: str) -> cluster_pb2.JoinTokenResponse:
            async with room:
                # For a node that may exist: the program may run again.
                answer: cluster_pb2.JoinTokenResponse = await stub.CreateJoinToken(
                    cluster_pb2.JoinTokenRequest(node=name), timeout=WITHIN
                )
                return answer

        answers = await asyncio.gather(*(make(name) for name in names))
    return Tokens(answers[0].endpoint if answers else "", [answer.token for answer in answers])

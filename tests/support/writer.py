"""A client that writes ConfigMaps one after the other and prints each acknowledgement: `python -m tests.support.writer`.

A program, because gRPC opens its sockets in threads of its own, which are not to be moved to another network namespace.
Usage: writer CONFIG PREFIX. A line is the monotonic time (one clock for the whole machine) and the name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import grpc

from nodeagent.simulated.administrator import Context
from pinnace import pki
from pinnace.api.v1 import objects_pb2, objects_pb2_grpc
from pinnace.clock import SystemClock, pause

# Seconds for one write, between writes, and until a connection is tried again.
WITHIN, EVERY, RECONNECT = 3.0, 0.1, 500
_OPTIONS = (
    ("grpc.ssl_target_name_override", pki.SERVER_NAME),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT),
    ("grpc.max_reconnect_backoff_ms", RECONNECT),
)


def main(config: str, prefix: str) -> None:
    context, clock = Context.read(Path(config)), SystemClock()
    credentials = grpc.ssl_channel_credentials(context.ca, context.pair.key, context.pair.certificate)
    stub = objects_pb2_grpc.ObjectsStub(grpc.secure_channel(context.server, credentials, options=_OPTIONS))
    number = 0
    while True:
        number += 1
        name = f"{prefix}-{number}"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
        item = objects_pb2.Object(apiVersion="v1", kind="ConfigMap", json=json.dumps(body).encode())
        try:
            stub.Create(objects_pb2.WriteRequest(object=item, fieldManager="writer"), timeout=WITHIN)
            print(clock.monotonic(), name, flush=True)
        except grpc.RpcError as error:
            print("#", clock.monotonic(), name, error.code(), error.details(), flush=True)
        pause(EVERY)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Channels of `v4.channel.k8s.io` and `v5.channel.k8s.io`: each message of a WebSocket begins with its channel's number.

Source: k8s.io/apimachinery's remotecommand constants and KEP-4006.
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.rest.streams.websocket import Piece

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
# v5: the next byte is the channel that the client closes.
CLOSE = 255


@dataclass(frozen=True, slots=True)
class Input:
    """Data that arrived for a channel; a message may be several."""

    channel: int
    data: bytes


class ChannelDecoder:
    """Pieces of messages to data of channels. An empty message has no channel and is ignored."""

    def __init__(self) -> None:
        self._channel: int | None = None

    def decode(self, piece: Piece) -> Input | None:
        if piece.first:
            self._channel = None
        data = piece.data
        if self._channel is None and data:
            self._channel, data = data[0], data[1:]
        return Input(self._channel, data) if self._channel is not None and data else None


def encode(channel: int, data: bytes) -> bytes:
    return bytes((channel,)) + data

"""The translation of `v4`/`v5.channel.k8s.io` to the SPDY streams of a kubelet, without I/O.

A WebSocket message is a channel's number and its bytes. v5 adds 255: the channel named by the next byte is
closed (that is how stdin ends). Over SPDY each channel is a stream, told by the header `streamtype`.
"""

import json
from collections.abc import Mapping
from enum import IntEnum

from weft.cluster.apiserver import spdy

CHANNEL_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""In order of preference."""


class Channel(IntEnum):
    """Channels by number (apimachinery, util/remotecommand)."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


class Channels:
    """One `exec` or `attach`: messages of the client in, bytes for the kubelet out, and the other way.

    `query` is the request's: which of `stdin`, `stdout`, `stderr` and `tty` are wanted.
    """

    def __init__(self, query: Mapping[str, str]) -> None:
        self._session = spdy.Session(client=True)
        self._error = bytearray()
        self.done = False
        """The command is over, and its result has been told."""
        tty = _wanted(query, "tty")
        # the order in which kubectl opens them; the kubelet waits for all before it starts
        wanted = {
            Channel.ERROR: True,
            Channel.STDIN: _wanted(query, "stdin"),
            Channel.STDOUT: _wanted(query, "stdout"),
            Channel.STDERR: _wanted(query, "stderr") and not tty,
            Channel.RESIZE: tty,
        }
        self._streams = {
            channel: self._session.open({"streamtype": channel.name.lower()})
            for channel, is_wanted in wanted.items()
            if is_wanted
        }
        self._channels = {stream: channel for channel, stream in self._streams.items()}
        self._unfinished = {Channel.STDOUT, Channel.STDERR, Channel.ERROR} & set(self._streams)

    def to_kubelet(self) -> bytes:
        """What has gathered for the kubelet."""
        return self._session.data_to_send()

    def from_client(self, message: bytes) -> None:
        """Take a message; one of an unknown or unwanted channel is passed over."""
        if not message:
            return
        number, data = message[0], message[1:]
        if number in (Channel.STDIN, Channel.RESIZE) and (stream := self._streams.get(Channel(number))):
            self._session.send(stream, data)
        elif number == Channel.CLOSE and data[:1] == bytes([Channel.STDIN]) and Channel.STDIN in self._streams:
            self._session.finish(self._streams[Channel.STDIN])

    def from_kubelet(self, data: bytes) -> list[bytes]:
        """The messages for the client that are in the kubelet's bytes; the result comes last, and once."""
        try:
            events = self._session.receive(data)
        except spdy.SpdyError as error:
            return self._result(f"the kubelet's stream is broken: {error}")
        messages: list[bytes] = []
        for event in events:
            match event:
                case spdy.Data(stream, payload):
                    messages += self._payload(self._channels.get(stream), payload)
                case spdy.Finished(stream) | spdy.Reset(stream):
                    self._unfinished -= {self._channels.get(stream)}
                case _:
                    continue
        if not self._unfinished:
            messages += self._result("the kubelet told no result")
        return messages

    def lost(self) -> list[bytes]:
        """The messages for the client when the kubelet has gone."""
        return self._result("the connection to the kubelet was lost")

    def _payload(self, channel: Channel | None, payload: bytes) -> list[bytes]:
        match channel:
            case Channel.STDOUT | Channel.STDERR:
                return [bytes([channel]) + payload]
            case Channel.ERROR:
                self._error += payload
        return []

    def _result(self, otherwise: str) -> list[bytes]:
        """The Status that the kubelet sent, or why there is none."""
        if self.done:
            return []
        self.done = True
        return [bytes([Channel.ERROR]) + (bytes(self._error) or _failure(otherwise))]


def _wanted(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in {"true", "1"}


def _failure(message: str) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "InternalError"}
    return json.dumps(status | {"message": message, "code": 500}).encode()

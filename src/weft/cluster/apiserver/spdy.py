"""SPDY/3.1 without I/O: bytes in, events out, as much of it as Kubernetes' streams use.

Both sides of exec, attach and port-forward speak it: headers tell streams apart, data flows both ways, FIN
half-closes. There are no flow-control windows (moby/spdystream, which kubectl and kubelets are built on, keeps
none) and no HTTP. Give received bytes to `Session.receive`; after any call, send what `Session.data_to_send`
returns.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from weft.cluster.apiserver.spdy_dictionary import DICTIONARY

CHUNK = 32 * 1024
"""Bytes of payload per frame written, as in Go's io.Copy, which is what the peers write."""
MAX_CONTROL = 64 * 1024
MAX_HEADERS = 64 * 1024
MAX_DATA = 1024 * 1024
MAX_STREAMS = 4096
_FIN = 0x01
_CONTROL = 0x8003_0000
_LARGEST_ID = 0x7FFF_FFFF


class SpdyError(Exception):
    """Bytes that are no SPDY/3.1; the connection is past help."""


class Type(IntEnum):
    """Control frames that are understood; others are passed over."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    PING = 6
    GOAWAY = 7
    HEADERS = 8


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream. Accept it with `reply`, or refuse it with `reset`."""

    stream: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The peer accepted a stream of ours."""

    stream: int


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes on a stream; never empty."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The peer will send no more on a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer gave a stream up; `status` is SPDY's (1 protocol error … 5 cancel)."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The peer opens and takes no more streams."""


Event = Opened | Accepted | Data | Finished | Reset | GoAway


class Session:
    """One connection, as its client (odd stream numbers) or its server (even ones)."""

    def __init__(self, *, client: bool) -> None:
        self._next = 1 if client else 2
        self._received = bytearray()
        self._out: list[bytes] = []
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._open: dict[int, bool] = {}  # stream → the peer may still send
        self._sending: set[int] = set()

    def data_to_send(self) -> bytes:
        """What has gathered for the peer since the last call."""
        out, self._out = b"".join(self._out), []
        return out

    def open(self, headers: dict[str, str]) -> int:
        """Open a stream; gives its number."""
        stream, self._next = self._next, self._next + 2
        self._open[stream] = True
        self._sending.add(stream)
        self._control(Type.SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + self._packed(headers))
        return stream

    def reply(self, stream: int) -> None:
        """Accept a stream of the peer's."""
        self._control(Type.SYN_REPLY, struct.pack(">I", stream) + self._packed({}))

    def send(self, stream: int, data: bytes) -> None:
        """Write to a stream; nothing happens when it is finished or reset (the peer may have been faster)."""
        if stream in self._sending:
            for at in range(0, len(data), CHUNK):
                self._data(stream, data[at : at + CHUNK], 0)

    def finish(self, stream: int) -> None:
        """Tell that no more will be sent on a stream; the second time nothing happens."""
        if stream in self._sending:
            self._sending.discard(stream)
            self._data(stream, b"", _FIN)
            self._forget(stream)

    def reset(self, stream: int, status: int = 5) -> None:
        """Give a stream up, in both directions."""
        if self._open.pop(stream, None) is not None or stream in self._sending:
            self._sending.discard(stream)
            self._control(Type.RST_STREAM, struct.pack(">II", stream, status))

    def go_away(self) -> None:
        """Announce the end of the connection."""
        self._control(Type.GOAWAY, struct.pack(">II", 0, 0))

    def receive(self, data: bytes) -> list[Event]:
        """The events in newly received bytes; raises `SpdyError` when they are no SPDY."""
        self._received += data
        events: list[Event] = []
        at = 0
        while len(self._received) - at >= 8:
            first, second = struct.unpack_from(">II", self._received, at)
            length = second & 0xFF_FFFF
            self._check(first, length)
            if len(self._received) - at < 8 + length:
                break
            body = bytes(self._received[at + 8 : at + 8 + length])
            at += 8 + length
            flags = second >> 24
            events += (
                self._control_frame(first & 0xFFFF, flags, body)
                if first >> 31
                else self._payload(first, flags, body)
            )
        del self._received[:at]
        return events

    def _check(self, first: int, length: int) -> None:
        if first >> 31 and first & 0xFFFF_0000 != _CONTROL:
            raise SpdyError(f"a control frame of version {first >> 16 & 0x7FFF}; only SPDY/3.1 is spoken here")
        if length > (MAX_CONTROL if first >> 31 else MAX_DATA):
            raise SpdyError(f"a frame of {length} bytes is too long")

    def _payload(self, stream: int, flags: int, body: bytes) -> list[Event]:
        if not self._open.get(stream, False):
            return []  # of a stream that was reset meanwhile, or never was
        events: list[Event] = [Data(stream, body)] if body else []
        if flags & _FIN:
            self._open[stream] = False
            self._forget(stream)
            events.append(Finished(stream))
        return events

    def _control_frame(self, kind: int, flags: int, body: bytes) -> list[Event]:
        match kind:
            case Type.SYN_STREAM:
                return self._syn_stream(flags, body)
            case Type.SYN_REPLY | Type.HEADERS:
                stream = _number(body, 0)
                self._unpacked(body[4:])  # the compression's state runs on through every header block
                return [Accepted(stream)] if kind == Type.SYN_REPLY and stream in self._open else []
            case Type.RST_STREAM:
                stream, status = _number(body, 0), _number(body, 4)
                self._sending.discard(stream)
                return [Reset(stream, status)] if self._open.pop(stream, None) is not None else []
            case Type.PING:
                # each side numbers its own pings as it does its streams: answer the peer's
                if _number(body, 0) % 2 != self._next % 2:
                    self._control(Type.PING, body[:4])
                return []
            case Type.GOAWAY:
                return [GoAway()]
            case _:
                return []

    def _syn_stream(self, flags: int, body: bytes) -> list[Event]:
        stream = _number(body, 0) & _LARGEST_ID
        headers = self._unpacked(body[10:])
        if stream % 2 == self._next % 2 or stream in self._open:
            raise SpdyError(f"stream {stream} cannot be opened by the peer")
        if len(self._open) >= MAX_STREAMS:
            raise SpdyError("too many streams are open")
        self._open[stream] = not flags & _FIN
        self._sending.add(stream)
        opened: list[Event] = [Opened(stream, headers)]
        return [*opened, Finished(stream)] if flags & _FIN else opened

    def _forget(self, stream: int) -> None:
        """Drop what is known of a stream that both sides have finished."""
        if not self._open.get(stream, True) and stream not in self._sending:
            del self._open[stream]

    def _control(self, kind: Type, body: bytes) -> None:
        self._out.append(struct.pack(">II", _CONTROL | kind, len(body)) + body)

    def _data(self, stream: int, data: bytes, flags: int) -> None:
        self._out.append(struct.pack(">II", stream, flags << 24 | len(data)) + data)

    def _packed(self, headers: dict[str, str]) -> bytes:
        words = [word.encode() for pair in headers.items() for word in pair]
        block = len(headers).to_bytes(4, "big") + b"".join(len(word).to_bytes(4, "big") + word for word in words)
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _unpacked(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"headers do not decompress: {error}") from None
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise SpdyError("headers are too long, or their compression ended")
        return _headers(plain)


def _number(body: bytes, at: int) -> int:
    if len(body) < at + 4:
        raise SpdyError("a control frame is too short")
    return int.from_bytes(body[at : at + 4], "big")


def _headers(plain: bytes) -> dict[str, str]:
    """Names in lower case → first value (several are parted by NUL)."""
    at, headers = 4, dict[str, str]()
    for _ in range(_number(plain, 0)):
        name, at = _word(plain, at)
        value, at = _word(plain, at)
        headers[name.lower()] = value.partition("\0")[0]
    return headers


def _word(plain: bytes, at: int) -> tuple[str, int]:
    length = _number(plain, at)
    end = at + 4 + length
    if end > len(plain):
        raise SpdyError("a header is longer than its block")
    return plain[at + 4 : end].decode(errors="replace"), end

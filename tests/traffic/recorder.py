"""An application that believes nothing: it takes requests only as the standard writes them, and remembers each."""

import contextlib
import re
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[^\x00\r\n]*")
_ONCE = frozenset({"content-length", "transfer-encoding", "host"})
_START = re.compile(rb"[A-Z]+ [\x21-\x7e]+ HTTP/1\.1")


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Recorder:
    """What came, and what was no proper HTTP/1.1 of it."""

    port: int = 0
    requests: list[Seen] = field(default_factory=list)
    improper: list[str] = field(default_factory=list)


class _ImproperError(Exception):
    """What came is not HTTP/1.1."""


class _EndedError(Exception):
    """The connection ended."""


class _Connection(socketserver.StreamRequestHandler):
    server: "_Server"
    timeout = 30

    def handle(self) -> None:
        recorder = self.server.recorder
        with contextlib.suppress(OSError, _EndedError):
            try:
                while (seen := self._request()) is not None:
                    recorder.requests.append(seen)
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            except _ImproperError as error:
                recorder.improper.append(str(error))

    def _request(self) -> Seen | None:
        start = self._line()
        if not start:
            return None
        if not _START.fullmatch(start):
            raise _ImproperError(f"start line {start!r}")
        headers = self._headers()
        return Seen(start.split()[1].decode(), headers, self._body(headers))

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := self._line():
            if not _LINE.fullmatch(line):
                raise _ImproperError(f"header {line!r}")
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() in headers.keys() & _ONCE:
                raise _ImproperError(f"two of {name}")
            headers[name.lower()] = value.strip()
        return headers

    def _body(self, headers: dict[str, str]) -> bytes:
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if length is not None and coding is not None:
            raise _ImproperError("a length and a coding")
        if coding is None:
            if length is not None and not length.isdecimal():
                raise _ImproperError(f"length {length!r}")
            return self.rfile.read(int(length or 0))
        if coding != "chunked":
            raise _ImproperError(f"coding {coding!r}")
        body = b""
        while size := self._line():
            if not re.fullmatch(rb"[0-9a-fA-F]+", size):
                raise _ImproperError(f"chunk {size!r}")
            if int(size, 16) == 0:
                self._headers()  # trailers, which are no headers whatever they are called (RFC 9110, 6.5.1)
                return body
            body += self.rfile.read(int(size, 16))
            if self._line():
                raise _ImproperError("a chunk without its end")
        raise _EndedError

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line:
            raise _EndedError
        if not line.endswith(b"\r\n"):
            raise _ImproperError(f"line {line!r}")
        return line[:-2]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.recorder = Recorder(port=self.server_address[1])


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """The application, running on a port of its own."""
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.recorder
    finally:
        server.shutdown()
        server.server_close()

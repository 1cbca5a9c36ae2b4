"""TLS in front of a gRPC server that asks clients for a certificate and does without where they have none.

gRPC for Python can demand client certificates or not ask for them, and nothing between; its way to replace a
server's certificate frees what handshakes of other threads still use. So the handshake is ours, with the ssl
module, and what was said goes on to the server by a socket that has a name of its own, by which the server learns
who calls (decision 0022).
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from cryptography import x509

HANDSHAKE_SECONDS: Final = 10.0
"""Who has not finished its handshake by then is dropped."""

_CHUNK: Final = 64 << 10  # bytes that are read, and so held, at once
_WAITING: Final = 4096  # connections that nobody has accepted yet

log = logging.getLogger("weft.tls")


@dataclass(frozen=True, slots=True)
class Client:
    """Who has connected: the address as gRPC writes it, and the verified certificate that it showed."""

    address: str
    certificate: x509.Certificate | None


class Front:
    """Listens with TLS. `context` is asked for at each handshake; the server behind listens on `inside`."""

    def __init__(self, address: str, context: Callable[[], ssl.SSLContext]) -> None:
        """Take the address (`ip:port`; port 0 picks one). OSError if it is taken."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, int(port)), family=family, backlog=_WAITING)
        self._context = context
        # in the kernel's abstract namespace: no file that others could replace, gone with the process
        self._name = f"weft-{secrets.token_hex(16)}"
        self._server: asyncio.Server | None = None
        self._clients: dict[str, Client] = {}
        self._numbers = itertools.count()
        self._open: set[_Outside] = set()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def inside(self) -> str:
        """Where the server behind is to listen, as gRPC writes it."""
        return f"unix-abstract:{self._name}"

    def client(self, peer: str) -> Client | None:
        """Who is behind an address that the server sees; None for one that did not come through here."""
        return self._clients.get(peer.removeprefix("unix-abstract:"))

    async def start(self) -> None:
        """Begin to accept; the server behind must listen by now."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Outside(self), sock=self._socket, backlog=_WAITING)

    def close(self) -> None:
        """Accept no more; what is open goes on."""
        if self._server is None:
            self._socket.close()
        else:
            self._server.close()

    async def stop(self) -> None:
        """End what is still open."""
        self.close()
        for one in tuple(self._open):
            one.abort()
        if self._server is not None:
            await self._server.wait_closed()

    # -- for connections ----------------------------------------------------------------------------------------

    def handshake(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """The server's side of a new connection."""
        return self._context().wrap_bio(incoming, outgoing, server_side=True)

    async def connect(self, client: Client, protocol: "_Inside") -> str:
        """Connect to the server behind on behalf of a client; the name under which it is known there."""
        name = f"{self._name}-{next(self._numbers)}"
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.bind(f"\0{name}")
            connection.connect(f"\0{self._name}")
            self._clients[name] = client
            await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=connection)
        except BaseException:
            self._clients.pop(name, None)
            connection.close()
            raise
        return name

    def opened(self, one: "_Outside") -> None:
        """Keep account of a connection."""
        self._open.add(one)

    def closed(self, one: "_Outside", name: str) -> None:
        """Forget it."""
        self._open.discard(one)
        self._clients.pop(name, None)


class _Shared(asyncio.BufferedProtocol):
    """Reads into one buffer that all share: what arrives is dealt with before anything else is read."""

    _buffer = memoryview(bytearray(_CHUNK))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- the name is asyncio's
        return self._buffer


class _Outside(_Shared):
    """The client's connection: TLS."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = front.handshake(self._incoming, self._outgoing)
        self._inside: _Inside | None = None
        self._opening: asyncio.Task[None] | None = None
        self._name = ""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._front.opened(self)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HANDSHAKE_SECONDS, self._late)

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._buffer[:nbytes])
        try:
            if self._inside is not None:
                self._pass_on(self._inside)
            elif self._opening is None:
                self._shake_hands()
        except ssl.SSLError as error:
            log.debug("%s: %s", _address(self.transport), error)
            self._end()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return
        self.flush()
        if self._tls.selected_alpn_protocol() != "h2":
            self._end()
            return
        self._deadline.cancel()
        self.transport.pause_reading()  # until there is somebody to pass it on to
        self._opening = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        inside = _Inside(self)
        try:
            shown = self._tls.getpeercert(binary_form=True)
            certificate = x509.load_der_x509_certificate(shown) if shown else None
            self._name = await self._front.connect(Client(_address(self.transport), certificate), inside)
            self._inside = inside
            if self.transport.is_closing():
                self._forget()
                return
            self._pass_on(inside)  # what came with the end of the handshake
        except (OSError, ValueError) as error:  # TLS's errors are OSErrors too
            log.warning("%s cannot be served: %s", _address(self.transport), error)
            self._end()
            return
        self.transport.resume_reading()

    def _pass_on(self, inside: "_Inside") -> None:
        for each in self._decrypted():
            inside.transport.write(each)
        self.flush()  # TLS has things of its own to answer

    def _decrypted(self) -> Iterator[bytes]:
        while True:
            try:
                data = self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                return
            if not data:  # the client has said goodbye
                self._end()
                return
            yield data

    def send(self, data: memoryview) -> None:
        """Encrypt and send."""
        while data:
            data = data[self._tls.write(data) :]
        self.flush()

    def flush(self) -> None:
        """Send what TLS has to send."""
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    def finish(self) -> None:
        """Say goodbye and close, once all is sent."""
        if self.transport.is_closing():
            return
        with contextlib.suppress(ssl.SSLError):  # the client's goodbye is not waited for
            self._tls.unwrap()
        self._end()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def _late(self) -> None:
        log.debug("%s has not finished its handshake in time", _address(self.transport))
        self.transport.abort()

    def _end(self) -> None:
        if self.transport.is_closing():
            return
        self.flush()
        self.transport.close()
        # who does not read is not waited for
        self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self.transport.abort)

    def eof_received(self) -> None:
        """An end without goodbye: close."""

    def pause_writing(self) -> None:
        if self._inside is not None:
            self._inside.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._inside is not None:
            self._inside.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- either way it is over
        self._deadline.cancel()
        self._forget()

    def _forget(self) -> None:
        self._front.closed(self, self._name)
        if self._inside is not None:
            self._inside.transport.close()


class _Inside(_Shared):
    """The connection to the server behind: plain bytes."""

    def __init__(self, outside: _Outside) -> None:
        self._outside = outside
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def buffer_updated(self, nbytes: int) -> None:
        if not self._outside.transport.is_closing():
            self._outside.send(self._buffer[:nbytes])

    def eof_received(self) -> None:
        """The server ends the connection: close."""

    def pause_writing(self) -> None:
        self._outside.transport.pause_reading()

    def resume_writing(self) -> None:
        self._outside.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- either way it is over
        self._outside.finish()


def _address(transport: asyncio.BaseTransport) -> str:
    host, port, *_ = transport.get_extra_info("peername") or ("?", 0)
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

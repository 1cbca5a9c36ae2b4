"""A gRPC server that speaks raw bytes: messages are encoded once by others and only carried here."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from cryptography import x509

from weft.adapters import keys
from weft.adapters.tls_front import Front

_factories: Any = grpc  # grpcio's factories carry no types

OPTIONS = (
    # after a restart all proxies come back at once; the default refuses some of them
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # Istio's own (ISTIO_GPRC_MAXRECVMSGSIZE): a proxy says what it has of some 30,000 resources with it
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_metadata_size", 16 << 10),
    # one proxy needs two or three; more go onto another connection
    ("grpc.max_concurrent_streams", 128),
    # who connects and does not speak HTTP/2, and who asks for nothing any more, is let go
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.max_send_message_length", -1),
    # proxies ping; a dead one is noticed within a minute (as Istio has it: 30 s and 10 s)
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
)


class RefusedError(Exception):
    """Ends a call with a gRPC status; the message goes to the client."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Peer:
    """Who calls: the address as gRPC writes it, the call's metadata (lower-case keys), whether TLS is spoken.

    `certificate` is the one that the caller showed; it is verified.
    """

    address: str
    metadata: Mapping[str, str]
    secure: bool
    certificate: x509.Certificate | None = None

    @property
    def bearer(self) -> str:
        """The token of `authorization: Bearer`, empty where there is none."""
        scheme, _, token = self.metadata.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


Write = Callable[[bytes], Awaitable[None]]
Streaming = Callable[[AsyncIterator[bytes], Write, Peer], Awaitable[None]]
"""Reads messages, writes messages (awaiting each write is the back-pressure), returns when done."""

Context = grpc.aio.ServicerContext[Any, Any]

Unary = Callable[[bytes, Peer], Awaitable[bytes]]


class KeyPair:
    """The server's certificate chain and key, and who vouches for clients' certificates; replaced at any time.

    All are PEM. Clients may do without a certificate; one that none of `clients` vouches for, or that is among the
    `revoked`, ends the handshake, whatever else the client has to show. Lists are of each authority, or of none.
    """

    def __init__(self, key: str, chain: str, clients: str = "", revoked: str = "") -> None:
        self.context = _context(key, chain, clients, revoked)

    def replace(self, key: str, chain: str, clients: str = "", revoked: str = "") -> None:
        """Use another pair from the next handshake on."""
        self.context = _context(key, chain, clients, revoked)


_Handler = Callable[[Front | None], grpc.RpcMethodHandler]
"""A method, for callers that come through a front, or for those that come without TLS."""


class Server:
    """One service on any number of addresses."""

    def __init__(self) -> None:
        self._methods: dict[str, dict[str, _Handler]] = {}
        self._plain = _server()
        # whoever reaches a server behind a front by another way must not pass for a caller without TLS
        self._behind: dict[Front, grpc.aio.Server] = {}

    def stream(self, service: str, method: str, handler: Streaming) -> None:
        """Serve a method that streams both ways."""

        async def call(front: Front | None, requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                await handler(requests, context.write, _peer(front, context))
            except RefusedError as error:
                await context.abort(error.code, str(error))

        self._methods.setdefault(service, {})[method] = lambda front: _factories.stream_stream_rpc_method_handler(
            partial(call, front)
        )

    def unary(self, service: str, method: str, handler: Unary) -> None:
        """Serve a method with one request and one answer."""

        async def call(front: Front | None, request: bytes, context: Context) -> bytes:
            try:
                return await handler(request, _peer(front, context))
            except RefusedError as error:
                await context.abort(error.code, str(error))
                raise  # abort has raised already; this is for the reader and the type checker

        self._methods.setdefault(service, {})[method] = lambda front: _factories.unary_unary_rpc_method_handler(
            partial(call, front)
        )

    def listen(self, address: str, pair: KeyPair | None = None) -> int:
        """Listen on `ip:port` (port 0 picks one), with TLS where a pair is given; the port. OSError if taken."""
        if pair is None:
            return _bind(self._plain, address)
        front, server = Front(address, lambda: pair.context), _server()
        _bind(server, front.inside)
        self._behind[front] = server
        return front.port

    async def start(self) -> None:
        """Begin to serve what was registered."""
        for front, server in ((None, self._plain), *self._behind.items()):
            handlers = (
                _factories.method_handlers_generic_handler(name, {each: made(front) for each, made in one.items()})
                for name, one in self._methods.items()
            )
            server.add_generic_rpc_handlers(tuple(handlers))
            await server.start()
            if front is not None:
                await front.start()

    async def stop(self, grace: float = 0.0) -> None:
        """End all calls, waiting `grace` seconds for them."""
        for front in self._behind:
            front.close()
        await asyncio.gather(*(server.stop(grace) for server in (self._plain, *self._behind.values())))
        for front in self._behind:
            await front.stop()


def _server() -> grpc.aio.Server:
    made: grpc.aio.Server = grpc.aio.server(options=OPTIONS)
    return made


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error


def _peer(front: Front | None, context: Context) -> Peer:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    if front is None:
        return Peer(context.peer(), metadata, secure=False)
    if (client := front.client(context.peer())) is None:
        raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "connect to the port for TLS, not behind it")
    return Peer(client.address, metadata, secure=True, certificate=client.certificate)


def _context(key: str, chain: str, clients: str, revoked: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    # every connection proves who it is anew: no session outlives the certificates and roots that it was made with
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    with keys.as_file(key + chain) as path:
        context.load_cert_chain(path)
    if clients:
        context.verify_mode = ssl.CERT_OPTIONAL
        # an authority that is plugged in may be an intermediate, trusted without its own root
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        if revoked:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
        with keys.as_file(clients + revoked) as path:
            context.load_verify_locations(path)
    return context

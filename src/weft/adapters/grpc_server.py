"""A gRPC server that speaks raw bytes: messages are encoded once by others and only carried here."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

_factories: Any = grpc  # grpcio's factories carry no types

OPTIONS = (
    # after a restart all proxies come back at once; the default refuses some of them
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    ("grpc.max_receive_message_length", 32 << 20),
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
    """Who calls: the address as gRPC writes it, the call's metadata (lower-case keys), whether TLS is spoken."""

    address: str
    metadata: Mapping[str, str]
    secure: bool

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
    """The server's certificate chain and key (PEM), read at each handshake and so replaced at any time."""

    def __init__(self, key: str, chain: str) -> None:
        self._configuration = _configuration(key, chain)

    def replace(self, key: str, chain: str) -> None:
        """Use another pair from the next handshake on."""
        self._configuration = _configuration(key, chain)

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC asks at each handshake."""
        credentials: grpc.ServerCredentials = _factories.dynamic_ssl_server_credentials(
            self._configuration, lambda: self._configuration
        )
        return credentials


class Server:
    """One gRPC server on any number of addresses."""

    def __init__(self) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        self._methods: dict[str, dict[str, grpc.RpcMethodHandler]] = {}

    def stream(self, service: str, method: str, handler: Streaming) -> None:
        """Serve a method that streams both ways."""

        async def call(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                await handler(requests, context.write, _peer(context))
            except RefusedError as error:
                await context.abort(error.code, str(error))

        self._methods.setdefault(service, {})[method] = _factories.stream_stream_rpc_method_handler(call)

    def unary(self, service: str, method: str, handler: Unary) -> None:
        """Serve a method with one request and one answer."""

        async def call(request: bytes, context: Context) -> bytes:
            try:
                return await handler(request, _peer(context))
            except RefusedError as error:
                await context.abort(error.code, str(error))
                raise  # abort has raised already; this is for the reader and the type checker

        self._methods.setdefault(service, {})[method] = _factories.unary_unary_rpc_method_handler(call)

    def listen(self, address: str, pair: KeyPair | None = None) -> int:
        """Listen on `ip:port` (port 0 picks one), with TLS where a pair is given; the port. OSError if taken."""
        try:
            if pair is None:
                return int(self._server.add_insecure_port(address))
            return int(self._server.add_secure_port(address, pair.credentials()))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error

    async def start(self) -> None:
        """Begin to serve what was registered."""
        handlers = [_factories.method_handlers_generic_handler(name, one) for name, one in self._methods.items()]
        self._server.add_generic_rpc_handlers(tuple(handlers))
        await self._server.start()

    async def stop(self, grace: float = 0.0) -> None:
        """End all calls, waiting `grace` seconds for them."""
        await self._server.stop(grace)


def _configuration(key: str, chain: str) -> Any:
    return _factories.ssl_server_certificate_configuration([(key.encode(), chain.encode())])


def _peer(context: Context) -> Peer:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    secure = context.auth_context().get("transport_security_type") == [b"ssl"]
    return Peer(context.peer(), metadata, secure)

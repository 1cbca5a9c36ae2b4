"""A provider of ext_authz for tests, by HTTP and by gRPC: says what it is told to, keeps what it was shown."""

import contextlib
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from tests.support.proto import external_auth_pb2

from weft.adapters import netns


@dataclass
class Shown:
    """What the provider was shown of a request; `source` of a connection's peer, by gRPC alone."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    source: str = ""


@dataclass
class Said:
    """What it says after some seconds: 200 allows, anything else denies."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    wait: float = 0


@dataclass
class Provider:
    """Says `says` of whatever it is shown."""

    says: Callable[[Shown], Said]
    shown: list[Shown] = field(default_factory=list)

    def decide(self, shown: Shown) -> Said:
        self.shown.append(shown)
        said = self.says(shown)
        time.sleep(said.wait)
        return said


def by_header(shown: Shown) -> Said:
    """`x-ext-authz: allow` allows, a number is the status of the denial; connections pass from 10.1.0.0/16."""
    wanted = shown.headers.get("x-ext-authz", "")
    if wanted == "allow" or (not shown.method and shown.source.startswith("10.1.")):
        return Said()
    return Said(int(wanted) if wanted.isdecimal() else 403)


@contextlib.contextmanager
def serving(provider: Provider, address: str, namespace: str) -> Iterator[None]:
    """Serve it in a network namespace at `address`: by HTTP on 9001, by gRPC on 9002."""
    handler = type("Handler", (_Handler,), {"provider": provider})
    http = netns.inside(namespace, lambda: ThreadingHTTPServer((address, 9001), handler))
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    executor = ThreadPoolExecutor(max_workers=16)
    server = grpc.server(executor)
    method = grpc.unary_unary_rpc_method_handler(
        lambda request, _: _checked(provider, request),
        request_deserializer=external_auth_pb2.CheckRequest.FromString,
        response_serializer=external_auth_pb2.CheckResponse.SerializeToString,
    )
    service = "envoy.service.auth.v3.Authorization"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Check": method}),))

    # gRPC's own threads must not begin in the namespace: the whole process uses them, and they would stay there
    inner = f"weft-ext-authz-{os.getpid()}-{id(server)}"
    server.add_insecure_port(f"unix-abstract:{inner}")
    server.start()
    relay = netns.inside(namespace, lambda: _Relay((address, 9002), inner))
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        relay.shutdown()
        relay.server_close()
        server.stop(grace=0).wait()
        executor.shutdown(wait=True, cancel_futures=True)
        http.shutdown()
        http.server_close()


class _Relay(socketserver.ThreadingTCPServer):
    """Passes connections on to a Unix socket in the abstract namespace."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], inner: str) -> None:
        super().__init__(address, _Passage)
        self.inner = inner


class _Passage(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as inner:
            inner.connect(f"\0{self.server.inner}")
            threading.Thread(target=_pump, args=(self.request, inner), daemon=True).start()
            _pump(inner, self.request)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # one of the two has hung up
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: Provider

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        said = self.provider.decide(Shown(self.command, self.path, headers, body))
        told = said.body.encode()
        with contextlib.suppress(ConnectionError):  # who waits no longer has hung up
            self.send_response(said.status)
            for name, value in {**said.headers, "content-length": str(len(told))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told)

    def log_message(self, *_arguments: object) -> None:
        pass


def _checked(provider: Provider, request: Any) -> Any:
    attributes = request.attributes
    http = attributes.request.http
    body = http.raw_body or http.body.encode()
    source = attributes.source.address.socket_address.address
    said = provider.decide(Shown(http.method, http.path, dict(http.headers), body, source))
    headers = [{"header": {"key": name, "value": value}} for name, value in said.headers.items()]
    response = external_auth_pb2.CheckResponse()
    if said.status == 200:
        response.ok_response.CopyFrom(external_auth_pb2.OkHttpResponse(headers=headers))
        return response
    response.status.code = grpc.StatusCode.PERMISSION_DENIED.value[0]
    denied = external_auth_pb2.DeniedHttpResponse(headers=headers, body=said.body)
    denied.status.code = said.status
    response.denied_response.CopyFrom(denied)
    return response

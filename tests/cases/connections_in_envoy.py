"""Connections through the real Envoy: made as an application does, and where they end up."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from tests.cases.connections import CLOSED, PASSTHROUGH, Connection, destination, outcome
from tests.cases.engine import Case
from tests.cases.in_envoy import Place, Sidecar

from weft.adapters import netns


def answer(key: str, connection: Connection, case: Case) -> str:
    """A destination as a client can tell it: those that are reached as dialled all look the same."""
    endpoints = next(
        (each.endpoints for each in outcome(connection, case).shares if destination(each.cluster) == key),
        (),
    )
    return PASSTHROUGH if endpoints == (f"{connection.address}:{connection.port}",) else key


def reached(proxy: Sidecar, connection: Connection) -> str:
    """Where a connection ends up, as cases write it."""
    server = netns.inside(proxy.here.namespace, lambda: _ask(connection, proxy.case.view.proxy.address))
    if server == connection.address:
        return PASSTHROUGH
    if not server:
        return CLOSED
    asked = (connection.address, connection.port, connection.server_name or "")
    return destination(proxy.whereabouts.cluster(server, *asked))


def _ask(connection: Connection, source: str) -> str:
    """The address of the server that a connection ends at, which it says first; empty if it is closed instead."""
    first = connection.says.encode() if connection.server_name is None else _client_hello(connection.server_name)
    with socket.create_connection((connection.address, connection.port), 10, (source, 0)) as client:
        try:
            client.sendall(first)
            return client.makefile().readline().strip()
        except ConnectionError:
            return ""


def _client_hello(server_name: str) -> bytes:
    """The first bytes of a TLS client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=server_name or None)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


@contextmanager
def dialled(here: Place, ports: set[int]) -> Iterator[None]:
    """Servers at every address of the namespace, for what Envoy lets pass as dialled."""
    with ExitStack() as stack:
        for port in ports:
            server = netns.inside(here.namespace, partial(socket.create_server, ("0.0.0.0", port)))
            stack.callback(server.close)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=_say_where, args=(server,), daemon=True).start()
        yield


def _say_where(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            client.recv(4096)
            client.sendall(f"{client.getsockname()[0]}\n".encode())

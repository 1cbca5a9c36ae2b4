"""Every case with connections, by the model, by the resources that Envoy gets, and by the real Envoy."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml
from tests.cases.connections import (
    CLOSED,
    PASSTHROUGH,
    Connection,
    by_model,
    by_simulator,
    destination,
    load_connections,
    outcome,
)
from tests.cases.engine import HERE, Case, files
from tests.cases.in_envoy import Place, Sidecar, place, sidecar

from weft.adapters import netns

TRIES = 40
"""Connections where shares divide them: one of a fifth is missed once in ten thousand runs."""
FILES = [
    pytest.param(path, id=str(path.relative_to(HERE).with_suffix("")))
    for path in files()
    if "connections" in yaml.safe_load(path.read_text())
]


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.mark.parametrize("path", FILES)
def test_the_model_and_envoys_resources_send_connections_where_the_case_says(path: Path) -> None:
    case, connections = load_connections(path)
    for each in connections:
        assert by_model(each, case) == each.then, each
        assert by_simulator(each, case) == each.then, each


@pytest.mark.parametrize("path", FILES)
def test_envoy_sends_connections_where_the_case_says(path: Path, here: Place) -> None:
    case, connections = load_connections(path)
    with sidecar(case, here) as proxy, _dialled(here, {each.port for each in connections}):
        for each in connections:
            shares = {_answer(key, each, case): share for key, share in each.then}
            found = {_destination(proxy, each)}
            if len(shares) > 1:
                found |= {_destination(proxy, each) for _ in range(TRIES)}
                assert {name for name, share in shares.items() if share >= 20} <= found, (each, found)
            assert found <= set(shares), (each, found)


def _answer(key: str, connection: Connection, case: Case) -> str:
    """A destination as a client can tell it: those that are reached as dialled all look the same."""
    endpoints = next(
        (each.endpoints for each in outcome(connection, case).shares if destination(each.cluster) == key),
        (),
    )
    return PASSTHROUGH if endpoints == (f"{connection.address}:{connection.port}",) else key


def _destination(proxy: Sidecar, connection: Connection) -> str:
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
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


@contextmanager
def _dialled(here: Place, ports: set[int]) -> Iterator[None]:
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

"""TLS servers that answer every request with what they saw of the handshake."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.envoy import Identity

from weft.adapters import netns


@contextmanager
def serving(
    namespace: str, address: str, port: int, identity: Identity, folder: Path, clients: str = ""
) -> Iterator[None]:
    """Serve in a namespace; with `clients` (roots in PEM), only whom they vouch for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / f"{address}.pem").write_text(identity.chain + identity.key)
    context.load_cert_chain(folder / f"{address}.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda connection, name, _: setattr(connection, "asked_for", name)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients)
    listener = netns.inside(namespace, lambda: socket.create_server((address, port)))
    thread = threading.Thread(target=_accept, args=(listener, context), daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, context), daemon=True).start()


def _answer(plain: socket.socket, context: ssl.SSLContext) -> None:
    # a client that refuses the certificate just leaves
    with contextlib.suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as connection:
        connection.settimeout(10)
        request = b""
        while b"\r\n\r\n" not in request and (more := connection.recv(4096)):
            request += more
        client: Any = connection.getpeercert() or {}
        names = [name for _, name in client.get("subjectAltName", ())]
        seen = {"sni": getattr(connection, "asked_for", None), "alpn": connection.selected_alpn_protocol()}
        body = json.dumps(seen | {"client": names}).encode()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )

"""A port of the workload whose TLS is the application's own: what the real Envoy lets in, and where that goes."""

import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support import envoy
from tests.support.identities import Authority
from tests.support.ports import free_port

from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import Generator

ADDRESS = "127.0.0.1"


class _Application(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"own")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    server = ThreadingHTTPServer((ADDRESS, 0), _Application)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("own.example")


@pytest.fixture(scope="module")
def port(application: int, authority: Authority) -> Iterator[int]:
    """A sidecar's own port with mutual TLS, for clients with a certificate of the authority."""
    number = free_port()
    files = {
        "serverCertificate": "/own/cert.pem",
        "privateKey": "/own/key.pem",
        "caCertificates": "/own/roots.pem",
    }
    listener: dict[str, Any] = {
        "port": {"number": number, "protocol": "HTTPS", "name": "https"},
        "bind": ADDRESS,
        "captureMode": "NONE",
        "defaultEndpoint": f"{ADDRESS}:{application}",
        "tls": {"mode": "MUTUAL", **files, "subjectAltNames": ["client.own.example"]},
    }
    store = Store()
    meta = {"name": "own", "namespace": "shop"}
    store.apply("Sidecar", {"kind": "Sidecar", "metadata": meta, "spec": {"ingress": [listener]}})
    assert store.snapshot().problems == ()
    resources = Generator().resources(view(store.snapshot(), Proxy("p", "shop", "10.244.0.9")))
    with envoy.started(resources, authority.serve("own.example")) as (_, management):
        assert management.rejected == []
        yield number


def status(port: int, authority: Authority, client: envoy.Identity | None, folder: Path) -> int:
    """What a client with that certificate is answered; 0 where the connection is refused."""
    context = ssl.create_default_context(cadata=authority.roots)
    context.check_hostname = False
    if client is not None:
        (folder / "client.pem").write_text(client.chain + client.key)
        context.load_cert_chain(folder / "client.pem")
    connection = HTTPSConnection(ADDRESS, port, timeout=10, context=context)
    return _asked(connection)


def _asked(connection: HTTPConnection) -> int:
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except (OSError, ssl.SSLError):
        return 0
    finally:
        connection.close()


def test_the_application_is_reached_by_clients_that_show_what_was_asked_for(
    port: int, authority: Authority, tmp_path: Path
) -> None:
    assert status(port, authority, authority.serve("client.own.example"), tmp_path) == 200


def test_clients_of_another_name_of_another_authority_and_without_certificate_are_refused(
    port: int, authority: Authority, tmp_path: Path
) -> None:
    strangers = (authority.serve("other.own.example"), Authority().serve("client.own.example"), None)
    assert [status(port, authority, each, tmp_path) for each in strangers] == [0, 0, 0]


def test_plaintext_is_refused(port: int) -> None:
    assert _asked(HTTPConnection(ADDRESS, port, timeout=10)) == 0

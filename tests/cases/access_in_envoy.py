"""Truth tables in the real Envoy: the server's sidecar, asked from addresses and with certificates of many.

Connections are dialled as from other pods: iptables leads them to 15006, and what the sidecar dials to the server.
"""

import base64
import json
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import json_format, struct_pb2
from tests.cases.access import OFFERED, POD, Access, Ask
from tests.cases.in_envoy import PORT, Place, place
from tests.support import envoy, ext_authz
from tests.support.identities import Authority
from tests.support.proto import header_to_metadata_pb2

from weft.adapters import netns
from weft.xds import claims, encode, listeners_http, names
from weft.xds.proto import http_connection_manager_pb2, listener_pb2
from weft.xds.resource import LISTENER, Resources

_TOKEN = "x-claims"
_PROMPT = ("--file-flush-interval-msec", "50")
_LED = f"""*nat
-A OUTPUT -d 127.64.0.0/16 -j RETURN
-A OUTPUT -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15006
-A OUTPUT -p tcp -m owner --uid-owner 1337 -j DNAT --to-destination :{PORT}
COMMIT
"""


@dataclass
class Callers:
    """Whoever asks: certificates are made when they are first shown."""

    here: Place
    folder: Path
    authority: Authority = field(default_factory=Authority)
    _contexts: dict[tuple[str, bool], ssl.SSLContext] = field(default_factory=dict)

    def ask(self, asked: Ask) -> str:
        """What becomes of a line: the status, `in` or `closed`."""
        return netns.inside(self.here.namespace, lambda: self._asked(asked))

    def certified_by(self, authority: Authority) -> None:
        """Show certificates of another authority from now on."""
        self.authority = authority
        self._contexts.clear()

    def _asked(self, asked: Ask) -> str:
        try:
            with socket.create_connection(
                (POD, asked.port), timeout=10, source_address=(asked.source, 0)
            ) as plain:
                if not asked.who:
                    return _spoken(plain, asked)
                context = self._context(asked.who, requests=asked.is_request)
                with context.wrap_socket(plain, server_hostname=asked.server_name) as secure:
                    return _spoken(secure, asked)
        except (ConnectionError, ssl.SSLError):
            return "closed"

    def _context(self, who: str, *, requests: bool) -> ssl.SSLContext:
        known = self._contexts.get((who, requests))
        if known is None:
            identity = self.authority.issue(*who.split())
            known = ssl.create_default_context()
            known.check_hostname, known.verify_mode = False, ssl.CERT_NONE
            with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".pem") as file:
                file.write(identity.chain + identity.key)
                file.flush()
                known.load_cert_chain(file.name)
            known.set_alpn_protocols(list(OFFERED[requests]))
            self._contexts[who, requests] = known
        return known


def _spoken(connection: socket.socket, asked: Ask) -> str:
    if not asked.is_request:
        connection.sendall(b"hello\n")
        return "in" if connection.recv(200) else "closed"
    # whoever asks a proxy is not believed by its Host header
    headers = {**asked.headers, "host": "else.example.com" if asked.target else asked.host, "connection": "close"}
    if asked.token:
        told = json_format.ParseDict(json.loads(asked.token), struct_pb2.Value())
        headers[_TOKEN] = base64.b64encode(told.SerializeToString()).decode()
    lines = (
        f"{asked.method} {asked.target or asked.path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in (*headers.items(), *asked.more)),
    )
    connection.sendall("\r\n".join((*lines, "", "")).encode())
    received = b""
    while b"\r\n" not in received and (more := connection.recv(4096)):
        received += more
    return received.split(b" ")[1].decode() if received else "closed"


@contextmanager
def callers(folder: Path) -> Iterator[Callers]:
    """A namespace where all that is dialled comes to the sidecar, and all that it dials to one server."""
    with place("weft-access", capture=False) as here:
        command = ["nsenter", f"--net=/run/netns/{here.namespace}", "iptables-restore"]
        subprocess.run(command, input=_LED, text=True, check=True, capture_output=True)
        with ext_authz.serving(ext_authz.Provider(ext_authz.by_header), "127.64.0.1", here.namespace):
            yield Callers(here, folder)


@contextmanager
def served(case: Access, asking: Callers) -> Iterator[envoy.Running]:
    """Start the sidecar of a case's workload."""
    identity = asking.authority.issue("spiffe://cluster.local/ns/shop/sa/web")
    resources = _with_tokens(case.resources) if any(each.token for each in case.asks) else case.resources
    with envoy.started(resources, identity, namespace=asking.here.namespace, options=_PROMPT) as (
        running,
        management,
    ):
        assert management.rejected == [], management.rejected
        yield running


def _with_tokens(resources: Resources) -> Resources:
    """The resources with a filter in place of the one that verifies tokens: a header has the claims."""
    kept = {
        "header": _TOKEN,
        "on_header_present": {
            "metadata_namespace": claims.METADATA,
            "key": claims.PAYLOAD,
            "type": "PROTOBUF_VALUE",
            "encode": "BASE64",
        },
        "remove": True,
    }
    config = json_format.ParseDict({"request_rules": [kept]}, header_to_metadata_pb2.Config())
    believing = listeners_http.http_filter("envoy.filters.http.header_to_metadata", config)
    listener = listener_pb2.Listener.FromString(resources[LISTENER][names.VIRTUAL_INBOUND].body)
    for chain in listener.filter_chains:
        for each in chain.filters:
            if each.name == listeners_http.HTTP_FILTER:
                manager = http_connection_manager_pb2.HttpConnectionManager.FromString(each.typed_config.value)
                filters = [believing, *manager.http_filters]
                del manager.http_filters[:]
                manager.http_filters.extend(filters)
                each.CopyFrom(listeners_http.of_requests(manager))
    changed = encode.resource(LISTENER, listener.name, listener)
    return {**resources, LISTENER: {**resources[LISTENER], listener.name: changed}}

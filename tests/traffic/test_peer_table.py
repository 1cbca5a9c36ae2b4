"""The truth table of PeerAuthentication (`tests/xds/test_peer_modes.py`), asked of the real Envoy."""

import socket
import ssl
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from tests.traffic.street import Street, running_street
from tests.xds.test_peer_modes import BY_POLICY, UNNAMED, expected

from weft.model.peer_authentications import PeerMode, PeerModes
from weft.model.services import InboundPort, Protocol

ANSWERING = Path(__file__).parent / "answering.py"
_KINDS = (Protocol.HTTP, Protocol.TCP, Protocol.TLS, Protocol.AUTO, BY_POLICY, UNNAMED)
PORTS = {kind: 7001 + index for index, kind in enumerate(_KINDS)}
NAMED = tuple(InboundPort(PORTS[each], each, "web.street", 80) for each in PORTS if isinstance(each, Protocol))
REQUEST, BYTES = b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n", b"no HTTP\r\n\r\n"
# what is negotiated must be HTTP/1.1, which is what is spoken then
CALLERS: dict[str, tuple[bytes, tuple[str, ...] | None]] = {
    "plaintext requests": (REQUEST, None),
    "other plaintext": (BYTES, None),
    "a sidecar's requests": (REQUEST, ("istio-http/1.1", "istio", "http/1.1")),
    "a sidecar's other bytes": (REQUEST, ("istio-peer-exchange", "istio")),
    "TLS that says nothing": (REQUEST, ()),
    "TLS of a browser": (REQUEST, ("http/1.1",)),
}
"""What each sends, and the protocols that it offers in TLS; None: no TLS. All show a certificate of the mesh."""


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with running_street() as made, made.server.serving(ANSWERING, *map(str, PORTS.values())):
        yield made


@pytest.fixture(scope="module")
def contexts(street: Street, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ssl.SSLContext]:
    """The TLS of those callers that speak it."""
    identity = street.authority.issue("spiffe://cluster.local/ns/street/sa/client")
    file = tmp_path_factory.mktemp("table") / "certificate.pem"
    file.write_text(identity.chain + identity.key)

    def context(protocols: tuple[str, ...]) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        made.load_cert_chain(file)
        if protocols:
            made.set_alpn_protocols(list(protocols))
        return made

    return {caller: context(offered) for caller, (_, offered) in CALLERS.items() if offered is not None}


def taken(address: tuple[str, int], sent: bytes, context: ssl.SSLContext | None) -> str:
    """How the port takes it, in the words of the table."""
    try:
        with socket.create_connection(address, 5) as connection:
            if context is None:
                return heard(connection, sent, "plain")
            with context.wrap_socket(connection) as secured:
                return heard(secured, sent, "mtls")
    except ssl.SSLError as error:
        # the application's answer to a greeting of TLS is none
        return "plain bytes" if error.reason == "WRONG_VERSION_NUMBER" else "closed"
    except OSError:
        return "closed"


def heard(connection: socket.socket, sent: bytes, how: str) -> str:
    connection.sendall(sent)
    answer = b""
    # after a refusal the proxy waits for us to close
    while not answer.startswith(b"http/1.1 400") and (part := connection.recv(4096)):
        answer += part.lower()
    if not answer:
        return "closed"
    # only a proxy that reads requests refuses what is none, or says how long the application took
    reads = answer.startswith(b"http/1.1 400") or b"x-envoy-upstream-service-time" in answer
    return f"{how} {'requests' if reads else 'bytes'}"


@pytest.mark.parametrize("mode", PeerMode)
def test_the_real_envoy_lets_in_whom_the_table_has(
    street: Street, contexts: dict[str, ssl.SSLContext], mode: PeerMode
) -> None:
    def asked(ports: Iterable[str]) -> dict[tuple[str, str], str]:
        return {
            (port, caller): taken((street.server.address, PORTS[port]), CALLERS[caller][0], contexts.get(caller))
            for port, caller in product(ports, CALLERS)
        }

    other = PeerMode.STRICT if mode is not PeerMode.STRICT else PeerMode.DISABLE
    named = [port for port in PORTS if port != UNNAMED]
    for ports, modes in (
        (list(PORTS), PeerModes(mode, ((PORTS[BY_POLICY], mode),))),
        (named, PeerModes(other, tuple((PORTS[port], mode) for port in named))),
    ):
        street.give_server(NAMED, modes)
        found = street.at(street.outside, partial(asked, ports))
        assert found == {(port, caller): expected(port, caller, mode) for port, caller in found}

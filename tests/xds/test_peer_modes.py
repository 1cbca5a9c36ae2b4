"""The truth table of PeerAuthentication: which connections a port takes, and how, by the chains for Envoy."""

from itertools import product
from typing import Any

import pytest

from weft.model.inbound import ServedPort
from weft.model.mesh_config import DEFAULT_MESH
from weft.model.peer_authentications import PeerMode, PeerModes
from weft.model.services import InboundPort, Protocol
from weft.xds import inbound
from weft.xds.inbound import Inbound
from weft.xds.proto import listener_pb2
from weft.xds.simulate_chains import filter_chain
from weft.xds.simulate_match import Request

UNNAMED, BY_POLICY = "a port that nothing names", "a port that only the policy names"
PORTS = (Protocol.HTTP, Protocol.GRPC, Protocol.TCP, Protocol.TLS, Protocol.AUTO, UNNAMED, BY_POLICY)
CALLERS: dict[str, dict[str, Any]] = {
    "plaintext requests": {"http": True},
    "other plaintext": {"http": False},
    "a sidecar's requests": {"tls": True, "protocols": ("istio-http/1.1",)},
    "a sidecar's HTTP/2": {"tls": True, "protocols": ("istio-h2", "istio", "h2")},
    "a sidecar's other bytes": {"tls": True, "protocols": ("istio-peer-exchange", "istio")},
    "TLS that says nothing": {"tls": True},
    "TLS of a browser": {"tls": True, "protocols": ("h2", "http/1.1")},
}
MODES = ("of the workload", "of the port")


def taken(port: str, caller: str, mode: PeerMode, written: str) -> str:
    """How the chains take it: by `mtls` or in `plain`, as `requests` or `bytes`; `closed` where none does."""
    named = port not in {UNNAMED, BY_POLICY}
    served = (ServedPort(InboundPort(8080, Protocol(port), "web.shop", 80)),) if named else ()
    other = PeerMode.STRICT if mode is not PeerMode.STRICT else PeerMode.DISABLE
    by_port = written == "of the port" or port == BY_POLICY
    modes = PeerModes(other, ((8080, mode),)) if by_port else PeerModes(mode)
    body = inbound.virtual_inbound(Inbound(served, DEFAULT_MESH, modes)).body
    request = Request(address="10.244.0.9", port=8080, host="web", **CALLERS[caller])
    chain = filter_chain(listener_pb2.Listener.FromString(body), request)
    if chain is None:
        return "closed"
    how = "mtls" if chain.HasField("transport_socket") else "plain"
    return f"{how} {'bytes' if chain.filters[-1].name.endswith('tcp_proxy') else 'requests'}"


def expected(port: str, caller: str, mode: PeerMode) -> str:
    """The same as the documents have it, one question after the other."""
    http, detected = port in {"http", "grpc"}, port in {Protocol.AUTO, UNNAMED, BY_POLICY}
    meshed, tls = caller.startswith("a sidecar"), CALLERS[caller].get("tls", False)
    asks = http or (detected and caller in {"plaintext requests", "a sidecar's requests", "a sidecar's HTTP/2"})
    kind = "requests" if asks else "bytes"
    if mode is PeerMode.STRICT:
        return f"mtls {kind}" if tls else "closed"
    if mode is PeerMode.PERMISSIVE and meshed:
        return f"mtls {kind}"
    if tls:
        return "closed" if http else "plain bytes"
    return f"plain {kind}"


@pytest.mark.parametrize("mode", PeerMode)
def test_every_kind_of_caller_gets_into_every_kind_of_port_as_the_mode_has_it(mode: PeerMode) -> None:
    rows = [row for row in product(PORTS, CALLERS, MODES) if not (row[0] == UNNAMED and row[2] == "of the port")]
    wrong = {
        row: (found, expected(row[0], row[1], mode))
        for row in rows
        if (found := taken(row[0], row[1], mode, row[2])) != expected(row[0], row[1], mode)
    }
    assert len(rows) == 91
    assert wrong == {}

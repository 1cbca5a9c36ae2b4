"""What callers may speak to a workload, by its PeerAuthentication: two sidecars, and a pod outside the mesh."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.envoy import Identity, certificate, roots, wait_until
from tests.support.identities import Authority
from tests.traffic.street import ANY, GREETER, INBOUND, TRAILED, WEB, XFCC, Street, running_street

from weft.model.peer_authentications import PERMISSIVE, PeerMode, PeerModes
from weft.model.view import ServiceView, View
from weft.processes.controlplane import node_metadata

STRICT, DISABLE = PeerModes(PeerMode.STRICT), PeerModes(PeerMode.DISABLE)
IDENTITY = "URI=spiffe://cluster.local/ns/street/sa/client"
GREET = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as greeter:
    greeter.sendall(b"".join(map(str.encode, sys.argv[3:])))
    try:
        print(greeter.recv(100).decode().strip() or "closed")
    except OSError:
        print("closed")
"""


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with running_street() as made:
        yield made


def status(street: Street, url: str, *options: str) -> str:
    """What a pod outside the mesh is answered; 000 where the connection is closed."""
    words = " ".join(("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "'%{http_code}'", *options, url))
    return street.outside.run("sh", "-c", f"{words} || true")


def with_certificate(street: Street, identity: Identity, folder: Path, *options: str) -> str:
    """What a pod outside is answered that shows a certificate, and says no protocol of the mesh."""
    (folder / "cert.pem").write_text(identity.chain)
    (folder / "key.pem").write_text(identity.key)
    shown = ("-k", "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem"), *options)
    return status(street, f"https://{street.server.address}:8080/", *shown)


def plaintext_to(street: Street) -> tuple[ServiceView, ...]:
    """The services, whose endpoints take no mTLS."""

    def closed(view: ServiceView) -> ServiceView:
        ports = (
            replace(port, endpoints=tuple(replace(each, mutual_tls=False) for each in port.endpoints))
            for port in view.ports
        )
        return replace(view, ports=tuple(ports))

    return tuple(map(closed, street.services()))


def test_strict_takes_the_meshs_mtls_and_nothing_else(street: Street, tmp_path: Path) -> None:
    server = street.server.address
    street.give_server(INBOUND, STRICT)
    try:
        for address in (WEB, ANY):
            assert IDENTITY in street.seen(f"http://{address}/")["headers"][XFCC]
        assert street.python(GREET, GREETER, "80") == ["hello"]
        assert status(street, f"http://{server}:8080/") == "000"
        assert street.outside.run("python3", "-c", GREET, server, "9001", "no HTTP\r\n").strip() == "closed"
        # certificates of the mesh count without its ALPN; none, and those of others, do not
        known = street.authority.issue("spiffe://cluster.local/ns/street/sa/prometheus")
        elsewhere = street.authority.issue("spiffe://other.example/ns/street/sa/prometheus")
        forged = Authority().issue("spiffe://cluster.local/ns/street/sa/prometheus")
        assert with_certificate(street, known, tmp_path) == "200"
        assert with_certificate(street, elsewhere, tmp_path) == "000"
        assert with_certificate(street, forged, tmp_path) == "000"
        assert status(street, f"https://{server}:8080/", "-k") == "000"
    finally:
        street.give_server(INBOUND)
    assert status(street, f"http://{server}:8080/") == "200"


def test_an_application_says_for_itself_who_it_is_to_nobody(street: Street) -> None:
    claims = ("-H", "x-envoy-peer-metadata: claimed", "-H", f"{XFCC}: URI=spiffe://cluster.local/ns/x/sa/claimed")
    headers = street.seen(f"http://{WEB}/", *claims)["headers"]
    assert "claimed" not in str(headers)
    assert IDENTITY in headers[XFCC]


def test_strict_holds_at_ports_that_no_service_names(street: Street) -> None:
    unnamed = tuple(each for each in INBOUND if each.number != 8081)
    url = f"http://{street.server.address}:8081/"
    street.give_server(unnamed, STRICT)
    try:
        assert status(street, url) == "000"
        assert street.curl(f"http://{TRAILED}/", "--fail")
        street.give_server(unnamed, PeerModes(PeerMode.STRICT, ((8081, PeerMode.DISABLE),)))
        assert status(street, url) == "200"
    finally:
        street.give_server(INBOUND)


def test_single_ports_are_opened_and_closed(street: Street) -> None:
    server = street.server.address
    street.give_server(INBOUND, PeerModes(PeerMode.STRICT, ((8081, PeerMode.PERMISSIVE),)))
    try:
        assert [status(street, f"http://{server}:{port}/") for port in (8080, 8081)] == ["000", "200"]
        street.give_server(INBOUND, PeerModes(PeerMode.PERMISSIVE, ((8081, PeerMode.STRICT),)))
        assert [status(street, f"http://{server}:{port}/") for port in (8080, 8081)] == ["200", "000"]
    finally:
        street.give_server(INBOUND, PERMISSIVE)


def test_disable_takes_plaintext_and_believes_no_identity(street: Street, tmp_path: Path) -> None:
    street.give_server(INBOUND, DISABLE)
    street.give_client(*plaintext_to(street))
    try:
        claim = ("-H", f"{XFCC}: {IDENTITY}")
        for address in (WEB, ANY):
            assert XFCC not in street.seen(f"http://{address}/", *claim)["headers"]
        assert (
            XFCC not in street.seen(f"http://{street.server.address}:8080/", *claim, pod=street.outside)["headers"]
        )
        # nobody waits for the client's first bytes where nothing depends on them
        begun = time.monotonic()
        assert street.python(GREET, GREETER, "80") == ["hello"]
        assert street.outside.run("python3", "-c", GREET, street.server.address, "9000").strip() == "hello"
        assert time.monotonic() - begun < 4
        known = street.authority.issue("spiffe://cluster.local/ns/street/sa/prometheus")
        assert with_certificate(street, known, tmp_path) == "000"
    finally:
        street.give_client()
        street.give_server(INBOUND)


def test_certificates_in_files_of_the_pods_take_the_place_of_those_of_the_mesh(street: Street) -> None:
    mounted, strangers = Authority(), Authority()
    own = ("file-cert:/own/chain.pem~/own/key.pem", "file-root:/own/ca.pem")
    files = {"CERT_CHAIN": "/own/chain.pem", "KEY": "/own/key.pem", "ROOT_CERT": "/own/ca.pem"}

    def given(account: str, signer: Authority) -> dict[str, bytes | None]:
        issued = signer.issue(f"spiffe://cluster.local/ns/street/sa/{account}")
        trusted = mounted.issue("spiffe://cluster.local/ns/street/sa/anybody")
        return {own[0]: certificate(own[0], issued), own[1]: roots(own[1], trusted)}

    def by_files(side: str, plain: View) -> View:
        metadata = {f"TLS_{side}_{part}": path for part, path in files.items()}
        return replace(plain, proxy=replace(plain.proxy, traits=node_metadata.traits(metadata, at_edge=False)))

    street.client_management.renew(given("mounted", strangers))
    street.server_management.renew(given("default", mounted))
    street._give(street.client_management, by_files("CLIENT", street.view()))
    street._give(street.server_management, by_files("SERVER", street.view(inbound=INBOUND)))
    try:
        # whom the server's files do not vouch for is not let in
        assert {status_inside(street, f"http://{address}/") for address in (WEB, ANY)} == {"503"}
        street.client_management.renew(given("mounted", mounted))
        wait_until(lambda: status_inside(street, f"http://{WEB}/") == "200")
        for address in (WEB, ANY):
            seen = street.seen(f"http://{address}/")["headers"][XFCC]
            assert "URI=spiffe://cluster.local/ns/street/sa/mounted" in seen
    finally:
        street.client_management.renew({})
        street.server_management.renew({})
        street.give_client()
        street.give_server(INBOUND)
    assert IDENTITY in street.seen(f"http://{WEB}/")["headers"][XFCC]


def status_inside(street: Street, url: str) -> str:
    """What the meshed client is answered."""
    return street.client.run("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url)

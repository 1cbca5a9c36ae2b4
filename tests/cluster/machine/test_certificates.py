"""The cluster's certificates, by real handshakes."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from weft.adapters.kube.access import Access
from weft.cluster.machine import certificates
from weft.cluster.machine.layout import Layout


def handshake(server: tuple[Path, Path], client: ssl.SSLContext, ca: Path, name: str) -> dict[str, object]:
    """The client's certificate as the server sees it; SSLError where either side refuses."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*server)
    ours, theirs = socket.socketpair()
    seen: list[dict[str, object]] = []

    def serve() -> None:
        with context.wrap_socket(theirs, server_side=True) as accepted:
            seen.append(dict(accepted.getpeercert() or {}))
            accepted.sendall(b".")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as connected:
            connected.recv(1)
    finally:
        ours.close()
        thread.join()
    return seen[0]


def subject(certificate: dict[str, object]) -> set[tuple[str, str]]:
    names = certificate["subject"]
    assert isinstance(names, tuple)
    return {pair for part in names for pair in part}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "home", node_count=2)
    certificates.ensure(made)
    return made


def test_the_administrator_is_known_to_the_api_server_by_all_its_names(layout: Layout) -> None:
    client = Access.from_kubeconfig(layout.kubeconfig).ssl_context()
    pair = (layout.pki / "apiserver.crt", layout.pki / "apiserver.key")

    for name in ("127.0.0.1", "192.168.49.1", "10.96.0.1", "kubernetes.default.svc", "localhost"):
        seen = handshake(pair, client, layout.pki / "ca.crt", name)
        assert subject(seen) == {("commonName", "kubernetes-admin"), ("organizationName", "system:masters")}


def test_a_node_is_a_client_of_the_api_server_and_a_server_for_it(layout: Layout) -> None:
    ca = layout.pki / "ca.crt"
    node = layout.nodes[1]
    as_client = Access.from_kubeconfig(node.home / "kubeconfig")
    assert as_client.server == "https://192.168.49.1:6443"
    pair = (layout.pki / "apiserver.crt", layout.pki / "apiserver.key")
    seen = handshake(pair, as_client.ssl_context(), ca, "192.168.49.1")
    assert subject(seen) == {("commonName", "system:node:weft-2"), ("organizationName", "system:nodes")}

    towards = ssl.create_default_context(cafile=str(ca))
    towards.load_cert_chain(layout.pki / "apiserver-client.crt", layout.pki / "apiserver-client.key")
    seen = handshake(node.certificates, towards, ca, str(node.ip))
    assert ("commonName", "kube-apiserver-kubelet-client") in subject(seen)


def test_another_clusters_administrator_is_refused(layout: Layout, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other")
    certificates.ensure(other)
    client = Access.from_kubeconfig(other.kubeconfig).ssl_context()
    pair = (layout.pki / "apiserver.crt", layout.pki / "apiserver.key")

    with pytest.raises(ssl.SSLCertVerificationError):
        _refused(pair, client, layout.pki / "ca.crt")


def _refused(pair: tuple[Path, Path], client: ssl.SSLContext, ca: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.load_cert_chain(*pair)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for _ in range(4):
        for side in (ours, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_a_second_time_keeps_every_file(layout: Layout) -> None:
    before = {path: path.read_bytes() for path in layout.home.rglob("*") if path.is_file()}
    certificates.ensure(layout)

    assert {path: path.read_bytes() for path in layout.home.rglob("*") if path.is_file()} == before


def test_a_new_node_gets_its_certificate_and_the_others_keep_theirs(layout: Layout) -> None:
    before = (layout.nodes[0].home / "kubelet.crt").read_bytes()
    more = Layout(layout.home, node_count=3)
    certificates.ensure(more)

    assert (more.nodes[2].home / "kubelet.crt").exists()
    assert (more.nodes[0].home / "kubelet.crt").read_bytes() == before


def test_keys_and_kubeconfigs_are_for_their_owner_only(layout: Layout) -> None:
    for path in [*layout.home.rglob("*.key"), *layout.home.rglob("kubeconfig")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_what_enforces_policies_is_known_by_a_name_of_its_own(layout: Layout) -> None:
    (node, _) = layout.nodes
    client = Access.from_kubeconfig(node.network_kubeconfig).ssl_context()
    pair = (layout.pki / "apiserver.crt", layout.pki / "apiserver.key")

    seen = handshake(pair, client, layout.pki / "ca.crt", "192.168.49.1")

    assert subject(seen) == {("commonName", "weft-network:weft"), ("organizationName", "weft:network")}

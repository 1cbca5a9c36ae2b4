"""The authority, checked by the verifier of the cryptography library and by a real TLS handshake."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store

from weft.pki import authority, identity, pem, request, rotation
from weft.pki.authority import Authority, Lifetimes
from weft.pki.identity import SpiffeId
from weft.pki.pem import PemError
from weft.pki.request import RefusedError

NOW = datetime.now(UTC)
WEB = SpiffeId("cluster.local", "shop", "web")


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def root() -> Authority:
    return authority.self_signed(
        new_key(), organization="cluster.local", now=NOW, serial=1, lifetime=timedelta(days=3650)
    )


def test_a_server_certificate_serves_its_names_over_real_tls(root: Authority, tmp_path: Path) -> None:
    key = new_key()
    certificate = authority.issue_server(
        root,
        key.public_key(),
        names=["istiod.istio-system.svc"],
        addresses=["127.0.0.1"],
        now=NOW,
        serial=2,
        lifetime=timedelta(days=1),
    )
    (tmp_path / "chain.pem").write_text(pem.certificate(certificate))
    (tmp_path / "key.pem").write_text(pem.key(key))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    client = ssl.create_default_context(cadata=pem.certificates(root.roots))
    ours, theirs = socket.socketpair()
    answer = threading.Thread(target=lambda: server.wrap_socket(theirs, server_side=True).close())
    answer.start()
    with client.wrap_socket(ours, server_hostname="istiod.istio-system.svc") as connection:
        peer = connection.getpeercert()
    answer.join(5)
    assert peer is not None
    assert ("DNS", "istiod.istio-system.svc") in peer["subjectAltName"]
    addresses = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert addresses.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]


def test_a_client_certificate_carries_user_and_groups_and_verifies(root: Authority) -> None:
    certificate = authority.issue_client(
        root,
        new_key().public_key(),
        common_name="system:node:weft",
        organizations=["system:nodes"],
        now=NOW,
        serial=3,
        lifetime=timedelta(days=1),
    )
    assert certificate.subject.rfc4514_string() == "CN=system:node:weft,O=system:nodes"
    certificate.verify_directly_issued_by(root.certificate)


def test_the_name_of_a_workload_comes_from_its_identity_and_never_from_its_request(root: Authority) -> None:
    key = new_key()
    forged = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin")]))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bank/sa/root")]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    leaf, *rest = authority.issue_workload(
        root, forged, spiffe_id=WEB, lifetime=timedelta(hours=24), now=NOW, serial=4
    )
    assert identity.of_certificate(leaf) == WEB
    assert list(leaf.subject) == []
    assert rest == [root.certificate]
    verified = (
        PolicyBuilder()
        .store(Store(list(root.roots)))
        .time(NOW + timedelta(hours=1))
        .build_client_verifier()
        .verify(leaf, [])
    )
    assert verified.chain == [leaf, root.certificate]


def test_a_workload_gets_a_day_at_most_and_a_minute_at_least() -> None:
    usual, short = Lifetimes(), Lifetimes(timedelta(minutes=30), timedelta(hours=1))
    assert usual.granted(timedelta(days=365)) == timedelta(hours=24)
    assert usual.granted(timedelta(hours=1)) == timedelta(hours=1)
    assert usual.granted(timedelta(seconds=1)) == timedelta(minutes=1)
    assert usual.granted(timedelta(0)) == usual.granted(timedelta(-1)) == timedelta(hours=24)
    assert short.granted(timedelta(0)) == timedelta(minutes=30)
    assert short.granted(timedelta(hours=24)) == timedelta(hours=1)


def test_a_request_signed_by_another_key_is_refused(root: Authority) -> None:
    csr = x509.load_pem_x509_csr(request.sign(new_key()).encode())
    der = bytearray(csr.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(RefusedError, match="own key"):
        authority.issue_workload(root, broken, spiffe_id=WEB, lifetime=timedelta(1), now=NOW, serial=6)
    with pytest.raises(RefusedError, match="unreadable"):
        authority.issue_workload(root, "no csr", spiffe_id=WEB, lifetime=timedelta(1), now=NOW, serial=6)


def test_nothing_outlives_its_signer() -> None:
    short = authority.self_signed(new_key(), organization="x", now=NOW, serial=1, lifetime=timedelta(hours=2))
    leaf, *_ = authority.issue_workload(
        short, request.sign(new_key()), spiffe_id=WEB, lifetime=timedelta(hours=24), now=NOW, serial=2
    )
    assert leaf.not_valid_after_utc == short.certificate.not_valid_after_utc


def test_a_plugged_in_rsa_intermediate_signs_and_its_chain_leads_to_the_root(root: Authority) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    intermediate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "intermediate")]))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(9)
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    signer = pem.certificate(intermediate)
    plugged = authority.load(
        signer, pem.key(key), chain=signer + pem.certificates(root.roots), roots=pem.certificates(root.roots)
    )
    leaf, *rest = authority.issue_workload(
        plugged, request.sign(new_key()), spiffe_id=WEB, lifetime=timedelta(hours=1), now=NOW, serial=10
    )
    leaf.verify_directly_issued_by(intermediate)
    assert rest == [intermediate, root.certificate]
    assert plugged.roots == root.roots


def test_a_key_that_is_not_the_certificates_is_an_error(root: Authority) -> None:
    with pytest.raises(PemError, match="not the key"):
        authority.load(pem.certificate(root.certificate), pem.key(new_key()))
    with pytest.raises(PemError, match="certificate"):
        pem.load_certificates("nothing")
    with pytest.raises(PemError, match="private key"):
        pem.load_key("nothing")


def test_an_authority_survives_its_pem_texts(root: Authority) -> None:
    again = authority.load(pem.certificate(root.certificate), pem.key(root.key))
    assert again.certificate == root.certificate
    assert again.chain == root.chain == (root.certificate,)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("spiffe://cluster.local/ns/shop/sa/web", WEB),
        ("spiffe://cluster.local/ns/shop/sa/", None),
        ("spiffe://cluster.local/shop/web", None),
        ("https://cluster.local/ns/shop/sa/web", None),
    ],
)
def test_a_spiffe_uri_of_istios_form_is_an_identity(uri: str, expected: SpiffeId | None) -> None:
    assert identity.parse(uri) == expected


def test_rotation_is_due_at_half_of_life_and_never_in_the_past(root: Authority) -> None:
    leaf, *_ = authority.issue_workload(
        root, request.sign(new_key()), spiffe_id=WEB, lifetime=timedelta(hours=24), now=NOW, serial=7
    )
    half = leaf.not_valid_before_utc + (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 2
    assert rotation.next(leaf, NOW) == half
    assert rotation.next(leaf, NOW, jitter=timedelta(hours=1)) == half - timedelta(hours=1)
    late = NOW + timedelta(hours=20)
    assert rotation.next(leaf, late) == late


HOURS = timedelta(hours=1)


@pytest.fixture
def day(root: Authority) -> x509.Certificate:
    """A certificate of 24 hours that is issued now."""
    csr = request.sign(new_key())
    return authority.issue_workload(root, csr, spiffe_id=WEB, lifetime=24 * HOURS, now=NOW, serial=7)[0]


def test_a_certificate_is_used_for_half_of_its_life_give_or_take_the_jitter(day: x509.Certificate) -> None:
    now = day.not_valid_after_utc - 24 * HOURS
    grace = rotation.Grace()
    assert rotation.wait(day, now, grace, 0.5) == 12 * HOURS
    assert rotation.wait(day, now, grace, 0.0) == 24 * HOURS * 0.51
    assert rotation.wait(day, now, grace, 1.0) == 24 * HOURS * 0.49
    assert rotation.wait(day, now, rotation.Grace(0.25, 0), 0.9) == 18 * HOURS
    assert rotation.wait(day, now, rotation.Grace(1, 1), 0.9) == timedelta()


@pytest.mark.parametrize("hours", [-48, -1, 23, 24.1, 48])
def test_a_clock_that_errs_makes_nobody_ask_without_pause(day: x509.Certificate, hours: float) -> None:
    wait = rotation.wait(day, NOW + hours * HOURS, rotation.Grace(0.5, 0), 0.5)
    assert timedelta(minutes=29) < wait <= 12 * HOURS
    assert abs(rotation.clock_error(day, NOW + hours * HOURS) - hours * HOURS) < timedelta(seconds=2)


@pytest.mark.parametrize("minutes", [-1, 0, 5])
def test_clocks_that_differ_by_minutes_are_near_enough(day: x509.Certificate, minutes: int) -> None:
    assert rotation.clock_error(day, NOW + timedelta(minutes=minutes)) == timedelta()

"""Who gets which certificate from CreateCertificate, and who gets none."""

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from tests.processes.controlplane.issuing import Mesh, asks, mesh, root, shown

from weft.adapters import keys
from weft.pki import identity, messages, request
from weft.pki.identity import SpiffeId
from weft.pki.messages import CertificateRequest

WEB = SpiffeId("cluster.local", "shop", "web")
BANK = "spiffe://cluster.local/ns/bank/sa/root"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with mesh(tmp_path) as one:
        await one.account("shop", "web")
        yield one


def csr(key: ec.EllipticCurvePrivateKey, *names: x509.GeneralName) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin")])
    )
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())


def text(one: x509.CertificateSigningRequest) -> str:
    return one.public_bytes(serialization.Encoding.PEM).decode()


async def test_a_caller_gets_its_own_name_whatever_its_request_says(shop: Mesh) -> None:
    await shop.pod("shop", "web-1", "web", "")
    token, key = await shop.token("shop", "web", pod="web-1"), keys.new_key()
    forged = text(csr(key, x509.UniformResourceIdentifier(BANK), x509.DNSName("istiod.istio-system.svc")))
    leaf = await shop.certified(CertificateRequest(forged), token=token)
    assert identity.of_certificate(leaf) == WEB
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [each.value for each in names] == [str(WEB)]
    assert list(leaf.subject) == []
    assert leaf.public_key() == key.public_key()
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    leaf.verify_directly_issued_by(shop.signer.certificate)
    assert (shop.count("csr_count"), shop.count("success_cert_issuance_count")) == (1, 1)


async def test_a_certificate_lives_as_long_as_is_asked_for_and_a_day_at_most(shop: Mesh) -> None:
    token = await shop.token("shop", "web")
    now = dt.datetime.now(dt.UTC)

    async def life(asked: dt.timedelta) -> dt.timedelta:
        leaf = await shop.certified(asks(lifetime=asked), token=token)
        assert leaf.not_valid_before_utc <= now - dt.timedelta(seconds=90), "clocks that lag would not take it"
        return leaf.not_valid_after_utc - now

    for asked, granted in ((1, 1), (24, 24), (9000, 24), (2**31 / 3600, 24), (0, 24)):
        assert abs(await life(dt.timedelta(hours=asked)) - dt.timedelta(hours=granted)) < dt.timedelta(minutes=1)


async def test_a_present_certificate_takes_the_place_of_a_token(shop: Mesh) -> None:
    mine = shown(shop.signer, str(WEB))
    assert identity.of_certificate(await shop.certified(certificate=mine)) == WEB
    # an alias is another name of the mesh's own trust domain, such as the one that it had before
    old = shown(shop.signer, "spiffe://old.local/ns/shop/sa/web")
    assert identity.of_certificate(await shop.certified(certificate=old)) == WEB


async def test_a_certificate_of_another_trust_domain_gets_nothing(shop: Mesh) -> None:
    far = shown(shop.signer, "spiffe://far.example/ns/shop/sa/web")
    code, reason = await shop.refused(certificate=far)
    assert code == "PERMISSION_DENIED"
    assert "far.example" in reason
    # nor does one of our trust domain that another authority made; the handshake ends, even with a good token
    stranger = shown(root(), str(WEB))
    code, _ = await shop.refused(certificate=stranger, token=await shop.token("shop", "web"))
    assert code == "UNAVAILABLE"
    assert shop.count("success_cert_issuance_count") == 0


async def test_tokens_that_are_not_for_us_or_no_longer_good_get_nothing(shop: Mesh) -> None:
    await shop.pod("shop", "web-1", "web", "")
    replayed = await shop.token("shop", "web", pod="web-1")
    assert identity.of_certificate(await shop.certified(token=replayed)) == WEB
    await shop.kube.delete(shop.pods, "web-1", "shop", grace=0)
    expiring = await shop.token("shop", "web", seconds=600)
    stolen = jwt.decode(expiring, options={"verify_signature": False})
    foreign = jwt.encode(stolen, keys.new_key(), algorithm="ES256")
    unsigned = jwt.encode(stolen, "", algorithm="none")
    another = jwt.encode(stolen | {"iss": "https://far.example"}, keys.new_key(), algorithm="ES256")
    wrong = await shop.token("shop", "web", audience="https://kubernetes.default.svc")
    assert identity.of_certificate(await shop.certified(token=expiring)) == WEB
    issued = shop.count("success_cert_issuance_count")
    for token in (replayed, foreign, unsigned, another, wrong, "nonsense", ""):
        code, _ = await shop.refused(token=token)
        assert code == "UNAUTHENTICATED", token
    shop.late = dt.timedelta(minutes=11)
    code, _ = await shop.refused(token=expiring)
    assert code == "UNAUTHENTICATED"
    assert shop.count("success_cert_issuance_count") == issued
    assert shop.count("authentication_failure_count") == 8


async def test_requests_that_nobody_should_certify_are_invalid_arguments(shop: Mesh) -> None:
    token, ours = await shop.token("shop", "web"), keys.new_key()
    signed = csr(ours, x509.UniformResourceIdentifier(str(WEB)))
    der = bytearray(signed.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    tampered = text(x509.load_der_x509_csr(bytes(der)))
    subject = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    weak = rsa.generate_private_key(65537, 1024)
    others = {
        "no request": "no request",
        "": "",
        "half": request.sign(ours)[:200],
        "a certificate": shown(shop.signer, str(WEB)).chain,
        "another's signature": tampered,
        "a weak key": text(subject.sign(weak, hashes.SHA256())),
        "an odd curve": text(subject.sign(ec.generate_private_key(ec.SECP256K1()), hashes.SHA256())),
        "Ed25519": text(subject.sign(ed25519.Ed25519PrivateKey.generate(), None)),
        "DSA": text(subject.sign(dsa.generate_private_key(1024), hashes.SHA256())),
        "a long one": "A" * (1 << 20),
    }
    for name, each in others.items():
        code, reason = await shop.refused(CertificateRequest(each), token=token)
        assert (code, bool(reason)) == ("INVALID_ARGUMENT", True), name
    assert (await shop.refused(b"\xff\xff\xff", token=token))[0] == "INVALID_ARGUMENT"
    assert shop.count("csr_parsing_err_count") == len(others) + 1
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        assert (await shop.certified(asks(key), token=token)).public_key() == key.public_key()


async def test_a_nodes_proxy_speaks_for_the_pods_of_its_node_and_nobody_else(shop: Mesh) -> None:
    for namespace, account in (("istio-system", "ztunnel"), ("bank", "root"), ("bank", "far")):
        await shop.account(namespace, account)
    await shop.pod("istio-system", "ztunnel-a", "ztunnel", "a")
    await shop.pod("bank", "vault", "root", "a")
    await shop.pod("bank", "branch", "far", "b")
    await shop.pod("shop", "web-1", "web", "a")
    node = await shop.token("istio-system", "ztunnel", pod="ztunnel-a")
    leaf = await shop.certified(asks(impersonated=BANK), token=node)
    assert str(identity.of_certificate(leaf)) == BANK
    issued = shop.count("success_cert_issuance_count")

    async def refused(wanted: str, token: str) -> str:
        code, reason = await shop.refused(asks(impersonated=wanted), token=token)
        assert code == "PERMISSION_DENIED"
        return reason

    # another node's pod, an account without a pod, another trust domain, no identity at all
    assert "no pod of that account" in await refused("spiffe://cluster.local/ns/bank/sa/far", node)
    assert "no pod of that account" in await refused("spiffe://cluster.local/ns/bank/sa/none", node)
    assert "no workload of" in await refused("spiffe://far.example/ns/bank/sa/root", node)
    assert "no workload of" in await refused("spiffe://cluster.local/ns/bank/sa/root/../../..", node)
    # an ordinary account, though its pod is on that node
    ordinary = await shop.token("shop", "web", pod="web-1")
    assert "CA_TRUSTED_NODE_ACCOUNTS" in await refused(BANK, ordinary)
    # the right account without a pod
    assert "bound to no pod" in await refused(BANK, await shop.token("istio-system", "ztunnel"))
    code, _ = await shop.refused(
        asks(impersonated=BANK),
        certificate=shown(shop.signer, "spiffe://cluster.local/ns/istio-system/sa/ztunnel"),
    )
    assert code == "PERMISSION_DENIED"
    # a pod that is over is nobody any more
    await shop.kube.patch(shop.pods, "vault", {"status": {"phase": "Succeeded"}}, "bank", subresource="status")
    assert "no pod of that account" in await refused(BANK, node)
    assert shop.count("success_cert_issuance_count") == issued


def test_a_request_says_for_whom_and_by_whom_it_is_to_be_signed() -> None:
    asked = CertificateRequest("csr", dt.timedelta(hours=1), BANK, "internal")
    assert messages.decode_request(messages.encode_request(asked)) == asked

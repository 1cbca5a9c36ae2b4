"""Certificates of clients and servers at the edge, the same at every run: cases name their digests.

Keys are derived from small numbers and signatures are deterministic; nothing outside tests is to trust them.
"""

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.support.envoy import Identity

_FROM, _UNTIL = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2126, 1, 1, tzinfo=dt.UTC)
_REVOKED = 13
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, both PEM; the digests are those that Gateways pin."""

    chain: str
    key: str
    spki: str
    digest: str


class Authority:
    """A certificate authority; its name and its key come from a number."""

    def __init__(self, number: int) -> None:
        self._key = ec.derive_private_key(1000 + number, ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"authority {number}")])
        usage = {
            name: name in {"key_cert_sign", "crl_sign"}
            for name in (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            )
        }
        builder = (
            self._builder(self._name, self._key.public_key(), 1)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
        )
        self.roots = _pem(builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True))

    def issue(self, names: list[x509.GeneralName], serial: int, key: Key) -> Certificate:
        """A certificate for clients and servers."""
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"number {serial}")])
        made = (
            self._builder(common, key.public_key(), serial)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(purposes, critical=False)
            .sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Certificate(
            _pem(made),
            private.decode(),
            base64.b64encode(hashlib.sha256(public).digest()).decode(),
            made.fingerprint(hashes.SHA256()).hex(),
        )

    def revoking(self, serial: int) -> str:
        """A list of revoked certificates, PEM."""
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_FROM).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(_FROM)
        builder = builder.next_update(_UNTIL).add_revoked_certificate(entry)
        made = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, serial: int
    ) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(self._name, subject, key, serial, _FROM, _UNTIL)


SERVERS, CLIENTS, MESH, STRANGERS = Authority(1), Authority(2), Authority(3), Authority(4)
REVOCATIONS = CLIENTS.revoking(_REVOKED)


@cache
def clients() -> dict[str, Certificate]:
    """The clients of cases: `revoked` is in REVOCATIONS, `stranger` of an authority that nobody knows."""
    return {
        "client": _client(CLIENTS, 11, "client.example.com", "spiffe://partner/client"),
        "other": _client(CLIENTS, 12, "other.example.com", "spiffe://partner/other"),
        "revoked": _client(CLIENTS, _REVOKED, "client.example.com", "spiffe://partner/client"),
        "stranger": _client(STRANGERS, 14, "client.example.com", "spiffe://partner/client"),
        "member": _client(MESH, 15, "", "spiffe://cluster.local/ns/shop/sa/web"),
    }


@cache
def server(names: tuple[str, ...], *, with_rsa: bool = False) -> Certificate:
    """A server's certificate for some DNS names."""
    key: Key = _rsa_key() if with_rsa else ec.derive_private_key(21, ec.SECP256R1())
    return SERVERS.issue([x509.DNSName(each) for each in names], 21, key)


@cache
def gateway() -> Identity:
    """The mesh's certificate of the gateway itself."""
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway")
    ]
    issued = MESH.issue(names, 22, ec.derive_private_key(22, ec.SECP256R1()))
    return Identity(issued.chain, issued.key, MESH.roots)


def _client(authority: Authority, serial: int, dns: str, uri: str) -> Certificate:
    names: list[x509.GeneralName] = [x509.DNSName(dns)] if dns else []
    names.append(x509.UniformResourceIdentifier(uri))
    return authority.issue(names, serial, ec.derive_private_key(serial, ec.SECP256R1()))


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)

"""Authorities as an operator makes them: roots, intermediates, and Secrets `cacerts`. Everything is P-256."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from weft.pki import pem, revocation

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Operator:
    """A root, and an intermediate below it that is plugged in. What is set to False makes them worse."""

    name: str = "root"
    ca: bool = True
    signs: bool = True
    identifiers: bool = True
    path_length: int | None = None
    begins: datetime = field(default_factory=lambda: now() - DAY)
    ends: datetime = field(default_factory=lambda: now() + DAY)
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.root = self._certificate(self.name, self.name, self.root_key, self.root_key, worse=False)
        self.intermediate = self._certificate("intermediate", self.name, self.key, self.root_key, worse=True)

    def data(self, **changed: str) -> dict[str, bytes]:
        """The data of `cacerts`; keys as `ca_cert` for ca-cert.pem."""
        texts = {
            "ca_cert": pem.certificate(self.intermediate),
            "ca_key": pem.key(self.key),
            "cert_chain": pem.certificates((self.intermediate, self.root)),
            "root_cert": pem.certificate(self.root),
        }
        return {f"{key.replace('_', '-')}.pem": text.encode() for key, text in (texts | changed).items() if text}

    def secret(self, **changed: str) -> dict[str, Any]:
        data = {key: b64encode(value).decode() for key, value in self.data(**changed).items()}
        metadata = {"name": "cacerts", "namespace": "istio-system"}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}

    def lists(self, *revoked: x509.Certificate, of_root: bool = True, until: datetime | None = None) -> str:
        """The intermediate's list, with these in it, and the root's."""
        signers = [(self.intermediate, self.key), *([(self.root, self.root_key)] if of_root else [])]
        return revocation.text(_list(*signer, revoked, until or now() + DAY) for signer in signers)

    def _certificate(
        self,
        name: str,
        issuer: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        *,
        worse: bool,
    ) -> x509.Certificate:
        public, above = key.public_key(), signer.public_key()
        builder = x509.CertificateBuilder(
            issuer_name=_name(issuer),
            subject_name=_name(name),
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=self.begins if worse else now() - 2 * DAY,
            not_valid_after=self.ends if worse else now() + 2 * DAY,
        )
        signs = self.signs or not worse
        constraints = x509.BasicConstraints(
            ca=self.ca or not worse, path_length=None if worse else self.path_length
        )
        builder = builder.add_extension(constraints, critical=True).add_extension(
            _usage(signs=signs), critical=True
        )
        if self.identifiers:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            named = x509.AuthorityKeyIdentifier.from_issuer_public_key(above)
            builder = builder.add_extension(named, critical=False)
        return builder.sign(signer, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _list(
    signer: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    revoked: Iterable[x509.Certificate],
    until: datetime,
) -> x509.CertificateRevocationList:
    begun = min(now(), until) - timedelta(hours=1)
    builder = x509.CertificateRevocationListBuilder(signer.subject, begun, until)
    for each in revoked:
        if each.issuer == signer.subject:
            entry = x509.RevokedCertificateBuilder(each.serial_number, begun).build()
            builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256())

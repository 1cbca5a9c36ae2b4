"""A certificate authority: what it is and what it issues.

Keys, serial numbers and the time are arguments; `adapters.keys` and `adapters.clock` make them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.pki import pem, request
from weft.pki.identity import SpiffeId
from weft.pki.pem import PemError, PrivateKey, PublicKey

_SHORTEST = timedelta(minutes=1)

SKEW = timedelta(minutes=2)
"""Certificates are valid from a little before they are made, for machines whose clocks lag."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long workloads' certificates live: where a workload does not ask, and at the longest."""

    default: timedelta = timedelta(hours=24)
    longest: timedelta = timedelta(hours=24)

    def granted(self, asked: timedelta) -> timedelta:
        """What a workload gets that asks for this; zero and less ask for nothing."""
        wanted = asked if asked > timedelta() else self.default
        return min(max(wanted, _SHORTEST), self.longest)


LIFETIMES = Lifetimes()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that may sign, and its key.

    `intermediates` lead from the certificate (excluded) up to a root (excluded); `roots` is what verifiers trust,
    first the one that it leads to: the certificate itself where it is self-signed. `revoked` are lists of those
    that none may trust any more.
    """

    certificate: x509.Certificate
    key: PrivateKey
    intermediates: tuple[x509.Certificate, ...] = ()
    trusted: tuple[x509.Certificate, ...] = ()
    revoked: tuple[x509.CertificateRevocationList, ...] = ()

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The certificates that verifiers are given."""
        return self.trusted or (self.certificate,)

    @property
    def path(self) -> tuple[x509.Certificate, ...]:
        """What follows an issued certificate in a handshake: all that leads to the root, without it."""
        return () if self.certificate in self.roots else (self.certificate, *self.intermediates)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What follows an issued certificate in a handshake or an answer: signer, intermediates, roots."""
        path = (self.certificate, *self.intermediates)
        return (*path, *(root for root in self.roots if root not in path))


def self_signed(
    key: PrivateKey,
    *,
    organization: str,
    now: datetime,
    serial: int,
    lifetime: timedelta,
    common_name: str = "",
) -> Authority:
    """A root authority of its own. Istio's roots have the trust domain as `organization`."""
    public = key.public_key()
    name = _name(common_name, (organization,))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def load(
    certificate: str | bytes, key: str | bytes, *, chain: str | bytes = b"", roots: str | bytes = b""
) -> Authority:
    """An authority from PEM texts, as Istio's Secrets hold them; PemError where they do not belong together.

    `chain` is `cert-chain.pem`: the signer and what leads to the root; `roots` is `root-cert.pem`.
    """
    signer, private = pem.load_certificate(certificate), pem.load_key(key)
    if signer.public_key() != private.public_key():
        raise PemError("the CA's key is not the key of its certificate")
    trusted = pem.load_certificates(roots) if roots.strip() else ()
    path = pem.load_certificates(chain) if chain.strip() else ()
    return Authority(signer, private, tuple(c for c in path if c != signer and c not in trusted), trusted)


def issue_server(
    authority: Authority,
    public_key: PublicKey,
    *,
    names: Iterable[str],
    addresses: Iterable[str] = (),
    now: datetime,
    serial: int,
    lifetime: timedelta,
    common_name: str = "",
    organizations: Sequence[str] = (),
    also_client: bool = False,
) -> x509.Certificate:
    """A server's certificate for DNS names and IP addresses.

    `also_client` lets it open connections with the same certificate, as kubelets do.
    """
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if also_client else [])]
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
    subject = _name(common_name, organizations)
    return _issue(authority, public_key, subject, alternatives, usages, now=now, serial=serial, lifetime=lifetime)


def issue_client(
    authority: Authority,
    public_key: PublicKey,
    *,
    common_name: str,
    organizations: Sequence[str] = (),
    now: datetime,
    serial: int,
    lifetime: timedelta,
) -> x509.Certificate:
    """A client's certificate, as Kubernetes reads them: the common name is the user, organizations are groups."""
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    subject = _name(common_name, organizations)
    return _issue(authority, public_key, subject, [], usages, now=now, serial=serial, lifetime=lifetime)


def issue_workload(
    authority: Authority,
    csr_pem: str | bytes,
    *,
    spiffe_id: SpiffeId,
    lifetime: timedelta,
    now: datetime,
    serial: int,
) -> tuple[x509.Certificate, ...]:
    """A workload's certificate and the chain up to the root: leaf first, root last.

    Only the public key is taken from the request. The name is `spiffe_id`, which the caller got by authenticating
    the workload. Raises RefusedError where the request is unreadable, not signed by its own key, or of a key that
    serves nobody.
    """
    public = request.public_key(request.read(csr_pem))
    leaf = _issue(
        authority,
        public,
        x509.Name([]),
        [x509.UniformResourceIdentifier(str(spiffe_id))],
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        now=now,
        serial=serial,
        lifetime=lifetime,
    )
    return (leaf, *authority.chain)


def _issue(
    authority: Authority,
    public_key: PublicKey,
    subject: x509.Name,
    alternatives: list[x509.GeneralName],
    usages: list[x509.ObjectIdentifier],
    *,
    now: datetime,
    serial: int,
    lifetime: timedelta,
) -> x509.Certificate:
    signer = authority.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - SKEW)
        # nothing outlives its signer: verifiers would reject the chain anyway, with a worse message
        .not_valid_after(min(now + lifetime, signer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(_authority_key(signer), critical=False)
    )
    if alternatives:
        # critical where the subject is empty (RFC 5280, 4.2.1.6)
        critical = not list(subject)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=critical)
    return builder.sign(authority.key, hashes.SHA256())


def _authority_key(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(pem.public_key(signer.public_key()))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _name(common_name: str, organizations: Iterable[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    if common_name:
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(parts)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

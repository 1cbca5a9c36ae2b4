"""Certificates and keys as PEM text, both ways."""

from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""What an authority or a workload signs with. Plugged-in authorities are often RSA; ours are EC P-256."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class PemError(ValueError):
    """The text holds no usable key or certificate; the message says why."""


def certificate(one: x509.Certificate) -> str:
    """One certificate as PEM, with its final newline."""
    return one.public_bytes(serialization.Encoding.PEM).decode()


def certificates(chain: Iterable[x509.Certificate]) -> str:
    """A chain as PEM, in the order given."""
    return "".join(certificate(one) for one in chain)


def key(private: PrivateKey) -> str:
    """A private key as unencrypted PKCS #8 PEM."""
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def load_certificates(text: str | bytes) -> tuple[x509.Certificate, ...]:
    """All certificates in a PEM text, at least one; else PemError."""
    try:
        return tuple(x509.load_pem_x509_certificates(_bytes(text)))
    except ValueError as error:
        raise PemError(f"not a PEM certificate: {error}") from error


def load_certificate(text: str | bytes) -> x509.Certificate:
    """The first certificate in a PEM text; else PemError."""
    return load_certificates(text)[0]


def load_key(text: str | bytes) -> PrivateKey:
    """An unencrypted EC or RSA private key (PKCS #8, SEC 1 or PKCS #1); else PemError."""
    try:
        loaded = serialization.load_pem_private_key(_bytes(text), password=None)
    except (ValueError, TypeError) as error:
        raise PemError(f"not a PEM private key: {error}") from error
    return private_key(loaded)


def private_key(loaded: object) -> PrivateKey:
    """The key itself where it is of a kind we sign with; else PemError."""
    if isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return loaded
    raise PemError("the private key is neither EC nor RSA")


def public_key(loaded: object) -> PublicKey:
    """The key itself where it is of a kind we certify; else PemError."""
    if isinstance(loaded, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return loaded
    raise PemError("the public key is neither EC nor RSA")


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text

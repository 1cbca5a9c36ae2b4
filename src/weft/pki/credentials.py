"""Certificates that users bring for gateways and clients: read, and refused with a reason where they cannot serve.

Nothing here ends up in a message but names and reasons: what a Secret holds stays out of logs.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from weft.pki import pem

CA_SUFFIX = "-cacert"
"""Ends the names of Secrets, and of resources made of them, that hold what to verify clients with."""

_CERTIFICATES = (("cert", "key"), ("tls.crt", "tls.key"))
_ROOTS = (("cacert", "crl"), ("ca.crt", "ca.crl"))
_SHORTEST_RSA = 2048  # BoringSSL's minimum; Envoy refuses shorter ones
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class CredentialError(ValueError):
    """What was brought cannot serve; the message says why, and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain, leaf first, and the key of the leaf: PEM texts."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Roots:
    """What others are verified with: PEM certificates and, where there are any, revocation lists."""

    certificates: str
    crl: str = ""


def pair(chain: str | bytes, key: str | bytes) -> Pair:
    """A chain and its key, checked as Envoy would."""
    private = _key(_bytes(key))
    try:
        leaf = pem.load_certificate(chain)
        same = _spki(leaf.public_key()) == _spki(private.public_key())
    except pem.PemError as error:
        raise CredentialError("the certificate is not PEM") from error
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CredentialError("the certificate's key is of a kind that nobody supports") from error
    if not same:
        raise CredentialError("the private key is not the certificate's")
    return Pair(_text(chain), _text(key))


def roots(certificates: str | bytes) -> str:
    """Certificates to verify others with: at least one."""
    try:
        pem.load_certificates(certificates)
    except pem.PemError as error:
        raise CredentialError("the CA certificate is not PEM") from error
    return _text(certificates)


def crl(lists: str | bytes) -> str:
    """A list of revoked certificates."""
    try:
        x509.load_pem_x509_crl(_bytes(lists))
    except ValueError as error:
        raise CredentialError("the revocation list is not PEM") from error
    return _text(lists)


def pair_of(data: Mapping[str, str]) -> Pair:
    """The chain and key in a Secret's `data`: `cert` and `key` of generic ones, or `tls.crt` and `tls.key`."""
    for names in _CERTIFICATES:
        if all(data.get(name) for name in names):
            return pair(*(_decoded(data, name) for name in names))
    found = ", ".join(sorted(data)) or "nothing"
    raise CredentialError(f"it has neither tls.crt and tls.key nor cert and key, but {found}")


def roots_of(data: Mapping[str, str]) -> Roots:
    """What a Secret's `data` has to verify clients with: `cacert` and `crl`, or `ca.crt` and `ca.crl`."""
    for certificates, lists in _ROOTS:
        if data.get(certificates):
            revoked = crl(_decoded(data, lists)) if data.get(lists) else ""
            return Roots(roots(_decoded(data, certificates)), revoked)
    found = ", ".join(sorted(data)) or "nothing"
    raise CredentialError(f"it has neither ca.crt nor cacert, but {found}")


def _key(text: bytes) -> pem.PrivateKey:
    try:
        key = pem.load_key(text)
    except pem.PemError as error:
        encrypted = b"ENCRYPTED" in text
        reason = "encrypted: Envoy has no password for it" if encrypted else "neither an EC nor an RSA key in PEM"
        raise CredentialError(f"the private key is {reason}") from error
    except UnsupportedAlgorithm as error:
        raise CredentialError("the private key is of a kind that nobody supports") from error
    match key:
        case rsa.RSAPrivateKey() if key.key_size < _SHORTEST_RSA:
            raise CredentialError(f"the RSA key has {key.key_size} bits; Envoy wants {_SHORTEST_RSA} or more")
        case ec.EllipticCurvePrivateKey() if not isinstance(key.curve, _CURVES):
            raise CredentialError(f"the key's curve is {key.curve.name}; Envoy knows P-256, P-384 and P-521")
    return key


def _spki(public: object) -> bytes:
    return pem.public_key(public).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _decoded(data: Mapping[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(data[name], validate=True)
    except ValueError as error:
        raise CredentialError(f"{name} is not base64") from error


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _text(text: str | bytes) -> str:
    # what has been read as PEM is ASCII, but for comments between its blocks
    return text if isinstance(text, str) else text.decode("utf-8", "replace")

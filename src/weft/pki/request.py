"""What a workload sends to an authority: its public key, proved by the request's own signature."""

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from weft.pki import pem
from weft.pki.identity import SpiffeId
from weft.pki.pem import PemError, PrivateKey, PublicKey

_LONGEST: Final = 64 << 10
"""Characters of a request. One with a key of 8192 bits has some 3000."""
_RSA_BITS: Final = range(2048, 8192 + 1)
"""Shorter keys are broken, and Envoy takes none; longer ones cost whoever verifies them too much."""
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class RefusedError(ValueError):
    """A certificate request that must not be signed; the message says why."""


def sign(key: PrivateKey, identity: SpiffeId | None = None) -> str:
    """A certificate request as PEM.

    The mesh's own authority knows who asks. The signers of a Kubernetes cluster do not: they certify the names
    that stand in the request, which istiod has held to who asks before it hands the request on.
    """
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if identity is not None:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
        request = request.add_extension(names, critical=True)
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def read(text: str | bytes) -> x509.CertificateSigningRequest:
    """A workload's request from its PEM; RefusedError where it is not fit to be certified."""
    if len(text) > _LONGEST:
        raise RefusedError(f"a certificate request of {len(text)} characters; at most {_LONGEST} are read")
    try:
        found = x509.load_pem_x509_csr(text.encode() if isinstance(text, str) else text)
        public_key(found)
        proven = found.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(f"unreadable certificate request: {error}") from error
    if not proven:
        raise RefusedError("the certificate request is not signed by its own key")
    return found


def public_key(request: x509.CertificateSigningRequest) -> PublicKey:
    """The key that is to be certified; RefusedError where it is of a kind or size that serves nobody."""
    try:
        key = pem.public_key(request.public_key())
    except PemError as error:
        raise RefusedError(f"unreadable certificate request: {error}") from error
    match key:
        case ec.EllipticCurvePublicKey() if not isinstance(key.curve, _CURVES):
            raise RefusedError(f"a key of the curve {key.curve.name}. Use P-256, P-384 or P-521.")
        case rsa.RSAPublicKey() if key.key_size not in _RSA_BITS:
            first, last = _RSA_BITS[0], _RSA_BITS[-1]
            raise RefusedError(f"an RSA key of {key.key_size} bits. Use {first} to {last}, or ECDSA.")
        case _:
            return key


def names(request: x509.CertificateSigningRequest) -> list[str]:
    """The URIs that the request would be certified for; RefusedError where it asks for names of other kinds."""
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except ValueError as error:
        raise RefusedError(f"unreadable certificate request: {error}") from error
    uris = found.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != len(list(found)):
        raise RefusedError("the certificate request asks for names that are no URIs")
    return uris

"""Lists of revoked certificates (CRLs): read, held against the authorities that make them, and made.

A verifier that is given lists wants one of every authority in a chain, the root included, and refuses all whose
authority has none, or an old one (BoringSSL's CRL_CHECK_ALL, which is what Envoy sets).
"""

import re
from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

from weft.pki import pem
from weft.pki.pem import PemError, PrivateKey

List = x509.CertificateRevocationList
Certificate = x509.Certificate

_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def load(text: str | bytes) -> tuple[List, ...]:
    """All lists in a PEM text, at least one; else PemError."""
    blocks = _BLOCK.findall(text.encode() if isinstance(text, str) else text)
    if not blocks:
        raise PemError("holds no X509 CRL in PEM")
    try:
        return tuple(x509.load_pem_x509_crl(block) for block in blocks)
    except ValueError as error:
        raise PemError(f"not a list of revoked certificates: {error}") from error


def text(lists: Iterable[List]) -> str:
    """The lists as PEM."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in lists)


def made_by(authority: Certificate, revoked: List) -> bool:
    """Whether this authority signed the list."""
    if revoked.issuer != authority.subject:
        return False
    try:
        return revoked.is_signature_valid(pem.public_key(authority.public_key()))
    except (InvalidSignature, PemError, TypeError, ValueError):
        return False


def without(authorities: Iterable[Certificate], lists: Iterable[List]) -> tuple[Certificate, ...]:
    """The authorities that have none of the lists: whoever they certified would be refused."""
    known = tuple(lists)
    return tuple(one for one in authorities if not any(made_by(one, each) for each in known))


def expired(revoked: List, now: datetime) -> bool:
    """Whether its next issue is overdue: verifiers refuse everyone then."""
    until = revoked.next_update_utc
    return until is not None and until <= now


def nothing_revoked(certificate: Certificate, key: PrivateKey, *, now: datetime) -> List:
    """An authority's list of nobody, for as long as its own certificate holds.

    An authority that never revoked anybody needs one where others that are trusted beside it have theirs.
    """
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=certificate.subject,
        last_update=min(now, certificate.not_valid_after_utc),
        next_update=certificate.not_valid_after_utc,
    )
    return builder.add_extension(x509.CRLNumber(1), critical=False).sign(key, hashes.SHA256())

"""An authority that an operator plugged in as a Secret: read, and refused with a reason where it cannot serve.

Nothing here ends up in a message but names and reasons: what the Secret holds stays out of logs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from weft.pki import pem, revocation
from weft.pki.authority import Authority
from weft.pki.pem import PemError, PrivateKey

REVOKED = "ca-crl.pem"
_SHORTEST_RSA = 2048  # BoringSSL's minimum; Envoy refuses shorter ones
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_LONGEST_PATH = 10


class PluggedError(ValueError):
    """It cannot serve. `field` is the key of the Secret at fault, `hint` the way out."""

    def __init__(self, field: str, reason: str, hint: str) -> None:
        super().__init__(f"{field}: {reason}. {hint}")
        self.field, self.reason, self.hint = field, reason, hint


@dataclass(frozen=True, slots=True)
class _Layout:
    """Under which keys a Secret has what."""

    certificate: str
    key: str
    chain: str
    roots: str


ISTIO = _Layout("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
TLS = _Layout("tls.crt", "tls.key", "tls.crt", "ca.crt")
"""A Secret of type kubernetes.io/tls, as cert-manager writes it."""


def read(data: Mapping[str, bytes], now: datetime) -> Authority:
    """The authority in a Secret's data, in Istio's layout or that of kubernetes.io/tls. PluggedError says why not.

    What verifiers would refuse later is refused here: a key or a chain that does not fit, who may not sign, what
    is over, lists of revoked certificates that are not complete.
    """
    layout = TLS if data.get(TLS.certificate) and not data.get(ISTIO.certificate) else ISTIO
    signer, *more = _certificates(data, layout.certificate)
    key = _key(data, layout.key)
    if pem.public_key(signer.public_key()) != key.public_key():
        raise PluggedError(
            layout.key, "it is not the key of the certificate", f"Put {layout.certificate}'s own there"
        )
    chain = _certificates(data, layout.chain) if data.get(layout.chain, b"").strip() else []
    if data.get(layout.roots, b"").strip():
        roots = _certificates(data, layout.roots)
    elif _is_own(signer):
        roots = [signer]
    else:
        raise PluggedError(layout.roots, "it is missing", f"Put the root there that {layout.certificate} leads to")
    path = _path(signer, [*more, *chain], roots, layout, now)
    for root in roots:
        _may_sign(root, layout.roots, now)
    root = path[-1]
    trusted = (root, *(each for each in roots if each != root))
    found = Authority(signer, key, tuple(path[1:-1]), trusted, _lists(data, path, roots, now))
    if name := confusing(found, roots):
        raise PluggedError(layout.roots, *name)
    return found


def spans(authority: Authority) -> Iterator[tuple[str, datetime, datetime]]:
    """What an authority needs to go on: the key of the Secret it is under, when it began, and when it ends."""
    yield ISTIO.certificate, authority.certificate.not_valid_before_utc, authority.certificate.not_valid_after_utc
    for above in authority.intermediates:
        yield ISTIO.chain, above.not_valid_before_utc, above.not_valid_after_utc
    root = authority.roots[0]
    yield ISTIO.roots, root.not_valid_before_utc, root.not_valid_after_utc
    for each in authority.revoked:
        if each.next_update_utc is not None:
            yield REVOKED, each.last_update_utc, each.next_update_utc


def confusing(authority: Authority, roots: Iterable[x509.Certificate]) -> tuple[str, str] | None:
    """Why verifiers who trust all of `roots` could not tell which of them is the authority's, and the way out.

    They take the first root that fits by name and, where certificates have it, by key identifier; no second try
    follows.
    """
    root = authority.roots[0]
    alike = [one for one in roots if one.subject == root.subject and one.public_key() != root.public_key()]
    # what we issue ourselves names its issuer
    named = not authority.path or _names_issuer(authority.path[-1])
    if not alike or (named and all(_is_named(one) for one in (root, *alike))):
        return None
    reason = f"two roots are called {root.subject.rfc4514_string()}, and no key identifier tells them apart"
    return reason, "Have the new root made with a name of its own, or what it signs with authorityKeyIdentifier"


def _certificates(data: Mapping[str, bytes], field: str) -> list[x509.Certificate]:
    if not data.get(field, b"").strip():
        layouts = " and ".join(f"{one.certificate}, {one.key}, {one.roots}" for one in (ISTIO, TLS))
        found = ", ".join(sorted(data)) or "nothing"
        raise PluggedError(field, "it is missing", f"The Secret has {found}; the layouts known are {layouts}")
    try:
        found_here = list(pem.load_certificates(data[field]))
        for each in found_here:
            pem.public_key(each.public_key())
    except (PemError, UnsupportedAlgorithm, ValueError) as error:
        raise PluggedError(
            field, "it holds no certificate in PEM of an EC or RSA key", "Check the file"
        ) from error
    return found_here


def _key(data: Mapping[str, bytes], field: str) -> PrivateKey:
    text = data.get(field, b"")
    if not text.strip():
        raise PluggedError(field, "it is missing", "Put the CA's private key there")
    try:
        key = pem.load_key(text)
    except (PemError, UnsupportedAlgorithm) as error:
        reason = "it is encrypted" if b"ENCRYPTED" in text else "it is neither an EC nor an RSA key in PEM"
        raise PluggedError(
            field, reason, "Put the CA's private key there, in PEM and without a password"
        ) from error
    match key:
        case rsa.RSAPrivateKey() if key.key_size < _SHORTEST_RSA:
            raise PluggedError(
                field, f"its {key.key_size} bits are too few", f"Envoy wants {_SHORTEST_RSA} or more"
            )
        case ec.EllipticCurvePrivateKey() if not isinstance(key.curve, _CURVES):
            raise PluggedError(
                field, f"the curve {key.curve.name} is unknown to Envoy", "Use P-256, P-384 or P-521"
            )
    return key


def _path(
    signer: x509.Certificate,
    others: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    layout: _Layout,
    now: datetime,
) -> list[x509.Certificate]:
    """From the signer to one of the roots, both included."""
    path = [signer]
    _may_sign(signer, layout.certificate, now)
    while path[-1] not in roots:
        last = path[-1]
        above = next((one for one in (*roots, *others) if one not in path and _issued(last, one)), None)
        if above is None or len(path) == _LONGEST_PATH:
            reason = f"nothing here issued {last.subject.rfc4514_string() or 'the certificate'}"
            hint = f"Put what leads from {layout.certificate} to the root there, and the root into {layout.roots}"
            raise PluggedError(layout.chain, f"the chain does not reach a root: {reason}", hint)
        if above not in roots:
            _may_sign(above, layout.chain, now)
        path.append(above)
    for below, one in enumerate(path):
        allowed = one.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if allowed is not None and allowed < below:
            reason = f"{one.subject.rfc4514_string()} allows {allowed} CAs below it, and has {below}"
            raise PluggedError(layout.chain, reason, "Have it issued with a longer path length")
    return path


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_sign(certificate: x509.Certificate, field: str, now: datetime) -> None:
    name = certificate.subject.rfc4514_string() or f"the certificate {certificate.serial_number:x}"
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is None or not constraints.ca:
        raise PluggedError(field, f"{name} is no CA", "Have it issued with basicConstraints CA:TRUE")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.key_cert_sign:
        raise PluggedError(field, f"{name} may not sign certificates", "Have it issued with keyUsage keyCertSign")
    if certificate.not_valid_after_utc <= now:
        raise PluggedError(field, f"{name} expired at {certificate.not_valid_after_utc:%F %T} UTC", "Renew it")
    if certificate.not_valid_before_utc > now:
        since = f"{certificate.not_valid_before_utc:%F %T} UTC"
        raise PluggedError(field, f"{name} is not valid before {since}", "Wait until then, or check the clocks")


def _names_issuer(certificate: x509.Certificate) -> bool:
    try:
        known = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return False
    return known.key_identifier is not None


def _is_named(certificate: x509.Certificate) -> bool:
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return False
    return True


def _is_own(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer and _issued(certificate, certificate)


def _lists(
    data: Mapping[str, bytes], path: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime
) -> tuple[revocation.List, ...]:
    text = data.get(REVOKED, b"")
    if not text.strip():
        return ()
    try:
        lists = revocation.load(text)
    except PemError as error:
        raise PluggedError(REVOKED, str(error), "Put the lists of all the CA's there, in PEM") from error
    if over := [one for one in lists if revocation.expired(one, now)]:
        reason = (
            f"the list of {over[0].issuer.rfc4514_string()} is overdue since {over[0].next_update_utc:%F %T} UTC"
        )
        raise PluggedError(REVOKED, reason, "Issue it anew: proxies would refuse everyone")
    lacking = revocation.without(dict.fromkeys((*path, *roots)), lists)
    if lacking:
        reason = f"{lacking[0].subject.rfc4514_string()} has no list in it"
        hint = "Add one of each CA up to the root, even an empty one: proxies would refuse everyone"
        raise PluggedError(REVOKED, reason, hint)
    return lists

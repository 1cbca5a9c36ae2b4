"""`weft proxy-config secret` and `rootca-compare`: certificates that proxies have, from their `/config_dump`.

Envoy leaves private keys out of what it tells.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from weft.cli import proxy_tables
from weft.pki import pem, revocation
from weft.pki.pem import PemError

HEADER = (
    "RESOURCE NAME",
    "TYPE",
    "STATUS",
    "VALID CERT",
    "SERIAL NUMBER",
    "NOT AFTER",
    "NOT BEFORE",
    "TRUST DOMAIN",
)
_STATES = (("dynamic_active_secrets", "ACTIVE"), ("dynamic_warming_secrets", "WARMING"))
_OWN, _ROOTS = "default", "ROOTCA"

Certificates = tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """The first certificate of a chain, one of the roots, or a list of revoked ones; else what Envoy waits for.

    A list has its number for a serial number, and is valid until the next is due.
    """

    name: str
    type: str
    status: str
    valid: str = "false"
    serial: str = ""
    not_after: str = ""
    not_before: str = ""
    trust_domain: str = ""


def rows(dump: Mapping[str, Any], now: datetime) -> list[Row]:
    """The table's rows, in order of the names."""
    found = (row for secret, status in _secrets(dump) for row in _rows(secret, status, now))
    return sorted(found, key=lambda row: row.name)


def render(found: Iterable[Row]) -> str:
    """The table as text, in istioctl's layout."""
    return proxy_tables.table(HEADER, [astuple(row) for row in found])


def objects(dump: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What Envoy tells of the secrets, keys left out."""
    return [dict(secret) for secret, _ in _secrets(dump)]


@dataclass(frozen=True, slots=True)
class Trusting:
    """A proxy by name: what it shows in handshakes, and the roots that it verifies others with."""

    name: str
    chain: Certificates
    roots: Certificates

    def accepts(self, other: "Trusting") -> bool:
        """Whether one of its roots vouches for the other's certificate."""
        return bool(other.chain) and any(_vouches(root, other.chain[-1]) for root in self.roots)


def trusting(name: str, dump: Mapping[str, Any]) -> Trusting:
    """A proxy, from its dump."""
    secrets = {str(secret["name"]): secret for secret, _ in _secrets(dump)}
    roots = [root for _, found in _bundles(secrets.get(_ROOTS, {})) for root in found]
    return Trusting(name, _chain(secrets.get(_OWN, {})), tuple(roots))


def compared(one: Trusting, other: Trusting) -> tuple[str, bool]:
    """The roots of two proxies side by side, what follows for connections, and whether there can be any."""
    head = ("ROOT", "SERIAL NUMBER", "NOT AFTER", one.name, other.name)
    lines = [
        (
            root.subject.rfc4514_string(),
            f"{root.serial_number:x}",
            _time(root.not_valid_after_utc),
            *("trusted" if root in each.roots else "-" for each in (one, other)),
        )
        for root in dict.fromkeys((*one.roots, *other.roots))
    ]
    verdicts = [_verdict(*pair) for pair in ((one, other), (other, one))]
    possible = one.accepts(other) and other.accepts(one)
    end = "They can connect to each other." if possible else "They cannot connect to each other by mutual TLS."
    return "\n".join((proxy_tables.table(head, lines), "", *verdicts, end)), possible


def _verdict(one: Trusting, other: Trusting) -> str:
    if not other.chain:
        return f"{other.name} has no certificate. See why: weft proxy-config secret {other.name}"
    if one.accepts(other):
        return f"{one.name} accepts the certificate of {other.name}."
    issuer = other.chain[-1].issuer.rfc4514_string()
    return f"{one.name} refuses the certificate of {other.name}: it does not trust the root {issuer} behind it."


def _vouches(root: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _secrets(dump: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    for section in dump.get("configs") or ():
        if str(section.get("@type", "")).endswith(".SecretsConfigDump"):
            for field, status in _STATES:
                for entry in section.get(field) or ():
                    yield {"name": entry.get("name", ""), **(entry.get("secret") or {})}, status


def _rows(secret: Mapping[str, Any], status: str, now: datetime) -> Iterator[Row]:
    name = str(secret["name"])
    bundles = list(_bundles(secret))
    if chain := _chain(secret):
        yield _row(name, "Cert Chain", status, chain[0], _trust_domain(chain[0]), now)
    for trust_domain, roots in bundles:
        for root in roots:
            yield _row(name, "CA", status, root, trust_domain, now)
    for each in _lists(secret):
        until = each.next_update_utc
        valid = "true" if until is None or now < until else "false"
        times = (_time(until) if until else "", _time(each.last_update_utc))
        yield Row(name, "CRL", status, valid, _number(each), *times)
    if not chain and not any(roots for _, roots in bundles):
        yield Row(name, "CA" if "validation_context" in secret else "Cert Chain", status)


def _row(
    name: str, kind: str, status: str, certificate: x509.Certificate, trust_domain: str, now: datetime
) -> Row:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    valid = "true" if begin <= now <= end else "false"
    return Row(name, kind, status, valid, f"{certificate.serial_number:x}", _time(end), _time(begin), trust_domain)


def _chain(secret: Mapping[str, Any]) -> Certificates:
    return _certificates(secret.get("tls_certificate", {}).get("certificate_chain") or {})


def _bundles(secret: Mapping[str, Any]) -> Iterator[tuple[str, Certificates]]:
    """Roots, each with the trust domain that they are for; those of Envoy's usual validator are for any."""
    context = secret.get("validation_context", {})
    if trusted := context.get("trusted_ca"):
        yield "", _certificates(trusted)
    for each in context.get("custom_validator_config", {}).get("typed_config", {}).get("trust_domains") or ():
        yield str(each.get("name", "")), _certificates(each.get("trust_bundle") or {})


def _certificates(source: Mapping[str, Any]) -> Certificates:
    try:
        return pem.load_certificates(base64.b64decode(source.get("inline_bytes", "")))
    except ValueError:  # no base64, or no certificate
        return ()


def _lists(secret: Mapping[str, Any]) -> tuple[revocation.List, ...]:
    source = secret.get("validation_context", {}).get("crl") or {}
    try:
        return revocation.load(base64.b64decode(source.get("inline_bytes", "")))
    except (PemError, ValueError):
        return ()


def _number(revoked: revocation.List) -> str:
    try:
        return f"{revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number:x}"
    except x509.ExtensionNotFound:
        return ""


def _trust_domain(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return next((uri.split("/")[2] for uri in uris if uri.startswith("spiffe://")), "")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

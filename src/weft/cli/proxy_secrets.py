"""`weft proxy-config secret`: the certificates that a proxy has, from the `/config_dump` of its Envoy.

Envoy leaves private keys out of what it tells.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from weft.cli import proxy_tables
from weft.pki import pem

HEADER = ("RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE")
_STATES = (("dynamic_active_secrets", "ACTIVE"), ("dynamic_warming_secrets", "WARMING"))


@dataclass(frozen=True, slots=True)
class Row:
    """The first certificate of a secret; without one, what Envoy waits for."""

    name: str
    type: str
    status: str
    valid: str = "false"
    serial: str = ""
    not_after: str = ""
    not_before: str = ""


def rows(dump: Mapping[str, Any], now: datetime) -> list[Row]:
    """The table's rows, in order of the names."""
    return sorted((_row(secret, status, now) for secret, status in _secrets(dump)), key=lambda row: row.name)


def render(found: Iterable[Row]) -> str:
    """The table as text, in istioctl's layout."""
    return proxy_tables.table(HEADER, [astuple(row) for row in found])


def objects(dump: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What Envoy tells of the secrets, keys left out."""
    return [dict(secret) for secret, _ in _secrets(dump)]


def _secrets(dump: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    for section in dump.get("configs") or ():
        if str(section.get("@type", "")).endswith(".SecretsConfigDump"):
            for field, status in _STATES:
                for entry in section.get(field) or ():
                    yield {"name": entry.get("name", ""), **(entry.get("secret") or {})}, status


def _row(secret: Mapping[str, Any], status: str, now: datetime) -> Row:
    chain = secret.get("tls_certificate", {}).get("certificate_chain")
    roots = secret.get("validation_context", {}).get("trusted_ca")
    row = Row(str(secret["name"]), "CA" if roots and not chain else "Cert Chain", status)
    certificate = _first((chain or roots or {}).get("inline_bytes", ""))
    if certificate is None:
        return row
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    valid = "true" if begin <= now <= end else "false"
    return Row(row.name, row.type, status, valid, f"{certificate.serial_number:x}", _time(end), _time(begin))


def _first(encoded: str) -> x509.Certificate | None:
    try:
        return pem.load_certificate(base64.b64decode(encoded))
    except ValueError:  # no base64, or no certificate
        return None


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.identities import Authority

from weft.cli import proxy_secrets

ONE = Authority().serve("one.example")
NOW = datetime.now(UTC)


def dump(*active: dict[str, Any], warming: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.admin.v3.SecretsConfigDump"
    sections = {"dynamic_active_secrets": list(active), "dynamic_warming_secrets": list(warming)}
    return {"configs": [{"@type": "other"}, {"@type": kind, **sections}]}


def encoded(text: str) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(text.encode()).decode()}


def chain(name: str) -> dict[str, Any]:
    body = {"certificate_chain": encoded(ONE.chain), "private_key": encoded("[redacted]")}
    return {"name": name, "secret": {"name": name, "tls_certificate": body}}


ROOTS = {"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": encoded(ONE.roots)}}}


def test_certificates_and_roots_are_listed_with_their_times() -> None:
    roots, web = proxy_secrets.rows(dump(chain("kubernetes://web"), ROOTS), NOW)
    assert (roots.name, roots.type, roots.status, roots.valid) == ("ROOTCA", "CA", "ACTIVE", "true")
    assert (web.name, web.type, web.status, web.valid) == ("kubernetes://web", "Cert Chain", "ACTIVE", "true")
    assert web.serial
    assert web.not_before < NOW.strftime("%Y-%m-%dT%H:%M:%SZ") < web.not_after


def test_a_certificate_that_is_over_is_not_valid() -> None:
    (row,) = proxy_secrets.rows(dump(chain("web")), NOW + timedelta(days=400))
    assert row.valid == "false"


def test_what_envoy_waits_for_is_listed_without_a_certificate() -> None:
    (row,) = proxy_secrets.rows(
        dump(warming=({"name": "kubernetes://gone", "secret": {"name": "kubernetes://gone"}},)), NOW
    )
    assert (row.name, row.status, row.valid, row.serial) == ("kubernetes://gone", "WARMING", "false", "")


def test_the_table_has_istioctls_columns() -> None:
    head = proxy_secrets.render([]).split("  ")
    assert [word.strip() for word in head if word.strip()] == list(proxy_secrets.HEADER)

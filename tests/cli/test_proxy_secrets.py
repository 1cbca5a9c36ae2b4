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


def trusting(name: str, authority: Authority, *roots: Authority) -> proxy_secrets.Trusting:
    """A proxy that shows a certificate of an authority's and trusts these."""
    body = {"certificate_chain": encoded(authority.issue(f"spiffe://cluster.local/ns/a/sa/{name}").chain)}
    own = {"name": "default", "secret": {"tls_certificate": body}}
    bundle = {"trusted_ca": encoded("".join(each.roots for each in roots))}
    return proxy_secrets.trusting(name, dump(own, {"name": "ROOTCA", "secret": {"validation_context": bundle}}))


def test_every_root_and_list_has_a_row_and_certificates_tell_their_trust_domain() -> None:
    one, other, now = Authority("one"), Authority("other"), datetime.now(UTC)
    identity = one.issue("spiffe://td.example/ns/a/sa/b")
    context = {"trusted_ca": encoded(one.roots + other.roots), "crl": encoded(one.revoke(identity))}
    own = {"name": "default", "secret": {"tls_certificate": {"certificate_chain": encoded(identity.chain)}}}
    roots = {"name": "ROOTCA", "secret": {"validation_context": context}}
    found = proxy_secrets.rows(dump(roots, own), now)
    assert [(row.name, row.type, row.valid) for row in found] == [
        ("ROOTCA", "CA", "true"),
        ("ROOTCA", "CA", "true"),
        ("ROOTCA", "CRL", "true"),
        ("default", "Cert Chain", "true"),
    ]
    assert found[-1].trust_domain == "td.example"
    (late,) = [row for row in proxy_secrets.rows(dump(roots), now + timedelta(days=2)) if row.type == "CRL"]
    assert late.valid == "false"


def test_roots_of_a_spiffe_validator_are_listed_by_trust_domain() -> None:
    domains = [
        {"name": f"{name}.local", "trust_bundle": encoded(Authority(name).roots)} for name in ("east", "west")
    ]
    context = {"custom_validator_config": {"typed_config": {"trust_domains": domains}}}
    found = proxy_secrets.rows(dump({"name": "ROOTCA", "secret": {"validation_context": context}}), NOW)
    assert [row.trust_domain for row in found] == ["east.local", "west.local"]


def test_proxies_with_a_root_in_common_that_both_show_can_connect() -> None:
    old, new = Authority("old"), Authority("new")
    text, possible = proxy_secrets.compared(trusting("a", old, old, new), trusting("b", new, new, old))
    assert possible
    assert "They can connect to each other." in text
    assert len([line for line in text.splitlines() if line.count("trusted") == 2]) == 2


def test_a_proxy_that_does_not_trust_the_others_root_is_named_with_it() -> None:
    old, new = Authority("old"), Authority("new")
    text, possible = proxy_secrets.compared(trusting("a", old, old), trusting("b", new, new, old))
    assert not possible
    assert "a refuses the certificate of b: it does not trust the root O=new behind it." in text
    assert "b accepts the certificate of a." in text


def test_the_table_has_istioctls_columns() -> None:
    head = proxy_secrets.render([]).split("  ")
    assert [word.strip() for word in head if word.strip()] == list(proxy_secrets.HEADER)

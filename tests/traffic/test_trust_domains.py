"""Roots of several trust domains in a real Envoy: each vouches for its own, and for nobody else."""

from pathlib import Path

import pytest
from tests.cases import access
from tests.cases.access_in_envoy import callers
from tests.support import envoy
from tests.support.identities import Authority

from weft.xds import secrets
from weft.xds.names import TRUST_ROOTS

CASE = """
given:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: istio, namespace: istio-system}
    data: {mesh: "{trustDomainAliases: [partner.example, old.example]}"}
asks: |
  shop/web                 GET /  200
  partner.example:shop/web GET /  200
  old.example:shop/web     GET /  200
  far.example:shop/web     GET /  closed
"""
OWN, PARTNER = Authority("cluster.local"), Authority("partner.example")
BY_WHOM = {
    # who asks, by whose certificate: what becomes of it
    ("shop/web", OWN): "200",
    ("shop/web", PARTNER): "closed",
    ("partner.example:shop/web", PARTNER): "200",
    ("partner.example:shop/web", OWN): "closed",
    ("old.example:shop/web", OWN): "200",
    ("old.example:shop/web", PARTNER): "closed",
    ("far.example:shop/web", OWN): "closed",
    ("far.example:shop/web", PARTNER): "closed",
}


@pytest.mark.timeout(120)
def test_a_root_vouches_for_its_own_trust_domain_only(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(CASE)
    case = access.load(path)
    lines = {each.line.split()[0]: each for each in case.asks}
    bundles = [(("cluster.local", "old.example"), OWN.roots), (("partner.example",), PARTNER.roots)]
    trusted = secrets.roots(TRUST_ROOTS, OWN.roots, bundles=bundles).body
    identity = OWN.issue("spiffe://cluster.local/ns/shop/sa/web")
    with (
        callers(tmp_path) as asking,
        envoy.started(
            case.resources, identity, namespace=asking.here.namespace, secrets={TRUST_ROOTS: trusted}
        ) as (_, management),
    ):
        assert management.rejected == [], management.rejected
        found = {}
        for who, authority in BY_WHOM:
            asking.certified_by(authority)
            found[who, authority] = asking.ask(lines[who])
    assert found == BY_WHOM

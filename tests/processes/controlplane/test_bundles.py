"""What the mesh trusts, by its authority's record and its settings."""

from datetime import timedelta

import pytest

from weft.adapters import clock, keys
from weft.api.mesh_config_decode import decode
from weft.model.mesh_config import FurtherRoots, MeshConfig
from weft.model.mesh_settings import mesh_config
from weft.pki import authority, messages, pem
from weft.pki.succession import TrustBundle, Trusted
from weft.processes.controlplane.bundles import Bundles, bundle


def roots(name: str) -> str:
    made = authority.self_signed(
        keys.new_key(), organization=name, now=clock.now(), serial=keys.new_serial(), lifetime=timedelta(days=1)
    )
    return pem.certificates(made.roots)


OWN, FURTHER, OLD, FAR = map(roots, ("own", "further", "old", "far"))


def mesh(*authorities: FurtherRoots) -> MeshConfig:
    return MeshConfig("here.example", ("old.example", "older.example"), authorities)


def test_without_settings_the_authoritys_roots_are_all_there_is() -> None:
    assert bundle(Trusted(OWN, "crl"), mesh()).trusted == Trusted(OWN, "crl")


@pytest.mark.parametrize("domains", [(), ("here.example",)])
def test_roots_of_our_own_trust_domain_stand_beside_the_authoritys(domains: tuple[str, ...]) -> None:
    made = bundle(Trusted(OWN), mesh(FurtherRoots(FURTHER, domains), FurtherRoots(FURTHER, domains)))
    assert made.trusted == Trusted(OWN + FURTHER)


def test_roots_of_another_trust_domain_vouch_for_nobody_of_ours() -> None:
    told = bundle(Trusted(OWN), mesh(FurtherRoots(FAR, ("far.example",)))).trusted
    ours = TrustBundle(("here.example", "old.example", "older.example"), OWN)
    assert told == Trusted(OWN, "", (ours, TrustBundle(("far.example",), FAR)))
    assert messages.decode_trust(messages.encode_trust(told)) == told
    answer = messages.CertificateAnswer(("leaf", "between"), told)
    assert messages.decode_response(messages.encode_response(answer)) == answer


def test_an_alias_is_vouched_for_by_its_own_roots_and_by_ours() -> None:
    told = bundle(Trusted(OWN), mesh(FurtherRoots(OLD, ("old.example",)))).trusted
    ours = TrustBundle(("here.example", "older.example"), OWN)
    assert told == Trusted(OWN, "", (ours, TrustBundle(("old.example",), OWN + OLD)))


def test_where_some_are_revoked_other_trust_domains_are_left_out() -> None:
    told = bundle(Trusted(OWN, "crl"), mesh(FurtherRoots(FAR, ("far.example",)))).trusted
    assert told == Trusted(OWN, "crl")


def test_the_roots_of_signers_are_known_by_their_names() -> None:
    made = bundle(
        Trusted(OWN), mesh(FurtherRoots(FURTHER, signers=("a/b", "a/c")), FurtherRoots(OLD, (), ("a/b",)))
    )
    assert (made.of_signer("a/b"), made.of_signer("a/c"), made.of_signer("a/d")) == (FURTHER + OLD, FURTHER, "")
    assert made.trusted.roots == OWN + FURTHER + OLD


async def test_a_change_is_told_once() -> None:
    told: list[Trusted] = []
    settings = [mesh()]

    async def tell(trusted: Trusted) -> None:
        told.append(trusted)

    trusted = Trusted(OWN)
    bundles = Bundles(lambda: trusted, lambda: settings[0], tell)
    await bundles.tell()
    settings[0] = mesh()
    await bundles.tell()
    assert told == [Trusted(OWN)]
    settings[0] = mesh(FurtherRoots(FURTHER))
    await bundles.tell()
    assert told == [Trusted(OWN), Trusted(OWN + FURTHER)]


def _written(text: str) -> dict[str, object]:
    return {"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": text}}


def test_roots_are_read_from_the_meshs_settings() -> None:
    indented = FAR.replace("\n", "\n    ")
    text = f"caCertificates:\n- trustDomains: [far.example]\n  certSigners: [a/b]\n  pem: |\n    {indented}"
    decoded = decode(_written(text), "istio-system", "istio")
    assert (decoded.problems, decoded.mesh is not None) == ((), True)
    assert decoded.mesh is not None
    assert mesh_config(decoded.mesh, "istio-system").authorities == (
        FurtherRoots(FAR, ("far.example",), ("a/b",)),
    )


LEAF = pem.certificate(
    authority.issue_client(
        authority.self_signed(
            keys.new_key(), organization="x", now=clock.now(), serial=1, lifetime=timedelta(days=1)
        ),
        keys.new_key().public_key(),
        common_name="leaf",
        now=clock.now(),
        serial=2,
        lifetime=timedelta(hours=1),
    )
)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("- {trustDomains: [far.example]}", "caCertificates[0]"),
        ("- {pem: nonsense}", "caCertificates[0].pem"),
        ('- {pem: ""}', "caCertificates[0].pem"),
        ("- pem: |\n    " + LEAF.replace("\n", "\n    "), "caCertificates[0].pem"),
        ("- {pem: nonsense, trustDomains: [A/B]}", "caCertificates[0].trustDomains[0]"),
        ("- {pem: nonsense, certSigners: [mesh]}", "caCertificates[0].certSigners[0]"),
    ],
)
def test_roots_that_would_spoil_the_others_are_errors(text: str, field: str) -> None:
    decoded = decode(_written(f"caCertificates:\n{text}"), "istio-system", "istio")
    assert f"data.mesh.{field}" in {each.at.field for each in decoded.problems}
    assert decoded.mesh is None

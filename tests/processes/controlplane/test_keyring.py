"""Which Secrets gateways are given: what they ask for, in their namespace, where they may get it; and live."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.processes.controlplane.clients import proxies
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.secrets import READER, Gateway, Plane, gateway, plane, secret, tls
from tests.support.identities import Authority

from weft.pki.identity import SpiffeId
from weft.processes.controlplane import keyring

CA = Authority("clients")
ONE, TWO = Authority().serve("one.example"), Authority().serve("one.example")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    made.readers.add(READER)
    async with made.serving():
        yield made


@pytest.fixture
async def serving(cluster: Cluster) -> AsyncIterator[Plane]:
    async with plane(cluster, "127.0.0.1:0") as made:
        yield made


@pytest.fixture
async def asking(serving: Plane) -> AsyncIterator[Gateway]:
    async with gateway(serving.port) as made:
        yield made


def reasons(serving: Plane) -> list[str]:
    return [each.reason for each in serving.keyring.troubles]


async def test_a_certificate_is_given_and_turned_over_as_its_secret_changes(
    cluster: Cluster, asking: Gateway
) -> None:
    cluster.put(tls("web", ONE))
    await asking.ask("kubernetes://web")
    await asking.until(lambda: asking.chain("kubernetes://web") == ONE.chain)
    assert asking.has["kubernetes://web"].tls_certificate.private_key.inline_bytes.decode() == ONE.key
    cluster.put(tls("web", TWO))
    await asking.until(lambda: asking.chain("kubernetes://web") == TWO.chain)


async def test_the_generic_kinds_keys_are_known_too(cluster: Cluster, asking: Gateway) -> None:
    cluster.put(secret("web", cert=ONE.chain, key=ONE.key, cacert=CA.roots))
    await asking.ask("kubernetes://web", "kubernetes://web-cacert")
    await asking.until(lambda: len(asking.has) == 2)
    assert asking.chain("kubernetes://web") == ONE.chain
    assert asking.has["kubernetes://web-cacert"].validation_context.trusted_ca.inline_bytes.decode() == CA.roots


async def test_roots_come_from_a_secret_of_their_own_before_that_of_the_certificate(
    cluster: Cluster, asking: Gateway
) -> None:
    def given() -> str:
        found = asking.has.get("kubernetes://web-cacert")
        return found.validation_context.trusted_ca.inline_bytes.decode() if found else ""

    other = Authority("others")
    cluster.put(tls("web", ONE, ca_crt=CA.roots))
    await asking.ask("kubernetes://web-cacert")
    await asking.until(lambda: given() == CA.roots)
    cluster.put(secret("web-cacert", cacert=other.roots))
    await asking.until(lambda: given() == other.roots)
    cluster.remove("/api/v1/namespaces/edge/secrets/web-cacert")
    await asking.until(lambda: given() == CA.roots)


async def test_a_list_of_revoked_certificates_goes_with_the_roots(cluster: Cluster, asking: Gateway) -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([])).last_update(now)
    made = builder.next_update(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    crl = made.public_bytes(serialization.Encoding.PEM).decode()
    cluster.put(tls("web", ONE, ca_crt=CA.roots, ca_crl=crl))
    await asking.ask("kubernetes://web-cacert")
    await asking.until(lambda: asking.has)
    assert asking.has["kubernetes://web-cacert"].validation_context.crl.inline_bytes.decode() == crl


async def test_a_missing_secret_is_told_at_once_and_given_when_it_comes(
    cluster: Cluster, serving: Plane, asking: Gateway
) -> None:
    cluster.put(tls("here", ONE))
    await asking.ask("kubernetes://here", "kubernetes://gone")
    await asking.until(lambda: asking.has and asking.lacks)
    assert asking.lacks == {"kubernetes://gone"}
    assert reasons(serving) == ["there is no Secret edge/gone"]
    cluster.put(tls("gone", TWO))
    await asking.until(lambda: asking.chain("kubernetes://gone") == TWO.chain)
    assert reasons(serving) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"tls_crt": ONE.chain, "tls_key": TWO.key}, "the private key is not the certificate's"),
        ({"tls_crt": "nonsense", "tls_key": ONE.key}, "the certificate is not PEM"),
        ({"tls_crt": ONE.chain, "tls_key": "nonsense"}, "neither an EC nor an RSA key in PEM"),
        ({"tls_crt": ONE.chain}, "neither tls.crt and tls.key nor cert and key, but tls.crt"),
        ({}, "but nothing"),
    ],
)
async def test_a_broken_secret_holds_back_itself_alone_and_says_why(
    cluster: Cluster, serving: Plane, asking: Gateway, data: dict[str, str], reason: str
) -> None:
    cluster.put(tls("good", ONE))
    cluster.put(secret("bad", **data))
    await asking.ask("kubernetes://good", "kubernetes://bad")
    await asking.until(lambda: asking.has and asking.lacks)
    assert set(asking.has) == {"kubernetes://good"}
    (said,) = reasons(serving)
    assert said.startswith("the Secret edge/bad cannot be used: ")
    assert reason in said
    assert "PRIVATE" not in said


async def test_a_secret_that_breaks_leaves_the_gateway_what_it_has(
    cluster: Cluster, serving: Plane, asking: Gateway
) -> None:
    cluster.put(tls("web", ONE))
    await asking.ask("kubernetes://web")
    await asking.until(lambda: asking.has)
    cluster.put(secret("web", tls_crt=ONE.chain, tls_key=TWO.key))
    await asking.until(lambda: asking.lacks)
    # Envoy takes no secret back: it goes on with the one before
    assert asking.chain("kubernetes://web") == ONE.chain
    cluster.put(tls("web", TWO))
    await asking.until(lambda: asking.chain("kubernetes://web") == TWO.chain)


async def test_a_service_account_that_may_not_get_a_secret_is_not_given_it(
    cluster: Cluster, serving: Plane, asking: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "_DENIED_SECONDS", 0.05)
    cluster.readers.clear()
    cluster.put(tls("web", ONE))
    await asking.ask("kubernetes://web")
    await asking.until(lambda: asking.lacks)
    assert reasons(serving) == [
        "its service account system:serviceaccount:edge:gateway may not get the Secret edge/web"
    ]
    assert cluster.asked == []
    cluster.readers.add(READER)
    await asking.until(lambda: asking.has)


async def test_the_right_to_have_secrets_served_does_without_the_right_to_read_them(
    cluster: Cluster, asking: Gateway
) -> None:
    cluster.readers.clear()
    cluster.served.add(READER)
    cluster.put(tls("web", ONE))
    await asking.ask("kubernetes://web")
    await asking.until(lambda: asking.chain("kubernetes://web") == ONE.chain)


@pytest.mark.parametrize("name", ["cacerts", "istio-ca-secret", "istio-ca-secret-cacert"])
async def test_the_key_of_the_mesh_is_served_to_nobody_whatever_their_rights(cluster: Cluster, name: str) -> None:
    system = SpiffeId("cluster.local", "istio-system", "gateway")
    for having in (cluster.readers, cluster.served):
        having.add(("system:serviceaccount:istio-system:gateway", "istio-system"))
    for each in ("cacerts", "istio-ca-secret", "web"):
        # in cert-manager's layout, which a gateway could use
        cluster.put(secret(each, "istio-system", tls_crt=ONE.chain, tls_key=ONE.key, ca_crt=CA.roots))
    async with (
        plane(cluster, "127.0.0.1:0", system) as serving,
        gateway(serving.port, pod="gate.istio-system") as asking,
    ):
        await asking.ask("kubernetes://web", f"kubernetes://{name}")
        await asking.until(lambda: asking.has and asking.lacks)
        assert set(asking.has) == {"kubernetes://web"}
        assert asking.lacks == {f"kubernetes://{name}"}
    assert {one["fieldSelector"] for one in cluster.asked} == {"metadata.name=web"}


@pytest.mark.parametrize("kind", ["istio.io/ca-root", "kubernetes.io/service-account-token"])
async def test_a_secret_that_is_no_certificate_by_its_type_is_not_served(
    cluster: Cluster, serving: Plane, asking: Gateway, kind: str
) -> None:
    cluster.put(tls("web", ONE) | {"type": kind})
    await asking.ask("kubernetes://web")
    await asking.until(lambda: asking.lacks)
    assert reasons(serving) == ["the Secret edge/web is of a type that no proxy is given"]
    cluster.put(tls("web", ONE) | {"type": "kubernetes.io/tls"})
    await asking.until(lambda: asking.has)


async def test_the_right_to_a_certificate_is_enough_for_the_roots_in_its_secret(
    cluster: Cluster, asking: Gateway
) -> None:
    cluster.put(tls("web", ONE, ca_crt=CA.roots))
    await asking.ask("kubernetes://web-cacert")
    await asking.until(lambda: asking.has)


@pytest.mark.parametrize(
    "name", ["kubernetes://other/web", "kubernetes-gateway://other/web", "web", "kubernetes://"]
)
async def test_what_is_no_secret_of_its_own_namespace_is_nobodys(
    cluster: Cluster, serving: Plane, asking: Gateway, name: str
) -> None:
    cluster.readers.add((READER[0], "other"))
    cluster.put(secret("web", "other", tls_crt=ONE.chain, tls_key=ONE.key))
    await asking.ask(name)
    await asking.until(lambda: asking.lacks)
    assert asking.has == {}
    assert cluster.asked == []


async def test_its_own_namespace_may_be_named(cluster: Cluster, asking: Gateway) -> None:
    cluster.put(tls("web", ONE))
    await asking.ask("kubernetes-gateway://edge/web")
    await asking.until(lambda: asking.chain("kubernetes-gateway://edge/web") == ONE.chain)


async def test_a_sidecar_is_given_what_its_account_may_get_and_nothing_else(
    cluster: Cluster, serving: Plane
) -> None:
    cluster.put(tls("web", ONE))
    async with gateway(serving.port, "sidecar") as sidecar:
        await sidecar.ask("kubernetes://web")
        await sidecar.until(lambda: sidecar.has)
    cluster.readers.clear()
    cluster.asked.clear()
    async with gateway(serving.port, "sidecar") as sidecar:
        await sidecar.ask("kubernetes://web")
        await sidecar.until(lambda: sidecar.lacks)
        assert sidecar.has == {}
    assert cluster.asked == []


@pytest.mark.parametrize("caller", [None, SpiffeId("cluster.local", "edge", "other")])
async def test_who_has_not_proved_to_be_the_reader_is_given_none(
    cluster: Cluster, caller: SpiffeId | None
) -> None:
    cluster.put(tls("web", ONE))
    async with plane(cluster, "127.0.0.1:0", caller) as serving, gateway(serving.port) as asking:
        await asking.ask("kubernetes://web")
        await asking.until(lambda: asking.lacks)
        assert asking.has == {}
    assert cluster.asked == []


async def test_no_secret_is_read_but_those_that_are_asked_for_and_each_once(
    cluster: Cluster, serving: Plane, asking: Gateway
) -> None:
    for name in ("web", "others", "token"):
        cluster.put(tls(name, ONE))
    async with gateway(serving.port) as second:
        for each in (asking, second):
            await each.ask("kubernetes://web")
            await each.until(lambda each=each: each.has)
        assert {one["fieldSelector"] for one in cluster.asked} == {"metadata.name=web"}
        assert {one["path"] for one in cluster.asked} == {"/api/v1/namespaces/edge/secrets"}
        assert cluster.watching == 1
    await asking.drop("kubernetes://web")
    async with asyncio.timeout(5):
        while cluster.watching:
            await asyncio.sleep(0.01)
    kept = (serving.keyring._watches, serving.keyring._rights, serving.keyring._made)
    assert not any(kept)


async def test_the_secrets_are_in_no_dump(cluster: Cluster, serving: Plane, asking: Gateway) -> None:
    cluster.put(tls("web", ONE))
    await asking.ask("kubernetes://web")
    await asking.until(lambda: asking.has)
    dumped = serving.discovery.resources_of("gate.edge")
    assert dumped is not None
    assert not any("Secret" in type_url for type_url in dumped)
    (connection,) = serving.discovery.connections
    assert ONE.key not in repr(connection.status())


async def test_who_asks_for_no_secret_costs_the_keyring_nothing(serving: Plane) -> None:
    async with proxies(f"127.0.0.1:{serving.port}", ["web.edge"]):
        await serving.connected(1)
        await serving.settled()
        assert serving.keyring._asked == {}

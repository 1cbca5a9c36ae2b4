"""Where the mesh's authority comes from, and how the next one takes its place while istiod runs."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.succeeding import Mesh, following
from tests.support.authorities import DAY, Operator, now

from weft.adapters.grpc_server import RefusedError
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.pki import pem, revocation, succession
from weft.processes.controlplane.succession import OWN, PLUGGED, RECORD, Keeper, OwnAuthority

SECRETS = "/api/v1/namespaces/istio-system/secrets"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster().serving() as one:
        yield one


@pytest.fixture
async def kube(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Kube]:
    async with Kube(Access.from_kubeconfig(cluster.kubeconfig(tmp_path / "config"))) as client:
        yield client


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


async def eventually(check: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.02)


def roots(keeper: Keeper) -> list[str]:
    return [one.subject.rfc4514_string() for one in pem.load_certificates(keeper.trusted.roots)]


def signs(keeper: Keeper, operator: Operator) -> bool:
    return keeper.signer.certificate == operator.intermediate


async def test_istiods_that_start_together_agree_on_one_authority(kube: Kube) -> None:
    keepers = [Mesh().keeper(kube) for _ in range(4)]
    await asyncio.gather(*(one.load() for one in keepers))
    assert len({one.signer.certificate for one in keepers}) == 1
    assert roots(keepers[0]) == ["O=td"]


async def test_a_plugged_in_authority_goes_before_our_own_and_none_is_made_beside_it(
    cluster: Cluster, kube: Kube, mesh: Mesh
) -> None:
    operator = Operator()
    cluster.put(operator.secret())
    keeper = mesh.keeper(kube)
    await keeper.load()
    assert signs(keeper, operator)
    assert f"{SECRETS}/{OWN}" not in cluster.objects


async def test_istiod_waits_for_a_secret_that_it_can_use_and_says_what_is_wrong(
    cluster: Cluster, kube: Kube, mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator()
    cluster.put(operator.secret(ca_key=""))
    keeper = mesh.keeper(kube)
    loading = asyncio.create_task(keeper.load())
    await eventually(lambda: "(Secret/istio-system/cacerts) data[ca-key.pem]: it is missing." in caplog.text)
    cluster.put(operator.secret())
    await asyncio.wait_for(loading, 20)
    assert signs(keeper, operator)
    assert keeper.problems == ()


async def test_our_own_is_followed_by_one_plugged_in_and_that_by_another_with_all_roots_trusted(
    cluster: Cluster, kube: Kube, mesh: Mesh
) -> None:
    first, second = Operator("first"), Operator("second")
    mesh.agrees = False
    async with following(mesh.keeper(kube)) as keeper:
        own = keeper.signer
        cluster.put(first.secret())
        await eventually(lambda: roots(keeper) == ["O=td", "CN=first"])
        assert keeper.signer is own
        mesh.agrees = True
        await eventually(lambda: signs(keeper, first))
        assert roots(keeper) == ["CN=first", "O=td"]
        cluster.put(second.secret())
        await eventually(lambda: signs(keeper, second))
        assert roots(keeper) == ["CN=second", "O=td", "CN=first"]
    assert mesh.told[-1] == keeper.trusted
    # another start knows it all, and goes on with what is plugged in
    again = mesh.keeper(kube)
    await again.load()
    assert signs(again, second)
    assert roots(again) == ["CN=second", "O=td", "CN=first"]


async def test_what_is_trusted_is_on_record_before_anybody_is_told(
    cluster: Cluster, kube: Kube, mesh: Mesh
) -> None:
    recorded: list[set[str]] = []

    async def tell(_: succession.Trusted) -> None:
        secret = cluster.objects[f"{SECRETS}/{RECORD}"]
        found = succession.loaded(base64.b64decode(secret["data"]["roots.json"]).decode())
        recorded.append({root.certificate.subject.rfc4514_string() for root in found})

    keeper = Keeper(kube, "istio-system", OwnAuthority("td"), told=tell, confirmed=lambda: True)
    async with following(keeper):
        cluster.put(Operator("next").secret())
        await eventually(lambda: recorded)
    assert recorded[0] == {"O=td", "CN=next"}


async def test_a_secret_that_cannot_serve_changes_nothing_and_is_a_problem_with_a_way_out(
    cluster: Cluster, kube: Kube, mesh: Mesh
) -> None:
    good, expired = Operator("good"), Operator("expired", ends=now() - timedelta(hours=1))
    cluster.put(good.secret())
    async with following(mesh.keeper(kube)) as keeper:
        cluster.put(expired.secret())
        await eventually(lambda: mesh.troubles)
        [problem] = keeper.problems
        assert "data[ca-cert.pem]: CN=intermediate expired at" in str(problem)
        assert problem.hint == "Renew it. The CA before it stays in force."
        assert signs(keeper, good)
        assert roots(keeper) == ["CN=good"]
        cluster.put(good.secret())
        await eventually(lambda: mesh.troubles == 2)
        assert not keeper.problems


async def test_whoever_plugged_in_what_ends_soon_is_reminded(cluster: Cluster, kube: Kube, mesh: Mesh) -> None:
    ageing = Operator("ageing", begins=now() - 10 * DAY, ends=now() + timedelta(hours=5))
    cluster.put(ageing.secret(ca_crl=ageing.lists(until=now() + timedelta(minutes=5))))
    async with following(mesh.keeper(kube)) as keeper:
        await eventually(lambda: mesh.troubles)
        signer, lists = keeper.problems[0], keeper.problems[-1]
        assert (signer.at.field, lists.at.field) == ("data[ca-cert.pem]", "data[ca-crl.pem]")
        assert "it is good until" in signer.message


async def test_a_secret_that_is_deleted_goes_on_being_used(cluster: Cluster, kube: Kube, mesh: Mesh) -> None:
    before, after = Operator("before"), Operator("after")
    cluster.put(before.secret())
    async with following(mesh.keeper(kube)) as keeper:
        # kubectl has no other way to make a Secret of files anew
        cluster.remove(f"{SECRETS}/{PLUGGED}")
        await eventually(lambda: keeper._secrets[PLUGGED].data is None)
        assert signs(keeper, before)
        cluster.put(after.secret())
        await eventually(lambda: signs(keeper, after))
        assert roots(keeper) == ["CN=after", "CN=before"]
        assert f"{SECRETS}/{OWN}" not in cluster.objects


async def test_other_replicas_proxies_are_given_time(cluster: Cluster, kube: Kube, mesh: Mesh) -> None:
    for number in (1, 2):
        metadata = {"name": f"istiod-{number}", "namespace": "istio-system", "labels": {"app": "istiod"}}
        cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}})
    assert await mesh.keeper(kube)._is_confirmed() is False
    cluster.remove("/api/v1/namespaces/istio-system/pods/istiod-2")
    assert await mesh.keeper(kube)._is_confirmed() is True


async def test_a_root_replaced_while_istiod_was_away_is_made_known_before_it_is_used(
    cluster: Cluster, kube: Kube, mesh: Mesh
) -> None:
    cluster.put(Operator("before").secret())
    await mesh.keeper(kube).load()
    cluster.put(Operator("after").secret())
    keeper = mesh.keeper(kube)
    await keeper.load()
    assert roots(keeper) == ["CN=after", "CN=before"]
    with pytest.raises(RefusedError, match="told of a new root"):
        _ = keeper.signer
    # two minutes later
    secret = cluster.objects[f"{SECRETS}/{RECORD}"]
    record = json.loads(base64.b64decode(secret["data"]["roots.json"]))
    for root in record:
        root["since"] = (now() - timedelta(minutes=3)).isoformat()
    secret["data"]["roots.json"] = base64.b64encode(json.dumps(record).encode()).decode()
    later = mesh.keeper(kube)
    await later.load()
    assert later.signer.roots == keeper.serving.roots


async def test_our_own_root_is_followed_by_a_new_one_in_time(cluster: Cluster, kube: Kube, mesh: Mesh) -> None:
    async with following(mesh.keeper(kube)) as keeper:
        old = keeper.signer
        assert not await keeper.renew_if_old()
    # 81 % of its life are over
    aged = mesh.keeper(kube, OwnAuthority("td", grace=0.9999999))
    async with following(aged):
        assert await aged.renew_if_old()
        await eventually(lambda: aged.signer.certificate != old.certificate)
        new = aged.signer
        assert pem.load_certificates(aged.trusted.roots) == (new.certificate, old.certificate)
        assert new.key.public_key() != old.key.public_key()


async def test_an_own_authority_of_rsa_signs_too(kube: Kube, mesh: Mesh) -> None:
    keeper = mesh.keeper(kube, OwnAuthority("td", rsa_bits=2048))
    await keeper.load()
    assert keeper.signer.certificate.signature_algorithm_oid._name == "sha256WithRSAEncryption"


async def test_lists_of_revoked_certificates_are_told_and_our_own_has_one_beside_them(
    cluster: Cluster, kube: Kube, mesh: Mesh
) -> None:
    operator = Operator("listed")
    async with following(mesh.keeper(kube)) as keeper:
        assert keeper.trusted.revoked == ""
        cluster.put(operator.secret(ca_crl=operator.lists()))
        await eventually(lambda: signs(keeper, operator))
        issuers = {one.issuer.rfc4514_string() for one in revocation.load(keeper.trusted.revoked)}
        assert issuers == {"O=td", "CN=listed", "CN=intermediate"}
        # a CA without them would make everybody forget who was revoked
        cluster.put(Operator("careless").secret())
        await eventually(lambda: keeper.problems)
        assert "while the CA in force has one" in str(keeper.problems[0])
        assert signs(keeper, operator)

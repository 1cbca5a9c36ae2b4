"""Where the mesh's authority comes from, and istiod's own certificate."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.meshes import ControlPlane

from weft.adapters import clock, keys
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.pki import authority as pki
from weft.pki import pem
from weft.pki.authority import Authority
from weft.pki.pem import PemError
from weft.processes.controlplane import authority
from weft.processes.controlplane.authority import ServerCertificate


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster().serving() as one:
        yield one


@pytest.fixture
async def kube(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Kube]:
    async with Kube(Access.from_kubeconfig(cluster.kubeconfig(tmp_path / "config"))) as client:
        yield client


def root(name: str = "root") -> Authority:
    return pki.self_signed(
        keys.new_key(), organization=name, now=clock.now(), serial=keys.new_serial(), lifetime=timedelta(days=1)
    )


def secret(name: str, **data: str) -> dict[str, Any]:
    encoded = {
        key.replace("_", "-") + ".pem": base64.b64encode(text.encode()).decode() for key, text in data.items()
    }
    metadata = {"name": name, "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


async def test_two_istiods_that_start_together_agree_on_one_authority(kube: Kube) -> None:
    loaded = await asyncio.gather(*(authority.load(kube, "istio-system", organization="td") for _ in range(4)))
    assert len({one.certificate.fingerprint(one.certificate.signature_hash_algorithm) for one in loaded}) == 1  # type: ignore[arg-type]  # ours are signed with a hash
    assert loaded[0].certificate.subject.rfc4514_string() == "O=td"


async def test_a_plugged_in_authority_goes_before_our_own(cluster: Cluster, kube: Kube) -> None:
    await authority.load(kube, "istio-system", organization="td")
    plugged = root("plugged")
    certificate = pem.certificate(plugged.certificate)
    cluster.put(secret("cacerts", ca_cert=certificate, ca_key=pem.key(plugged.key), root_cert=certificate))
    loaded = await authority.load(kube, "istio-system", organization="td")
    assert loaded.certificate == plugged.certificate


async def test_a_secret_that_is_no_authority_is_an_error_that_names_it(cluster: Cluster, kube: Kube) -> None:
    cluster.put(secret("cacerts", ca_cert=pem.certificate(root().certificate)))
    with pytest.raises(PemError, match=r"Secret cacerts has no key 'ca-key\.pem'"):
        await authority.load(kube, "istio-system", organization="td")
    cluster.put(secret("cacerts", ca_cert=pem.certificate(root().certificate), ca_key=pem.key(root().key)))
    with pytest.raises(PemError, match="Secret cacerts: the CA's key is not the key of its certificate"):
        await authority.load(kube, "istio-system", organization="td")


async def test_a_replaced_server_certificate_is_used_from_the_next_handshake_on() -> None:
    signer = root()
    own = ServerCertificate(signer, ("istiod.istio-system.svc",))
    plane = ControlPlane("127.0.0.1:0")

    async def serial() -> str:
        context = ssl.create_default_context(cadata=pem.certificates(signer.roots))
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(
            "127.0.0.1", plane.port, ssl=context, server_hostname="istiod.istio-system.svc"
        )
        found = str(writer.get_extra_info("peercert")["serialNumber"])
        writer.close()
        return found

    plane.discovery.serve(plane.server)
    plane.port = plane.server.listen("127.0.0.1:0", own.grpc)
    await plane.server.start()
    try:
        before = await serial()
        assert await serial() == before
        own.replace()
        assert await serial() != before
    finally:
        await plane.server.stop()

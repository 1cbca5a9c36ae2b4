"""istiod's own certificate, of the authority in force."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.issuing import Shown, shown
from tests.processes.controlplane.meshes import ControlPlane
from tests.processes.controlplane.succeeding import Mesh, following
from tests.support.authorities import Operator, now

from weft.adapters import keys
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.pki import pem, plugged
from weft.processes.controlplane.authority import ServerCertificate


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster().serving() as one:
        yield one


@pytest.fixture
async def kube(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Kube]:
    async with Kube(Access.from_kubeconfig(cluster.kubeconfig(tmp_path / "config"))) as client:
        yield client


async def test_the_server_certificate_is_used_from_the_next_handshake_on_and_follows_the_authority(
    cluster: Cluster, kube: Kube
) -> None:
    mesh, operator = Mesh(), Operator()
    keeper = mesh.keeper(kube)
    await keeper.load()
    own = ServerCertificate(keeper, ("istiod.istio-system.svc",), lambda: keeper.trusted)
    plane = ControlPlane("127.0.0.1:0")

    async def serial() -> str:
        context = ssl.create_default_context(cadata=keeper.trusted.roots)
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
        assert (after := await serial()) != before
        async with following(keeper):
            cluster.put(operator.secret())
            async with asyncio.timeout(20):
                while keeper.signer.certificate != operator.intermediate:
                    await asyncio.sleep(0.02)
        own.follow()
        assert await serial() not in {before, after}
        own.follow()
    finally:
        await plane.server.stop()


async def test_who_shows_a_certificate_that_is_revoked_is_not_let_in(cluster: Cluster, kube: Kube) -> None:
    operator = Operator()
    signer = plugged.read(operator.data(), now())
    good, bad = shown(signer, "spiffe://td/ns/a/sa/b"), shown(signer, "spiffe://td/ns/a/sa/b")
    cluster.put(operator.secret(ca_crl=operator.lists(pem.load_certificate(bad.chain))))
    keeper = Mesh().keeper(kube)
    await keeper.load()
    plane = ControlPlane("127.0.0.1:0")
    plane.discovery.serve(plane.server)
    plane.port = plane.server.listen(
        "127.0.0.1:0", ServerCertificate(keeper, ("istiod.istio-system.svc",), lambda: keeper.trusted).grpc
    )
    await plane.server.start()

    async def enters(client: Shown) -> bool:
        context = ssl.create_default_context(cadata=keeper.trusted.roots)
        context.set_alpn_protocols(["h2"])
        with keys.as_file(client.chain + pem.certificate(operator.intermediate) + client.key) as path:
            context.load_cert_chain(path)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", plane.port, ssl=context, server_hostname="istiod.istio-system.svc"
        )
        try:
            # the server's settings are the first that it says, once it has let the client in
            return bool(await asyncio.wait_for(reader.read(9), 20))
        except ssl.SSLError:
            return False
        finally:
            writer.close()

    try:
        assert await enters(good)
        assert not await enters(bad)
    finally:
        await plane.server.stop()

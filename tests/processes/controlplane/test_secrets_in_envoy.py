"""Certificates of Secrets in the real Envoy: the missing hold nothing else back, the changed drop nothing."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.meshes import asking_envoy, free_port, resource
from tests.processes.controlplane.secrets import READER, Plane, plane, tls
from tests.support.envoy import Identity, Running, scratch
from tests.support.identities import Authority
from tests.support.proto import listener_pb2

from weft.xds.resource import LISTENER, Resource

for _module in ("transport_sockets.tls.v3.tls_pb2", "filters.listener.tls_inspector.v3.tls_inspector_pb2"):
    # JSON of type Any is understood once the message's module is there
    import_module(f"envoy.extensions.{_module}")

_TYPES = "type.googleapis.com/envoy.extensions"
_HCM = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPES}.filters.http.router.v3.Router"
CA = Authority()
NODE = "router~10.0.0.1~gate.edge~edge.svc.cluster.local"


def listener(port: int, *names: str) -> Resource:
    """A server for each name, `NAME.example`, with the certificate of Secret NAME; it answers with its name."""
    inspector = {"@type": f"{_TYPES}.filters.listener.tls_inspector.v3.TlsInspector"}
    body = {
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "listener_filters": [{"name": "tls", "typed_config": inspector}],
        "filter_chains": [_chain(name) for name in names],
    }
    return resource(LISTENER, "edge", listener_pb2.Listener, body)


def _chain(name: str) -> dict[str, Any]:
    answer = {"status": 200, "body": {"inline_string": name}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": answer}]}]
    manager = {
        "@type": _HCM,
        "stat_prefix": name,
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    secret = {"name": f"kubernetes://{name}", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
    context = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificate_sds_secret_configs": [secret]},
    }
    return {
        "filter_chain_match": {"server_names": [f"{name}.example"]},
        "filters": [{"name": "http", "typed_config": manager}],
        "transport_socket": {"name": "tls", "typed_config": context},
    }


class Client:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int, name: str) -> "Client":
        context = ssl.create_default_context(cadata=CA.roots)
        async with asyncio.timeout(5):
            return cls(
                *await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=f"{name}.example")
            )

    @property
    def certificate(self) -> str:
        der = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(der)

    async def ask(self) -> str:
        self._writer.write(b"GET / HTTP/1.1\r\nhost: any\r\n\r\n")
        async with asyncio.timeout(5):
            head = await self._reader.readuntil(b"\r\n\r\n")
            (length,) = (
                int(line.split()[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
            )
            return (await self._reader.readexactly(length)).decode()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as path:
        yield path


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    made.readers.add(READER)
    async with made.serving():
        yield made


@pytest.fixture
async def serving(cluster: Cluster, folder: Path) -> AsyncIterator[Plane]:
    async with plane(cluster, f"unix:{folder}/xds") as made:
        yield made


@pytest.fixture
def envoy(serving: Plane, folder: Path) -> Iterator[Running]:
    with asking_envoy(folder / "xds", node=NODE) as running:
        yield running


async def connected(port: int, name: str, seconds: float = 5) -> Client:
    """A connection, as soon as there can be one."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await Client.connect(port, name)
            except OSError:
                await asyncio.sleep(0.02)


def same(pem: str, identity: Identity) -> bool:
    return pem.split() == identity.chain.split()


async def test_a_missing_certificate_holds_back_its_own_server_alone_until_it_comes(
    cluster: Cluster, serving: Plane, envoy: Running
) -> None:
    port = free_port()
    cluster.put(tls("here", CA.serve("here.example")))
    serving.set(listener(port, "here", "gone"))
    # long before the patience that the listener would have with a secret that nobody speaks of (15 s)
    here = await connected(port, "here")
    assert await here.ask() == "here"
    with pytest.raises(OSError, match=r"reset|EOF"):
        await Client.connect(port, "gone")
    cluster.put(tls("gone", CA.serve("gone.example")))
    gone = await connected(port, "gone")
    assert await gone.ask() == "gone"
    assert await here.ask() == "here"
    for client in (here, gone):
        await client.close()
    del envoy


async def test_a_certificate_is_turned_over_and_no_connection_notices(
    cluster: Cluster, serving: Plane, envoy: Running
) -> None:
    port = free_port()
    first, second = CA.serve("web.example"), CA.serve("web.example")
    cluster.put(tls("web", first))
    serving.set(listener(port, "web"))
    before = await connected(port, "web")
    assert same(before.certificate, first)
    cluster.put(tls("web", second))
    async with asyncio.timeout(5):
        while True:
            after = await Client.connect(port, "web")
            if same(after.certificate, second):
                break
            await after.close()
            await asyncio.sleep(0.01)
    assert await before.ask() == await after.ask() == "web"
    cluster.remove("/api/v1/namespaces/edge/secrets/web")
    await asyncio.sleep(0.2)
    assert await before.ask() == "web"
    late = await Client.connect(port, "web")
    assert same(late.certificate, second), "what Envoy has is not taken from it"
    for client in (before, after, late):
        await client.close()
    dumped = await asyncio.to_thread(envoy.get, "/config_dump?include_eds")
    assert second.key.splitlines()[1] not in dumped
    assert base64.b64encode(b"[redacted]").decode() in dumped


async def test_a_restarted_control_plane_goes_on_with_the_certificates_of_its_gateways(
    cluster: Cluster, folder: Path
) -> None:
    port = free_port()
    first, second = CA.serve("web.example"), CA.serve("web.example")
    cluster.put(tls("web", first))
    with asking_envoy(folder / "xds", node=NODE):
        async with plane(cluster, f"unix:{folder}/xds") as before:
            before.set(listener(port, "web"))
            kept = await connected(port, "web")
            assert same(kept.certificate, first)
        async with plane(cluster, f"unix:{folder}/xds") as after:
            after.set(listener(port, "web"))
            await after.connected(1)
            await after.settled()
            assert after.metrics.pushes["sds"] == 0, "Envoy has it already"
            cluster.put(tls("web", second))
            async with asyncio.timeout(5):
                while True:
                    late = await Client.connect(port, "web")
                    if same(late.certificate, second):
                        break
                    await late.close()
            assert await kept.ask() == await late.ask() == "web"
            await kept.close()
            await late.close()

"""Who is shown what of the control plane and its proxies, over HTTP and over xDS."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import grpc
import pytest
from tests.processes.controlplane.meshes import ControlPlane
from tests.support.proto import discovery_pb2

from weft.adapters import http_server
from weft.adapters.grpc_server import Peer, RefusedError
from weft.pki.identity import SpiffeId
from weft.processes.controlplane import debugging, http
from weft.processes.controlplane.debugging import Debugging, Pages
from weft.processes.controlplane.discovery import SERVICE
from weft.processes.controlplane.identities import Caller

SYNCZ: list[dict[str, Any]] = [{"proxy": "web.shop"}]
DUMPS: Mapping[str, dict[str, Any]] = {"web.shop": {"configs": []}}
PAGES = Debugging(Pages(lambda: SYNCZ, DUMPS.get, list), {"istio-system", "kiali"})
OWN, OTHER, NONE = "config_dump?proxyID=web.shop", "config_dump?proxyID=vault.bank", "registryz"


def account(namespace: str) -> SpiffeId:
    return SpiffeId("cluster.local", namespace, "default")


async def prove(peer: Peer) -> Caller:
    """Tokens are namespaces here; one is not good."""
    if peer.bearer == "bad":
        raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "the token is not good")
    return Caller(account(peer.bearer))


@pytest.fixture
async def port() -> AsyncIterator[int]:
    inside = http.Inside(lambda: True, lambda: "pilot_xds 1\n", {"version": "1"}, PAGES, prove)
    async with http_server.serving(http.monitoring(inside), "127.0.0.1:0") as port:
        yield port


async def status(port: int, path: str, token: str = "") -> int:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        await answer.read()
        return answer.status


@pytest.fixture
def afar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers come from outside of the pod."""
    monkeypatch.setattr(http, "_is_loopback", lambda _: False)


@pytest.mark.parametrize(
    ("token", "page", "expected"),
    [
        ("", "syncz", 403),
        ("", OWN, 403),
        ("", "problems", 403),
        ("bad", "syncz", 401),
        ("shop", "syncz", 403),
        ("shop", "problems", 403),
        ("shop", OTHER, 403),
        ("shop", OWN, 200),
        ("shop", NONE, 403),
        ("kiali", "syncz", 200),
        ("istio-system", "syncz", 200),
        ("istio-system", OWN, 200),
        ("istio-system", OTHER, 404),
        ("istio-system", NONE, 404),
    ],
)
@pytest.mark.usefixtures("afar")
async def test_strangers_see_nothing_workloads_their_own_and_the_system_all(
    port: int, token: str, page: str, expected: int
) -> None:
    assert await status(port, f"/debug/{page}", token) == expected


@pytest.mark.usefixtures("afar")
async def test_metrics_version_and_health_are_everybodys(port: int) -> None:
    assert [await status(port, path) for path in ("/metrics", "/version", "/ready")] == [200] * 3


async def test_within_the_pod_no_proof_is_asked_for(port: int) -> None:
    assert await status(port, "/debug/syncz") == 200


class Shown(ControlPlane):
    """A discovery service with pages, whose callers are of one namespace, or nobody."""

    def __init__(self, namespace: str) -> None:
        super().__init__("127.0.0.1:0")
        self.namespace = namespace
        self.discovery._pages = PAGES

    async def identify(self, peer: Peer) -> Caller | None:
        return Caller(account(self.namespace)) if self.namespace else None


async def asked(namespace: str, page: str, method: str) -> tuple[grpc.StatusCode, list[bytes]]:
    """What a caller of a namespace is answered, as istioctl asks: with a node that is no proxy."""
    plane = Shown(namespace)
    async with plane.serving(), grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        call: Any = channel.stream_stream(f"/{SERVICE}/{method}")()
        if method.startswith("Delta"):
            request = discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=[page])
            response: Any = discovery_pb2.DeltaDiscoveryResponse
        else:
            request = discovery_pb2.DiscoveryRequest(resource_names=[page])
            response = discovery_pb2.DiscoveryResponse
        request.type_url, request.node.id = debugging.TYPE, "debug~0.0.0.0~istioctl~cluster.local"
        await call.write(request.SerializeToString())
        try:
            raw = await call.read()
        except grpc.aio.AioRpcError as error:
            return error.code(), []
        code = await call.code()
        given = response.FromString(raw)
        assert given.type_url == debugging.TYPE
        bodies = [one.resource if method.startswith("Delta") else one for one in given.resources]
        return code, [body.value for body in bodies]


@pytest.mark.parametrize("method", ["DeltaAggregatedResources", "StreamAggregatedResources"])
async def test_over_xds_the_same_is_shown_to_the_same_callers(method: str) -> None:
    assert await asked("istio-system", "syncz", method) == (grpc.StatusCode.OK, [b'[{"proxy":"web.shop"}]'])
    assert await asked("shop", OWN, method) == (grpc.StatusCode.OK, [b'{"configs":[]}'])
    for namespace, page in (("", OWN), ("shop", "syncz"), ("shop", OTHER), ("bank", OWN)):
        assert await asked(namespace, page, method) == (grpc.StatusCode.PERMISSION_DENIED, [])
    assert await asked("istio-system", NONE, method) == (grpc.StatusCode.NOT_FOUND, [])

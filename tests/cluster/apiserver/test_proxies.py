"""`proxy` below pods, services and nodes: what comes back is what the server behind it answered."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import ENDPOINTSLICES, NODES, PODS, SERVICEACCOUNTS, SERVICES

HERE = "default"
ADDRESS = "127.0.0.1"


async def _echo(request: web.Request) -> web.StreamResponse:
    if request.path == "/socket":
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{socket.ws_protocol}: {message.data}")
        return socket
    if request.path == "/moved":
        return web.Response(status=302, headers={"Location": "/elsewhere?a=b"})
    told = {
        "method": request.method,
        "path": request.raw_path,
        "body": (await request.read()).decode(),
        "authorization": request.headers.get("Authorization", ""),
        "own": request.headers.get("X-Own", ""),
        "forwarded": request.headers.get("X-Forwarded-Uri", ""),
    }
    return web.json_response(told, status=201 if request.method == "POST" else 200)


@pytest.fixture
async def port(kube: Kube) -> AsyncIterator[int]:
    """A server's port, and behind it: a Service, and a node of the same address."""
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", _echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, ADDRESS, 0).start()
    number = int(runner.addresses[0][1])
    ports = [{"name": "http", "port": 80}, {"name": "other", "port": 81}]
    await kube.create(SERVICES, {"metadata": {"name": "web", "namespace": HERE}, "spec": {"ports": ports}})
    labels = {"kubernetes.io/service-name": "web"}
    await kube.create(
        ENDPOINTSLICES,
        {
            "metadata": {"name": "web", "namespace": HERE, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": "http", "port": number}],
        },
    )
    addresses = [{"type": "InternalIP", "address": ADDRESS}]
    await kube.create(NODES, {"metadata": {"name": "n"}, "status": {"addresses": addresses}})
    yield number
    await runner.cleanup()


@pytest.fixture
async def client(home: Home, port: int) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cadata=home.access.ca)
    context.load_cert_chain(home.path / "pki/admin.crt", home.path / "pki/admin.key")
    async with aiohttp.ClientSession(home.access.server, connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


def service(reference: str, rest: str = "") -> str:
    return f"/api/v1/namespaces/{HERE}/services/{reference}/proxy{rest}"


@pytest.mark.parametrize("reference", ["web:http", "web:80", "http:web:http"])
async def test_a_service_is_reached_by_its_ports_name_or_number(
    client: aiohttp.ClientSession, reference: str
) -> None:
    async with client.get(service(reference, "/a%2Fb/?c=d&watch=true&dryRun=no")) as answer:
        told = await answer.json()
    assert told["path"] == "/a%2Fb/?c=d&watch=true&dryRun=no"
    assert told["forwarded"] == service(reference, "/a/b/")


async def test_a_nodes_other_port_is_reached_as_plain_http(kubectl: Kubectl, port: int) -> None:
    found = await kubectl("get", "--raw", f"/api/v1/nodes/n:{port}/proxy/hello")
    assert '"path": "/hello"' in found.out


async def test_bodies_of_any_size_and_methods_pass_and_proofs_stay(client: aiohttp.ClientSession) -> None:
    body = b"x" * (8 << 20)
    headers = {"X-Own": "yes", "Authorization": "Bearer secret"}
    async with client.post(service("web:http", "/"), data=io.BytesIO(body), headers=headers) as answer:
        told = await answer.json()
        assert answer.status == 201
    assert (len(told["body"]), told["own"], told["authorization"]) == (len(body), "yes", "")
    async with client.delete(service("web:http", "/x")) as answer:
        assert (await answer.json())["method"] == "DELETE"


async def test_redirections_lead_back_through_the_proxy(client: aiohttp.ClientSession) -> None:
    async with client.get(service("web:http"), allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, service("web:http", "/"))
    async with client.get(service("web:http", "/moved"), allow_redirects=False) as answer:
        assert answer.headers["Location"] == service("web:http", "/elsewhere?a=b")


async def test_a_websocket_passes_both_ways_with_its_subprotocol(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(5), client.ws_connect(service("web:http", "/socket"), protocols=["chat"]) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "chat: hello"
        assert socket.protocol == "chat"


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (service("web:other"), 503, 'no endpoints available for service "web"'),
        (service("web:9"), 503, 'no service port 9 found for service "web"'),
        (service("nobody"), 404, 'services "nobody" not found'),
        (service("ftp:web:80"), 400, 'invalid service request "ftp:web:80"'),
        (f"/api/v1/namespaces/{HERE}/pods/young/proxy", 400, "address not allowed"),
        ("/api/v1/nodes/n:1/proxy", 503, "error trying to reach service: "),
    ],
)
async def test_what_cannot_be_reached_is_said_as_kubernetes_says_it(
    kube: Kube, port: int, path: str, code: int, message: str
) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})
    pod: dict[str, Any] = {"metadata": {"name": "young", "namespace": HERE}}
    await kube.create(PODS, {**pod, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    with pytest.raises(ApiError) as refused:
        await kube.call("GET", path + "/")
    assert refused.value.code == code
    assert message in str(refused.value)

"""The application's own probes, asked on behalf of the kubelet, past the proxy."""

import ssl
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from weft.adapters import http
from weft.xds import protobuf

_PASSTHROUGH = "127.0.0.6"
"""Connections from this address are not redirected, though they come from the proxy's user."""

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"


async def probe(prober: Mapping[str, Any], address: str) -> http.Response:
    """Ask one probe of the application at `address`, the pod's own. 200 says yes, anything else no."""
    timeout = float(prober.get("timeoutSeconds") or 1)
    match prober:
        case {"httpGet": {"port": int(port)} as request}:
            return await _http(request, address, port, timeout)
        case {"tcpSocket": {"port": int(port)}}:
            return await _tcp(address, port, timeout)
        case {"grpc": {"port": int(port)} as call}:
            return await _grpc(port, str(call.get("service") or ""), timeout)
        case _:
            return http.Response(500, b"the probe names a port that no container of the pod has\n")


async def _http(request: Mapping[str, Any], address: str, port: int, timeout: float) -> http.Response:
    headers = {one["name"]: one["value"] for one in request.get("httpHeaders") or ()}
    tls = _unverified() if str(request.get("scheme", "")).upper() == "HTTPS" else None
    target = http.Target(request.get("host") or address, port, tls, _PASSTHROUGH, headers)
    path = str(request.get("path") or "/")
    try:
        answer = await http.fetch(target, "GET", path if path.startswith("/") else f"/{path}", timeout=timeout)
    except http.HttpError as error:
        return http.Response(503, f"{error}\n".encode())
    return http.Response(answer.status if 100 < answer.status < 600 else 502)


async def _tcp(address: str, port: int, timeout: float) -> http.Response:
    try:
        await http.connect(http.Target(address, port, source=_PASSTHROUGH), timeout=timeout)
    except http.HttpError as error:
        return http.Response(503, f"{error}\n".encode())
    return http.Response(200)


async def _grpc(port: int, service: str, timeout: float) -> http.Response:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(_HEALTH)
        try:
            answer = await call(protobuf.text(1, service), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return http.Response(503, f"{error.code().name}: {error.details()}\n".encode())
    return (
        http.Response(200) if answer.startswith(_SERVING) else http.Response(503, b"the service is not serving\n")
    )


def _unverified() -> ssl.SSLContext:
    # the kubelet does not verify certificates of probes either (Kubernetes, Configure Probes)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

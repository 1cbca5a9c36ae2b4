"""gRPC's health checking protocol (grpc.health.v1), as far as a probe asks: two messages of one field each."""

import grpc
import grpc.aio

_METHOD = "/grpc.health.v1.Health/Check"
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_AGENT = (("grpc.primary_user_agent", "kube-probe/1.36"), ("grpc.enable_http_proxy", 0))


async def ask(host: str, port: int, service: str, seconds: float) -> str:
    """Why a server is not healthy; empty if it is. `service` empty asks about the server as a whole."""
    address = f"{host}:{port}"
    async with grpc.aio.insecure_channel(address, options=_AGENT) as channel:
        call = channel.unary_unary(_METHOD, request_serializer=_request, response_deserializer=_status)
        try:
            found = await call(service, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return _trouble(error, address, seconds)
    return "" if found == 1 else f'service unhealthy (responded with "{_STATUSES.get(found, found)}")'


def _trouble(error: grpc.aio.AioRpcError, address: str, seconds: float) -> str:
    match error.code():
        case grpc.StatusCode.UNIMPLEMENTED:
            return (
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
                f"{error.details()}"
            )
        case grpc.StatusCode.UNAVAILABLE:
            return f'error: failed to connect service "{address}": {error.details()}'
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f'timeout: health rpc of "{address}" did not complete within {seconds:g}s'
        case code:
            return f"error: health rpc probe failed: {code.name}: {error.details()}"


def _request(service: str) -> bytes:
    # HealthCheckRequest: string service = 1
    text = service.encode()
    return b"\x0a" + _varint(len(text)) + text if text else b""


def _status(answer: bytes) -> int:
    # HealthCheckResponse: ServingStatus status = 1; a proto3 zero is left out
    if len(answer) < 2 or answer[0] != 0x08:
        return 0
    return answer[1]


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes((low | 0x80,)) + _varint(rest) if rest else bytes((low,))

"""Secret discovery as Envoy asks for it: one stream for each name, on a Unix socket (state of the world)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from weft.xds import encode
from weft.xds.resource import SECRET, Resource

_STREAM: Final = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
_OPTIONS: Final = (("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0))
_xds: Any = discovery_pb2
_base: Any = base_pb2

Check = Callable[[bytes], str]
"""What is wrong with a secret, in words; empty where it serves."""


class NotServedError(Exception):
    """Nobody serves the socket, or whoever did so ended the stream; the message says which."""


async def follow(socket: Path, name: str, node: str, check: Check) -> AsyncIterator[Resource]:
    """The secret `name` as it is and as it changes, for the proxy `node`. What `check` objects to is refused.

    The stream's end is a NotServedError.
    """
    requests: asyncio.Queue[Any] = asyncio.Queue()
    requests.put_nowait(_first(name, node))
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS) as channel:
        method: Any = channel.stream_stream(_STREAM)
        call = method(_written(requests))
        accepted = ""
        try:
            async for message in call:
                response = _xds.DiscoveryResponse.FromString(message)
                trouble, found = _taken(response, name, check)
                accepted = accepted if trouble else response.version_info
                requests.put_nowait(_answer(name, accepted, response.nonce, trouble))
                if found is not None:
                    yield found
        except grpc.aio.AioRpcError as error:
            details = " ".join((error.details() or "").split())
            raise NotServedError(f"{error.code().name}: {details}") from error
        except DecodeError as error:
            raise NotServedError(f"the answer is not one of SDS: {error}") from error
        finally:
            call.cancel()
    raise NotServedError("the stream was ended")


async def _written(requests: "asyncio.Queue[Any]") -> AsyncIterator[bytes]:
    while True:
        yield (await requests.get()).SerializeToString()


def _first(name: str, node: str) -> Any:
    # whoever serves has to know that Envoy's validator for several trust domains is understood
    version = _base.BuildVersion()
    version.version.major_number, version.version.minor_number = 1, 40
    asking = _base.Node(id=node, user_agent_name="envoy", user_agent_build_version=version)
    return _xds.DiscoveryRequest(node=asking, resource_names=[name], type_url=SECRET)


def _answer(name: str, version: str, nonce: str, trouble: str) -> Any:
    request = _xds.DiscoveryRequest(
        resource_names=[name], type_url=SECRET, version_info=version, response_nonce=nonce
    )
    if trouble:
        request.error_detail.code, request.error_detail.message = (
            grpc.StatusCode.INVALID_ARGUMENT.value[0],
            trouble,
        )
    return request


def _taken(response: Any, name: str, check: Check) -> tuple[str, Resource | None]:
    """What is wrong with a response, and the secret in it where nothing is."""
    for each in response.resources:
        if each.type_url != SECRET:
            return f"{each.type_url} is no secret", None
        if trouble := check(each.value):
            return trouble, None
        return "", encode.from_bytes(SECRET, name, each.value)
    return "", None

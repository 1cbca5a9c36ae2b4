"""`kubectl logs`: the kubelet's text, passed on as it comes."""

import asyncio
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from weft.cluster.apiserver.streams import until_either_ends
from weft.cluster.apiserver.streams_kubelet import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    KubeletTarget,
    refusal,
    unreachable,
)

_CHUNK = 64 * 1024
_LOOK = 1.0
"""Seconds between looks at whether the client of a quiet log is still there."""


async def relay(request: web.Request, target: KubeletTarget) -> web.StreamResponse:
    """Stream `/containerLogs/NS/POD/CONTAINER?…` until either side ends; a refusal raises `StatusError`."""
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        try:
            # only the answer is waited for so long: a followed log may be silent for hours
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await session.get(target.url, ssl=target.ssl or True)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(urlsplit(target.url).netloc, error) from None
        async with answer:
            if answer.status != HTTPStatus.OK:
                raise refusal(answer.status, await answer.text(errors="replace"))
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            await response.prepare(request)
            await _copy(request, answer, response)
            return response


async def _copy(request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    async def down() -> None:
        async for data in answer.content.iter_any():
            await response.write(data)

    await until_either_ends(down(), _gone(request))


async def _gone(request: web.Request) -> None:
    """Return when the client has closed its connection, which a log without new lines would not notice."""
    while request.transport is not None and not request.transport.is_closing():  # aiohttp tells a handler nothing
        await asyncio.sleep(_LOOK)

"""Work that is done again whenever something has changed, until nothing is left to do."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import aiohttp

from weft.adapters.kube.client import ApiError

T = TypeVar("T")

_FIRST: Final = 0.1
_LAST: Final = 5.0
"""Seconds before what failed is tried again, ever more of them: what else changes meanwhile waits as long."""

log = logging.getLogger("weft.underlay.working")

PASSING: Final = (ApiError, aiohttp.ClientError, OSError, TimeoutError)
"""What a call of the API server may end with that is better the next time."""


async def keep(what: str, wake: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work each time that it is woken, for ever; again after a while where the API server refused.

    Work looks at what is there now and does what is missing, so that it does not matter how often it is done.
    """
    pause = _FIRST
    while True:
        await wake.wait()
        wake.clear()
        try:
            await work()
        except PASSING as error:
            # what is late once is told by the watch soon
            if pause > _FIRST or not is_late(error):
                log.warning("%s: %s. It is tried again.", what, str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST)
            wake.set()
        else:
            pause = _FIRST


async def each(items: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Do something about each of them; the failure of one keeps none of the others waiting, and is raised then."""
    failed: Exception | None = None
    for item in items:
        try:
            await do(item)
        except PASSING as error:
            failed = error
    if failed is not None:
        raise failed


def is_late(error: Exception) -> bool:
    """Whether the object has moved on, is there already, or is gone: the watch tells soon."""
    return isinstance(error, ApiError) and error.code in {404, 409}

"""What node processes have in common: how they begin, go on while they are trusted, and end."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

from weft.adapters.kube.access import Access, AccessError
from weft.processes.cni import health
from weft.processes.cni.flags import Api
from weft.processes.cni.pods import Pods

log = logging.getLogger("weft.cni")

_TRUST_LOOK: Final = 60.0
"""Seconds between looks at the API server's authority."""

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}


def log_to_stderr(level: str) -> None:
    """Log from a level on, with times in UTC."""
    logging.basicConfig(
        level=LEVELS[level], format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.Formatter.converter = time.gmtime


async def until_told(work: Coroutine[Any, Any, None]) -> bool:
    """Work until a signal asks to stop, or the work fails; whether it was asked."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    asked = not running.done()
    if asked:
        log.info("stopping")
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return asked


def tell(command: str, error: BaseException) -> None:
    """Say on stderr what ended us, a line for each failure."""
    log.debug("what failed", exc_info=error)
    for each in _flat(error):
        sys.stderr.write(f"weft {command}: {type(each).__name__}: {each}\n")


def _flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _flat(each)]
    return [error]


async def follow(pods: Pods, part: health.Part) -> None:
    """Be ready once the node's pods are known."""
    part.waits("the API server has not told of this node's pods yet")
    await pods.synced.wait()
    part.ready()


async def while_trusted(api: Api, access: Access) -> None:
    """Fail when the API server is to be verified by another authority: all of us speaks to it."""
    while True:
        await asyncio.sleep(_TRUST_LOOK)
        try:
            now = api.access()
        except (AccessError, OSError) as error:
            log.warning("our credentials cannot be read: %s", error)
            continue
        if now.ca != access.ca:
            raise AccessError("the API server has another authority now. We start again with it.")

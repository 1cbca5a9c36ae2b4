"""Addresses that a crash left taken: host-local's notes of sandboxes that are no more."""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Collection
from ipaddress import IPv4Address
from pathlib import Path

from weft.adapters.cri.client import CriError, Runtime

_AGE = 300.0
"""Seconds that a note may be without its sandbox: one that is being made is not listed yet."""

_BETWEEN = 60.0
_log = logging.getLogger(__name__)


async def keep(runtime: Runtime, state: Path, clock: Callable[[], float]) -> None:
    """Give back what was left taken, at the start and every minute. `state` is host-local's folder."""
    while True:
        try:
            known = {sandbox.id for sandbox in await runtime.sandboxes()}
            for address in await asyncio.to_thread(reclaim, state, known, clock() - _AGE):
                _log.warning("address %s given back: its sandbox is gone", address)
        except (CriError, OSError) as error:
            _log.warning("addresses: %s", error)
        await asyncio.sleep(_BETWEEN)


def reclaim(state: Path, sandboxes: Collection[str], before: float) -> list[str]:
    """Remove the notes, made before that time, of other sandboxes than these; the addresses."""
    found = []
    for network in sorted(state.iterdir()) if state.is_dir() else ():
        # the plugin takes the same lock
        lock = os.open(network / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for note in sorted(network.iterdir()):
                if _is_address(note.name) and _left(note, sandboxes, before):
                    note.unlink()
                    found.append(note.name)
        finally:
            os.close(lock)
    return found


def _left(note: Path, sandboxes: Collection[str], before: float) -> bool:
    holder = note.read_text(errors="replace").partition("\n")[0].strip()
    return holder not in sandboxes and note.stat().st_mtime < before


def _is_address(name: str) -> bool:
    try:
        IPv4Address(name)
    except ValueError:
        return False
    return True

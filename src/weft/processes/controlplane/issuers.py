"""The keys of issuers of tokens, followed: fetched, fetched again, and kept while that fails."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from weft.adapters.jwks import FetchError
from weft.model.request_authentication import KeySource, KeyTrouble

TURN: Final = timedelta(minutes=20)
"""How often keys are looked at again (PILOT_JWT_PUB_KEY_REFRESH_INTERVAL)."""

_PATIENCE: Final = timedelta(seconds=5)
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0

log = logging.getLogger("weft.issuers")


class _Fetcher(Protocol):
    async def fetch(self, url: str, timeout: timedelta, *, discovery: bool = False) -> str:
        """The JWKS. Raises FetchError."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where keys go, None for those that are to be forgotten; and who is told of other troubles."""

    put: Callable[[KeySource, str | None], None]
    told: Callable[[], None]


class Issuers:
    """Follows the sources that rules ask for. `wanted` gives them, with how long each may take to answer."""

    def __init__(
        self,
        fetcher: _Fetcher,
        wanted: Callable[[], Mapping[KeySource, timedelta]],
        outlet: Outlet,
        turn: timedelta = TURN,
    ) -> None:
        self._fetcher, self._wanted, self._outlet, self._turn = fetcher, wanted, outlet, turn
        self._changed = asyncio.Event()
        self._asked: set[KeySource] = set()
        self._fetched: set[KeySource] = set()
        self._troubles: dict[KeySource, KeyTrouble] = {}

    @property
    def troubles(self) -> tuple[KeyTrouble, ...]:
        """Whose keys could not be had the last time, in stable order."""
        return tuple(sorted(self._troubles.values()))

    @property
    def settled(self) -> bool:
        """Whether all that are wanted have answered or failed once, which takes a few seconds at most."""
        return self._wanted().keys() <= self._asked

    def look(self) -> None:
        """The rules may have changed; returns at once."""
        self._changed.set()

    async def run(self) -> None:
        """Fetch what is wanted, for ever."""
        running: dict[KeySource, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._changed.wait()
                self._changed.clear()
                wanted = self._wanted()
                for gone in running.keys() - wanted.keys():
                    running.pop(gone).cancel()
                    self._troubles.pop(gone, None)
                    self._asked.discard(gone)
                    self._fetched.discard(gone)
                    self._outlet.put(gone, None)
                for new in wanted.keys() - running.keys():
                    running[new] = tasks.create_task(self._follow(new))

    async def _follow(self, source: KeySource) -> None:
        wait = _FIRST_WAIT
        while True:
            try:
                keys = await self._fetched_from(source)
            except FetchError as error:
                self._fails(source, str(error))
                await asyncio.sleep(min(wait, self._turn.total_seconds()))
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            wait = _FIRST_WAIT
            self._fetched.add(source)
            self._outlet.put(source, keys)
            if self._troubles.pop(source, None) is not None:
                log.info("%s: its keys are there again", source.url)
                self._outlet.told()
            await asyncio.sleep(self._turn.total_seconds())

    async def _fetched_from(self, source: KeySource) -> str:
        patience = self._wanted().get(source, _PATIENCE)
        if source not in self._asked:
            patience = min(patience, _PATIENCE)
        try:
            return await self._fetcher.fetch(source.url, patience, discovery=source.discovery)
        except FetchError:
            raise
        except Exception as error:
            # our bug with one issuer must not end the service for all others
            log.exception("%s: fetching its keys failed", source.url)
            raise FetchError(f"{type(error).__name__}, see istiod's log") from error
        finally:
            self._asked.add(source)

    def _fails(self, source: KeySource, reason: str) -> None:
        trouble = KeyTrouble(source, reason, kept=source in self._fetched)
        if self._troubles.get(source) != trouble:
            self._troubles[source] = trouble
            log.warning("no keys from %s: %s", source.url, reason)
            self._outlet.told()

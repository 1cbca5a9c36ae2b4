"""Addresses for one interface: from which pools, of both IP versions or of none, and not those of others."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from weft.processes.underlay.ipam_meters import NO_POOL, USED_OUT
from weft.processes.underlay.ipam_pools import PoolBusyError, Pools
from weft.processes.underlay.ipam_probing import Prober
from weft.underlay.addresses import Address, NotAddressesError, Version
from weft.underlay.ipam import pools
from weft.underlay.ipam.allocation import Given, Holder, Refused, Release, Want
from weft.underlay.ipam.endpoints import Leased, Subject
from weft.underlay.ipam.pool_status import UnreadableStatusError
from weft.underlay.ipam.pools import Asker, Candidates, Passed, Source

_CONFLICTS: Final = 16
"""Addresses that are tried one after the other while others on the network use them."""
_VERSIONS: Final[tuple[Version, ...]] = (4, 6)

log = logging.getLogger("weft.underlay.leasing")


class NoAddressError(Exception):
    """There is none; the message names every pool that was tried. `why` is the name under which it is counted."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Seeker:
    """Who seeks addresses. `kept` are a pool and an address by version that it had; `only`, what it must get.

    `netns` is where its interface is.
    """

    whose: Subject
    interface: str
    asker: Asker
    source: Source
    kept: Mapping[Version, tuple[str, Address]]
    only: Mapping[Version, Address]
    netns: str

    @property
    def holder(self) -> Holder:
        """As pools have it."""
        return Holder(self.whose.key, self.whose.uid, self.interface)


@dataclass(frozen=True, slots=True)
class Lease(Leased):
    """An address of a pool, `fresh` if the interface did not have it before."""

    fresh: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """How addresses are given. `own` is the namespace of networks that are named without one.

    `patience`: how long a pod waits for an address, if all are in use or rest.
    """

    own: str
    versions: frozenset[Version]
    conflicts: bool
    gateways: bool
    patience: timedelta


class Leasing:
    """Gives addresses of pools, and asks the network about them where that is wanted."""

    def __init__(self, known: Pools, prober: Prober, manner: Manner, now: Callable[[], datetime]) -> None:
        self._pools, self._prober, self._manner, self._now = known, prober, manner, now

    async def lease(self, seeker: Seeker) -> Mapping[Version, Lease]:
        """Addresses of every version that the seeker's source names pools of; NoAddressError if one is missing.

        What was got before that is given back. PoolBusyError and UnreadableStatusError come from the pools.
        """
        wanted = self._versions(seeker.source)
        found = await self._all(seeker, {version: self._one(seeker, version) for version in wanted})
        try:
            if self._manner.conflicts and seeker.netns:
                await self._avoid_conflicts(seeker, found)
            if self._manner.gateways and seeker.netns:
                await self._with_gateways(seeker, found)
        except BaseException:
            await asyncio.shield(self._give_back(seeker.whose.uid, found))
            raise
        if seeker.kept:
            await self._leave(seeker, found)
        if seeker.netns:
            await self._prober.announce(seeker.netns, seeker.interface, found.values())
        return found

    def _versions(self, source: Source) -> list[Version]:
        named = [version for version in _VERSIONS if source.of(version)]
        if not named:
            raise NoAddressError(
                NO_POOL,
                "no IPPool available: neither the pod nor its namespace nor the network names one, and none has"
                " spec.default: true. Name one by the annotation ipam.spidernet.io/ippool.",
            )
        wanted = [version for version in named if version in self._manner.versions]
        if not wanted:
            raise NoAddressError(
                NO_POOL,
                f"no IPPool available: {source.where} names only pools of IPv{named[0]}, which is switched off"
                f" (ipam.enableIPv{named[0]}).",
            )
        return wanted

    async def _all(
        self, seeker: Seeker, work: Mapping[Version, Coroutine[Any, Any, Lease]]
    ) -> dict[Version, Lease]:
        """All of them, at the same time; if one fails, what the others got is given back."""
        results = await asyncio.gather(*work.values(), return_exceptions=True)
        leases = {version: each for version, each in zip(work, results, strict=True) if isinstance(each, Lease)}
        failed = [each for each in results if isinstance(each, BaseException)]
        if failed:
            await self._give_back(seeker.whose.uid, leases)
            raise failed[0]
        return leases

    async def _one(self, seeker: Seeker, version: Version) -> Lease:
        known = self._pools.all()
        names = seeker.source.of(version)
        passed: list[Passed] = []
        if version in seeker.kept and (lease := await self._kept(seeker, version, names, passed)):
            return lease
        found = pools.candidates(names, version, known, seeker.asker, self._manner.own)
        until = self._now() + self._manner.patience
        while True:
            tried, again = await self._tried(seeker, version, found)
            if isinstance(tried, Lease):
                return tried
            now = self._now()
            if not found.fit or now >= until:
                raise self._nothing(seeker, version, found, [*passed, *tried])
            # one that rests, or of a pod that ends, may be free soon: waiting is cheaper than a new sandbox
            wait = min(until, again or until) - now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, wait.total_seconds())):
                    await self._pools.changed()

    async def _kept(
        self, seeker: Seeker, version: Version, names: tuple[str, ...], passed: list[Passed]
    ) -> Lease | None:
        """What the interface had, if it may have it still: a name that lasts stays in pools that it is to use."""
        name, address = seeker.kept[version]
        known = self._pools.all()
        pool = known.get(name)
        if pool is None or (seeker.whose.lasts and name not in pools.names_of(names, known)):
            return None
        want = Want(seeker.holder, takes_over=seeker.whose.lasts, only=address)
        outcome = await self._pools.ask(name, want)
        if isinstance(outcome, Given):
            return Lease(pool, address, fresh=False)
        if isinstance(outcome, Refused):
            passed.append(Passed(name, f"{outcome.why}, which the pod had before"))
        return None

    async def _tried(
        self, seeker: Seeker, version: Version, found: Candidates
    ) -> tuple[Lease | list[Passed], datetime | None]:
        """One pool after the other. The time is when the first address that rests is free again."""
        passed: list[Passed] = []
        rested: list[datetime] = []
        only = seeker.only.get(version)
        for pool in found.fit:
            if only is not None and only not in pool.usable:
                passed.append(Passed(pool.name, f"it does not have {only}, which the pod asks for"))
                continue
            want = Want(seeker.holder, self._prober.avoid, takes_over=seeker.whose.lasts, only=only)
            outcome = await self._pools.ask(pool.name, want)
            if isinstance(outcome, Given):
                return Lease(pool, outcome.address, fresh=outcome.fresh), None
            if isinstance(outcome, Refused):
                passed.append(Passed(pool.name, outcome.why))
                rested += [outcome.again] if outcome.again else []
        return passed, min(rested, default=None)

    def _nothing(self, seeker: Seeker, version: Version, found: Candidates, tried: list[Passed]) -> NoAddressError:
        listed = [*tried, *(_told(each, self._pools) for each in found.passed)]
        told = "; ".join(map(str, listed))
        what = "all IP addresses used out" if found.fit else "no IPPool available"
        return NoAddressError(
            USED_OUT if found.fit else NO_POOL,
            f"{what}: no IPv{version} address for {seeker.interface} of {seeker.whose.key}: {told}."
            f" These pools are named by {seeker.source.where}. Name another, or give one more ips.",
        )

    async def _avoid_conflicts(self, seeker: Seeker, leases: dict[Version, Lease]) -> None:
        """Change each address that somebody else uses for another one."""
        unasked = [each for each in leases.values() if each.fresh]
        for _ in range(_CONFLICTS):
            conflicting = await self._prober.conflicts(seeker.netns, seeker.interface, unasked)
            if not conflicting:
                return
            unasked = []
            for lease, mac in conflicting:
                version = lease.pool.version
                log.warning("%s of pool %s is in use by %s", lease.address, lease.pool.name, mac)
                await self._give_back(seeker.whose.uid, {version: leases.pop(version)})
                leases[version] = await self._one(seeker, version)
                unasked.append(leases[version])
        raise NoAddressError(
            USED_OUT,
            f"{_CONFLICTS} addresses one after the other are used by others on the network of"
            f" {seeker.interface}. Take what others use out of the pools (spec.excludeIPs).",
        )

    async def _with_gateways(self, seeker: Seeker, found: Mapping[Version, Lease]) -> None:
        fresh = [each for each in found.values() if each.fresh]
        silent = await self._prober.silent_gateways(seeker.netns, seeker.interface, fresh)
        if silent:
            told = " and ".join(f"{each.pool.gateway} of pool {each.pool.name}" for each in silent)
            raise NoAddressError(
                NO_POOL,
                f"gateway {told} is unreachable on {seeker.interface}: nobody answers for it. Correct"
                " spec.gateway, or let the network's master be an interface of that subnet.",
            )

    async def _leave(self, seeker: Seeker, found: Mapping[Version, Lease]) -> None:
        """Give back what the interface has of pools that it is not to use any more."""
        has = {each.address for each in found.values()}
        for pool, address, holder in [*self._pools.of_pod(seeker.whose.key)]:
            is_own = seeker.whose.lasts or holder.uid == seeker.whose.uid
            if is_own and holder.interface == seeker.interface and address not in has:
                await self._give_back(holder.uid, {pool.version: Lease(pool, address, fresh=True)})

    async def _give_back(self, uid: str, leases: Mapping[Version, Lease]) -> None:
        """Undo, as far as it was done now. What cannot be is found again by the pod, or by the collector."""
        for each in leases.values():
            if each.fresh:
                try:
                    await self._pools.ask(each.pool.name, Release(uid, address=each.address))
                except (PoolBusyError, UnreadableStatusError, NotAddressesError) as error:
                    log.warning("%s is not given back: %s", each.address, error)


def _told(passed: Passed, known: Pools) -> Passed:
    """A pool that seems not to exist may be one that cannot be read."""
    trouble = known.trouble(passed.pool)
    return Passed(passed.pool, trouble) if trouble else passed

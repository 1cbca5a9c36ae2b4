"""The network asked before a pod gets an address: has somebody got it, and is the gateway there?"""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable
from typing import Final

from weft.adapters import neighbours
from weft.underlay.addresses import Address, Ranges
from weft.underlay.ipam.endpoints import Leased

_FORGET: Final = 600.0
"""Seconds for which an address that somebody else uses is not tried again."""
_NO_LINK: Final = frozenset({errno.ENODEV, errno.EOPNOTSUPP, errno.ENXIO})
"""Some plugins make the interface after they have asked for addresses; some links have no neighbours to ask."""

log = logging.getLogger("weft.underlay.probing")


class Prober:
    """Remembers which addresses others use. `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._others: dict[Address, float] = {}

    @property
    def avoid(self) -> Ranges:
        """Addresses that others were seen to use not long ago."""
        now = self._monotonic()
        self._others = {address: until for address, until in self._others.items() if until > now}
        return Ranges.of(self._others)

    async def conflicts(self, netns: str, interface: str, leases: Iterable[Leased]) -> list[tuple[Leased, str]]:
        """Those whose address somebody on the network has, with his hardware address."""
        listed = list(leases)
        found = await asyncio.gather(*(self._owner(netns, interface, each.address) for each in listed))
        conflicting = [(lease, mac) for lease, mac in zip(listed, found, strict=True) if mac is not None]
        for lease, _ in conflicting:
            self._others[lease.address] = self._monotonic() + _FORGET
        return conflicting

    async def silent_gateways(self, netns: str, interface: str, leases: Iterable[Leased]) -> list[Leased]:
        """Those whose gateway does not answer."""
        asked = [each for each in leases if each.pool.gateway is not None]
        found = await asyncio.gather(*(self._answers(netns, interface, each) for each in asked))
        return [lease for lease, answers in zip(asked, found, strict=True) if not answers]

    async def announce(self, netns: str, interface: str, leases: Iterable[Leased]) -> None:
        """Tell the network who has the addresses now, so that nobody goes on sending to who had them before."""
        for each in leases:
            try:
                await neighbours.announce(netns, interface, each.address)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    log.warning("%s is not announced on %s: %s", each.address, interface, error)

    async def _owner(self, netns: str, interface: str, address: Address) -> str | None:
        try:
            return await neighbours.conflict(netns, interface, address)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            log.debug("%s: nobody is asked about %s: %s", interface, address, error)
            return None

    async def _answers(self, netns: str, interface: str, lease: Leased) -> bool:
        gateway = lease.pool.gateway
        try:
            return gateway is None or bool(await neighbours.reachable(netns, interface, gateway, lease.address))
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return True

"""The authority of a control plane under test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from weft.adapters.kube.client import Kube
from weft.pki.succession import Trusted
from weft.processes.controlplane.succession import Keeper, OwnAuthority


@dataclass
class Mesh:
    """What proxies would be told, and whether they say that they trust it."""

    agrees: bool = True
    told: list[Trusted] = field(default_factory=list)
    troubles: int = 0

    async def tell(self, trusted: Trusted) -> None:
        self.told.append(trusted)

    def keeper(self, kube: Kube, own: OwnAuthority | None = None) -> Keeper:
        """One that is not loaded yet."""
        own = own or OwnAuthority("td")
        return Keeper(
            kube,
            "istio-system",
            own,
            told=self.tell,
            confirmed=lambda: self.agrees,
            troubled=self.trouble,
        )

    def trouble(self) -> None:
        self.troubles += 1


@contextlib.asynccontextmanager
async def following(keeper: Keeper) -> AsyncIterator[Keeper]:
    """The keeper at work."""
    await keeper.load()
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

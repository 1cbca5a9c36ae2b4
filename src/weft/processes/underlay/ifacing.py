"""The plugin `ifacer`: bonds and VLANs of the node, which a network's other plugins stand on."""

import asyncio
from typing import Final

from weft.adapters import node_links, pod_network
from weft.adapters.node_links import LinkError
from weft.processes.cni import calls
from weft.processes.cni.calls import CallError
from weft.processes.underlay.plugins import Call, Json
from weft.underlay.networks import ifacer, results
from weft.underlay.networks.ifacer import NoInterfaceError, Step

_NOT_MADE: Final = 103
"""An interface of the node that a network stands on is not there."""


class Ifacer:
    """Answers the calls. `node` is the node's network namespace, "" if it is ours."""

    def __init__(self, *, node: str = "") -> None:
        self._node = node
        # pods that begin at once ask for the same interfaces
        self._turn = asyncio.Lock()

    async def add(self, call: Call) -> Json:
        """Make what is missing. The pod itself gets nothing here."""
        async with self._turn:
            steps = await self._missing(call)
            if steps:
                try:
                    await asyncio.to_thread(node_links.make, self._node, steps)
                except LinkError as error:
                    raise CallError(_NOT_MADE, f"{call.subject}: {error}") from error
        before: Json = call.config.get("prevResult") or {"cniVersion": results.INSIDE}
        return before

    async def delete(self, call: Call) -> None:
        """Nothing: other pods stand on them, and the next ones will."""

    async def check(self, call: Call) -> None:
        """Fail where something is missing."""
        if steps := await self._missing(call):
            raise CallError(_NOT_MADE, f"{call.subject}: missing on the node: {'; '.join(map(str, steps))}.")

    async def gc(self, call: Call) -> None:
        """Nothing, as with DEL."""

    async def status(self, call: Call) -> None:
        """Always able."""

    async def _missing(self, call: Call) -> tuple[Step, ...]:
        try:
            node = await asyncio.to_thread(pod_network.look, self._node)
            return ifacer.missing(call.config, node)
        except NoInterfaceError as error:
            raise CallError(calls.CONFIG, f"{call.subject}: {error}") from error
        except OSError as error:
            raise CallError(calls.IO, f"{call.subject}: {error}") from error

"""Keeping a node's rules as the NetworkPolicies say."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from weft.adapters import nft
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NAMESPACES, NETWORKPOLICIES, PODS
from weft.cluster.network.directory import changed
from weft.cluster.network.objects import Named
from weft.cluster.network.policies import Isolated, Pod, Policy, State, isolated
from weft.cluster.network.policy_rules import ruleset

_LOG = logging.getLogger(__name__)
_MERGE_SECONDS = 0.02
_RETRY_SECONDS = 1.0


class Keeper:
    """Follows policies, and as soon as there is one, pods and namespaces too."""

    def __init__(self, node_name: str, apply: Callable[[str], Awaitable[None]] = nft.apply) -> None:
        self._node_name, self._apply = node_name, apply
        self.state = State()
        self.listed: set[str] = set()
        self._stirred = asyncio.Event()
        self._wanted = asyncio.Event()

    async def run(self, kube: Kube) -> None:
        """Keep the rules true, for ever, inside the node's network namespace."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._policies(kube))
            group.create_task(self.keep())
            await self._wanted.wait()
            group.create_task(self._pods(kube))
            group.create_task(self._namespaces(kube))

    async def _policies(self, kube: Kube) -> None:
        async for change in kube.reflect(NETWORKPOLICIES, decode=Policy):
            self.show(replace(self.state, policies=changed(self.state.policies, change)), "policies")

    async def _pods(self, kube: Kube) -> None:
        async for change in kube.reflect(PODS, decode=Pod):
            self.show(replace(self.state, pods=changed(self.state.pods, change)), "pods")

    async def _namespaces(self, kube: Kube) -> None:
        async for change in kube.reflect(NAMESPACES, decode=Named):
            self.show(replace(self.state, namespaces=changed(self.state.namespaces, change)), "namespaces")

    def show(self, state: State, *listed: str) -> None:
        """What there is now; `listed` names what of it is known to be whole."""
        self.state = state
        self.listed |= set(listed)
        if state.policies:
            self._wanted.set()
        self._stirred.set()

    async def keep(self) -> None:
        """Apply the rules of each state, those of the next moment together."""
        held: list[Isolated] | None = None
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            # half a picture would shut out, or let in, whom the rest of it is about
            if "policies" not in self.listed or (self.state.policies and len(self.listed) < 3):
                continue
            wanted = isolated(self.state, self._node_name)
            if wanted != held:
                try:
                    await self._apply(ruleset(wanted))
                    held = wanted
                except (nft.NftError, OSError) as error:
                    _LOG.error("the policies' rules were refused: %s", error)
                    asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._stirred.set)
            await asyncio.sleep(_MERGE_SECONDS)

"""The cluster's NetworkAttachmentDefinitions, followed by one watch."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NETWORKATTACHMENTS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.processes.cni import calls
from weft.processes.cni.calls import CallError

Json = dict[str, Any]


class Definitions:
    """Give `run` a task, and ask."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[tuple[str, str], Json] = {}

    async def run(self) -> None:
        """Follow them, for ever."""
        changes: AsyncIterator[Change[Json]] = self._kube.reflect(NETWORKATTACHMENTS)
        async for change in changes:
            match change:
                case Replaced(objects):
                    self._known = {_key(each): each for each in objects}
                case Applied(one):
                    self._known[_key(one)] = one
                case Deleted(one):
                    self._known.pop(_key(one), None)

    async def find(self, namespace: str, name: str) -> Json | None:
        """One of them, at once if it is known, else by a question of its own: the watch may be behind.

        None where there is none; CallError where that cannot be told.
        """
        if (known := self._known.get((namespace, name))) is not None:
            return known
        try:
            return await self._kube.get(NETWORKATTACHMENTS, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            told = str(error)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            told = str(error) or type(error).__name__
        raise CallError(
            calls.LATER,
            f"network-attachment-definition {namespace}/{name} cannot be asked for: {told}",
            "It is tried again; see whether spiderpool-agent reaches the API server.",
        )


def _key(one: Json) -> tuple[str, str]:
    return one["metadata"]["namespace"], one["metadata"]["name"]

"""Problems told as Events of the objects that have them, where `kubectl describe` shows them."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import aiohttp

from weft.adapters.kube import events
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, INGRESSES, SECRETS, Kind
from weft.base.problem import Problem, Severity
from weft.processes.controlplane.watching import FOLLOWED

PATIENCE = 2.0
"""Seconds that a problem has to last: a rule is often applied a moment before what it names."""

_COMPONENT = "istiod"
_KINDS: Mapping[str, Kind] = {
    kind.kind: kind
    for kind in (*FOLLOWED, CONFIGMAPS, SECRETS)
    if kind.group.endswith("istio.io") or kind in {INGRESSES, CONFIGMAPS, SECRETS}
}

log = logging.getLogger("weft.events")


class Teller:
    """Tells each problem once for as long as it is there. `current` gives the problems of this moment."""

    def __init__(
        self,
        kube: Kube,
        current: Callable[[], Iterable[Problem]],
        now: Callable[[], datetime],
        *,
        instance: str,
        patience: float = PATIENCE,
    ) -> None:
        self._kube, self._current, self._now = kube, current, now
        self._reporter, self._patience = events.Reporter(_COMPONENT, instance), patience
        self._told: set[Problem] = set()
        self._looked = asyncio.Event()

    def look(self) -> None:
        """The problems may have changed; returns at once."""
        self._looked.set()

    async def run(self) -> None:
        """Tell what is new and lasts, for ever."""
        while True:
            await self._looked.wait()
            self._looked.clear()
            before = set(self._current())
            await asyncio.sleep(self._patience)
            after = list(self._current())
            self._told.intersection_update(after)  # what went away may come back, and is told again then
            for problem in after:
                if problem in before and problem not in self._told and problem.at.kind in _KINDS:
                    self._told.add(problem)
                    await self._tell(problem)
            if not before.issuperset(after):
                self._looked.set()

    async def _tell(self, problem: Problem) -> None:
        kind = _KINDS[problem.at.kind]
        try:
            owner = await self._kube.get(kind, problem.at.name, problem.at.namespace)
            said = f"{problem.at.field}: {problem.message} {problem.hint}".strip(" :")
            warns = problem.severity is not Severity.INFO
            metadata, now = owner["metadata"], self._now()
            new = events.event(kind, metadata, problem.code, said, now, self._reporter, warns=warns)
            await events.write(self._kube, new)
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            # best effort, as events are everywhere: the log has it already
            log.info("no event about %s: %s", problem.at, error)

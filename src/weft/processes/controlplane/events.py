"""Problems told as Events of the objects that have them, where `kubectl describe` shows them."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, EVENTS, INGRESSES, SECRETS, Kind
from weft.base.problem import Problem, Severity
from weft.processes.controlplane.watching import FOLLOWED

PATIENCE = 2.0
"""Seconds that a problem has to last: a rule is often applied a moment before what it names."""

_LONGEST_MESSAGE = 1024
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
        self._instance, self._patience = instance, patience
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
            new = event(problem, kind, owner["metadata"], self._now(), self._instance)
            await self._write(new)
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            # best effort, as events are everywhere: the log has it already
            log.info("no event about %s: %s", problem.at, error)

    async def _write(self, new: dict[str, Any]) -> None:
        name, namespace = new["metadata"]["name"], new["metadata"]["namespace"]
        try:
            await self._kube.create(EVENTS, new)
        except ApiError as error:
            if error.code != 409:
                raise
            known = await self._kube.get(EVENTS, name, namespace)
            again = {"count": known.get("count", 1) + 1, "lastTimestamp": new["lastTimestamp"]}
            await self._kube.patch(EVENTS, name, again, namespace)


def event(problem: Problem, kind: Kind, owner: Mapping[str, Any], now: datetime, instance: str) -> dict[str, Any]:
    """The Event about a problem of the object with the metadata `owner`.

    Its name follows from what it says, so that a second istiod, or a restarted one, counts it up instead of
    writing another.
    """
    said = f"{problem.at.field}: {problem.message} {problem.hint}".strip(" :")
    digest = hashlib.sha256(f"{owner['uid']} {problem.code} {said}".encode()).hexdigest()[:16]
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"name": f"{owner['name'][:200]}.{digest}", "namespace": owner["namespace"]},
        "involvedObject": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "namespace": owner["namespace"],
            "name": owner["name"],
            "uid": owner["uid"],
        },
        "type": "Normal" if problem.severity is Severity.INFO else "Warning",
        "reason": problem.code,
        "message": said[:_LONGEST_MESSAGE],
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "reportingInstance": instance,
    }

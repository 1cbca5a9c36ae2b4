"""Pods of the mesh on this node whose traffic is not captured, found and repaired, deleted or labelled.

Two things show such a pod: `istio-validation` that ends with exit code 126, as in Istio; and rules that are
missing from the namespace of a pod that runs. Every pod is looked into in each of its sandboxes, so when the
node process starts, all of them; but not where the plugin has captured it a moment ago.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.adapters.redirection import Backend
from weft.model.enrolment import Leave, captured
from weft.model.repair import Choice, Signs, failure, is_running, left_alone, sandbox
from weft.processes.cni import capturing, mending
from weft.processes.cni.mending import Failed, Found, Lacking, Mended, Unseen, Whole
from weft.processes.cni.metrics import Counter, Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.settings import Settings
from weft.processes.cni.telling import Teller

Json = dict[str, Any]

REPAIRED: Final = "IstioCNIRepaired"
FAILED: Final = "IstioCNIRepairFailed"
DELETED: Final = "IstioCNIDeleted"
LABELLED: Final = "IstioCNILabelled"
NOT_CAPTURED: Final = "IstioCNINotCaptured"
"""Reasons of events."""

_HINT: Final = (
    "Delete it to have a new one captured, or let the node process repair such pods (REPAIR_REPAIR_PODS=true)."
)
_TROUBLE: Final = (ApiError, aiohttp.ClientError, OSError, TimeoutError)
_FIRST_WAIT, _LAST_WAIT = 1.0, 300.0  # seconds before what failed is tried again
_SILENT_TRIES: Final = 6
"""A pod without processes is nothing strange while it begins or ends; after so many tries, a minute, it is."""
_AT_ONCE: Final = 20
"""Pods that are looked into in one turn."""
_BETWEEN_DELETIONS: Final = 1.0
"""Seconds. Where all pods of a node are at fault their owners make new ones one after the other."""

log = logging.getLogger("weft.cni.repairing")


@dataclass(frozen=True, slots=True)
class Orders:
    """What is done, and to whom. `label` is a key and a value; selectors are written as for kubectl.

    `excluded` are namespaces, `proc` is where the machine's /proc is mounted. A pod is looked into again after
    `every` so many seconds, with 0 never; unless `for_ever`, what is there is looked through once.
    """

    choice: Choice
    signs: Signs
    label: tuple[str, str]
    excluded: frozenset[str]
    proc: Path
    how: Backend
    label_selectors: str = ""
    field_selectors: str = ""
    every: float = 0
    for_ever: bool = True


def orders(chosen: Settings) -> Orders:
    """What the node process was told, as far as it is about repair."""
    repair = chosen.repair
    return Orders(
        choice=Choice(repair=repair.repair, delete=repair.delete, label=repair.label),
        signs=Signs(
            annotation=repair.sidecar_annotation,
            init_container=repair.init_container,
            exit_code=repair.exit_code,
            message=repair.termination_message,
        ),
        label=(repair.label_key, repair.label_value),
        excluded=chosen.excluded,
        proc=chosen.places.proc,
        how=capturing.backend(native=chosen.native),
        label_selectors=repair.label_selectors,
        field_selectors=repair.field_selectors,
        every=repair.every,
        for_ever=repair.as_daemon,
    )


@dataclass(slots=True)
class _Case:
    """A pod, the state that it is or was looked into for, and when that is `due`; None: nothing is to be done."""

    pod: Json
    state: tuple[str, bool]
    due: float | None
    tries: int = 0
    told: str = ""
    mended: datetime | None = None


class Repairer:
    """Follows the node's pods. `elapsed` gives seconds of a clock that nobody sets, `now` the time."""

    def __init__(
        self,
        kube: Kube,
        pods: Pods,
        orders: Orders,
        teller: Teller,
        registry: Registry,
        *,
        elapsed: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._kube, self._pods, self._orders, self._teller = kube, pods, orders, teller
        self._elapsed, self._now = elapsed, now
        self._action = orders.choice.action
        self._counts: Counter = registry.counter(
            "istio_cni_repair_pods_repaired_total",
            "Pods whose traffic was not captured, by what was done with them and how it went.",
            "type",
            "result",
        )
        self._cases: dict[str, _Case] = {}
        self._vouched: set[str] = set()
        self._next_deletion = 0.0
        self._news = asyncio.Event()
        pods.follow(self._follow)

    def captured(self, uid: str) -> None:
        """The plugin has captured the traffic of this pod in its newest sandbox: there is no need to look."""
        self._vouched.add(uid)

    async def run(self) -> None:
        """Look and act, for ever, or until all that was there has been dealt with."""
        await self._pods.synced.wait()
        while True:
            self._news.clear()
            now = self._elapsed()
            waits = [case.due - now for case in self._cases.values() if case.due is not None]
            if not waits and not self._orders.for_ever:
                return
            if (wait := min(waits, default=_LAST_WAIT)) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
                continue
            due = [case for case in self._cases.values() if case.due is not None and case.due <= now]
            await self._turn(due[:_AT_ONCE])

    def _follow(self, change: Change[Json]) -> None:
        match change:
            case Replaced(objects):
                known = {pod["metadata"]["uid"] for pod in objects}
                for uid in self._cases.keys() - known:
                    del self._cases[uid]
                self._vouched &= known
                for pod in objects:
                    self._consider(pod)
            case Applied(pod):
                self._consider(pod)
            case Deleted(pod):
                self._forget(pod)

    def _forget(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        self._cases.pop(uid, None)
        self._vouched.discard(uid)

    def _consider(self, pod: Json) -> None:
        """Whether a pod is to be looked into, as it is now."""
        if left_alone(pod, self._orders.signs):
            self._forget(pod)
            return
        uid = pod["metadata"]["uid"]
        state = sandbox(pod), failure(pod, self._orders.signs) is not None
        case = self._cases.get(uid)
        if not state[0]:
            return  # its network is still being made
        if case is None:
            case = self._cases[uid] = _Case(pod, ("", False), None)
        case.pod = pod
        if case.state == state:
            return
        is_vouched = uid in self._vouched and not state[1]
        if case.state[0] != state[0]:
            self._vouched.discard(uid)
        case.state, case.tries, case.told = state, 0, ""
        case.due = self._next_look() if is_vouched else self._elapsed()
        self._news.set()

    async def _turn(self, cases: Sequence[_Case]) -> None:
        """Deal with some pods: those that have to be looked into, all at once."""
        looked: list[tuple[_Case, Json, tuple[str, bool]]] = []
        for case in cases:
            pod, state, case.due = case.pod, case.state, None
            failed = state[1]
            match captured(pod["metadata"]["namespace"], pod, self._orders.excluded):
                case Leave(reason):
                    if failed:
                        self._tell(case, NOT_CAPTURED, f"{_sign(self._orders)}, but {reason}.")
                case _ if not await self._is_selected(case):
                    pass
                case _ if failed and self._action != "repair":
                    await self._act(case, pod, f"{_sign(self._orders)}.")
                case _:
                    looked.append((case, pod, state))
        if looked:
            found = await asyncio.to_thread(
                mending.look,
                [pod for _, pod, _ in looked],
                self._orders.proc,
                self._orders.how,
                mend=self._action == "repair",
            )
            for case, pod, state in looked:
                await self._found(case, pod, found[pod["metadata"]["uid"]], failed=state[1])
        for case in cases:
            if case.due is None:
                case.due = self._next_look()

    async def _found(self, case: _Case, pod: Json, found: Found, *, failed: bool) -> None:
        match found:
            case Mended(lines):
                self._counts.add("repair", "success")
                self._repaired(case, pod, lines, failed=failed)
            case Lacking(lines, bare) if bare:
                await self._act(case, pod, _missing(lines))
            case Lacking(lines):
                # no reason to take it away: rules of an older version, or somebody's change
                self._tell(case, NOT_CAPTURED, f"{_missing(lines)} {_HINT}")
            case Failed(message):
                self._counts.add(self._action, "fail")
                self._tell(case, FAILED, f"Whether its traffic is captured is not known: {message}")
                self._again(case)
            case Unseen():
                if case.tries >= _SILENT_TRIES:
                    said = f"No process of it with a network of its own is found at {self._orders.proc}, where"
                    said += " the node's /proc is to be mounted (HOST_PROC)."
                    self._tell(case, FAILED, said)
                self._again(case)
            case Whole():
                case.tries, case.told = 0, ""
                self._explain(case, pod)

    def _repaired(self, case: _Case, pod: Json, lines: Sequence[str], *, failed: bool) -> None:
        case.mended, case.tries, case.told = self._now(), 0, ""
        said = f"{_missing(lines)} They are in place now"
        if is_running(pod):
            said += ". Connections that went past the proxy until now are reset; new ones go through it"
        elif failed:
            said += f", so that {self._orders.signs.init_container} succeeds when it is started next"
        self._say(pod, REPAIRED, f"{said}.")

    def _explain(self, case: _Case, pod: Json) -> None:
        """Nothing is missing: if validation has failed all the same since we mended it, that is told."""
        ended = failure(pod, self._orders.signs)
        if ended is None or case.mended is None:
            return
        with contextlib.suppress(ValueError):
            if datetime.fromisoformat(str(ended.get("startedAt"))) > case.mended:
                said = f"{_sign(self._orders)} although all rules are in place: its log says what it misses."
                self._counts.add("repair", "fail")
                self._tell(case, FAILED, said)

    async def _act(self, case: _Case, pod: Json, why: str) -> None:
        """Delete or label a pod, or tell of it."""
        match self._action:
            case "delete":
                await self._delete(case, pod, why)
            case "label":
                await self._label(case, pod, why)
            case _:
                self._tell(case, NOT_CAPTURED, f"{why} {_HINT}")

    async def _delete(self, case: _Case, pod: Json, why: str) -> None:
        if self._elapsed() < self._next_deletion:
            case.due = self._next_deletion
            return
        self._next_deletion = self._elapsed() + _BETWEEN_DELETIONS
        metadata = pod["metadata"]
        try:
            await self._kube.delete(
                PODS,
                metadata["name"],
                metadata["namespace"],
                uid=metadata["uid"],
                version=metadata["resourceVersion"],
            )
        except _TROUBLE as error:
            self._failed(case, error, f"{why} It could not be deleted")
            return
        self._counts.add("delete", "success")
        self._say(pod, DELETED, f"{why} The pod is deleted, so that its owner makes a new one.")

    async def _label(self, case: _Case, pod: Json, why: str) -> None:
        key, value = self._orders.label
        metadata = pod["metadata"]
        if (metadata.get("labels") or {}).get(key) == value:
            return
        patch = {"metadata": {"uid": metadata["uid"], "labels": {key: value}}}
        try:
            # by the status, as Istio does: who may write that may not change what the pod runs
            await self._kube.patch(PODS, metadata["name"], patch, metadata["namespace"], subresource="status")
        except _TROUBLE as error:
            self._failed(case, error, f"{why} It could not be labelled")
            return
        self._counts.add("label", "success")
        self._say(pod, LABELLED, f"{why} The pod is labelled {key}={value}.")

    def _failed(self, case: _Case, error: Exception, said: str) -> None:
        """An API call came to nothing. A pod that is another, gone, or has moved on is no failure."""
        if isinstance(error, ApiError) and error.code in {404, 409}:
            self._counts.add(self._action, "skip")
        else:
            self._counts.add(self._action, "fail")
            self._tell(case, FAILED, f"{said}: {error}")
        self._again(case)

    async def _is_selected(self, case: _Case) -> bool:
        """Whether the operator's selectors are for this pod. The API server knows how to read them."""
        orders, metadata = self._orders, case.pod["metadata"]
        if not (orders.label_selectors or orders.field_selectors):
            return True
        fields = ",".join(filter(None, (f"metadata.name={metadata['name']}", orders.field_selectors)))
        try:
            found = await self._kube.list(
                PODS, metadata["namespace"], labels=orders.label_selectors, fields=fields
            )
        except _TROUBLE as error:
            self._failed(case, error, "Whether it is to be repaired is not known")
            return False
        return any(each["metadata"]["uid"] == metadata["uid"] for each in found)

    def _tell(self, case: _Case, reason: str, message: str) -> None:
        """Tell of a trouble, once for as long as it stays the same."""
        if case.told != message:
            case.told = message
            self._say(case.pod, reason, message)

    def _say(self, pod: Json, reason: str, message: str) -> None:
        log.warning("pod %s/%s: %s: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], reason, message)
        self._teller.tell(pod, reason, message)

    def _next_look(self) -> float | None:
        """When a pod with which all is well, or nothing can be done, is looked into again; None: never."""
        orders = self._orders
        return self._elapsed() + orders.every if orders.every and orders.for_ever else None

    def _again(self, case: _Case) -> None:
        """Try later; not if there is news of the pod already."""
        if case.due is None:
            case.due = self._elapsed() + min(_LAST_WAIT, _FIRST_WAIT * 2**case.tries)
            case.tries = min(case.tries + 1, 30)


def _sign(orders: Orders) -> str:
    return f"Its {orders.signs.init_container or 'init container'} has found its traffic uncaptured"


def _missing(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"The rules that lead its traffic through the proxy were missing ({lines[0]}{more})."

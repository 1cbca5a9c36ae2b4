"""HorizontalPodAutoscalers: every fifteen seconds, as many pods as their metrics ask for."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import HORIZONTALPODAUTOSCALERS, PODS
from weft.cluster.controllers.autoscaling import MetricError, Proposal, propose, unavailable
from weft.cluster.controllers.changes import Change, Patch, Performer
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import World
from weft.cluster.controllers.objects import condition, differs, key_of, timestamp, with_condition
from weft.cluster.controllers.scaling_limits import Condition, Memory, bounded

log = logging.getLogger(__name__)

_EVERY = 15.0  # seconds
_METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods"
_NOT_SERVED = "the server could not find the requested resource (get pods.metrics.k8s.io)"
_NAME = "horizontal-pod-autoscaler"


@dataclass(frozen=True, slots=True)
class Measured:
    """What the metrics API and the pods say, or why it says nothing."""

    pods: Sequence[Json] = ()
    usage: Sequence[Json] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The size to have, why, and what the autoscaler's status is to tell."""

    replicas: int
    why: str
    conditions: Sequence[Condition]
    metrics: Sequence[Json] | None
    told: Sequence[tuple[str, str]] = ()


class Autoscaler:
    """Looks at every autoscaler in turn, for ever."""

    def __init__(
        self, kube: Kube, performer: Performer, world: Callable[[], World], every: float = _EVERY
    ) -> None:
        self._kube, self._performer, self._world, self._every = kube, performer, world, every
        self._memories: dict[str, Memory] = {}

    async def run(self) -> None:
        """Scale for ever."""
        while True:
            world = self._world()
            found = list(world.of(HORIZONTALPODAUTOSCALERS))
            held = {scaler["metadata"]["uid"] for scaler in found}
            self._memories = {uid: memory for uid, memory in self._memories.items() if uid in held}
            for scaler in found:
                try:
                    await self._look(scaler, world)
                except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    log.info("autoscaler %s/%s: %s", *key_of(scaler), error)
                except Exception:
                    # one object that we mishandle must not stop all controllers
                    log.exception("autoscaler %s/%s cannot be handled", *key_of(scaler))
            await asyncio.sleep(self._every)

    async def _look(self, scaler: Json, world: World) -> None:
        now, (namespace, _) = world.now, key_of(scaler)
        try:
            path = _path(scaler, world)
            scale = await self._kube.call("GET", path)
        except ApiError as error:
            message = f"the HPA controller was unable to get the target's current scale: {error}"
            conditions = [("AbleToScale", "False", "FailedGetScale", message)]
            lost = Decision(0, "", conditions, None, [("FailedGetScale", str(error))])
            await self._write(scaler, lost, None, now)
            return
        size = int(scale["spec"].get("replicas") or 0)
        measured = await self._measure(namespace, scale)
        memory = self._memories.setdefault(scaler["metadata"]["uid"], Memory())
        decision = decide(scaler, size, measured, memory, now)
        if decision.replicas != size:
            await self._kube.call("PUT", path, body=scale | {"spec": {"replicas": decision.replicas}})
            memory.changes.append((now, decision.replicas - size))
        await self._write(scaler, decision, size, now)

    async def _measure(self, namespace: str, scale: Json) -> Measured:
        selector = (scale.get("status") or {}).get("selector") or ""
        if not selector:
            return Measured(trouble="selector is required")
        pods = await self._kube.list(PODS, namespace, labels=selector)
        try:
            answer = await self._kube.call("GET", _METRICS.format(namespace), query={"labelSelector": selector})
        except ApiError as error:
            return Measured(pods, (), _NOT_SERVED if error.code == 404 else str(error))
        return Measured(pods, answer.get("items") or [])

    async def _write(self, scaler: Json, decision: Decision, size: int | None, now: datetime) -> None:
        held = scaler.get("status") or {}
        status: Json = {
            "observedGeneration": scaler["metadata"].get("generation", 1),
            "currentReplicas": held.get("currentReplicas") if size is None else size,
            "desiredReplicas": 0 if size is None else decision.replicas,
            "currentMetrics": decision.metrics or None,
            "conditions": _conditions(scaler, decision.conditions, now),
        }
        told: list[Change] = [
            Tell(scaler, HORIZONTALPODAUTOSCALERS, reason, message, _NAME, warning=True)
            for reason, message in decision.told
        ]
        if size is not None and decision.replicas != size:
            status["lastScaleTime"] = timestamp(now)
            message = f"New size: {decision.replicas}; reason: {decision.why}"
            told.append(Tell(scaler, HORIZONTALPODAUTOSCALERS, "SuccessfulRescale", message, _NAME))
        if differs(held, status):
            told.append(Patch(HORIZONTALPODAUTOSCALERS, scaler, {"status": status}, "status"))
        await self._performer.perform(told, now)


def _path(scaler: Json, world: World) -> str:
    """Where the scale of an autoscaler's target is; ApiError for a kind that is not served."""
    target = scaler["spec"]["scaleTargetRef"]
    version, kind = target.get("apiVersion", ""), target["kind"]
    cache = world.named(version, kind)
    if cache is None:
        raise ApiError(404, "NotFound", f'no matches for kind "{kind}" in group "{version.rpartition("/")[0]}"')
    return cache.kind.path(scaler["metadata"]["namespace"], target["name"], "scale")


def decide(scaler: Json, size: int, measured: Measured, memory: Memory, now: datetime) -> Decision:
    """What an autoscaler is to do about a target of this size."""
    spec = scaler["spec"]
    least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
    got = "the HPA controller was able to get the target's current scale"
    able: Condition = ("AbleToScale", "True", "SucceededGetScale", got)
    if size == 0 and least != 0:
        message = "scaling is disabled since the replica count of the target is zero"
        return Decision(0, "", [able, ("ScalingActive", "False", "ScalingDisabled", message)], None)
    if not least <= size <= most:
        bound = most if size > most else least
        why = f"Current number of replicas {'above Spec.MaxReplicas' if size > most else 'below Spec.MinReplicas'}"
        return Decision(bound, why, [_rescaled(bound)], None)
    proposals, troubles = _proposals(spec, measured, size, now)
    best = max(proposals, key=lambda proposal: proposal.replicas, default=None)
    metrics = [proposal.measured for proposal in proposals]
    if best is None and not troubles:
        none = "the HPA was unable to compute the replica count: it has no metrics"
        return Decision(size, "", [able, ("ScalingActive", "False", "InvalidMetricSourceType", none)], None)
    if best is None or (troubles and best.replicas < size):  # nobody shrinks on half of what it has to know
        first = troubles[0]
        failed = f"the HPA was unable to compute the replica count: {first}"
        inactive = ("ScalingActive", "False", first.reason, failed)
        count = f"invalid metrics ({len(troubles)} invalid out of {len(spec['metrics'])}), first error is"
        told = [
            (first.reason, str(first)),
            ("FailedComputeMetricsReplicas", f"{count}: failed to get {_kind(first)} metric value: {first}"),
        ]
        return Decision(size, "", [able, inactive], metrics, told)
    found = f"the HPA was able to successfully calculate a replica count from {best.name}"
    final, conditions = bounded(spec, size, best.replicas, memory, now)
    if final != size:
        conditions[0] = _rescaled(final)
    why = f"{best.name} above target" if final > size else "All metrics below target"
    active: Condition = ("ScalingActive", "True", "ValidMetricFound", found)
    return Decision(final, why, [conditions[0], active, conditions[1]], metrics)


def _proposals(
    spec: Json, measured: Measured, size: int, now: datetime
) -> tuple[list[Proposal], list[MetricError]]:
    proposals: list[Proposal] = []
    troubles: list[MetricError] = []
    usage, behavior = {each["metadata"]["name"]: each for each in measured.usage}, spec.get("behavior") or {}
    for metric in spec.get("metrics") or ():
        try:
            if measured.trouble:
                raise unavailable(metric, measured.trouble)
            proposals.append(propose(metric, behavior, measured.pods, usage, size, now))
        except MetricError as error:
            troubles.append(error)
    return proposals, troubles


def _kind(error: MetricError) -> str:
    words = str(error).removeprefix("failed to get ").split(" ", 1)
    return f"{words[0]} resource"


def _rescaled(size: int) -> Condition:
    message = f"the HPA controller was able to update the target scale to {size}"
    return "AbleToScale", "True", "SucceededRescale", message


def _conditions(scaler: Json, conditions: Sequence[Condition], now: datetime) -> list[Json]:
    entries: list[Json] = (scaler.get("status") or {}).get("conditions") or []
    for kind, status, reason, message in conditions:
        new = {"type": kind, "status": status, "reason": reason, "message": message}
        held = condition(scaler, kind)
        if any(held.get(key) != value for key, value in new.items()):
            index = next((at for at, each in enumerate(entries) if each["type"] == kind), len(entries))
            fresh = with_condition(entries, new, now)[-1]
            fresh.pop("lastUpdateTime")
            entries = [*entries[:index], fresh, *entries[index + 1 :]]
    return entries

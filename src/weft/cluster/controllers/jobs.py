"""Jobs: pods that run to their end, as often as asked for and not for ever."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import JOBS, PODS, Kind
from weft.cluster.controllers import job_indexes as indexes
from weft.cluster.controllers.changes import Change, Create, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.job_outcomes import Count, Verdict, counted, delay, is_over, verdict
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    differs,
    is_going,
    key_of,
    moment,
    owner_of,
    timestamp,
    with_condition,
)
from weft.cluster.controllers.pods import from_template, soonest, usefulness

_LEAST = timedelta(milliseconds=1)


class Jobs(Controller):
    """Creates a Job's pods, counts how they end, and says when the Job has."""

    name = "job-controller"
    watches: tuple[Kind, ...] = (JOBS, PODS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the owner is in the pod
        """A Job, or the one that owns a pod."""
        if kind == JOBS:
            return [key_of(obj)]
        owner = owner_of(obj)
        return [(obj["metadata"]["namespace"], owner["name"])] if owner and owner["kind"] == "Job" else []

    def plan(self, key: Key, world: World) -> Plan:
        """Start or stop pods, and say in the status how it stands."""
        job = world.of(JOBS).get(key)
        if job is None or is_going(job):
            return Plan()
        if is_over(job):
            return _expire(job, world)
        pods = [pod for pod in world.of(PODS).dependents(job["metadata"]["uid"]) if owner_of(pod)]
        count = counted(job, pods)
        end = verdict(job, count, world.now)
        suspended = bool(job["spec"].get("suspend"))
        changes: list[Change] = []
        wait: timedelta | None = None
        if end.condition or suspended:
            changes += self._stop(job, count.active)
        else:
            work, wait = self._work(job, count, world)
            changes += work
        status = self._status(job, count, end, world)
        if differs(job.get("status", {}), status):
            changes.append(Patch(JOBS, job, {"status": status}, "status"))
            changes += self._told(job, status, end)
        return Plan(changes, soonest([wait, None if end.condition else _deadline(job, world)]))

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """A pod that the API refuses is told on the Job."""
        job = world.of(JOBS).get(key)
        if job is None:
            return Plan()
        return Plan([Tell(job, JOBS, "FailedCreate", f"Error creating: {error.message}", self.name, warning=True)])

    def _work(self, job: Json, count: Count, world: World) -> tuple[list[Change], timedelta | None]:
        spec = job["spec"]
        parallel, completions = spec.get("parallelism", 1), spec.get("completions")
        if completions is None:  # a work queue: the first success ends it, once all pods have
            wanted = len(count.active) if count.succeeded else parallel
        else:
            wanted = min(parallel, completions - count.succeeded)
        surplus = len(count.active) - max(0, wanted)
        if surplus > 0:
            return self._stop(job, sorted(count.active, key=usefulness)[:surplus]), None
        held = len(count.active)
        if spec.get("podReplacementPolicy", "TerminatingOrFailed") == "Failed" or spec.get("podFailurePolicy"):
            held += len(count.terminating)
        if wanted <= held:
            return [], None
        pause = delay(count, world.now)
        if pause > timedelta():
            return [], pause
        template = spec["template"]
        born = Tell(job, JOBS, "SuccessfulCreate", "Created pod: {name}", self.name)
        if not indexes.is_indexed(job):
            return [Create(PODS, from_template(template, JOBS, job), born) for _ in range(wanted - held)], None
        free = indexes.free(job, count.pods)[: wanted - held]
        return [Create(PODS, indexes.pod(job, number), born) for number in free], None

    def _stop(self, job: Json, pods: Sequence[Json]) -> list[Change]:
        return [
            change
            for pod in pods
            for change in (
                Delete(PODS, pod),
                Tell(job, JOBS, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}", self.name),
            )
        ]

    def _status(self, job: Json, count: Count, end: Verdict, world: World) -> Json:
        held = job.get("status", {})
        suspended = bool(job["spec"].get("suspend"))
        conditions: list[Json] = held.get("conditions") or []
        status: Json = {
            "active": (0 if end.condition or suspended else len(count.active)) or None,
            "ready": 0 if end.condition else count.ready,
            "succeeded": count.succeeded or None,
            "failed": count.failed or None,
            "terminating": len(count.terminating),
            "uncountedTerminatedPods": {},
        }
        if indexes.is_indexed(job):
            status["completedIndexes"] = indexes.text(count.completed) or None
            if job["spec"].get("backoffLimitPerIndex") is not None:
                status["failedIndexes"] = indexes.text(count.lost)
        if suspended:
            status["startTime"] = None
            conditions = _with(conditions, "Suspended", "True", "JobSuspended", "Job suspended", world)
        else:
            status["startTime"] = held.get("startTime") or timestamp(world.now)
            if any(entry["type"] == "Suspended" for entry in conditions):
                conditions = _with(conditions, "Suspended", "False", "JobResumed", "Job resumed", world)
        if end.condition:
            # the outcome is known at once, the Job ends when its last pod has
            early = "SuccessCriteriaMet" if end.condition == "Complete" else "FailureTarget"
            conditions = _with(conditions, early, "True", end.reason, end.message, world)
            if not count.active and not count.terminating:
                conditions = _with(conditions, end.condition, "True", end.reason, end.message, world)
                if end.condition == "Complete":
                    status["completionTime"] = timestamp(world.now)
        return status | ({"conditions": conditions} if conditions else {})

    def _told(self, job: Json, status: Json, end: Verdict) -> list[Change]:
        def state(conditions: Iterable[Json] | None) -> dict[str, str]:
            return {entry["type"]: entry["status"] for entry in conditions or ()}

        before, now = state(job.get("status", {}).get("conditions")), state(status.get("conditions"))
        told: list[Change] = []
        if now.get("Complete") and not before.get("Complete"):
            told.append(Tell(job, JOBS, "Completed", "Job completed", self.name))
        if now.get("Failed") and not before.get("Failed"):
            told.append(Tell(job, JOBS, end.reason, end.message, self.name, warning=True))
        if now.get("Suspended") != before.get("Suspended"):
            resumed = now.get("Suspended") == "False"
            told.append(
                Tell(
                    job,
                    JOBS,
                    "Resumed" if resumed else "Suspended",
                    "Job resumed" if resumed else "Job suspended",
                    self.name,
                )
            )
        return told


def _with(
    conditions: Sequence[Json], kind: str, status: str, reason: str, message: str, world: World
) -> list[Json]:
    old = next((entry for entry in conditions if entry["type"] == kind), {})
    if old.get("status") == status:
        return list(conditions)
    new = {"type": kind, "status": status, "reason": reason, "message": message}
    entries = with_condition(conditions, new | {"lastProbeTime": timestamp(world.now)}, world.now)
    return [{key: value for key, value in entry.items() if key != "lastUpdateTime"} for entry in entries]


def _deadline(job: Json, world: World) -> timedelta | None:
    limit, started = job["spec"].get("activeDeadlineSeconds"), job.get("status", {}).get("startTime")
    if limit is None or job["spec"].get("suspend"):
        return None
    begun = moment(started) if started else world.now
    return max(_LEAST, begun + timedelta(seconds=limit) - world.now)


def _expire(job: Json, world: World) -> Plan:
    """Delete a Job that ended longer ago than it wants to be kept."""
    keep = job["spec"].get("ttlSecondsAfterFinished")
    if keep is None:
        return Plan()
    ended = next(
        moment(entry["lastTransitionTime"])
        for entry in job["status"]["conditions"]
        if entry["type"] in {"Complete", "Failed"} and entry["status"] == "True"
    )
    left = ended + timedelta(seconds=keep) - world.now
    if left > timedelta():
        return Plan((), left)
    return Plan([Delete(JOBS, job, "Foreground")])
